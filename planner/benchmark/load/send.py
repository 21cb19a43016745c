"""The only entry point for sending load: `send_load(...)` sends requests in a load's shape and returns raw times.

In: a `Target`, `RequestPlan`s, a `Shape`, a `Watcher`. Out: one `RequestRecord` per plan, in their order, and what the
client measured of itself. A request that fails is a record with `error`, never an exception. Computes no statistics;
knows nothing of engines' settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.benchmark.load.client_health import ClientHealth
from planner.benchmark.load.generator import Share, send_share
from planner.benchmark.load.processes import send_shares, split
from planner.benchmark.load.target import Target
from planner.benchmark.load.watcher import NO_WATCHER, Watcher
from planner.benchmark.records import RequestRecord
from planner.workload import RequestPlan, Shape


@dataclass(frozen=True, slots=True)
class Load:
    """What `send_load` measured: the records and the client's health."""

    records: list[RequestRecord]
    client: ClientHealth


def send_load(
    target: Target,
    plans: Sequence[RequestPlan],
    shape: Shape,
    watcher: Watcher = NO_WATCHER,
    num_processes: int = 1,
) -> Load:
    """Send `plans`, each to the least loaded instance, from at most `num_processes` processes.

    When `watcher` has a reason to end early, the requests without an answer have that reason as their error. Raises
    BenchmarkError when a process ends before its share of the load does.
    """
    parts = split(target, plans, shape, num_processes) if num_processes > 1 else []
    if len(parts) < 2:
        return load_of(plans, [send_share(target, plans, shape, watcher)])
    return load_of(plans, send_shares(parts, watcher))


def load_of(plans: Sequence[RequestPlan], shares: Sequence[Share]) -> Load:
    """Merge the shares of a load: records in the order of `plans`, and all processes as one client."""
    by_index = {record.index: record for share in shares for record in share.records}
    records = [by_index[plan.index] for plan in plans]
    lags = np.maximum(np.asarray([lag for share in shares for lag in share.lags_s] or [0.0]), 0.0)
    late = np.asarray([record.queue_s for record in records if record.due_s is not None] or [0.0])
    client = ClientHealth(
        wall_s=max(share.wall_s for share in shares),
        cpu_s=sum(share.cpu_s for share in shares),
        num_processes=len(shares),
        loop_lag_mean_s=float(lags.mean()),
        loop_lag_p99_s=float(np.percentile(lags, 99)),
        loop_lag_max_s=float(lags.max()),
        dispatch_late_mean_s=float(late.mean()),
        dispatch_late_p99_s=float(np.percentile(late, 99)),
        dispatch_late_max_s=float(late.max()),
        bytes_sent=sum(share.bytes_sent for share in shares),
        bytes_received=sum(share.bytes_received for share in shares),
        num_chunks=sum(len(record.chunk_s) for record in records),
    )
    return Load(records, client)
