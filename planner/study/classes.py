"""`Classes`: the feasible combinations of a study, those together that run alike under its load.

In: a `Forecast`. Out: for each feasible row of the grid the number of its class, and of every class the member nearest
to the engine's defaults. One launch of a class says what all its members do. What a load can see of a setting is said
by `planner.estimate.seen_by`, not here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from planner.arrays import LazyModule, is_array
from planner.benchmark import Metric
from planner.engine import FIELDS
from planner.study.candidate import MODEL
from planner.workload import Workload, at_capacity_level, most_load, workload_at

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from planner.estimate import Deployment
    from planner.study.forecast import Forecast
    from planner.study.problem import Problem
else:
    np = LazyModule("numpy")

SWAP_SPACE, PREEMPTION = "swap_space", "preemption"
"""The setting that V0 uses only where its flag --preemption-mode is passed, which is no setting of ours."""
TIED = 1e-3
"""Share of the best predicted objective by which a class may be below it and still be tied at the top."""


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """The classes of the feasible rows, in the order of the rows."""

    rows: NDArray[np.int64]
    """Feasible rows of the grid, ascending."""
    numbers: NDArray[np.int64]
    """Class of each of `rows`, from 0."""
    order: NDArray[np.int64]
    """Place of each of `rows`, counted from the engine's defaults: fewest settings changed, then fewest steps."""
    default: int | None = None
    """Class of the engine's default, also where it is not on the grid; None if no feasible row is alike it."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Why values of a searched setting are alike, by setting; only where some are."""

    @classmethod
    def of(cls, forecast: Forecast) -> Classes:
        """Compare every feasible row by what the load can see of it.

        The rows of a replayed table are kept apart: what it holds was measured, and costs nothing to ask.
        """
        problem, rows = forecast.problem, forecast.grid.feasible_rows
        indices = forecast.grid.indices[rows]
        order = _from_default(problem, indices)
        if problem.recorded is not None or not rows.size:
            return cls(rows, np.arange(len(rows)), order)
        table = _table(forecast)
        seen = np.vstack([table[rows], table[-1]])  # the last is the default
        numbers = _numbered(seen)
        _, found = np.unique(numbers[:-1], return_inverse=True)
        alike = np.flatnonzero(numbers[:-1] == numbers[-1])
        starts = alike.size > 0 and not forecast.check(problem.default)
        return cls(rows, found, order, int(found[alike[0]]) if starts else None, _notes(problem, seen[:-1], indices))

    @property
    def count(self) -> int:
        """Number of classes."""
        return int(self.numbers.max()) + 1 if self.numbers.size else 0

    def of_row(self, row: int) -> int | None:
        """Class of a row of the grid; None if the row is not feasible."""
        place = int(np.searchsorted(self.rows, row))
        return int(self.numbers[place]) if place < len(self.rows) and self.rows[place] == row else None

    def without(self, rows: NDArray[np.int64], classes: Collection[int]) -> NDArray[np.int64]:
        """These feasible rows without the members of some classes."""
        return rows[~np.isin(self.numbers[np.searchsorted(self.rows, rows)], list(classes))] if classes else rows

    def nearest(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of each class among these feasible rows the member nearest to the defaults; ascending."""
        places = np.searchsorted(self.rows, rows)
        places = places[np.argsort(self.order[places])]
        _, first = np.unique(self.numbers[places], return_index=True)
        return np.sort(self.rows[places[first]])


def tied_at_top(forecast: Forecast) -> int:
    """Number of classes whose predicted objective is within TIED of the best that is predicted to keep the limits."""
    rows, objective = forecast.classes.nearest(forecast.classes.rows), forecast.problem.objective
    if not rows.size:
        return 0
    predicted = {name: column[rows] for name, column in forecast.grid.predicted().items()}
    value = objective.sign * np.log(objective.value(predicted))
    kept = np.ones(len(rows), dtype=bool)
    for name, limit in objective.limits_at_load.items():
        kept &= Metric.parse(name).sign * (predicted[name] - limit) >= 0
    value = value[kept] if kept.any() else value
    return int((value >= value.max() + np.log1p(-TIED)).sum())


def heaviest(problem: Problem) -> Workload:
    """The study's workload at the heaviest load that its launches measure, so that nothing that they meet is alike.

    Where each launch searches for the most load, that is as much as any search may try.
    """
    workload, loads = problem.workload, problem.spec.also_at
    if problem.objective.seeks_load:
        return at_capacity_level(workload, most_load(workload, by_rate=False), by_rate=False)
    own = workload.concurrency if workload.request_rate is None else workload.request_rate
    return workload_at(workload, max(loads)) if loads and max(loads) > own else workload


def _table(forecast: Forecast) -> NDArray[np.float64]:
    """What the load sees of each row of the grid and, in the last row, of the default; words as numbers."""
    problem, indices = forecast.problem, forecast.grid.indices
    searched, load = problem.choices.searched, heaviest(problem)
    words: dict[str, float] = {}
    default = {name: problem.choices.value_of(problem.default, name) for name in searched}
    kept = {SWAP_SPACE} if any(PREEMPTION in argument for argument in problem.spec.engine.extra_args) else set()
    last = _columns(problem.default.model, forecast.deployment(problem.default), default, load, kept)
    table = np.zeros((len(indices) + 1, len(last)))

    def fill(rows: Any, values: Mapping[str, Any]) -> None:
        for position, (name, value) in enumerate(values.items()):
            table[rows, position] = value if is_array(value) else _number(words, name, value)

    fill(-1, last)
    for rows, deployment in forecast.grid.groups:
        given: dict[str, Any] = {}
        for position, (name, values) in enumerate(searched.items()):
            is_number = all(isinstance(value, (int, float)) for value in values)
            given[name] = (
                np.asarray(values)[indices[rows, position]] if is_number else values[indices[rows[0], position]]
            )
        fill(rows, _columns(str(given.get(MODEL) or ""), deployment, given, load, kept))
    return table


def _columns(
    model: str, deployment: Deployment, given: Mapping[str, Any], load: Workload, kept: Collection[str]
) -> dict[str, Any]:
    """What the load sees of one deployment, which may have columns, under the searched settings' names and others.

    `kept`: settings that are seen whole.
    """
    from planner.estimate import seen_by  # imports NumPy, which `planner estimate` does not need

    engine = {name: value for name, value in given.items() if name in FIELDS}
    rest = {name: model if name == MODEL else value for name, value in given.items() if name not in FIELDS}
    whole = {name: value for name, value in engine.items() if name in kept}
    return {**dict.fromkeys(given), **rest, **seen_by(deployment, load, engine), **whole}


def _number(words: dict[str, float], name: str, value: Any) -> float:
    """A value as a number; what is no number gets one of its own, which no setting has."""
    if isinstance(value, (bool, int, float)):
        return float(value)
    return words.setdefault(f"{name} {value!r}", -1e9 - len(words))


def _numbered(table: NDArray[np.float64]) -> NDArray[np.int64]:
    """A number for each row, the same for equal rows."""
    numbers = np.zeros(len(table), dtype=np.int64)
    for column in table.T:
        _, inverse = np.unique(column, return_inverse=True)
        _, numbers = np.unique(numbers * (int(inverse.max()) + 1) + inverse, return_inverse=True)
    return numbers


def _from_default(problem: Problem, indices: NDArray[np.int32]) -> NDArray[np.int64]:
    """Place of each of these combinations in the order from the engine's defaults."""
    engine = problem.deployment(problem.default).engine
    changed = np.zeros(len(indices), dtype=np.int64)
    steps = np.zeros(len(indices), dtype=np.int64)
    for position, (name, values) in enumerate(problem.choices.searched.items()):
        own = problem.choices.value_of(problem.default, name)
        own = getattr(engine, name, None) if own is None and name in FIELDS else own
        near = [place for place, value in enumerate(values) if value is None or value == own] or [0]
        differs = np.array([value is not None and value != own for value in values])
        changed += differs[indices[:, position]]
        steps += np.abs(indices[:, position] - near[0])
    place = np.empty(len(indices), dtype=np.int64)
    place[np.lexsort((steps, changed))] = np.arange(len(indices))
    return place


def _notes(problem: Problem, seen: NDArray[np.float64], indices: NDArray[np.int32]) -> dict[str, str]:
    """For each searched setting of which the load sees different values as one: why."""
    from planner.estimate import RELEVANCE_OF

    notes = {}
    for position, name in enumerate(problem.choices.names):
        distinct = len(np.unique(seen[:, position]))
        pairs = len(np.unique(np.stack([indices[:, position], seen[:, position]], axis=1), axis=0))
        if name in RELEVANCE_OF and pairs > distinct:
            whole = "no effect under this load" if distinct == 1 else "some values are alike"
            notes[name] = f"{whole}: {RELEVANCE_OF[name].reason}"
    return notes
