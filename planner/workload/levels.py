"""A workload at a level of a capacity search: as many requests as the level needs to settle, whatever its own load is.

In: a workload, a level, and whether levels are rates. Out: the workload to send, and the size of its first wave, which
arrives all at once and is not judged.
"""

from __future__ import annotations

import msgspec

from planner.units import Seconds
from planner.workload.workload import Workload

LEVEL_S = 30.0
"""Seconds of load by which a rate is judged; the workload's number of requests if that is more."""
WAVES = 4
"""Waves of requests by which a concurrency is judged; the workload's number of requests if that is more."""

MOST_IN_FLIGHT, MOST_PER_S = 4096, 10_000.0
"""Highest concurrency, and highest rate in requests per second, that any search for the most load tries."""
FARTHEST, LEAST_FARTHEST = 16, 256
"""Highest load of a search, as a multiple of the workload's own where that is of the same kind; and what it is at least
in requests in flight. Limits that leave the wait for a slot free are kept by any number in flight."""


def at_capacity_level(workload: Workload, level: float, by_rate: bool) -> Workload:
    """The workload at a concurrency, or at a rate in requests per second, without a ramp or times of its own."""
    wave = first_wave(level, by_rate)
    per_level = int(level * LEVEL_S) if by_rate else WAVES * wave
    changes = {
        "request_rate": level if by_rate else None,
        "start_rate": None,
        "ramp": Seconds(0.0),
        "replay": False if workload.prompts is not None else None,
        "num_requests": wave + max(workload.num_requests, per_level),
        "warmup_requests": workload.num_warmup_requests,
    }
    return msgspec.structs.replace(workload, **changes, **({} if by_rate else {"concurrency": round(level)}))


def most_load(workload: Workload, by_rate: bool) -> float:
    """Highest load that a search for the most load tries."""
    if by_rate:
        return MOST_PER_S if workload.request_rate is None else min(MOST_PER_S, FARTHEST * workload.request_rate)
    own = MOST_IN_FLIGHT if workload.request_rate is not None else FARTHEST * workload.concurrency
    return float(min(MOST_IN_FLIGHT, max(LEAST_FARTHEST, own)))


def first_wave(level: float, by_rate: bool) -> int:
    """Number of requests that a closed loop sends at once at its start; 0 for a rate."""
    return 0 if by_rate else round(level)
