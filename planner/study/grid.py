"""`Grid`: every combination of a study's searched values, judged and predicted at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from planner.arrays import LazyModule
from planner.benchmark import CAPACITY, CAPACITY_RATE, MAX_MODEL_LEN
from planner.estimate import RULES, Calibrations, Deployment, violations
from planner.workload import Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from planner.estimate import Coefficients
    from planner.study.problem import Problem
else:
    np = LazyModule("numpy")


NOT_RECORDED = "is in the replayed table"
"""Further rule beside RULES: a replay knows only recorded candidates. Its index in `Grid.rule` is len(RULES)."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Every combination of the searched values; row i of each array is the same combination."""

    indices: NDArray[np.int32]
    """Index of each searched value.  # (num_candidates, num_names)"""
    rule: NDArray[np.int64]
    """Index in RULES of the rule that removes it (len(RULES): not recorded), -1 where feasible.  # (num_candidates,)"""
    groups: tuple[tuple[NDArray[np.int64], Deployment], ...]
    """Groups of rows that differ only in numbers: their row numbers, and their deployment with arrays as columns."""
    workload: Workload
    capacity_limits: Mapping[str, float] | None = None
    """Limits within which the most load is predicted too; None where no objective asks for it."""

    @classmethod
    def of(cls, problem: Problem, calibrations: Calibrations | None = None) -> Grid:
        """Judge every combination, in groups that share what cannot be an array (words, layouts, unset flags).

        Where a table is replayed, every row that is not recorded is removed.
        """
        indices = problem.choices.index_matrix()
        rule = np.full(len(indices), -1)
        groups = tuple(problem.deployments(indices, calibrations))
        for rows, deployment in groups:
            rule[rows] = violations(deployment, len(rows))
        if problem.recorded is not None:
            rule[(rule < 0) & ~np.isin(np.arange(len(rule)), problem.recorded)] = len(RULES)
        return cls(indices, rule, groups, problem.workload, problem.objective.capacity_limits)

    @property
    def feasible_rows(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.rule < 0)

    def removed_by(self) -> dict[str, int]:
        """Number of combinations that each rule removes, largest first. Only the first rule violated counts."""
        rules, counts = np.unique(self.rule[self.rule >= 0], return_counts=True)
        order = np.argsort(-counts)
        names = [*(rule.name for rule in RULES), NOT_RECORDED]
        return {names[int(rules[i])]: int(counts[i]) for i in order}

    def predicted(self, coefficients: Coefficients | None = None) -> dict[str, NDArray[np.float64]]:
        """Each metric of every row as predicted by the speed model.  # each (num_candidates,)

        `coefficients` are fitted ones; without them the card's priors are used.
        """
        found: dict[str, NDArray[np.float64]] = {}
        for rows, deployment in self.groups:
            for name, value in metrics_of(deployment, self.workload, coefficients, self.capacity_limits).items():
                found.setdefault(name, np.zeros(len(self.indices)))[rows] = value
        return found


def metrics_of(
    deployment: Deployment,
    workload: Workload,
    coefficients: Coefficients | None = None,
    capacity_limits: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Each of GOALS under the workload as predicted by the speed model; arrays if the deployment's columns are.

    The capacities, whatever the workload's own load is, only where their limits are given.
    """
    from planner.estimate import predict, predict_capacity  # import NumPy, which `planner estimate` does not need

    found = {**predict(deployment, workload, coefficients), MAX_MODEL_LEN: deployment.engine.max_model_len}
    if capacity_limits is not None:
        most = predict_capacity(deployment, workload, capacity_limits, coefficients)
        found |= dict(zip((CAPACITY, CAPACITY_RATE), most, strict=True))
    return found
