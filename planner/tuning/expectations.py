"""What the speed model expects of a study's limits before any launch: who keeps them at its load, and up to which load.

In: a forecast, the same that the search starts from. Out: `Expectation`, with the model's doubt; None without limits.
The doubt is the search's own prior on the level of the predictions (`gaussian_process.OFFSET_STD`). Percentiles are
predicted by fixed ratios (`planner.estimate.predict`), so limits on a tail are judged more roughly than on a median.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from planner.benchmark import Metric
from planner.estimate import predict
from planner.study import Forecast
from planner.tuning.search.gaussian_process import OFFSET_STD, _normal_cdf
from planner.workload import Workload, workload_at

NEAREST = 64
"""Most combinations that are followed to other loads: those with the most room at the study's own."""
STEP = math.sqrt(2)
"""Ratio of two loads at which the limits are predicted; between them the room is interpolated."""
FARTHEST = 16
"""Largest load predicted, in multiples of the study's own."""
NINETY_PERCENT = 1.645
"""Half width of a 90 % interval, in standard deviations."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    load: float
    """The study's load: requests in flight, or requests per second if it has a rate."""
    is_rate: bool
    limits: str
    """The limits in words."""
    count: int
    """Number of feasible combinations."""
    keeping: int
    """Those that are expected to keep every limit at this load."""
    chance: float
    """Probability that the surest of them keeps every limit, by the model and its doubt."""
    broken: str
    """What the nearest combination is expected to break, with its figures; empty if some are expected to keep all."""
    most: tuple[float | None, float | None, float | None]
    """Largest load at which some combination is expected to keep every limit, and the ends of its 90 % interval: the
    model's own, too kind, too strict; None where no load is."""
    farthest: float
    """Largest load that was predicted; `most` may be larger where it is equal."""

    @property
    def words(self) -> str:
        """The expectation in one sentence."""
        who = (
            f"no candidate is expected to keep {self.limits} (the nearest: {self.broken}; chance {self.chance:.0%})"
            if self.keeping == 0
            else f"{self.keeping} of {self.count} candidates are expected to keep {self.limits}, the surest with a "
            f"chance of {self.chance:.0%}"
        )
        return f"at {self._at(self.load)} {who}; {self._most_words}"

    @property
    def _most_words(self) -> str:
        middle, kind, strict = self.most
        if middle is None:
            may = "" if kind is None else f"; with the model's doubt {self._reach(kind)} may"
            return f"nor is any at another load{may}"
        low = "none" if strict is None else self._number(strict)
        high = "more" if kind is None or kind >= self.farthest else self._number(kind)
        doubt = f"{low} to {high} with the model's doubt"
        if middle >= self.farthest:
            return f"the most is beyond {self._at(middle)} ({doubt})"
        return f"about {self._at(middle)} is the most ({doubt})"

    def _reach(self, load: float) -> str:
        return f"{'more than ' if load >= self.farthest else ''}{self._at(load)}"

    def _at(self, load: float) -> str:
        return f"{self._number(load)} {'requests/s' if self.is_rate else 'in flight'}"

    def _number(self, load: float) -> str:
        return f"{load:.3g}" if self.is_rate else str(max(1, math.floor(load + 1e-9)))


@lru_cache(maxsize=2)
def expected_of_limits(forecast: Forecast) -> Expectation | None:
    """What is expected of the study's limits; None without limits, for a trace, or where nothing can be launched."""
    problem, rows = forecast.problem, forecast.grid.feasible_rows
    limits = problem.objective.limits
    if not limits or rows.size == 0 or problem.workload.replay:  # a trace has its own load
        return None
    workload = problem.workload
    load = float(workload.request_rate or workload.concurrency)
    predicted = {name: column[rows] for name, column in forecast.grid.predicted().items()}
    rooms = _rooms(limits, predicted)
    room = rooms.min(axis=0)
    nearest = int(np.argmax(room))
    broken = [
        f"{name} {Metric.parse(name).format(float(predicted[name][nearest]))}"
        for name, each in zip(limits, rooms[:, nearest], strict=True)
        if each < 0
    ]
    followed = rows[np.argsort(-room, kind="stable")[:NEAREST]]
    levels = _levels(load, workload.request_rate is not None)
    best = np.array([_best_room(forecast, followed, workload_at(workload, level)) for level in levels])
    doubt = NINETY_PERCENT * OFFSET_STD
    return Expectation(
        load=load,
        is_rate=workload.request_rate is not None,
        limits=problem.objective.limits_words,
        count=len(rows),
        keeping=int((room >= 0).sum()),
        chance=float(_normal_cdf(rooms / OFFSET_STD).prod(axis=0).max()),
        broken=", ".join(broken),
        most=(_last(levels, best, 0.0), _last(levels, best, -doubt), _last(levels, best, doubt)),
        farthest=float(levels[-1]),
    )


def expected_most(forecast: Forecast) -> str | None:
    """The most load that the defaults and the best candidate are expected to carry; None where none is sought."""
    problem, rows = forecast.problem, forecast.grid.feasible_rows
    if not problem.objective.seeks_load or rows.size == 0:
        return None
    name = problem.objective.name
    best = float(forecast.grid.predicted()[name][rows].max())
    default = forecast.predicted(problem.default)[name]
    metric = Metric.parse(name)
    return (
        f"{problem.default_words} are expected to carry {metric.format(default)} inside the limits, "
        f"the best candidate {metric.format(best)}"
    )


def _levels(load: float, is_rate: bool) -> Array:
    """Loads to predict, ascending: from one in flight, or 1/64 of the rate, to FARTHEST times the study's."""
    first = load / 64 if is_rate else 1.0
    steps = math.ceil(math.log(load * FARTHEST / first) / math.log(STEP))
    levels = np.array([first * STEP**step for step in range(steps + 1)])
    return levels if is_rate else np.unique(np.round(levels))


def _rooms(limits: Mapping[str, float], predicted: Mapping[str, Array]) -> Array:
    """Room to each limit as a logarithm, negative where it is broken.  # (num_limits, num_rows)"""
    return np.stack(
        [
            Metric.parse(name).sign * (np.log(np.maximum(predicted[name], 1e-9)) - math.log(limit))
            for name, limit in limits.items()
        ]
    )


def _best_room(forecast: Forecast, rows: NDArray[np.int64], workload: Workload) -> float:
    """Largest of the rows' least rooms under this load."""
    limits, best = forecast.problem.objective.limits, -math.inf
    for _, deployment in forecast.deployments(forecast.grid.indices[rows]):
        predicted = predict(deployment, workload)
        rooms = _rooms(limits, {name: np.atleast_1d(predicted[name]) for name in limits})
        best = max(best, float(rooms.min(axis=0).max()))
    return best


def _last(levels: Array, rooms: Array, least: float) -> float | None:
    """Largest load whose room is at least `least`, interpolated to the next; None if no load has it."""
    kept = np.flatnonzero(rooms >= least)
    if kept.size == 0:
        return None
    last = int(kept[-1])
    if last + 1 == len(levels):
        return float(levels[last])
    share = (rooms[last] - least) / (rooms[last] - rooms[last + 1])
    return float(levels[last] * (levels[last + 1] / levels[last]) ** share)
