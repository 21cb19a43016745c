"""The front door: an ASGI app that passes OpenAI's API on to the instances of one service, and streams unchanged.

In: requests, and instances on this machine that may change at any time (`set_instances`). Out: the answers' bytes as
they come. A request goes to the instance with the fewest under way. It moves to another one only while nothing has been
answered and nothing can be done twice, and waits a little while none serves. A request that is too long is refused in
OpenAI's words, or loses its oldest turns. `server.py` listens; this module opens no port.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence

from planner.service.proxy.context_limit import CHAT, COMPLETIONS, num_sequences
from planner.service.proxy.instances import Instances, ProxiedInstance, addresses_of
from planner.service.proxy.request import (
    ProxyLimits,
    ProxyRequest,
    Receive,
    Refused,
    Scope,
    Send,
    passed_on,
    read_head,
    unavailable,
)
from planner.service.proxy.shortening import Trim, fit, too_long_says
from planner.service.proxy.upstream import Broken, NotSent, UpstreamAnswer

TRIMMED_HEADER = b"x-planner-trimmed"
"""Header of an answer with the number of messages that were left out."""


class Proxy:
    """The ASGI app. All but `set_instances` belongs to the event loop that serves it."""

    def __init__(
        self,
        base_urls: Sequence[str],
        limits: ProxyLimits | None = None,
        context_tokens: int | None = None,
        trim: Trim | None = None,
        also: Collection[str] = (),
        on_event: Callable[[str], None] = lambda text: None,  # noqa: ARG005
    ) -> None:
        """`also`: further paths that are passed on, such as /metrics. Raises InputError for instances elsewhere."""
        self.limits = limits or ProxyLimits()
        self.trim = trim
        self.also = frozenset(also)
        self._instances = Instances(self.limits, on_event)
        self._context_tokens: int | None = None
        self._held_bytes = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self.set_instances(base_urls, context_tokens)

    def set_instances(self, base_urls: Sequence[str], context_tokens: int | None) -> None:
        """Set the instances to ask, and how many tokens a request may have (None: the engine judges).

        Answers under way go on. May be called from any thread. Raises InputError for instances elsewhere.
        """
        addresses = addresses_of(base_urls)

        def replace() -> None:
            self._context_tokens = context_tokens
            self._instances.replace(addresses)

        if self._loop is None:
            replace()
        else:
            self._loop.call_soon_threadsafe(replace)

    @property
    def in_flight(self) -> dict[str, int]:
        """Number of requests under way, by base URL of the instance."""
        return {instance.base_url: instance.in_flight for instance in self._instances.all}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http" and scope["path"] == "/health":
            await self._say_health(send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._loop = asyncio.get_running_loop()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._loop = None
        self._instances.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _say_health(self, send: Send) -> None:
        status = 200 if self._instances.able() else 503
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts: list[bytes] = []
        try:
            request = read_head(scope, self.also, self.limits.max_header_bytes)
            await self._read_body(scope, receive, parts)
            request.body = b"".join(parts)
            self._refuse_many(request)
            await self._answer(request, receive, send)
        except Refused as refused:
            await refused.send(send, closes=True)
        except _ClientGone:
            return
        finally:
            self._held_bytes -= sum(map(len, parts))

    async def _read_body(self, scope: Scope, receive: Receive, parts: list[bytes]) -> None:
        """Read the body into `parts`, which count as held. Raises Refused, _ClientGone."""
        most = self.limits.max_body_bytes
        too_large = Refused(413, "request_too_large", f"the body has more than {most} bytes")
        if any(int(value) > most for name, value in scope["headers"] if name == b"content-length"):
            raise too_large
        num_bytes, more = 0, True
        try:
            async with asyncio.timeout(self.limits.body_s):
                while more:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise _ClientGone
                    part, more = message.get("body", b""), message.get("more_body", False)
                    parts.append(part)
                    num_bytes += len(part)
                    self._held_bytes += len(part)
                    if num_bytes > most:
                        raise too_large
                    if self._held_bytes > self.limits.max_held_bytes:
                        raise unavailable("the bodies of the requests under way are too large together")
        except TimeoutError:
            raise Refused(408, "timeout", f"the body did not come within {self.limits.body_s:g} s") from None

    def _refuse_many(self, request: ProxyRequest) -> None:
        """Raise Refused for a request that asks for more answers than one request may."""
        if request.method == "POST" and (count := num_sequences(request.body)) > self.limits.max_sequences:
            most = self.limits.max_sequences
            raise Refused(
                400, "too_many_sequences", f"the request asks for {count} answers; at most {most} are allowed"
            )

    async def _answer(self, request: ProxyRequest, receive: Receive, send: Send) -> None:
        """Ask an instance and pass its answer on, until the client goes."""
        task = asyncio.current_task()
        assert task is not None

        def stop(_: object) -> None:
            task.cancel()

        gone = asyncio.ensure_future(receive())  # the body is read: what comes next is that the client has gone
        gone.add_done_callback(stop)
        try:
            await self._pass_on(request, send)
        except Refused as refused:  # before anything was answered
            await refused.send(send)
        except asyncio.CancelledError:
            if not gone.done():
                raise  # the server itself is ending
            task.uncancel()
        finally:
            gone.remove_done_callback(stop)
            gone.cancel()

    async def _pass_on(self, request: ProxyRequest, send: Send) -> None:
        """Pass the answer of an instance on. Raises Refused before anything is answered."""
        instances, deadline_s = self._instances, asyncio.get_running_loop().time() + self.limits.queue_s
        tried: set[ProxiedInstance] = set()
        was_broken = False
        judged_by: int | None = None
        while True:
            instance = await instances.choose(tried, deadline_s)
            if judged_by != self._context_tokens:  # also if it has changed while the request waited
                judged_by = self._context_tokens
                await fit(request, judged_by, self.trim, self._tokenize)
            instance.in_flight += 1
            instance.num_sent += 1
            tried.add(instance)
            try:
                answer = await instance.ask(request)
                try:
                    if answer.status == 400 and request.path in (COMPLETIONS, CHAT):
                        await _send_refusal(answer, request, send)
                        return
                    if answer.status not in (502, 503) or not request.is_repeatable or not instances.able(tried):
                        await _stream(answer, request.num_trimmed, send)
                        return
                finally:
                    instance.pool.release(answer)
            except NotSent as error:
                instances.mark_down(instance, str(error))
            except Broken as error:
                instances.mark_down(instance, str(error))
                if was_broken or not request.is_repeatable:
                    raise Refused(502, "bad_gateway", f"the engine gave no answer: {error}") from None
                was_broken = True  # repeat once only: this request itself may be what breaks engines
            finally:
                instance.in_flight -= 1

    async def _tokenize(self, request: ProxyRequest) -> bytes | None:
        able = self._instances.able()
        try:
            return await able[0].ask_whole(request) if able else None
        except (NotSent, Broken):
            return None


class _ClientGone(Exception):  # noqa: N818
    """The client has gone: there is nobody to answer."""


async def _send_refusal(answer: UpstreamAnswer, request: ProxyRequest, send: Send) -> None:
    """Send the engine's refusal; one about the length takes OpenAI's form, which clients know."""
    parts = []
    with contextlib.suppress(Broken):
        while data := await answer.read():
            parts.append(data)
    if (refused := too_long_says(request.path, b"".join(parts))) is not None:
        await refused.send(send)
        return
    await send({"type": "http.response.start", "status": answer.status, "headers": passed_on(answer.headers)})
    await send({"type": "http.response.body", "body": b"".join(parts)})


async def _stream(answer: UpstreamAnswer, num_trimmed: int, send: Send) -> None:
    """Stream bytes as they come. If the answer breaks off, so does ours: no end is made up."""
    headers = passed_on(answer.headers)
    if num_trimmed:
        headers.append((TRIMMED_HEADER, b"%d" % num_trimmed))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    try:
        while data := await answer.read():
            await send({"type": "http.response.body", "body": data, "more_body": True})
    except Broken:
        return
    await send({"type": "http.response.body"})
