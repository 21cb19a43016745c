"""A fleet's queues, event by event: requests arrive, a router sends each to an instance, which shares itself out.

In: an `Instance`, how many of them, arrivals and sizes. Out: of each request its wait, its time in service and how many
it shared the instance with. Exact for this model; tests hold it against the closed forms of queueing theory.

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

from planner.fleet.instance import Column, Instance

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
    instance: Instance,
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
    speeds = [0.0, *(1 / instance.latency_s[1:]).tolist()]
    slots = instance.max_in_flight
    limit = math.inf if instance.max_queue is None else slots + instance.max_queue
    count = len(arrivals_s)
    wanted = open_requests = count if num_wanted is None else num_wanted
    arrivals, work = arrivals_s.tolist(), sizes.tolist()
    begun, ended, shared = [math.inf] * count, [math.inf] * count, [1] * count

    done = [0.0] * num_instances  # work done for each request in service, since the instance was last idle
    updated = [0.0] * num_instances
    running = [0] * num_instances
    marks: list[list[tuple[float, int]]] = [[] for _ in range(num_instances)]
    queues: list[deque[int]] = [deque() for _ in range(num_instances)]
    due = [math.inf] * num_instances  # when the instance is looked at next: at its next end, or before
    events: list[tuple[float, int]] = []
    choose = _chooser(router, num_instances, count, seed)

    def until(now: float) -> None:
        """Every end up to now."""
        nonlocal open_requests
        while events and events[0][0] <= now:
            at, i = events[0]
            if at != due[i]:
                heappop(events)  # an earlier look was planned since
                continue
            mine, speed = marks[i], speeds[running[i]]
            reached = done[i] + (at - updated[i]) * speed
            left = mine[0][0] - reached
            if left > TOLERANCE and at + left / speed > at:  # others have come since and slowed it
                due[i] = at + left / speed
                heapreplace(events, (due[i], i))
                continue
            k = heappop(mine)[1]
            ended[k] = at
            open_requests -= k < wanted
            if queues[i]:
                following = queues[i].popleft()
                begun[following], shared[following] = at, running[i]
                heappush(mine, (reached + work[following], following))
            else:
                running[i] -= 1
            choose.left(i)
            updated[i] = at
            if mine:
                done[i] = reached
                due[i] = at + max(0.0, mine[0][0] - reached) / speeds[running[i]]
                heapreplace(events, (due[i], i))
            else:
                done[i], due[i] = 0.0, math.inf
                heappop(events)

    for k in range(count):
        now = arrivals[k]
        if events and events[0][0] <= now:
            until(now)
        if not open_requests:
            break
        i = choose.next(limit)
        if i < 0:
            open_requests -= k < wanted
            continue
        n = running[i]
        if n == slots:
            queues[i].append(k)
            continue
        reached = done[i] + (now - updated[i]) * speeds[n]
        mark = reached + work[k]
        heappush(marks[i], (mark, k))
        done[i], updated[i], running[i] = reached, now, n + 1
        begun[k], shared[k] = now, n + 1
        next_end = now + (marks[i][0][0] - reached) / speeds[n + 1]
        if next_end < due[i]:
            due[i] = next_end
            heappush(events, (next_end, i))
    if open_requests:
        until(math.inf)
    start, end = np.array(begun), np.array(ended)
    refused = ~np.isfinite(end)
    with np.errstate(invalid="ignore"):
        wait, service = start - arrivals_s, end - start
    wait[refused] = service[refused] = math.inf
    return Served(wait, service, np.array(shared, dtype=float))


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
