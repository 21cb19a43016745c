"""A study's next candidate: `Search.ask() -> candidate`, `Search.tell(trial)`. Trials are kept in its `StudyStore`.

A proposal outside the feasible combinations is told to the sampler as PRUNED with its constraint, and the sampler is
asked again. If that does not help, the open combination nearest to its last proposal is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from planner.errors import InputError
from planner.estimate import MemoryFigures
from planner.launch import refused_live
from planner.study import Candidate, Forecast, Learned
from planner.trials import Heat, Rerun, Trial, competes, searched
from planner.tuning.search.lessons import Taught
from planner.tuning.search.live_choice import live_beside
from planner.tuning.search.outlooks import Outlooks
from planner.tuning.search.samplers import (
    FeasibleSampler,
    Situation,
    distributions,
    make_sampler,
    may_win,
    untried_rows,
)
from planner.tuning.search.stopping import Enough, enough
from planner.tuning.search.store import CANDIDATE, RERUN, StudyStore, rerun_of, under_way

MAX_ASKS_IN_A_ROW, MAX_ASKS_OF_GP = 50, 1
"""Infeasible or repeated proposals by one of Optuna's samplers before we choose for it. GP learns nothing from them,
so it would repeat its proposal."""


class Search:
    """Asks a sampler for the candidates of one study, and stores their trials."""

    def __init__(self, forecast: Forecast, store: StudyStore, sampler: BaseSampler) -> None:
        self._problem = forecast.problem
        self.forecast = forecast
        """The problem, judged with what is known of memory by now."""
        self.learned = Learned(forecast.calibrations)
        self.store = store
        self._sampler = sampler
        self._study = store.study
        self._study.sampler = sampler
        self._rounds_here: set[tuple[str, int]] = set()
        self._outlooks = Outlooks()
        self.until: float | None = None
        """Expected gain, as a share, below which no further candidate is asked; None: all feasible ones may be."""
        self.is_live = False
        """Whether each launch measures other settings too, by turning its scheduler's limits."""
        self.ended: Enough | None = None
        """Why no further candidate was asked though some are left; None if that did not happen."""

    @classmethod
    def open(cls, forecast: Forecast, storage: str | None) -> Search:
        """Open the study in this storage, by default in memory, with the sampler that it names.

        Raises InputError if the stored study has another definition or the sampler is not installed.
        """
        sampler, store = make_sampler(forecast.problem), StudyStore(forecast.problem, storage)
        if not isinstance(sampler, FeasibleSampler) and not store.is_first_question:
            raise InputError(
                f"{forecast.problem.spec.name}: --sampler {forecast.problem.spec.sampler.name}: learns from the values "
                "that Optuna stored, which are of the study's first objective and limits; allowed under others: "
                "planner, random, grid"
            )
        return cls(forecast, store, sampler)

    def start_from(self, taught: Taught | None) -> None:
        """Choose by what earlier studies on the same cards showed of the speed model, beside what this one shows."""
        self._outlooks = Outlooks(taught)

    # --- the store's, for the loop ---

    def trials(self) -> list[Trial]:
        """Finished trials, oldest first, each with the verdict on its answers and its host's speed."""
        return self.store.trials()

    def alone(self) -> AbstractContextManager[None]:
        """Context for looking and asking, in which no other planner asks. Raises BackendError if the storage fails."""
        return self.store.alone()

    def num_under_way(self, finals: bool = False) -> int:
        """Number of trials of the search, or with `finals` all others, asked here or by another living planner."""
        return self.store.num_under_way(finals)

    def tell(self, trial: Trial) -> bool:
        """Store a finished trial. False, with nothing stored, if another planner has taken it over since."""
        return self.store.store(trial)

    def tell_recorded(self) -> None:
        """Finish storing the trials that a killed planner had begun to store."""
        self.store.store_recorded()

    def learn(self, candidate: Candidate, real: MemoryFigures, source: str, host: str | None = None) -> None:
        """Judge candidates from here on with the memory that a real start of this one took; `source` names the start.

        Each host keeps its own calibration; candidates are judged by the strictest.
        """
        learned = self.learned.learn(self._problem.deployment(candidate), real, source, host)
        if learned is not self.learned:  # else its log had no figures
            self.learned, self.forecast = learned, Forecast(self._problem, learned.calibrations)

    # --- asking ---

    def ask(self) -> tuple[int, Candidate] | None:
        """The next trial's number and candidate; None if every feasible combination that may win was tried.

        A trial that an earlier run or a dead planner left unfinished comes first, under its own number. For engines
        side by side ask several times before the first `tell`: our own sampler spreads its proposals out. It may ask
        for a leader again whose next launch may change which one is best; no other candidate is asked twice.
        """
        asked = self.store.asked()
        running, taken = under_way(asked), {frozen.number for frozen in self.store.taken(asked)}
        for number, candidate in running:
            if number not in taken:
                self.store.claim(self.store.handle(number))
                return number, candidate
        past = [trial for trial in self.trials() if competes(self._problem, trial)]
        pending = [candidate for _, candidate in running]
        open_rows = untried_rows(self.forecast, past, pending)
        if isinstance(self._sampler, FeasibleSampler):
            self._sampler.situation = Situation(self.forecast, open_rows, past, pending, self._outlooks, self.is_live)
        if self._problem.default not in (*(trial.candidate for trial in past), *pending):
            return self._begin_default()
        if open_rows.size == 0 or not may_win(self.forecast, open_rows, past):
            return None
        if self.until is not None:
            self.ended = enough(self.forecast, open_rows, searched(past), self.until, self._outlooks)
            if self.ended is not None:
                return None
        for _ in range(MAX_ASKS_OF_GP if self._problem.spec.sampler.name == "gp" else MAX_ASKS_IN_A_ROW):
            trial = self._ask(distributions(self._problem))
            candidate = self._problem.choices.candidate(trial.params)
            violated = self.forecast.check(candidate)
            is_ours = isinstance(self._sampler, FeasibleSampler)  # which may launch a leader again
            if not violated and (is_ours or self._problem.row_of(candidate) in open_rows):
                return self.store.begin(trial, candidate)
            self.store.reject(trial, violated)
        return self._begin_row(self._nearest(open_rows, candidate))

    def live_beside(self, launched: Candidate) -> tuple[Candidate, ...]:
        """Settings to measure in the launch of this candidate besides its own; none unless the search is live."""
        if not self.is_live or refused_live(self._problem, launched) is not None:
            return ()
        past = [trial for trial in self.trials() if competes(self._problem, trial)]
        open_rows = untried_rows(self.forecast, past)
        return live_beside(self._outlooks.surrogate(self.forecast), self.forecast, launched, open_rows, past)

    def by_round(self, to_do: Sequence[Heat]) -> list[Heat]:
        """Heats that may begin, in order: none of a round that is under way, first those of rounds begun here.

        So one planner does a whole round unless it dies.
        """
        taken = self.store.taken(self.store.asked())
        rounds = {(rerun.series, rerun.round) for rerun in map(rerun_of, taken) if rerun is not None}
        free = [heat for heat in to_do if (heat.rerun.series, heat.rerun.round) not in rounds]
        if not self.store.is_shared:
            return free
        begun = {(t.rerun.series, t.rerun.round) for t in self.trials() if t.rerun is not None}

        def order(heat: Heat) -> int:
            key = (heat.rerun.series, heat.rerun.round)
            return 0 if key in self._rounds_here else 2 if key in begun else 1

        return sorted(free, key=order)

    def ask_rerun(self, candidate: Candidate, rerun: Rerun) -> int | None:
        """Begin a trial of the finals, or one that compares hosts. One begun by an earlier run keeps its number.

        None if a planner is already working on it.
        """
        asked = self.store.asked()
        begun = next((frozen for frozen in asked if rerun_of(frozen) == rerun), None)
        if begun is not None and begun.number in {frozen.number for frozen in self.store.taken(asked)}:
            return None
        self._rounds_here.add((rerun.series, rerun.round))
        handle = self._ask({}) if begun is None else self.store.handle(begun.number)
        return self.store.begin(handle, candidate, rerun)[0]

    def _nearest(self, rows: NDArray[np.int64], candidate: Candidate) -> int:
        """The row that differs from the candidate in the fewest settings, then by the fewest values."""
        indices = self.forecast.grid.indices
        steps = np.abs(indices[rows] - indices[self._problem.row_of(candidate)])
        return int(rows[np.lexsort((steps.sum(axis=1), (steps > 0).sum(axis=1)))[0]])

    def _ask(self, settings: Mapping[str, BaseDistribution]) -> optuna.Trial:
        """A new trial, or one that a planner was asking when it was killed. Call it only while `alone`."""
        asked = self.store.asked()
        half = (one for one in asked if CANDIDATE not in one.user_attrs and RERUN not in one.user_attrs)
        if (frozen := next(half, None)) is None:
            return self._study.ask(dict(settings))
        trial = self.store.handle(frozen.number)
        for name, values in settings.items():
            trial._suggest(name, values)
        return trial

    def _begin_default(self) -> tuple[int, Candidate]:
        """Begin the default. It has parameters only if it is on the grid."""
        row = self._problem.row_of(self._problem.default)
        if row is None:
            return self.store.begin(self._ask({}), self._problem.default)
        return self._begin_row(row)

    def _begin_row(self, row: int) -> tuple[int, Candidate]:
        params = self._problem.choices.params(self.forecast.grid.indices[row])
        begun = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING, TrialState.RUNNING))
        half = (frozen for frozen in begun if CANDIDATE not in frozen.user_attrs)
        if not any(frozen.system_attrs.get("fixed_params") == params for frozen in half):
            self._study.enqueue_trial(params)
        trial = self._ask(distributions(self._problem))
        while trial.params != params:  # another one that a killed planner was asking
            self.store.reject(trial, ())
            trial = self._ask(distributions(self._problem))
        return self.store.begin(trial, self._problem.choices.candidate(params))
