"""A fleet's queues, event by event: requests arrive, a router sends each to an instance, which shares itself out.

In: a `MeasuredInstance`, how many of them, arrivals and sizes. Out: for each request its wait, its time in service and
how many it shared the instance with. Exact for this model; tests hold it against the closed forms of queueing theory.

All requests in service at an instance proceed alike, so each ends when the work done for every one of them reaches a
mark that is fixed when it begins: an event costs the logarithm of how many there are and never touches the others
(the virtual time of fair queueing, Parekh and Gallager 1993, 10.1109/90.234856).
"""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush, heapreplace
from typing import Literal

import numpy as np

from planner.fleet.instance import Column, MeasuredInstance

Router = Literal["least-loaded", "round-robin", "random"]
TOLERANCE = 1e-9
"""In sizes: what is left of a request that has ended, in floating point."""


@dataclass(frozen=True, slots=True)
class Served:
    """Of each request, in the order of arrival; infinite where it was refused, or had not ended when all wanted had."""

    wait_s: Column
    """In the queue of its instance."""
    service_s: Column
    shared_with: Column
    """How many were in service when it began, itself counted."""


def serve(
    instance: MeasuredInstance,
    num_instances: int,
    arrivals_s: Column,
    sizes: Column,
    router: Router,
    seed: int = 0,
    num_wanted: int | None = None,
) -> Served:
    """Serve requests until the first `num_wanted` have ended, by default all. `sizes` are in units of the mean request.

    Those that come after the wanted ones keep the fleet as busy as it was.
    """
    count = len(arrivals_s)
    choose = _chooser(router, num_instances, count, seed)
    fleet = _Fleet(instance, num_instances, choose, sizes, count if num_wanted is None else num_wanted)
    fleet.run(arrivals_s.tolist())
    start, end = np.array(fleet.begun_s), np.array(fleet.ended_s)
    refused = ~np.isfinite(end)
    with np.errstate(invalid="ignore"):
        wait, service = start - arrivals_s, end - start
    wait[refused] = service[refused] = math.inf
    return Served(wait, service, np.array(fleet.shared_with, dtype=float))


class _Instance:
    """One instance's requests; the work done and the marks are in sizes, for each request alike."""

    __slots__ = ("done", "due_s", "marks", "queue", "running", "updated_s")

    def __init__(self) -> None:
        self.done = 0.0
        """Work done for each request in service since the instance was last idle, as of `updated_s`."""
        self.updated_s = 0.0
        self.running = 0
        """Requests in service."""
        self.marks: list[tuple[float, int]] = []
        """A heap: at how much work done each request in service ends, and which request it is."""
        self.queue: deque[int] = deque()
        """Requests that wait, first come first served."""
        self.due_s = math.inf
        """When the instance is looked at next: at its next end, or before."""


