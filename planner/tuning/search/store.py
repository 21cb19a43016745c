"""`StudyStore` keeps a study's trials in Optuna's storage and knows which planner works on which. It knows no sampler.

Optuna's storage is the only durable state. A trial's full record is one user attribute (`record`, JSON). Its
parameters, value and constraints are stored as Optuna's own, and its figures as short attributes beside them
(`dashboard_attributes.py`), so `optuna-dashboard` and `optuna.load_study` work on our studies. `claims.py` says how
several planners share one storage.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import msgspec
import optuna
from optuna.trial import FrozenTrial, TrialState

from planner.constraints import Constraint
from planner.errors import BackendError, InputError
from planner.files import convert
from planner.study import (
    OBJECTIVE,
    Candidate,
    Forecast,
    Objective,
    Problem,
    asked_of,
    changes_between,
    in_one_line,
)
from planner.trials import QualityVerdict, Rerun, Trial, judged, on_par, rejudged
from planner.tuning.search.claims import Claims
from planner.tuning.search.dashboard_attributes import study_words, trial_attributes, with_unit
from planner.tuning.search.storage import created, found

RECORD, CANDIDATE, RERUN = "record", "candidate", "rerun"
"""User attributes of a trial."""
OWNER, SIGN_OF_LIFE = "owner", "sign_of_life"
"""User attributes of a trial in a shared storage: the planner that has it, and the time of its last sign of life."""
DEFINITION, ABOUT, QUALITY = "definition", "about", "quality"
"""User attributes of a study."""

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class StudyStore:
    """One study in one storage, by default in memory. Raises InputError if the stored study measured something else.

    Its trials are judged for the problem's question, whatever they were measured for. Optuna's own values and
    constraints stay those of the first question, whose direction the stored study has.
    """

    def __init__(self, problem: Problem, storage: str | None, *, creates: bool = True) -> None:
        """`creates`: whether to make what is missing; without it the storage is read and never written."""
        self._problem, self._forecast = problem, Forecast(problem)
        self._asked_here: set[int] = set()
        self._decoded: dict[int, Trial | None] = {}
        """Finished trials by number. Each is decoded once, as a finished trial does not change."""
        self._claims = Claims(storage, problem.spec.name, self._beat)
        name, direction = problem.spec.name, problem.objective.direction
        self.study = created(storage, name, direction, self.alone()) if creates or not storage else found(storage, name)
        """Optuna's study, which is asked for new trials."""
        if not creates:
            self._refuse_changed()
            return
        with self.alone():  # else another starting planner could find no definition
            self._check_definition()
            if self.is_first_question:
                self.study.set_metric_names([with_unit(problem.objective.name)])
            if self.study.user_attrs.get(ABOUT) != (about := study_words(problem)):
                self.study.set_user_attr(ABOUT, about)

    def _check_definition(self) -> None:
        """Raise InputError if the definition has changed: trials of other loads or machines would not be comparable."""
        stored, now = self.study.user_attrs.get(DEFINITION) or {}, definition(self._problem)
        if stored != now and not self._records():  # nothing is measured yet, so nothing becomes incomparable
            self.study.set_user_attr(DEFINITION, now)
            if changes_between(_measured(stored), _measured(now)):
                for frozen in self.asked():
                    self.study.tell(frozen.number, state=TrialState.FAIL)
        else:
            self._refuse_changed()

    def _refuse_changed(self) -> None:
        stored = self.study.user_attrs.get(DEFINITION) or {}
        if (changed := changes_between(_measured(stored), _measured(definition(self._problem)))) and self._records():
            raise InputError(
                f"{self._problem.spec.name}: {in_one_line(changed)}: changed since this study began, so its trials "
                "would not compare; give the study a new name (tune --name), or undo the change"
            )

    # --- what is asked ---

    @property
    def is_first_question(self) -> bool:
        """Whether the problem asks what the stored study was begun for, so that Optuna's own values answer it."""
        return self._first_question().asked == self._problem.objective.asked

    def _first_question(self) -> Objective:
        stored = (self.study.user_attrs.get(DEFINITION) or {}).get(OBJECTIVE)
        return self._problem.objective if stored is None else convert(stored, Objective, "stored objective")

    # --- what is known ---

    def trials(self) -> list[Trial]:
        """Finished trials, oldest first, each with the verdict on its answers and its host's speed.

        Raises InputError for a record that is damaged.
        """
        return on_par(self._problem, judged(self._problem, self._records(), self.verdicts()))

    def _records(self) -> list[Trial]:
        known, first = self._decoded, self._first_question().asked
        finished = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        for frozen in finished:
            if frozen.number not in known:
                known[frozen.number] = self._as_asked(record_of(frozen), first)
        return [trial for frozen in finished if (trial := known[frozen.number]) is not None]

    def _as_asked(self, trial: Trial | None, first: str) -> Trial | None:
        """A record judged for the problem's question; one of an older version was measured for the first question."""
        if trial is None:
            return None
        return rejudged(self._forecast, trial if trial.asked else replace(trial, asked=first))

    def verdicts(self) -> list[QualityVerdict]:
        """Verdicts of the quality gate so far, one for each set of numerics."""
        return msgspec.convert(self.study.user_attrs.get(QUALITY, []), list[QualityVerdict])

    def keep_verdicts(self, verdicts: Sequence[QualityVerdict]) -> None:
        """Replace the stored verdicts by these; `trials` shows them from now on."""
        self.study.set_user_attr(QUALITY, msgspec.to_builtins(list(verdicts)))

    # --- who works on what ---

    @property
    def is_shared(self) -> bool:
        """Whether other planners may work on this study."""
        return self._claims.is_shared

    def alone(self) -> AbstractContextManager[None]:
        """Context for looking and asking, in which no other planner asks. Raises BackendError if the storage fails."""
        return self._claims.alone()

    def alone_for(self, what: str) -> AbstractContextManager[None]:
        """Context for `what` one planner does for all. Others that want to do it wait, but may still ask for trials."""
        return self._claims.alone_for(what)

    def num_under_way(self, finals: bool = False) -> int:
        """Number of trials of the search, or with `finals` all others, asked here or by another living planner."""
        return sum((RERUN in frozen.user_attrs) == finals for frozen in self.taken(self.asked()))

    def asked(self) -> list[FrozenTrial]:
        """Trials asked and not told, oldest first, including those that a planner was asking when it was killed."""
        return self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def taken(self, asked: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """Those of `asked` that this planner or another living one has."""
        whole = [frozen for frozen in asked if CANDIDATE in frozen.user_attrs]
        if not self._claims.is_shared or not whole:
            return [frozen for frozen in whole if frozen.number in self._asked_here]
        now = self._claims.now()
        return [
            frozen
            for frozen in whole
            if frozen.number in self._asked_here or not self._claims.is_lost(frozen.user_attrs.get(SIGN_OF_LIFE), now)
        ]

    def handle(self, number: int) -> optuna.Trial:
        """Handle for writing to a trial that is asked."""
        storage = self.study._storage
        return optuna.Trial(self.study, storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number))

    def claim(self, trial: optuna.Trial) -> None:
        """Take a trial that no planner has. In a shared storage it gets signs of life from now on."""
        if self._claims.is_shared:
            self._claims.hold(trial._trial_id)
            trial.set_user_attr(OWNER, self._claims.owner)
        self._asked_here.add(trial.number)

    def _beat(self, trial_id: int, now: float) -> None:
        try:
            self.study._storage.set_trial_user_attr(trial_id, SIGN_OF_LIFE, now)
        except optuna.exceptions.OptunaError as error:
            raise BackendError(f"storage: {error}") from None

    # --- what is written ---

    def begin(self, trial: optuna.Trial, candidate: Candidate, rerun: Rerun | None = None) -> tuple[int, Candidate]:
        """Claim a trial and store the candidate that it launches."""
        if rerun is not None:
            trial.set_user_attr(RERUN, msgspec.json.encode(rerun).decode())
        self.claim(trial)
        trial.set_user_attr(CANDIDATE, msgspec.json.encode(candidate).decode())
        return trial.number, candidate

    def reject(self, trial: optuna.Trial, violated: Sequence[Constraint]) -> None:
        """Reject a proposal that is infeasible (the sampler learns the excess) or already known; it is not launched."""
        for constraint in violated:
            trial.set_constraint(constraint.name, constraint.excess)
        self.study.tell(trial, state=TrialState.PRUNED)

    def store(self, trial: Trial) -> bool:
        """Store a finished trial. A failure is never a score: it is PRUNED with a violated constraint.

        False, with nothing stored, if another planner has taken the trial over since.
        """
        with self.alone():
            handle = self.handle(trial.number)
            self._claims.let_go(handle._trial_id)
            self._asked_here.discard(trial.number)
            if self._claims.is_shared and not self._is_mine(trial.number):
                return False
            self._store(trial, handle)
        return True

    def _is_mine(self, number: int) -> bool:
        whole = (frozen for frozen in self.asked() if CANDIDATE in frozen.user_attrs)
        return any(frozen.number == number and frozen.user_attrs.get(OWNER) == self._claims.owner for frozen in whole)

    def _store(self, trial: Trial, handle: optuna.Trial) -> None:
        """Write the record first: if this planner is killed before the end, the next one tells the trial."""
        handle.set_user_attr(RECORD, msgspec.json.encode(trial).decode())
        for name, value in trial_attributes(self._problem, trial).items():
            handle.set_user_attr(name, value)
        told = trial
        if not self.is_first_question:
            spec = msgspec.structs.replace(self._problem.spec, objective=self._first_question())
            told = rejudged(Forecast(replace(self._problem, spec=spec)), trial)
        for constraint in told.constraints:
            handle.set_constraint(constraint.name, constraint.excess)
        if trial.outcome == "failed":
            handle.set_constraint("engine serves", 1.0)
        if told.value is not None and math.isfinite(told.value):
            self.study.tell(trial.number, told.value)
        else:
            self.study.tell(trial.number, state=TrialState.PRUNED)

    def store_recorded(self) -> None:
        """Finish storing the trials that a killed planner had begun to store."""
        with self.alone():
            asked = self.asked()
            taken = {frozen.number for frozen in self.taken(asked)}
            for frozen in asked:
                if CANDIDATE not in frozen.user_attrs or frozen.number in taken:
                    continue
                if (trial := record_of(frozen)) is not None:
                    self._store(trial, self.handle(frozen.number))


