"""`LiveRun`: other settings measured in a launch by turning its scheduler's limits, after its own load. Data only."""

from __future__ import annotations

from dataclasses import dataclass

from planner.study import Candidate


@dataclass(frozen=True, slots=True)
class LivePoint:
    """One of them."""

    candidate: Candidate
    metrics: dict[str, float]
    """By the names of metrics.METRICS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRun:
    points: tuple[LivePoint, ...] = ()
    seconds: float = 0.0
    """Seconds of all of it, the switches included; they come after the trial's `benchmark_s`."""
    ended: str = ""
    """Why not all settings that were asked for were measured; empty where they were."""


NOT_LIVE = LiveRun()
