"""What proposes the next candidate: our samplers and Optuna's, made by `make_sampler`, over the enumerated grid.

`planner`, `random` and `grid` propose from the feasible combinations only. Optuna's own (`tpe`, `gp`) do not know that
set: `search.py` refuses what they propose outside it. `Records` are the finished trials of a study.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from planner.errors import InputError, PlannerError
from planner.study import Candidate, Problem
from planner.trials import Trial, Verdict, best_trial, judged, numerics, on_par, refused_numerics
from planner.tuning.search.surrogate import Surrogate

RECORD, CANDIDATE, RERUN, QUALITY = "record", "candidate", "rerun", "quality"
"""User attributes of a trial, and of a study."""


class FeasibleSampler(BaseSampler):
    """Proposes rows of the grid that are feasible and were not launched: in order, at random, or by the surrogate."""

    def __init__(self, problem: Problem, name: str, seed: int, records: Records) -> None:
        self._problem = problem
        self._name = name
        self._records = records
        self._rng = np.random.default_rng(seed)
        self._surrogate = Surrogate(problem) if name == "planner" else None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        return distributions(self._problem)

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,  # noqa: ARG002
        search_space: dict[str, BaseDistribution],  # noqa: ARG002
    ) -> dict[str, Any]:
        grid = self._problem.grid
        past = on_par(self._problem, judged(self._problem, self._records.of(study), verdicts_of(study)))
        pending = [candidate for _, candidate in under_way(study)]
        rows = untried_rows(self._problem, past, pending)
        if rows.size == 0:
            raise PlannerError("every feasible combination has been tried")
        return self._problem.choices.params(grid.indices[self._choose(rows, past, pending)])

    def _choose(self, rows: NDArray[np.int64], past: Sequence[Trial], pending: Sequence[Candidate]) -> int:
        if self._name == "grid":
            return int(rows[0])
        if self._surrogate is None:
            return int(self._rng.choice(rows))
        return self._surrogate.choose(rows, past, pending)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        raise NotImplementedError(f"{param_name} is not part of the search space")


class GridGP(GPSampler):
    """Optuna's Gaussian process over all searched settings, though the engine's default may have none of them set."""

    def __init__(self, problem: Problem, seed: int) -> None:
        if importlib.util.find_spec("torch") is None or importlib.util.find_spec("scipy") is None:
            raise InputError("sampler gp needs torch and scipy: pip install 'planner[gp]', or choose another sampler")
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
    """A study seen without the trials that lack a parameter."""

    def __init__(self, study: optuna.Study, names: Collection[str]) -> None:
        self._of = study
        self._names = set(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)

    def _get_trials(self, *args: Any, **kwargs: Any) -> list[FrozenTrial]:
        return [trial for trial in self._of._get_trials(*args, **kwargs) if self._names <= trial.params.keys()]


def make_sampler(problem: Problem, records: Records) -> BaseSampler:
    """The sampler the study names. Raises InputError when it is not installed."""
    name, seed = problem.spec.sampler.name, problem.spec.sampler.seed
    if name == "tpe":
        return TPESampler(seed=seed)
    return GridGP(problem, seed) if name == "gp" else FeasibleSampler(problem, name, seed, records)


def verdicts_of(study: optuna.Study) -> list[Verdict]:
    """What the quality gate found so far, one for each set of numerics."""
    return msgspec.convert(study.user_attrs.get(QUALITY, []), list[Verdict])


def under_way(study: optuna.Study) -> list[tuple[int, Candidate]]:
    """Number and candidate of the search's trials that are asked and not told, oldest first."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    asked = [t for t in running if CANDIDATE in t.user_attrs and RERUN not in t.user_attrs]
    return [(t.number, msgspec.json.decode(t.user_attrs[CANDIDATE], type=Candidate)) for t in asked]


def untried_rows(problem: Problem, past: Sequence[Trial], pending: Sequence[Candidate] = ()) -> NDArray[np.int64]:
    """Feasible rows of the grid that no trial has had, without those whose answers the quality gate refused."""
    rows = problem.grid.feasible_rows
    refused = refused_numerics(problem, past)
    if refused:
        grid, choices = problem.grid, problem.choices
        groups = [(members, choices.candidate(choices.params(grid.indices[members[0]]))) for members, _ in grid.groups]
        bad = [members for members, first in groups if numerics(problem, first) in refused]
        rows = rows[~np.isin(rows, np.concatenate(bad))] if bad else rows
    had = [*(trial.candidate for trial in past), *pending]
    tried = {row for candidate in had if (row := problem.row_of(candidate)) is not None}
    return rows[~np.isin(rows, list(tried))] if tried else rows


def may_win(problem: Problem, rows: NDArray[np.int64], past: Sequence[Trial]) -> bool:
    """False where values are known before a launch and none of these rows is above the best that kept its limits."""
    if not problem.objective.is_known:
        return True
    finals = (trial for trial in past if trial.rerun is not None and trial.rerun.is_final)
    refuted = {trial.rerun.of for trial in finals if trial.rerun is not None and not trial.is_acceptable}
    best = best_trial(problem, [trial for trial in past if trial.number not in refuted])
    if best is None or best.value is None:
        return True
    tokens = np.zeros(len(problem.grid.indices))
    for members, deployment in problem.grid.groups:
        tokens[members] = deployment.engine.max_model_len
    return bool((tokens[rows] > best.value).any())


def distributions(problem: Problem) -> dict[str, BaseDistribution]:
    return {name: CategoricalDistribution(values) for name, values in problem.choices.searched.items()}


class Records:
    """The trials in a study's storage, each decoded once: a finished trial does not change."""

    def __init__(self) -> None:
        self._decoded: dict[int, Trial | None] = {}

    def of(self, study: optuna.Study) -> list[Trial]:
        """The finished trials, oldest first. Raises InputError for a record that is damaged."""
        known = self._decoded
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        for frozen in finished:
            if frozen.number not in known:
                known[frozen.number] = record_of(frozen)
        return [trial for frozen in finished if (trial := known[frozen.number]) is not None]


def record_of(frozen: FrozenTrial) -> Trial | None:
    """None where there is none: of a proposal that was not launched. Raises InputError where it is damaged."""
    if RECORD not in frozen.user_attrs:
        return None
    try:
        return msgspec.json.decode(frozen.user_attrs[RECORD], type=Trial)
    except (ValueError, RecursionError) as error:
        raise InputError(f"stored trial {frozen.number}: its record cannot be read: {error}") from None
