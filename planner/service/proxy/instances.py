"""The engines behind the front door: which is asked next, which does not answer, and the wait while none does.

In: base URLs on this machine, failures as they are met. Out: the instance with the fewest requests under way. An
instance that failed is left out until its /health answers again.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from planner.errors import InputError
from planner.service.proxy.request import ProxyLimits, ProxyRequest, unavailable
from planner.service.proxy.upstream import Broken, NotSent, Pool, UpstreamAnswer

HEALTH_S = 0.5
"""Seconds between two health checks of an instance that did not answer."""


@dataclass(slots=True, eq=False)
class ProxiedInstance:
    """One engine, and the number of its requests under way."""

    base_url: str
    pool: Pool
    in_flight: int = 0
    num_sent: int = 0
    is_up: bool = True
    probe: asyncio.Task[None] | None = None

    async def ask(self, request: ProxyRequest) -> UpstreamAnswer:
        """Wait for the answer's head; the caller releases the answer to the pool. Raises NotSent, Broken."""
        data = request.encode(self.pool.host, self.pool.port)
        if request.is_repeatable:
            try:
                return await self.pool.exchange(data)
            except Broken as error:
                if not error.was_kept:
                    raise
        return await self.pool.exchange(data, may_keep=False)

    async def ask_whole(self, request: ProxyRequest) -> bytes:
        """The whole body of the answer. Raises NotSent, Broken."""
        answer = await self.ask(request)
        try:
            parts = []
            while data := await answer.read():
                parts.append(data)
            return b"".join(parts)
        finally:
            self.pool.release(answer)


class Instances:
    """The present instances. Belongs to one event loop."""

    def __init__(self, limits: ProxyLimits, on_event: Callable[[str], None]) -> None:
        self.limits = limits
        self.on_event = on_event
        self.all: tuple[ProxiedInstance, ...] = ()
        self._num_queued = 0
        self._changed = asyncio.Event()

    def replace(self, addresses: Mapping[str, tuple[str, int]]) -> None:
        """Replace the instances; `addresses`: host and port by URL.

        Those that stay keep their connections; requests under way on those that go are finished.
        """
        known = {instance.base_url: instance for instance in self.all}
        self.all = tuple(known.get(url) or self._new(url, *address) for url, address in addresses.items())
        for url in known.keys() - addresses.keys():
            known[url].pool.close()
        self._changed.set()

    def _new(self, base_url: str, host: str, port: int) -> ProxiedInstance:
        limits = self.limits
        return ProxiedInstance(base_url, Pool(host, port, limits.connect_s, limits.first_byte_s, limits.idle_s))

    def close(self) -> None:
        for instance in self.all:
            instance.pool.close()
            if instance.probe is not None:
                instance.probe.cancel()

    def able(self, without: set[ProxiedInstance] | None = None) -> list[ProxiedInstance]:
        """Instances that answer, the least loaded first."""
        found = [instance for instance in self.all if instance.is_up and instance not in (without or ())]
        return sorted(found, key=lambda instance: (instance.in_flight, instance.num_sent))

    async def choose(self, tried: set[ProxiedInstance], deadline_s: float) -> ProxiedInstance:
        """The least loaded instance not yet tried. Waits while there is none, then forgets which were tried.

        Raises Refused after the deadline (time of the event loop), or if too many requests wait.
        """
        while not (able := self.able(tried)):
            if asyncio.get_running_loop().time() > deadline_s:
                raise unavailable("no engine serves at the moment")
            if not tried or not self.able():
                await self._wait(deadline_s)
            tried.clear()
        return able[0]

    async def _wait(self, deadline_s: float) -> None:
        if self._num_queued >= self.limits.max_queued:
            raise unavailable("the engine is restarting, and too many requests wait for it already")
        self._num_queued += 1
        self._changed.clear()
        try:
            async with asyncio.timeout(max(0.0, deadline_s - asyncio.get_running_loop().time())):
                await self._changed.wait()
        except TimeoutError:
            raise unavailable("no engine serves at the moment") from None
        finally:
            self._num_queued -= 1

    def mark_down(self, instance: ProxiedInstance, why: str) -> None:
        if instance.is_up:
            instance.is_up = False
            self.on_event(f"{instance.base_url} does not answer: {why}")
            instance.probe = asyncio.get_running_loop().create_task(self._probe(instance))

    async def _probe(self, instance: ProxiedInstance) -> None:
        """Ask for its health until it answers, or it is no longer an instance."""
        while instance in self.all:
            request = ProxyRequest("GET", "/health", b"/health", [(b"connection", b"close")])
            with contextlib.suppress(NotSent, Broken, TimeoutError):
                async with asyncio.timeout(self.limits.connect_s):
                    answer = await instance.ask(request)
                    instance.pool.release(answer)
                if answer.status == 200:
                    instance.is_up = True
                    self.on_event(f"{instance.base_url} answers again")
                    self._changed.set()
                    return
            await asyncio.sleep(HEALTH_S)


def addresses_of(base_urls: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Host and port by base URL. Raises InputError unless all are on this machine."""
    found = {}
    for base_url in base_urls:
        parts = urlsplit(base_url)
        host = parts.hostname or ""
        try:
            is_here = host == "localhost" or ipaddress.ip_address(host).is_loopback
            port = parts.port
        except ValueError:
            is_here, port = False, None
        if parts.scheme != "http" or not is_here or port is None or parts.path.strip("/"):
            raise InputError(
                f"{base_url}: an instance is http://127.0.0.1:PORT: requests are passed on to this machine only"
            )
        found[base_url] = (host, port)
    return found
