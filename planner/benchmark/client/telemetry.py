"""Fetches a server's /metrics page, watches its gauges during a load, waits until it is idle."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from planner.benchmark.client.access import Access
from planner.benchmark.client.asking import Asker, NoAnswer
from planner.engine import EngineTelemetry, parse_telemetry, read_gauges

OPEN = Access()
"""No key, public authorities."""

PAGE_TIMEOUT_S = 5.0
"""Timeout in seconds of reading a server's metrics during a load, so that a hanging server delays little."""


def fetch_telemetry(base_url: str, access: Access = OPEN, timeout_s: float = PAGE_TIMEOUT_S) -> EngineTelemetry | None:
    """Metrics of a server (`http://host:port`); None if it does not answer within `timeout_s` seconds or has none."""
    with Asker(access, timeout_s=timeout_s) as asker:
        return _telemetry(asker, base_url.rstrip("/"))


def _telemetry(asker: Asker, base_url: str) -> EngineTelemetry | None:
    try:
        return parse_telemetry(_page(asker, base_url))
    except (NoAnswer, ValueError):
        return None


def _page(asker: Asker, base_url: str) -> str:
    """Text of a server's metrics page. Raises NoAnswer, also for a page that the server refuses."""
    answer = asker.ask("GET", base_url + "/metrics")
    if not answer.is_ok:
        raise NoAnswer(f"{base_url}/metrics: status {answer.status}")
    return answer.text


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
        with Asker(self.access, timeout_s=PAGE_TIMEOUT_S) as asker:
            while not self._ended.wait(self.every_s):
                for url in self.base_urls:
                    try:
                        read = read_gauges(_page(asker, url))
                    except (NoAnswer, ValueError):
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
    with Asker(access, timeout_s=PAGE_TIMEOUT_S) as asker:
        for _ in range(max(1, round(timeout_s / every_s))):
            said = [_telemetry(asker, url.rstrip("/")) for url in base_urls]
            if not sum((one.num_requests_running or 0) + (one.num_requests_waiting or 0) for one in said if one):
                return True
            if timeout_s > 0:
                sleep(every_s)
    return False