class _Fleet:
    """The instances and the requests, served event by event in the order of time."""

    __slots__ = (
        "begun_s",
        "choose",
        "ended_s",
        "events",
        "instances",
        "limit",
        "num_open",
        "shared_with",
        "slots",
        "speeds",
        "wanted",
        "work",
    )

    def __init__(
        self, instance: MeasuredInstance, num_instances: int, choose: _LeastLoaded | _Blind, sizes: Column, wanted: int
    ) -> None:
        count = len(sizes)
        self.speeds: list[float] = [0.0, *(1 / instance.latency_s[1:]).tolist()]
        """Sizes a second, for each request, by how many are in service."""
        self.slots = instance.max_in_flight
        self.limit = math.inf if instance.max_queue is None else self.slots + instance.max_queue
        """Requests under way at an instance, beyond which it refuses."""
        self.work: list[float] = sizes.tolist()
        self.wanted = self.num_open = wanted
        self.begun_s, self.ended_s, self.shared_with = [math.inf] * count, [math.inf] * count, [1] * count
        self.instances = [_Instance() for _ in range(num_instances)]
        self.choose = choose
        self.events: list[tuple[float, int]] = []
        """A heap: when to look at which instance; one whose time is no longer that of the instance is void."""

    def run(self, arrivals_s: list[float]) -> None:
        """Serve until the wanted requests have ended."""
        instances, choose, limit, slots = self.instances, self.choose, self.limit, self.slots
        events, speeds, work, begun, shared = self.events, self.speeds, self.work, self.begun_s, self.shared_with
        for k, now in enumerate(arrivals_s):
            if events and events[0][0] <= now:
                self.until(now)
            if not self.num_open:
                return
            i = choose.next(limit)
            if i < 0:
                self.num_open -= k < self.wanted
                continue
            one = instances[i]
            n = one.running
            if n == slots:
                one.queue.append(k)
                continue
            reached = one.done + (now - one.updated_s) * speeds[n]
            marks = one.marks
            heappush(marks, (reached + work[k], k))
            one.done, one.updated_s, one.running = reached, now, n + 1
            begun[k], shared[k] = now, n + 1
            next_end = now + (marks[0][0] - reached) / speeds[n + 1]
            if next_end < one.due_s:
                one.due_s = next_end
                heappush(events, (next_end, i))
        if self.num_open:
            self.until(math.inf)

    def until(self, now: float) -> None:
        """Serve every end up to now."""
        events, instances, speeds = self.events, self.instances, self.speeds
        while events and events[0][0] <= now:
            at, i = events[0]
            one = instances[i]
            if at != one.due_s:
                heappop(events)  # an earlier look was planned since
                continue
            marks, speed = one.marks, speeds[one.running]
            reached = one.done + (at - one.updated_s) * speed
            left = marks[0][0] - reached
            if left > TOLERANCE and at + left / speed > at:  # others have come since and slowed it
                one.due_s = at + left / speed
                heapreplace(events, (one.due_s, i))
                continue
            k = heappop(marks)[1]
            self.ended_s[k] = at
            self.num_open -= k < self.wanted
            if one.queue:
                following = one.queue.popleft()
                self.begun_s[following], self.shared_with[following] = at, one.running
                heappush(marks, (reached + self.work[following], following))
            else:
                one.running -= 1
            self.choose.left(i)
            one.updated_s = at
            if marks:
                one.done = reached
                one.due_s = at + max(0.0, marks[0][0] - reached) / speeds[one.running]
                heapreplace(events, (one.due_s, i))
            else:
                one.done, one.due_s = 0.0, math.inf
                heappop(events)


# --- routers ----------------------------------------------------------------------------------------------------------


class _LeastLoaded:
    """To the instance with the fewest under way, as the front door does; of equals to any."""

    def __init__(self, num_instances: int, seed: int) -> None:
        self.random = random.Random(seed).random
        self.load = [0] * num_instances
        self.with_load = [list(range(num_instances))]
        """Instances by their load, in no order."""
        self.place = list(range(num_instances))
        """Of each instance in its list."""
        self.least = 0

    def next(self, limit: float) -> int:
        """The instance that the next request goes to; -1 where none takes it."""
        with_load = self.with_load
        while not with_load[self.least]:
            self.least += 1
        if self.least >= limit:
            return -1
        equals = with_load[self.least]
        i = equals[int(self.random() * len(equals))] if len(equals) > 1 else equals[0]
        self._move(i, self.least + 1)
        return i

    def left(self, i: int) -> None:
        load = self.load[i] - 1
        self._move(i, load)
        if load < self.least:
            self.least = load

    def _move(self, i: int, load: int) -> None:
        before, place = self.with_load[self.load[i]], self.place[i]
        last = before.pop()
        if last != i:
            before[place] = last
            self.place[last] = place
        if load == len(self.with_load):
            self.with_load.append([])
        after = self.with_load[load]
        self.place[i], self.load[i] = len(after), load
        after.append(i)


class _Blind:
    """In an order that does not look at the load: drawn, or one after the other."""

    def __init__(self, order: list[int], num_instances: int) -> None:
        self.order = iter(order)
        self.load = [0] * num_instances

    def next(self, limit: float) -> int:
        i = next(self.order)
        if self.load[i] >= limit:
            return -1
        self.load[i] += 1
        return i

    def left(self, i: int) -> None:
        self.load[i] -= 1


def _chooser(router: Router, num_instances: int, count: int, seed: int) -> _LeastLoaded | _Blind:
    if router == "least-loaded":
        return _LeastLoaded(num_instances, seed)
    if router == "random":
        drawn: list[int] = np.random.default_rng((seed, 9)).integers(0, num_instances, count).tolist()
        return _Blind(drawn, num_instances)
    return _Blind((np.arange(count) % num_instances).tolist(), num_instances)
