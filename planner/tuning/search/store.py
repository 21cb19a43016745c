"""`StudyStore` keeps a study's trials in Optuna's storage and knows which planner works on which. It knows no sampler.

Optuna's storage is the only durable state. A trial's full record is one user attribute (`record`, JSON). Its
parameters, value and constraints are stored as Optuna's own, and its figures as short attributes beside them
(`dashboard_attributes.py`), so `optuna-dashboard` and `optuna.load_study` work on our studies. `claims.py` says how
several planners share one storage.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import msgspec
import optuna
from optuna.trial import FrozenTrial, TrialState

from planner.constraints import Constraint
from planner.errors import BackendError, InputError
from planner.study import Candidate, Problem, asked_of, changes_between, in_one_line
from planner.trials import QualityVerdict, Rerun, Trial, judged, on_par
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
    """One study in one storage, by default in memory. Raises InputError if the stored study has another definition."""

    def __init__(self, problem: Problem, storage: str | None, *, creates: bool = True) -> None:
        """`creates`: whether to make what is missing; without it the storage is read and never written."""
        self._problem = problem
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
            self.study.set_metric_names([with_unit(problem.objective.name)])
            self._check_definition()
            if self.study.user_attrs.get(ABOUT) != (about := study_words(problem)):
                self.study.set_user_attr(ABOUT, about)

    def _check_definition(self) -> None:
        """Raise InputError if the definition has changed: trials of other loads or machines would not be comparable."""
        if self._changed() and not self.trials():  # nothing is measured yet, so nothing becomes incomparable
            self.study.set_user_attr(DEFINITION, definition(self._problem))
            for frozen in self.asked():
                self.study.tell(frozen.number, state=TrialState.FAIL)
        self._refuse_changed()

    def _changed(self) -> list[str]:
        return changes_between(self.study.user_attrs.get(DEFINITION) or {}, definition(self._problem))

    def _refuse_changed(self) -> None:
        if (changed := self._changed()) and self.trials():
            raise InputError(
                f"{self._problem.spec.name}: {in_one_line(changed)}: changed since this study began, so its trials "
                "would not compare; give the study a new name (tune --name), or undo the change"
            )

    # --- what is known ---

    def trials(self) -> list[Trial]:
        """Finished trials, oldest first, each with the verdict on its answers and its host's speed.

        Raises InputError for a record that is damaged.
        """
        return on_par(self._problem, judged(self._problem, self._records(), self.verdicts()))

    def _records(self) -> list[Trial]:
        known = self._decoded
        finished = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        for frozen in finished:
            if frozen.number not in known:
                known[frozen.number] = record_of(frozen)
        return [trial for frozen in finished if (trial := known[frozen.number]) is not None]

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
        for constraint in trial.constraints:
            handle.set_constraint(constraint.name, constraint.excess)
        if trial.outcome == "failed":
            handle.set_constraint("engine serves", 1.0)
        if trial.value is not None and math.isfinite(trial.value):
            self.study.tell(trial.number, trial.value)
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
    """What must not change while a study runs, as plain values by key."""
    return {**asked_of(problem.spec), "search_space": msgspec.to_builtins(problem.choices.searched, enc_hook=float)}
