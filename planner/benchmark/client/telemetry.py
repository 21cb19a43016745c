"""Fetches a server's /metrics page, watches its gauges during a load, waits until it is idle."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import httpx

from planner.benchmark.client.access import Access
from planner.engine import EngineTelemetry, parse_telemetry, read_gauges
from planner.errors import InputError

OPEN = Access()
"""No key, public authorities."""

PAGE_TIMEOUT_S = 5.0
"""Timeout in seconds of reading a server's metrics during a load, so that a hanging server delays little."""


def fetch_telemetry(base_url: str, access: Access = OPEN, timeout_s: float = PAGE_TIMEOUT_S) -> EngineTelemetry | None:
    """Metrics of a server (`http://host:port`); None if it does not answer or has none."""
    try:
        with _client(base_url, access, timeout_s) as client:
            return parse_telemetry(_page(client, base_url.rstrip("/") + "/metrics"))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None


MAX_PAGE_BYTES = 16 << 20
"""Largest metrics page accepted, in bytes; the page of a real server has 54 kB."""


def _page(client: httpx.Client, url: str) -> str:
    """Text of a page. Raises httpx.HTTPError, or ValueError for a page larger than MAX_PAGE_BYTES."""
    content = b""
    with client.stream("GET", url) as response:
        response.raise_for_status()
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > MAX_PAGE_BYTES:
                raise ValueError(f"{url}: a page of more than {MAX_PAGE_BYTES >> 20} MiB")
    return content.decode("utf-8", "replace")


WATCH_S = 1.0


class GaugeWatch:
    """Reads the gauges of some servers from a thread while the context is open; `peaks` has the highest seen."""

    def __init__(self, base_urls: Sequence[str], access: Access = OPEN, every_s: float = WATCH_S) -> None:
        self.access = access
        self.base_urls = [url.rstrip("/") for url in base_urls]
        self.every_s = every_s
        self.peaks: dict[str, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> GaugeWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        with _client("", self.access, PAGE_TIMEOUT_S) as client:
            while not self._ended.wait(self.every_s):
                for url in self.base_urls:
                    try:
                        read = read_gauges(_page(client, url + "/metrics"))
                    except (httpx.HTTPError, ValueError):
                        continue
                    for field, value in read.items():
                        self.peaks[field] = max(value, self.peaks.get(field, 0.0))


def wait_until_idle(
    base_urls: Sequence[str],
    timeout_s: float,
    access: Access = OPEN,
    every_s: float = 0.2,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Wait until no server runs or queues a request. False if one is still busy; one without metrics counts as idle."""
    for _ in range(max(1, round(timeout_s / every_s))):
        said = [fetch_telemetry(url, access) for url in base_urls]
        if not sum((one.num_requests_running or 0) + (one.num_requests_waiting or 0) for one in said if one):
            return True
        if timeout_s > 0:
            sleep(every_s)
    return False


_PROBE_TIMEOUT_S = 60.0


def _client(url: str, access: Access, timeout_s: float | None = None) -> httpx.Client:
    """HTTP client without a proxy for this machine, and for pages read during a load (those with a timeout)."""
    try:
        host = httpx.URL(url).host
    except (httpx.InvalidURL, UnicodeError):
        raise InputError(f"{url[:60]!a}: is no URL; for example http://localhost:8000") from None
    is_near = timeout_s is not None or host in ("127.0.0.1", "localhost", "::1", "")
    timeout_s = _PROBE_TIMEOUT_S if timeout_s is None else timeout_s
    return httpx.Client(timeout=timeout_s, trust_env=not is_near, headers=access.headers, verify=access.tls)
