"""The study's memory and its sampler: `Search.ask() -> candidate`, `Search.tell(trial)`. The only importer of optuna.

Optuna's storage is the durable truth. A trial's full record is one user attribute (`record`, JSON); its parameters,
value and constraints are Optuna's own, and its figures short attributes beside them (`attributes.py`), so
`optuna-dashboard` and `optuna.load_study` work on our studies.

The samplers `planner`, `random` and `grid` propose from the enumerated feasible combinations only. Optuna's own (`tpe`,
`gp`) do not know that set: what they propose outside it is told as PRUNED with its constraint, and they are asked
again; when that does not help, the open combination nearest to their last proposal is taken.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import numpy as np
import optuna
import sqlalchemy
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from planner.attributes import study_words, trial_attributes, with_unit
from planner.errors import InputError, PlannerError
from planner.feasibility import Constraint
from planner.problem import Problem
from planner.quality import Verdict, judged, numerics, refused_numerics
from planner.space import Candidate
from planner.surrogate import Surrogate
from planner.trial import Rerun, Trial, best_trial

RECORD, CANDIDATE, DEFINITION, RERUN, QUALITY = "record", "candidate", "definition", "rerun", "quality"
ABOUT = "about"
MAX_ASKS_IN_A_ROW, MAX_ASKS_OF_GP = 50, 1
"""Infeasible or repeated proposals of one of Optuna's samplers before we choose for it. GP learns nothing from them, so
it would propose the same again."""

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


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
        past = judged(self._problem, self._records.of(study), verdicts_of(study))
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
    refuted = {trial.rerun.of for trial in past if trial.rerun is not None and not trial.is_acceptable}
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
        self._decoded: dict[int, Trial] = {}

    def of(self, study: optuna.Study) -> list[Trial]:
        """The finished trials, oldest first. Raises InputError for a record that is damaged."""
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        return [self._trial(frozen) for frozen in finished if RECORD in frozen.user_attrs]

    def _trial(self, frozen: FrozenTrial) -> Trial:
        if frozen.number not in self._decoded:
            try:
                self._decoded[frozen.number] = msgspec.json.decode(frozen.user_attrs[RECORD], type=Trial)
            except msgspec.MsgspecError as error:
                raise InputError(f"stored trial {frozen.number}: its record cannot be read: {error}") from None
        return self._decoded[frozen.number]


def _refuse_foreign(storage: str | None) -> None:
    """Optuna would write its tables into whatever SQLite file it is given. Raises InputError."""
    if storage is None or not storage.startswith("sqlite:"):
        return
    engine = sqlalchemy.create_engine(storage)
    tables = sqlalchemy.inspect(engine).get_table_names()
    engine.dispose()
    if tables and "studies" not in tables:
        raise InputError(f"storage {storage}: a database of something else, with tables {', '.join(tables[:5])}")


class Search:
    """One study in one storage, by default in memory. Raises InputError when the stored study was defined otherwise."""

    def __init__(self, problem: Problem, storage: str | None) -> None:
        self._problem = problem
        self._asked_here: set[int] = set()
        spec = problem.spec
        self._records = Records()
        sampler = make_sampler(problem, self._records)
        try:
            _refuse_foreign(storage)
            self._study = optuna.create_study(
                study_name=spec.name,
                storage=storage,
                sampler=sampler,
                direction=problem.objective.direction,
                load_if_exists=True,
            )
        except (SQLAlchemyError, optuna.exceptions.OptunaError, ImportError, OSError, ValueError) as error:
            raise InputError(f"storage {storage}: cannot be opened: {' '.join(str(error).split())[:300]}") from None
        self._study.set_metric_names([with_unit(problem.objective.name)])
        self._check_definition()
        if self._study.user_attrs.get(ABOUT) != (about := study_words(problem)):
            self._study.set_user_attr(ABOUT, about)

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
        """The finished trials, oldest first, each with the verdict on its answers."""
        return judged(self._problem, self._records.of(self._study), self.verdicts())

    def verdicts(self) -> list[Verdict]:
        return verdicts_of(self._study)

    def keep_verdicts(self, verdicts: Sequence[Verdict]) -> None:
        """Store these, and no others, beside the trials; they are theirs from now on."""
        self._study.set_user_attr(QUALITY, msgspec.to_builtins(list(verdicts)))

    def ask(self) -> tuple[int, Candidate] | None:
        """The next trial's number and candidate; None when every feasible combination that may win was tried.

        A trial that an earlier run asked and did not finish comes first, under its own number. For engines side by
        side ask several times before the first `tell`: nothing is asked twice, and our own sampler spreads out.
        """
        running = under_way(self._study)
        for number, candidate in running:
            if number not in self._asked_here:
                self._asked_here.add(number)
                return number, candidate
        past, pending = self.trials(), [candidate for _, candidate in running]
        if self._problem.default.key not in {one.key for one in (*(trial.candidate for trial in past), *pending)}:
            return self._begin_default()
        open_rows = untried_rows(self._problem, past, pending)
        if open_rows.size == 0 or not may_win(self._problem, open_rows, past):
            return None
        for _ in range(MAX_ASKS_OF_GP if self._problem.spec.sampler.name == "gp" else MAX_ASKS_IN_A_ROW):
            trial = self._study.ask(distributions(self._problem))
            candidate = self._problem.choices.candidate(trial.params)
            violated = self._problem.check(candidate)
            if not violated and self._problem.row_of(candidate) in open_rows:
                return self._begin(trial, candidate)
            self._reject(trial, violated)
        return self._begin_row(self._nearest(open_rows, candidate))

    def ask_rerun(self, trial: Trial, rerun: Rerun) -> int:
        """Begin a trial of the finals; one that an earlier run began and did not finish keeps its number."""
        text = msgspec.json.encode(rerun).decode()
        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if frozen.user_attrs.get(RERUN) == text:
                return frozen.number
        begun = self._study.ask()
        begun.set_user_attr(RERUN, text)
        return self._begin(begun, trial.candidate)[0]

    def _nearest(self, rows: NDArray[np.int64], candidate: Candidate) -> int:
        """The row that differs in the fewest settings, and there by the fewest values."""
        proposed = self._problem.grid.indices[self._problem.row_of(candidate)]
        steps = np.abs(self._problem.grid.indices[rows] - proposed)
        return int(rows[np.lexsort((steps.sum(axis=1), (steps > 0).sum(axis=1)))[0]])

    def _begin_default(self) -> tuple[int, Candidate]:
        """The default has parameters where it is on the grid; else it sets none of them."""
        row = self._problem.row_of(self._problem.default)
        if row is None:
            return self._begin(self._study.ask(), self._problem.default)
        return self._begin_row(row)

    def _begin_row(self, row: int) -> tuple[int, Candidate]:
        params = self._problem.choices.params(self._problem.grid.indices[row])
        self._study.enqueue_trial(params)
        return self._begin(self._study.ask(distributions(self._problem)), self._problem.choices.candidate(params))

    def _begin(self, trial: optuna.Trial, candidate: Candidate) -> tuple[int, Candidate]:
        trial.set_user_attr(CANDIDATE, msgspec.json.encode(candidate).decode())
        self._asked_here.add(trial.number)
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
        for name, value in trial_attributes(self._problem, trial).items():
            handle.set_user_attr(name, value)
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
    # How long we wait, from where we start, what is compiled already and who may read the model change no number.
    for waiting in ("start_timeout", "command", "compile_cache", "pass_env"):
        kept_values["engine"].pop(waiting)
    if not spec.objective.weights:  # studies from before there were any go on
        kept_values["objective"].pop("weights")
    for name, variant in spec.models.items():
        kept_values["models"][name]["path"] = variant.basename  # a folder may move
    return {**kept_values, "search_space": plain(problem.choices.searched)}
