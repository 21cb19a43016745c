"""Samplers, which propose the next candidate: ours and Optuna's, made by `make_sampler`, over the enumerated grid.

`planner`, `random` and `grid` propose only feasible combinations, by the `Situation` that the search gives them; they
read no storage. Optuna's own (`tpe`, `gp`) do not know that set: `search.py` refuses what they propose outside it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial

from planner.errors import InputError, PlannerError
from planner.study import Candidate, Forecast, Problem
from planner.trials import Trial, best_trial, numerics, refused_numerics
from planner.tuning.search.live_choice import corner_of
from planner.tuning.search.outlooks import Outlooks
from planner.version import install_hint


@dataclass(frozen=True, slots=True)
class Situation:
    """State of a study when it is asked for its next candidate."""

    forecast: Forecast
    """The problem, judged with what is known of memory by now."""
    rows: NDArray[np.int64]
    """Feasible rows of the grid that no trial has tried."""
    past: Sequence[Trial]
    """The finished trials, oldest first."""
    pending: Sequence[Candidate]
    """Candidates under way on other engines."""
    outlooks: Outlooks = field(default_factory=Outlooks)
    """What the surrogate expects, shared with the rule that stops."""
    is_live: bool = False
    """Whether a launch measures other settings of its group too, so that it begins at the group's largest limits."""


class FeasibleSampler(BaseSampler):
    """Proposes feasible rows of the grid that were not launched: in order, at random, or by the surrogate."""

    def __init__(self, problem: Problem, name: str, seed: int) -> None:
        self._problem = problem
        self._name = name
        self._rng = np.random.default_rng(seed)
        self.situation = Situation(Forecast(problem), np.empty(0, dtype=np.int64), (), ())
        """What the sampler chooses by. It must be set before Optuna is asked for a trial."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        return distributions(self._problem)

    def sample_relative(
        self,
        study: optuna.Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
        search_space: dict[str, BaseDistribution],  # noqa: ARG002
    ) -> dict[str, Any]:
        if self.situation.rows.size == 0:
            raise PlannerError("every feasible combination has been tried")
        return self._problem.choices.params(self.situation.forecast.grid.indices[self.choose(self.situation)])

    def choose(self, situation: Situation) -> int:
        """Choose one of the situation's rows."""
        if self._name == "grid":
            return int(situation.rows[0])
        if self._name == "random":
            return int(self._rng.choice(situation.rows))
        row = situation.outlooks.of(situation.forecast, situation.rows, situation.past, situation.pending).row
        return corner_of(situation.forecast, row, situation.rows, situation.past) if situation.is_live else row

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        raise NotImplementedError(f"{param_name} is not part of the search space")


class GridGP(GPSampler):
    """Optuna's Gaussian process over all searched settings, although the engine's default may set none of them."""

    def __init__(self, problem: Problem, seed: int) -> None:
        if importlib.util.find_spec("torch") is None or importlib.util.find_spec("scipy") is None:
            raise InputError(f"sampler gp needs torch and scipy: {install_hint('gp')}, or choose another sampler")
        super().__init__(seed=seed, warn_independent_sampling=False)
        self._space = {name: kind for name, kind in distributions(problem).items() if not kind.single()}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        return self._space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        sampled: dict[str, Any] = super().sample_relative(_WithParams(study, search_space), trial, search_space)  # type: ignore[arg-type]
        return sampled


class _WithParams:
    """View of a study without the trials that lack a parameter."""

    def __init__(self, study: optuna.Study, names: Collection[str]) -> None:
        self._of = study
        self._names = set(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)

    def _get_trials(self, *args: Any, **kwargs: Any) -> list[FrozenTrial]:
        return [trial for trial in self._of._get_trials(*args, **kwargs) if self._names <= trial.params.keys()]


def make_sampler(problem: Problem) -> BaseSampler:
    """The sampler that the study names. Raises InputError if it is not installed."""
    name, seed = problem.spec.sampler.name, problem.spec.sampler.seed
    if name == "tpe":
        return TPESampler(seed=seed)
    return GridGP(problem, seed) if name == "gp" else FeasibleSampler(problem, name, seed)


def untried_rows(forecast: Forecast, past: Sequence[Trial], pending: Sequence[Candidate] = ()) -> NDArray[np.int64]:
    """Of each class of feasible rows that no trial has tried, the one nearest to the engine's defaults.

    Left out are those whose answers the quality gate refused.
    """
    problem, rows = forecast.problem, forecast.grid.feasible_rows
    refused = refused_numerics(problem, past)
    if refused:
        grid, choices = forecast.grid, problem.choices
        groups = [(members, choices.candidate(choices.params(grid.indices[members[0]]))) for members, _ in grid.groups]
        bad = [members for members, first in groups if numerics(problem, first) in refused]
        rows = rows[~np.isin(rows, np.concatenate(bad))] if bad else rows
    had, classes = [*(trial.candidate for trial in past), *pending], forecast.classes
    tried = {row for candidate in had if (row := problem.row_of(candidate)) is not None}
    known = {number for row in tried if (number := classes.of_row(row)) is not None}
    if problem.default in had and classes.default is not None:
        known.add(classes.default)
    return classes.nearest(classes.without(rows, known))


def may_win(forecast: Forecast, rows: NDArray[np.int64], past: Sequence[Trial]) -> bool:
    """False if values are known before a launch and no row has a larger one than the best trial within its limits."""
    problem = forecast.problem
    if not problem.objective.is_known:
        return True
    finals = (trial for trial in past if trial.rerun is not None and trial.rerun.is_final)
    refuted = {trial.rerun.of for trial in finals if trial.rerun is not None and not trial.is_acceptable}
    best = best_trial(problem, [trial for trial in past if trial.number not in refuted])
    if best is None or best.value is None:
        return True
    tokens = np.zeros(len(forecast.grid.indices))
    for members, deployment in forecast.grid.groups:
        tokens[members] = deployment.engine.max_model_len
    return bool((tokens[rows] > best.value).any())


def distributions(problem: Problem) -> dict[str, BaseDistribution]:
    return {name: CategoricalDistribution(values) for name, values in problem.choices.searched.items()}
