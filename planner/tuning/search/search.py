"""The study's memory and its sampler: `Search.ask() -> candidate`, `Search.tell(trial)`. Optuna is used here and in
`samplers.py` only.

Optuna's storage is the durable truth. A trial's full record is one user attribute (`record`, JSON); its parameters,
value and constraints are Optuna's own, and its figures short attributes beside them (`dashboard_attributes.py`), so
`optuna-dashboard` and `optuna.load_study` work on our studies.

What a sampler proposes outside the feasible combinations is told as PRUNED with its constraint, and it is asked again;
when that does not help, the open combination nearest to its last proposal is taken.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import msgspec
import numpy as np
import optuna
import sqlalchemy
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from planner.constraints import Constraint
from planner.errors import BackendError, InputError, in_short
from planner.study import Candidate, Problem
from planner.trials import Heat, Rerun, Trial, Verdict, judged, on_par
from planner.tuning.search.claims import Claims, shown
from planner.tuning.search.dashboard_attributes import study_words, trial_attributes, with_unit
from planner.tuning.search.samplers import (
    CANDIDATE,
    QUALITY,
    RECORD,
    RERUN,
    Records,
    distributions,
    make_sampler,
    may_win,
    record_of,
    under_way,
    untried_rows,
    verdicts_of,
)

DEFINITION, ABOUT = "definition", "about"
OWNER, SIGN_OF_LIFE = "owner", "sign_of_life"
"""Which planner has a trial, and when it last said so; where several share the storage."""
MAX_ASKS_IN_A_ROW, MAX_ASKS_OF_GP = 50, 1
"""Infeasible or repeated proposals of one of Optuna's samplers before we choose for it. GP learns nothing from them, so
it would propose the same again."""

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def _rerun_of(frozen: FrozenTrial) -> Rerun | None:
    text = frozen.user_attrs.get(RERUN)
    return None if text is None else msgspec.json.decode(text, type=Rerun)


def _refuse_foreign(storage: str | None) -> None:
    """Optuna would write its tables into whatever SQLite file it is given. Raises InputError."""
    if storage is None or not storage.startswith("sqlite:"):
        return
    engine = sqlalchemy.create_engine(storage)
    tables = sqlalchemy.inspect(engine).get_table_names()
    engine.dispose()
    if tables and "studies" not in tables:
        raise InputError(f"storage {shown(storage)}: a database of something else, with tables {', '.join(tables[:5])}")


@contextmanager
def storage_kept() -> Iterator[None]:
    """A storage that cannot be read or written any more, as on a full disk, is no fault of a trial: BackendError."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        causes = (getattr(cause, "orig", None) for cause in (error, error.__cause__, error.__context__))
        words = str(next((cause for cause in causes if cause is not None), error))
        raise BackendError(
            f"the study's storage: {words}; finished trials are kept: mend that, then the same command continues"
        ) from None


