"""The study's memory and its sampler: `Search.ask() -> candidate`, `Search.tell(trial)`. The only importer of optuna.

Optuna's storage is the durable truth. A trial's full record is one user attribute (`record`, JSON); its parameters,
value and constraints are Optuna's own, so `optuna-dashboard` and `optuna.load_study` work on our studies.

The samplers `planner`, `random` and `grid` propose from the enumerated feasible combinations only. Optuna's own (`tpe`)
do not know that set: what they propose outside it is told as PRUNED with its constraint, and they are asked again.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from planner.errors import InputError, PlannerError
from planner.feasibility import Constraint, check
from planner.problem import Problem
from planner.space import Candidate
from planner.surrogate import Surrogate
from planner.trial import Trial

RECORD, CANDIDATE, DEFINITION = "record", "candidate", "definition"
MAX_ASKS_IN_A_ROW = 500
"""Infeasible or repeated proposals of one of Optuna's samplers before we choose for it."""

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class FeasibleSampler(BaseSampler):
    """Proposes rows of the grid that are feasible and were not launched: in order, at random, or by the surrogate."""

    def __init__(self, problem: Problem, name: str, seed: int) -> None:
        self._problem = problem
        self._name = name
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
        past = records(study)
        rows = untried_rows(self._problem, past)
        if rows.size == 0:
            raise PlannerError("every feasible combination has been tried")
        return self._problem.choices.params(grid.indices[self._choose(rows, past)])

    def _choose(self, rows: NDArray[np.int64], past: Sequence[Trial]) -> int:
        if self._name == "grid":
            return int(rows[0])
        if self._surrogate is None:
            return int(self._rng.choice(rows))
        return self._surrogate.choose(rows, past)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        raise NotImplementedError(f"{param_name} is not part of the search space")


def untried_rows(problem: Problem, past: Sequence[Trial]) -> NDArray[np.int64]:
    """Feasible rows of the grid that no trial has had."""
    rows = problem.grid.feasible_rows
    tried = {row for trial in past if (row := problem.row_of(trial.candidate)) is not None}
    return rows[~np.isin(rows, list(tried))] if tried else rows


def distributions(problem: Problem) -> dict[str, BaseDistribution]:
    return {name: CategoricalDistribution(values) for name, values in problem.choices.searched.items()}


def records(study: optuna.Study) -> list[Trial]:
    """The finished trials, oldest first."""
    return [
        msgspec.json.decode(frozen.user_attrs[RECORD], type=Trial)
        for frozen in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        if RECORD in frozen.user_attrs
    ]


class Search:
    """One study in one storage. Raises InputError when the stored study was defined otherwise."""

    def __init__(self, problem: Problem, storage: str) -> None:
        self._problem = problem
        spec = problem.spec
        name, seed = spec.sampler.name, spec.sampler.seed
        sampler = TPESampler(seed=seed) if name == "tpe" else FeasibleSampler(problem, name, seed)
        try:
            self._study = optuna.create_study(
                study_name=spec.name,
                storage=storage,
                sampler=sampler,
                direction=spec.objective.direction,
                load_if_exists=True,
            )
        except (SQLAlchemyError, optuna.exceptions.OptunaError, ImportError, OSError, ValueError) as error:
            raise InputError(f"storage {storage}: cannot be opened: {' '.join(str(error).split())[:300]}") from None
        self._study.set_metric_names([spec.objective.metric])
        self._check_definition()

    def _check_definition(self) -> None:
        """A study continues only under the definition it began with: other loads or machines do not compare."""
        now = definition(self._problem)
        stored = self._study.user_attrs.get(DEFINITION)
        changed = sorted(key for key in {*now, *(stored or {})} if now.get(key) != (stored or {}).get(key))
        if changed and not self.trials():  # nothing measured yet that could not be compared
            self._study.set_user_attr(DEFINITION, now)
            for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                self._study.tell(frozen.number, state=TrialState.FAIL)
        elif changed:
            raise InputError(
                f"{self._problem.spec.name}: {', '.join(changed)}: changed since this study began, so its trials would "
                "not compare; give the study a new name, or undo the change"
            )

    def trials(self) -> list[Trial]:
        return records(self._study)

    def ask(self) -> tuple[int, Candidate] | None:
        """The next trial's number and candidate; None when every feasible combination was tried.

        A trial that an earlier run asked and did not finish comes first, under its own number.
        """
        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if CANDIDATE in frozen.user_attrs:
                return frozen.number, msgspec.json.decode(frozen.user_attrs[CANDIDATE], type=Candidate)
        past = self.trials()
        tried = {trial.candidate.key for trial in past}
        if self._problem.default.key not in tried:
            return self._begin(self._study.ask(), self._problem.default)
        open_rows = untried_rows(self._problem, past)
        if open_rows.size == 0:
            return None
        for _ in range(MAX_ASKS_IN_A_ROW):
            trial = self._study.ask(distributions(self._problem))
            candidate = self._problem.choices.candidate(trial.params)
            violated = check(self._problem.deployment(candidate))
            if not violated and candidate.key not in tried:
                return self._begin(trial, candidate)
            self._reject(trial, violated)
        params = self._problem.choices.params(self._problem.grid.indices[open_rows[0]])
        self._study.enqueue_trial(params)
        return self._begin(self._study.ask(distributions(self._problem)), self._problem.choices.candidate(params))

    def _begin(self, trial: optuna.Trial, candidate: Candidate) -> tuple[int, Candidate]:
        trial.set_user_attr(CANDIDATE, msgspec.json.encode(candidate).decode())
        return trial.number, candidate

    def _reject(self, trial: optuna.Trial, violated: Sequence[Constraint]) -> None:
        """A proposal that is not launched: infeasible (the sampler learns the excess) or already known."""
        for constraint in violated:
            trial.set_constraint(constraint.name, constraint.excess)
        self._study.tell(trial, state=TrialState.PRUNED)

    def tell(self, trial: Trial) -> None:
        """Store a finished trial. A failure is never a score: it is PRUNED with a violated constraint."""
        storage = self._study._storage
        trial_id = storage.get_trial_id_from_study_id_trial_number(self._study._study_id, trial.number)
        handle = optuna.Trial(self._study, trial_id)
        handle.set_user_attr("outcome", trial.outcome)
        handle.set_user_attr("metrics", {name: round(value, 6) for name, value in trial.metrics.items()})
        for constraint in trial.constraints:
            handle.set_constraint(constraint.name, constraint.excess)
        if trial.outcome == "failed":
            handle.set_constraint("engine serves", 1.0)
        handle.set_user_attr(RECORD, msgspec.json.encode(trial).decode())
        if trial.value is not None and math.isfinite(trial.value):
            self._study.tell(trial.number, trial.value)
        else:
            self._study.tell(trial.number, state=TrialState.PRUNED)


def definition(problem: Problem) -> dict[str, Any]:
    """What must not change while a study runs, as plain values by key."""
    spec = problem.spec
    kept = ("models", "hardware", "engine", "container", "workload", "objective", "repeats")

    def plain(value: Any) -> Any:
        return msgspec.to_builtins(value, enc_hook=float)

    kept_values = {key: plain(getattr(spec, key)) for key in kept}
    for waiting in ("start_timeout", "command"):  # how long we wait and from where we start change no number
        kept_values["engine"].pop(waiting)
    for name, variant in spec.models.items():
        kept_values["models"][name]["path"] = variant.basename  # a folder may move
    return {**kept_values, "search_space": plain(problem.choices.searched)}
