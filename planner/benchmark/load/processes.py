"""Spread a load over processes when one core is not enough: `split` it, and `send_shares` from one process each.

In: what `send_load` takes, and a number of processes. Out: a `Share` from each process, as if one had sent them all:
the same requests with the same prompts, their times on the one clock that all processes of a machine share
(`time.perf_counter`). The watcher is called here, in the parent, which sends nothing itself. Every process has an equal
share of the conversations and of the slots in flight.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.synchronize import Barrier
from typing import Any, TypeAlias

from planner.benchmark.client.connections import CONNECTION
from planner.benchmark.client.events import CUT_STREAM
from planner.benchmark.load.client_health import ClientHealth
from planner.benchmark.load.generator import Share, send_share
from planner.benchmark.load.progress import NOTHING, Moment
from planner.benchmark.load.target import Target
from planner.benchmark.load.watcher import ALIVE_S, ENGINE_DIED, TICK_S, SilentWatcher, Watcher
from planner.benchmark.records import RequestRecord
from planner.errors import BenchmarkError
from planner.workload import ClosedLoop, Replay, RequestPlan, Shape, conversations, due_times, limit_of

CORE_FRACTION = 0.5
"""Highest average CPU use of one process, as a fraction of a core. Chunks arrive in bursts; above this they queue."""
OBSERVED_S = 1.0
"""Shortest load, in seconds, that shows how many processes are needed."""
START_TIMEOUT_S = 120.0
Link: TypeAlias = "Connection[Any, Any]"
Part: TypeAlias = tuple[Target, list[RequestPlan], Shape]
"""What one process sends."""


def processes_needed(client: ClientHealth) -> int:
    """Number of processes that a load like this one needs: at most one per core, and never fewer than it had."""
    if client.wall_s < OBSERVED_S:
        return client.num_processes
    wanted = math.ceil(client.cpu_s / client.wall_s / CORE_FRACTION)
    return max(client.num_processes, min(wanted, num_cores()))


def num_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def send_shares(parts: Sequence[Part], watcher: Watcher) -> list[Share]:
    """Send each part from a process of its own. Raises BenchmarkError when a process ends before its load does."""
    context = multiprocessing.get_context("spawn")  # the parent has threads, which a fork would break
    barrier = context.Barrier(len(parts))
    links, workers = [], []
    try:
        for part in parts:
            link, other = context.Pipe()
            worker = context.Process(target=_work, args=(other, barrier, *part), daemon=True)
            worker.start()
            other.close()  # only the worker keeps this end open, so its death is seen
            links.append(link)
            workers.append(worker)
        return _gather(links, sum(len(plans) for _, plans, _ in parts), watcher)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
            worker.close()
        for link in links:
            link.close()


def split(target: Target, plans: Sequence[RequestPlan], shape: Shape, num_processes: int) -> list[Part]:
    """The load of each process: every n-th conversation, its share of the slots, and the same due times."""
    talks, limit = conversations(plans), limit_of(shape)
    num = min(num_processes, len(talks), limit or len(talks))
    if not isinstance(shape, ClosedLoop):  # arrival times are drawn once, for all processes
        due_s = dict(zip((plan.index for plan in plans), due_times(shape, plans, target.seed) or (), strict=True))
        talks = [[replace(plan, due_s=due_s[plan.index]) for plan in talk] for talk in talks]
    parts = []
    for i in range(num):
        own = [plan for talk in talks[i::num] for plan in talk]
        places = None if limit is None else len(range(i, limit, num))
        part: Shape = Replay(max_concurrency=places)
        if isinstance(shape, ClosedLoop):
            part = replace(shape, concurrency=places or 1)
        first = i % len(target.base_urls)
        prompts = {plan.index: target.prompts[plan.index] for plan in own if plan.index in target.prompts}
        urls = target.base_urls[first:] + target.base_urls[:first]  # otherwise all would begin with the same instance
        parts.append((replace(target, base_urls=urls, prompts=prompts), own, part))
    return parts


# --- in a process of its own ------------------------------------------------------------------------------------------


class _ToParent(SilentWatcher):
    """Reports the load to the parent at each tick; the parent may answer with a reason to end early."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.ended: list[RequestRecord] = []
        self.reason: str | None = None

    def on_record(self, record: RequestRecord) -> None:
        self.ended.append(record)

    def stop_reason(self, moment: Moment) -> str | None:
        self.link.send((self.ended.copy(), moment))
        self.ended.clear()
        if self.link.poll():
            self.reason = self.link.recv()
        return self.reason


def _work(link: Link, barrier: Barrier, target: Target, plans: list[RequestPlan], shape: Shape) -> None:
    """Send a share of the load, then hand it to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends this process
    watcher = _ToParent(link)
    share = send_share(target, plans, shape, watcher, begin=lambda: barrier.wait(START_TIMEOUT_S))
    link.send((watcher.ended, None))
    link.send(share)


# --- in the parent ----------------------------------------------------------------------------------------------------


def _gather(links: Sequence[Link], num_plans: int, watcher: Watcher) -> list[Share]:
    """Wait for all shares, calling the watcher meanwhile."""
    shares: dict[int, Share] = {}
    moments: dict[int, Moment] = {}
    num_ended, asked_s = 0, time.perf_counter()
    why: str | None = None
    while len(shares) < len(links):
        waiting = [link for i, link in enumerate(links) if i not in shares]
        ready = wait(waiting, TICK_S)
        ended: list[RequestRecord] = []
        for i, link in enumerate(links):
            if link in ready:
                said = _receive(link)
                if isinstance(said, Share):
                    shares[i] = said
                else:
                    ended += said[0]
                    moments[i] = said[1] or moments.get(i, NOTHING)
        num_ended += len(ended)
        for record in ended:
            watcher.on_record(record)
        if ended:
            watcher.on_progress(num_ended, num_plans)
        if why is not None:
            continue
        broke = any(record.error in (CONNECTION, CUT_STREAM) for record in ended)
        why = watcher.stop_reason(sum(moments.values(), NOTHING))
        if why is None and (broke or time.perf_counter() - asked_s >= ALIVE_S):
            why = None if watcher.is_alive() else ENGINE_DIED
            asked_s = time.perf_counter()
        if why is not None:
            _tell(waiting, why)
    return list(shares.values())


def _receive(link: Link) -> Any:
    try:
        return link.recv()
    except (EOFError, ConnectionError):
        raise BenchmarkError("a process of the load generator ended before its load did") from None


def _tell(links: Sequence[Link], why: str) -> None:
    for link in links:
        with contextlib.suppress(ConnectionError):  # a process that has just ended needs no reason
            link.send(why)