class Search:
    """One study in one storage, by default in memory. Raises InputError when the stored study was defined otherwise."""

    def __init__(self, problem: Problem, storage: str | None) -> None:
        self._problem = problem
        self._asked_here: set[int] = set()
        self._rounds_here: set[tuple[str, int]] = set()
        spec = problem.spec
        self._claims = Claims(storage, spec.name, self._beat)
        self._records = Records()
        sampler = make_sampler(problem, self._records)
        try:
            _refuse_foreign(storage)
            with self.alone():  # the first planner makes the tables
                self._study = optuna.create_study(
                    study_name=spec.name,
                    storage=storage,
                    sampler=sampler,
                    direction=problem.objective.direction,
                    load_if_exists=True,
                )
        except RuntimeError as error:  # tables of another version of Optuna, which says what to do
            words = str(error).replace("$STORAGE_URL", shown(storage))
            raise InputError(f"storage {shown(storage)}: {words}") from None
        except (SQLAlchemyError, optuna.exceptions.OptunaError, ImportError, OSError, ValueError) as error:
            raise InputError(f"storage {shown(storage)}: cannot be opened: {in_short(error)}") from None
        with self.alone():  # or a planner that begins beside this one finds a study without a definition
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
        """The finished trials, oldest first, each with the verdict on its answers and its host's speed."""
        return on_par(self._problem, judged(self._problem, self._records.of(self._study), self.verdicts()))

    def verdicts(self) -> list[Verdict]:
        return verdicts_of(self._study)

    def keep_verdicts(self, verdicts: Sequence[Verdict]) -> None:
        """Store these, and no others, beside the trials; they are theirs from now on."""
        self._study.set_user_attr(QUALITY, msgspec.to_builtins(list(verdicts)))

    @property
    def is_shared(self) -> bool:
        """Whether other planners may work on this study."""
        return self._claims.is_shared

    def alone(self) -> AbstractContextManager[None]:
        """Around looking and asking: no other planner asks meanwhile. Raises BackendError: the storage is lost."""
        return self._claims.alone()

    def alone_for(self, what: str) -> AbstractContextManager[None]:
        """Around what one planner does for all of them; the others wait, but may ask."""
        return self._claims.alone_for(what)

    def num_under_way(self, finals: bool = False) -> int:
        """Trials of the search, or all others, that are asked here, or at another planner that lives."""
        return sum((RERUN in frozen.user_attrs) == finals for frozen in self._taken())

    def _taken(self) -> list[FrozenTrial]:
        running = self._running()
        if not self._claims.is_shared or not running:
            return [frozen for frozen in running if frozen.number in self._asked_here]
        now = self._claims.now()
        return [
            frozen
            for frozen in running
            if frozen.number in self._asked_here or not self._claims.is_lost(frozen.user_attrs.get(SIGN_OF_LIFE), now)
        ]

    def _running(self) -> list[FrozenTrial]:
        return [frozen for frozen in self._asked() if CANDIDATE in frozen.user_attrs]

    def _asked(self) -> list[FrozenTrial]:
        """Also those that a planner was killed in the middle of asking."""
        return self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def _beat(self, trial_id: int, now: float) -> None:
        try:
            self._study._storage.set_trial_user_attr(trial_id, SIGN_OF_LIFE, now)
        except optuna.exceptions.OptunaError as error:
            raise BackendError(f"storage: {error}") from None

    def ask(self) -> tuple[int, Candidate] | None:
        """The next trial's number and candidate; None when every feasible combination that may win was tried.

        A trial that an earlier run asked and did not finish comes first, under its own number, and so does one of a
        planner that died. For engines side by side ask several times before the first `tell`: nothing is asked twice,
        and our own sampler spreads out.
        """
        running = under_way(self._study)
        taken = {frozen.number for frozen in self._taken()}
        for number, candidate in running:
            if number not in taken:
                return self._take(number), candidate
        past, pending = self.trials(), [candidate for _, candidate in running]
        if self._problem.default not in (*(trial.candidate for trial in past), *pending):
            return self._begin_default()
        open_rows = untried_rows(self._problem, past, pending)
        if open_rows.size == 0 or not may_win(self._problem, open_rows, past):
            return None
        for _ in range(MAX_ASKS_OF_GP if self._problem.spec.sampler.name == "gp" else MAX_ASKS_IN_A_ROW):
            trial = self._ask(distributions(self._problem))
            candidate = self._problem.choices.candidate(trial.params)
            violated = self._problem.check(candidate)
            if not violated and self._problem.row_of(candidate) in open_rows:
                return self._begin(trial, candidate)
            self._reject(trial, violated)
        return self._begin_row(self._nearest(open_rows, candidate))

    def by_round(self, to_do: Sequence[Heat]) -> list[Heat]:
        """Those that may begin, in order: none of a round that is under way, first those of rounds begun here.

        So one host does a round, unless its planner dies.
        """
        rounds = {(rerun.series, rerun.round) for rerun in map(_rerun_of, self._taken()) if rerun is not None}
        free = [heat for heat in to_do if (heat.rerun.series, heat.rerun.round) not in rounds]
        if not self._claims.is_shared:
            return free
        begun = {(t.rerun.series, t.rerun.round) for t in self.trials() if t.rerun is not None}

        def order(heat: Heat) -> int:
            key = (heat.rerun.series, heat.rerun.round)
            return 0 if key in self._rounds_here else 2 if key in begun else 1

        return sorted(free, key=order)

    def ask_rerun(self, candidate: Candidate, rerun: Rerun) -> int | None:
        """Begin a trial of the finals, or one that compares hosts; one begun by an earlier run keeps its number.

        None while somebody has it.
        """
        taken = {frozen.number for frozen in self._taken()}
        begun = next((frozen for frozen in self._asked() if _rerun_of(frozen) == rerun), None)
        if begun is not None and begun.number in taken:
            return None
        self._rounds_here.add((rerun.series, rerun.round))
        handle = self._ask({}) if begun is None else self._handle(begun.number)
        handle.set_user_attr(RERUN, msgspec.json.encode(rerun).decode())
        return self._begin(handle, candidate)[0]

    def _take(self, number: int) -> int:
        """A trial that is asked and that nobody has."""
        self._hold(self._handle(number))
        return number

    def _hold(self, trial: optuna.Trial) -> None:
        if self._claims.is_shared:
            self._claims.hold(trial._trial_id)
            trial.set_user_attr(OWNER, self._claims.owner)
        self._asked_here.add(trial.number)

    def _handle(self, number: int) -> optuna.Trial:
        storage = self._study._storage
        return optuna.Trial(self._study, storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number))

    def _nearest(self, rows: NDArray[np.int64], candidate: Candidate) -> int:
        """The row that differs in the fewest settings, and there by the fewest values."""
        proposed = self._problem.grid.indices[self._problem.row_of(candidate)]
        steps = np.abs(self._problem.grid.indices[rows] - proposed)
        return int(rows[np.lexsort((steps.sum(axis=1), (steps > 0).sum(axis=1)))[0]])

    def _ask(self, settings: Mapping[str, BaseDistribution]) -> optuna.Trial:
        """A new trial, or one that a planner was killed in the middle of asking: who asks is alone."""
        half = (one for one in self._asked() if CANDIDATE not in one.user_attrs and RERUN not in one.user_attrs)
        if (frozen := next(half, None)) is None:
            return self._study.ask(dict(settings))
        trial = self._handle(frozen.number)
        for name, values in settings.items():
            trial._suggest(name, values)
        return trial

    def _begin_default(self) -> tuple[int, Candidate]:
        """The default has parameters where it is on the grid; else it sets none of them."""
        row = self._problem.row_of(self._problem.default)
        if row is None:
            return self._begin(self._ask({}), self._problem.default)
        return self._begin_row(row)

    def _begin_row(self, row: int) -> tuple[int, Candidate]:
        params = self._problem.choices.params(self._problem.grid.indices[row])
        begun = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING, TrialState.RUNNING))
        half = (frozen for frozen in begun if CANDIDATE not in frozen.user_attrs)
        if not any(frozen.system_attrs.get("fixed_params") == params for frozen in half):
            self._study.enqueue_trial(params)
        trial = self._ask(distributions(self._problem))
        while trial.params != params:  # another one that a killed planner was in the middle of asking
            self._reject(trial, ())
            trial = self._ask(distributions(self._problem))
        return self._begin(trial, self._problem.choices.candidate(params))

    def _begin(self, trial: optuna.Trial, candidate: Candidate) -> tuple[int, Candidate]:
        self._hold(trial)
        trial.set_user_attr(CANDIDATE, msgspec.json.encode(candidate).decode())
        return trial.number, candidate

    def _reject(self, trial: optuna.Trial, violated: Sequence[Constraint]) -> None:
        """A proposal that is not launched: infeasible (the sampler learns the excess) or already known."""
        for constraint in violated:
            trial.set_constraint(constraint.name, constraint.excess)
        self._study.tell(trial, state=TrialState.PRUNED)

    def tell(self, trial: Trial) -> bool:
        """Store a finished trial. A failure is never a score: it is PRUNED with a violated constraint.

        False, and nothing stored, where another planner has taken the trial over since.
        """
        with self.alone():
            handle = self._handle(trial.number)
            self._claims.let_go(handle._trial_id)
            self._asked_here.discard(trial.number)
            if self._claims.is_shared and not self._is_mine(trial.number):
                return False
            self._store(trial, handle)
        return True

    def _is_mine(self, number: int) -> bool:
        return any(
            frozen.number == number and frozen.user_attrs.get(OWNER) == self._claims.owner for frozen in self._running()
        )

    def _store(self, trial: Trial, handle: optuna.Trial) -> None:
        """The record first: a trial of a planner that is killed before the end is told by the next."""
        handle.set_user_attr(RECORD, msgspec.json.encode(trial).decode())
        for name, value in trial_attributes(self._problem, trial).items():
            handle.set_user_attr(name, value)
        for constraint in trial.constraints:
            handle.set_constraint(constraint.name, constraint.excess)
        if trial.outcome == "failed":
            handle.set_constraint("engine serves", 1.0)
        if trial.value is not None and math.isfinite(trial.value):
            self._study.tell(trial.number, trial.value)
        else:
            self._study.tell(trial.number, state=TrialState.PRUNED)

    def tell_recorded(self) -> None:
        """End what a killed planner had begun to store."""
        with self.alone():
            taken = {frozen.number for frozen in self._taken()}
            for frozen in self._running():
                if frozen.number not in taken and (trial := record_of(frozen)) is not None:
                    self._store(trial, self._handle(frozen.number))


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
    kept_values["hardware"].pop("gpu_ids")  # the cards of a study are alike
    if not spec.objective.weights:  # studies from before there were any go on
        kept_values["objective"].pop("weights")
    for name, variant in spec.models.items():
        kept_values["models"][name]["path"] = variant.basename  # a folder may move
    return {**kept_values, "search_space": plain(problem.choices.searched)}
