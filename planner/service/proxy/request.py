"""A request as the front door passes it on: `read_head(scope, ...) -> Request`, and its own answers, `Refused`.

In: an ASGI scope. Out: what is sent to an instance, without headers of a single connection. Opens no connections.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec

from planner.service.proxy.upstream import Headers
from planner.units import MIB

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

METHODS = ("GET", "OPTIONS", "POST")
_PATH = re.compile(r"/v1/[\w./:@+-]+", re.ASCII)
CLOSED_PATHS = ("/v1/load_lora_adapter", "/v1/unload_lora_adapter")
"""Paths closed to a service's clients, because they change the engine."""
REPEATABLE = {
    "/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/v1/score", "/v1/rerank", "/v1/messages",
    "/v1/messages/count_tokens", "/tokenize",
}  # fmt: skip
"""POSTs without lasting effect: one that got no answer may be asked again."""
HOP_BY_HOP = {
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te", b"trailer",
    b"transfer-encoding", b"upgrade",
}  # fmt: skip
"""Headers of one connection, not of the request (RFC 9110, 7.6.1)."""
_NOT_PASSED_ON = {b"host", b"content-length", b"expect"}
RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyLimits:
    """What one client may take, and how long anything may last. Times are in seconds."""

    max_body_bytes: int = 32 * MIB
    max_held_bytes: int = 512 * MIB
    """Most bytes in the bodies of all requests under way together."""
    max_header_bytes: int = 32 * 1024
    max_connections: int = 2048
    max_connections_per_client: int = 1024
    """Most connections of one address, so that one client cannot take all; a gateway before the door is one client."""
    max_sequences: int = 1024
    """Most answers that one request may ask for: its prompts or inputs, times `n`."""
    max_queued: int = 256
    """Most requests that wait for an instance; further ones are refused at once."""
    queue_s: float = 30.0
    header_s: float = 10.0
    """Time until a request's headers must be complete."""
    body_s: float = 60.0
    """Time until its body must be complete."""
    connect_s: float = 2.0
    first_byte_s: float = 1800.0
    """Time until an answer's first byte: it may be queued in the engine, and one that is not streamed comes whole."""
    idle_s: float = 300.0
    """Time between two reads of an answer that has begun, and for a client that takes nothing of it."""
    keep_alive_s: float = 75.0


@dataclass(slots=True)
class Refused(Exception):  # noqa: N818
    """An answer of our own, in OpenAI's error form."""

    status: int
    code: str
    message: str
    param: str | None = None
    headers: Headers = field(default_factory=list)

    async def send(self, send: Send, closes: bool = False) -> None:
        """Send the refusal. `closes`: also close the connection, because not all of the request was read."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        body = msgspec.json.encode({"error": error})
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *self.headers]
        if closes:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def unavailable(message: str) -> Refused:
    return Refused(503, "unavailable", message, headers=[(b"retry-after", b"%d" % RETRY_AFTER_S)])


@dataclass(slots=True)
class ProxyRequest:
    method: str
    path: str
    target: bytes
    """Path and query, as received."""
    headers: Headers
    """Headers that are passed on."""
    body: bytes = b""
    num_trimmed: int = 0
    """Number of messages that were left out."""

    @property
    def is_repeatable(self) -> bool:
        return self.method != "POST" or self.path in REPEATABLE

    def encode(self, host: str, port: int) -> bytes:
        lines = [b"%s %s HTTP/1.1" % (self.method.encode(), self.target), b"host: %s:%d" % (host.encode(), port)]
        lines += [b"%s: %s" % header for header in self.headers]
        if self.body or self.method == "POST":
            lines.append(b"content-length: %d" % len(self.body))
        return b"\r\n".join([*lines, b"", self.body])


def read_head(scope: Scope, also: Collection[str], max_header_bytes: int) -> ProxyRequest:
    """The request in a scope. Raises Refused unless its path belongs to the API or is exactly one of `also`."""
    method, path = scope["method"], scope["raw_path"].decode("ascii", "replace")
    is_plain = not any(part.strip(".") == "" for part in path[1:].split("/"))  # else servers may take it for another
    is_open = _PATH.fullmatch(path) and is_plain and path not in CLOSED_PATHS
    if not is_open and path not in also:
        raise Refused(404, "not_found", f"{path[:200]} is not served here")
    if method not in METHODS:
        raise Refused(405, "method_not_allowed", f"{method} is not allowed; {', '.join(METHODS)} are")
    headers: Headers = scope["headers"]
    if sum(len(name) + len(value) + 4 for name, value in headers) > max_header_bytes:
        raise Refused(431, "headers_too_large", f"the headers have more than {max_header_bytes} bytes")
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    return ProxyRequest(method, path, target, passed_on(headers, _NOT_PASSED_ON))


def passed_on(headers: Headers, left_out: Collection[bytes] = ()) -> Headers:
    """The headers without those of a single connection and those in `left_out`."""
    named = {word.strip().lower() for name, value in headers if name == b"connection" for word in value.split(b",")}
    return [(n, v) for n, v in headers if n not in HOP_BY_HOP and n not in named and n not in left_out]