# --- what a stored trial says ---


def under_way(asked: Iterable[FrozenTrial]) -> list[tuple[int, Candidate]]:
    """Number and candidate of each trial of the search among those asked and not told, in the order given."""
    ours = [frozen for frozen in asked if CANDIDATE in frozen.user_attrs and RERUN not in frozen.user_attrs]
    return [(frozen.number, msgspec.json.decode(frozen.user_attrs[CANDIDATE], type=Candidate)) for frozen in ours]


def rerun_of(frozen: FrozenTrial) -> Rerun | None:
    """The rerun that a stored trial is; None for a trial of the search."""
    text = frozen.user_attrs.get(RERUN)
    return None if text is None else msgspec.json.decode(text, type=Rerun)


def record_of(frozen: FrozenTrial) -> Trial | None:
    """Record of a stored trial; None for a proposal that was not launched. Raises InputError if it is damaged."""
    if RECORD not in frozen.user_attrs:
        return None
    try:
        return msgspec.json.decode(frozen.user_attrs[RECORD], type=Trial)
    except (ValueError, RecursionError) as error:
        raise InputError(f"stored trial {frozen.number}: its record cannot be read: {error}") from None


def definition(problem: Problem) -> dict[str, Any]:
    """What a study was begun with, as plain values by key: what it measures and what was asked first."""
    return {**asked_of(problem.spec), "search_space": msgspec.to_builtins(problem.choices.searched, enc_hook=float)}


def _measured(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a definition that must not change while a study runs."""
    return {key: value for key, value in stored.items() if key != OBJECTIVE}
