"""`Forecast`: what is expected of a problem's candidates before they are launched, with what is known of memory by now.

In: a `Problem` and calibrations (`Learned.calibrations`). Out: deployments, violated rules, predicted metrics, the
`Grid`. It never changes: whoever learns more makes a new one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from planner.arrays import LazyModule
from planner.constraints import Constraint
from planner.estimate import Calibrations, Deployment, check
from planner.study.candidate import Candidate
from planner.study.classes import Classes
from planner.study.grid import NOT_RECORDED, Grid, metrics_of
from planner.study.problem import Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from planner.estimate import Coefficients
else:
    np = LazyModule("numpy")


@dataclass(frozen=True, eq=False)
class Forecast:
    """A problem judged with the calibrations that are given here; without any, by the memory model alone."""

    problem: Problem
    calibrations: Calibrations = field(default_factory=dict)
    """Corrections of the memory model from real starts, by `calibration_key`."""

    def deployment(self, candidate: Candidate) -> Deployment:
        """The candidate's deployment. Raises InputError if it names a model that the study lacks."""
        return self.problem.deployment(candidate, self.calibrations)

    def deployments(self, indices: NDArray[np.int32]) -> list[tuple[NDArray[np.int64], Deployment]]:
        """Groups of rows of `indices` that differ only in numbers, each with its deployment as arrays."""
        return list(self.problem.deployments(indices, self.calibrations))

    def check(self, candidate: Candidate) -> tuple[Constraint, ...]:
        """The rules that this candidate violates."""
        return (*check(self.deployment(candidate)), *self._not_recorded(candidate))

    def _not_recorded(self, candidate: Candidate) -> tuple[Constraint, ...]:
        """Constraint on a candidate not in the replayed table; excess: settings in which the nearest one differs."""
        recorded, row = self.problem.recorded, self.problem.row_of(candidate)
        if recorded is None or row is None or row in recorded:
            return ()
        indices = self.problem.choices.index_matrix()
        differing = (indices[recorded] != indices[row]).sum(axis=1).min()
        return (Constraint(NOT_RECORDED, float(differing), "was not measured", "refused"),)

    def predicted(self, candidate: Candidate, coefficients: Coefficients | None = None) -> dict[str, float]:
        """Each metric as predicted by the speed model, with fitted `coefficients` or the card's priors."""
        limits = self.problem.objective.capacity_limits
        metrics = metrics_of(self.deployment(candidate), self.problem.workload, coefficients, limits)
        return {name: float(value) for name, value in metrics.items()}

    @cached_property
    def grid(self) -> Grid:
        """Every combination, judged."""
        return Grid.of(self.problem, self.calibrations)

    @cached_property
    def classes(self) -> Classes:
        """The feasible combinations, those together that run alike under the load."""
        return Classes.of(self)
