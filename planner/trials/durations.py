"""What the launches of a study took: engine seconds of a trial, the time by kind, the wall clock.

In: trials. Out: seconds. A launch is a start, a warm-up and the loads; what happens between launches is not in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from planner.trials.trial import Trial
from planner.units import format_duration

VIRTUAL = ("simulated", "replay")
"""Backends that only say how long a launch takes, and are done at once."""


@dataclass(frozen=True, slots=True)
class EngineTime:
    """Seconds of engine time by kind; all but the last are of the search, and of launches that compare hosts."""

    starting_s: float
    warming_up_s: float
    """Warm-up of the load; of older trials, which did not record it, it is in `measuring_s`."""
    measuring_s: float
    live_s: float
    """Measuring of other settings in the same launches (`live_points.py`)."""
    finals_s: float
    """All kinds of the launches of the finals."""

    @property
    def words(self) -> str:
        """`starting 12 min 00 s, warming up 4 min 10 s, measuring 2 h 40 min, finals 2 h 55 min`."""
        kinds = {
            "starting": self.starting_s,
            "warming up": self.warming_up_s,
            "measuring": self.measuring_s,
            "live settings": self.live_s,
            "finals": self.finals_s,
        }
        return ", ".join(f"{kind} {format_duration(seconds)}" for kind, seconds in kinds.items() if seconds > 0)


def engine_s(trial: Trial) -> float:
    """Seconds of a trial's launch: start, warm-up, load, and the settings that were measured live."""
    return trial.start_s + trial.benchmark_s + trial.live.seconds


def engine_time(trials: Sequence[Trial]) -> EngineTime:
    """The engine time of all launches by kind."""
    finals = [trial for trial in trials if trial.rerun is not None and trial.rerun.is_final]
    others = [trial for trial in trials if trial.rerun is None or not trial.rerun.is_final]
    warming_up_s = sum(trial.warmup_s for trial in others)
    return EngineTime(
        starting_s=sum(trial.start_s for trial in others),
        warming_up_s=warming_up_s,
        measuring_s=sum(trial.benchmark_s for trial in others) - warming_up_s,
        live_s=sum(trial.live.seconds for trial in others),
        finals_s=sum(map(engine_s, finals)),
    )


def wall_s(trials: Sequence[Trial]) -> float:
    """Seconds in which at least one launch ran, by the times at which they ended; virtual ones follow each other."""
    virtual = sum(engine_s(trial) for trial in trials if trial.provenance.backend in VIRTUAL)
    real = [trial for trial in trials if trial.provenance.backend not in VIRTUAL and engine_s(trial) > 0]
    spans = sorted((end - engine_s(trial), end) for trial in real for end in [_ended(trial)])
    total, until = 0.0, -float("inf")
    for begin, end in spans:
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return virtual + total


def _ended(trial: Trial) -> float:
    return datetime.fromisoformat(trial.provenance.finished_at).timestamp()
