"""Questions to a server, each answered whole or not at all: `Asker.ask` in plain code, `ask_server` in a coroutine.

In: method, URL, JSON body. Out: an `HttpAnswer`, or a `NoAnswer` that says why. httpx bounds each read, not the answer:
a server that sends a byte a second, never ends, or opens a small gzip to gigabytes would hold its client for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import httpx
import msgspec

from planner.benchmark.client.access import Access
from planner.errors import BenchmarkError, InputError

MOST_BYTES = 16 << 20
"""Largest answer accepted, in bytes; the largest of a real server, its metrics page, has 54 kB."""

LOOPBACK = ("127.0.0.1", "localhost", "::1", "")


class NoAnswer(BenchmarkError):  # noqa: N818  (the words of the error tree)
    """No whole answer: nobody listens, the time is over, too many bytes, not HTTP, compressed although not asked for.

    `kind`: the same without any part of the URL, which may hold a secret. `is_cut`: whether there was no connection, or
    it was lost.
    """

    def __init__(self, message: str, kind: str = "", *, is_cut: bool = False) -> None:
        super().__init__(message)
        self.kind = kind or message
        self.is_cut = is_cut


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A whole answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_ok(self) -> bool:
        return self.status == httpx.codes.OK

    @property
    def is_success(self) -> bool:
        return httpx.codes.is_success(self.status)

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")

    def json(self) -> dict[str, Any]:
        """The JSON object in it; empty if there is none."""
        try:
            found = msgspec.json.decode(self.content)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


async def ask_server(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    body: dict[str, Any] | None = None,
    *,
    timeout_s: float | None,
    most_bytes: int = MOST_BYTES,
) -> HttpAnswer:
    """Ask once; `body` is sent as JSON. `timeout_s`: seconds from the connection to the last byte; None: no limit.

    Raises NoAnswer.
    """
    try:
        async with (
            asyncio.timeout(timeout_s),
            client.stream(method, url, json=body, headers={"accept-encoding": "identity"}, timeout=None) as response,
        ):
            encoding = response.headers.get("content-encoding", "identity")
            if encoding != "identity":
                raise NoAnswer(f"an answer in content-encoding {encoding[:40]!a}, which was not asked for")
            content = bytearray()
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > most_bytes:
                    raise NoAnswer(f"an answer of more than {most_bytes} bytes")
            return HttpAnswer(response.status_code, response.headers, bytes(content))
    except TimeoutError:
        raise NoAnswer(f"no whole answer in {timeout_s:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError) as error:
        kind = type(error).__name__
        is_cut = isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
        raise NoAnswer(str(error) or kind, kind, is_cut=is_cut) from None


class Asker:
    """Asks from plain code while its context is open, in a thread in which no event loop runs.

    The loop is the thread's own, so that an interrupt ends a question as it ends any other call.
    """

    def __init__(
        self, access: Access, *, timeout_s: float, trusts_env: bool = False, most_bytes: int = MOST_BYTES
    ) -> None:
        self._runner = asyncio.Runner()
        self._client = httpx.AsyncClient(trust_env=trusts_env, headers=access.headers, verify=access.tls)
        self._timeout_s = timeout_s
        self._most_bytes = most_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None or issubclass(kind, Exception):  # after an interrupt the loop cancels what is under way
                self._runner.run(self._client.aclose())
        finally:
            self._runner.close()

    def ask(
        self, method: str, url: str, body: dict[str, Any] | None = None, *, timeout_s: float | None = None
    ) -> HttpAnswer:
        """Ask once, within `timeout_s` seconds if given, else within the asker's own. Raises NoAnswer."""
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        asked = ask_server(self._client, method, url, body, timeout_s=timeout_s, most_bytes=self._most_bytes)
        return self._runner.run(asked)

    def ask_object(self, method: str, url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The JSON object of the answer; empty where the server refuses, or answers something else. Raises NoAnswer."""
        answer = self.ask(method, url, body)
        return answer.json() if answer.is_ok else {}


def asker_of(url: str, access: Access, timeout_s: float) -> Asker:
    """An asker for one server, through no proxy if it is on this machine. Raises InputError if `url` is no URL."""
    try:
        host = httpx.URL(url).host
    except (httpx.InvalidURL, UnicodeError):
        raise InputError(f"{url[:60]!a}: is no URL; for example http://localhost:8000") from None
    return Asker(access, timeout_s=timeout_s, trusts_env=host not in LOOPBACK)
