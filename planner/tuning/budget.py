"""How much time a study may take: `Budget`, as asked, and `Clock`, which says whether another launch has room.

In: hours of wall clock or of GPUs, and the trials so far, those of earlier runs included. Out: whether to go on. The
finals are part of the time: a search ends when what is left of it is what they need.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from planner.errors import InputError
from planner.study import Problem, StudySpec
from planner.trials import (
    LEAST_ROUNDS,
    Trial,
    engine_s,
    expected_heats,
    heats,
    least_rounds,
    num_launched,
    searched,
    wall_s,
)
from planner.units import HOUR_S, format_duration

MOST_HOURS = 100_000.0
LONGER = 0.2
"""Share of what is left by which the first rounds of the finals may exceed it, since launches do not all take the same
time: without them nothing is proved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Most time for all launches of a study, earlier runs and the finals included; None: no limit."""

    hours: float | None = None
    """Hours of wall clock."""
    gpu_hours: float | None = None
    """Hours of GPUs: a launch takes its time on all cards of the study."""

    @property
    def is_set(self) -> bool:
        return self.hours is not None or self.gpu_hours is not None

    @property
    def words(self) -> str:
        """`8 hours, 32 GPU hours`; empty without a limit."""
        pairs = ((self.hours, "hours"), (self.gpu_hours, "GPU hours"))
        return ", ".join(f"{value:g} {unit}" for value, unit in pairs if value is not None)

    def launches_s(self, num_gpus: int) -> float:
        """Seconds that launches on so many cards may take one after another; infinite without a limit."""
        limits = [math.inf if self.hours is None else self.hours * HOUR_S]
        limits += [] if self.gpu_hours is None else [self.gpu_hours * HOUR_S / num_gpus]
        return min(limits)


def budget_of(spec: StudySpec, hours: float | None = None, gpu_hours: float | None = None) -> Budget:
    """The budget asked for, else the study's own, limit by limit. Raises InputError for no positive number of hours."""
    for option, value in (("--hours", hours), ("--budget", gpu_hours)):
        if value is not None and not 0 < value <= MOST_HOURS:
            raise InputError(f"{option} {value:g}: allowed are hours above 0 and up to {MOST_HOURS:g}, for example 8")
    own = spec.budget
    return Budget(
        hours=own.hours if hours is None else hours, gpu_hours=own.gpu_hours if gpu_hours is None else gpu_hours
    )


class Clock:
    """What is left of a budget while a study runs."""

    def __init__(
        self,
        problem: Problem,
        budget: Budget,
        launch_s: float,
        past: Sequence[Trial],
        has_finals: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`launch_s`: expected seconds of a launch, before one was seen. `past`: all trials of earlier runs."""
        self._problem, self._budget, self._launch_s = problem, budget, launch_s
        self._has_finals, self._now = has_finals, now
        self._before_s, self._began = wall_s(past), now()

    def left_s(self, trials: Sequence[Trial], under_way: int = 0) -> float:
        """Seconds that are left for launches one after another; infinite without a limit.

        `under_way`: launches that began and did not end yet; they will take GPU hours.
        """
        hours, gpu_hours = self._budget.hours, self._budget.gpu_hours
        left = [math.inf]
        if hours is not None:
            left.append(hours * HOUR_S - max(wall_s(trials), self._before_s + self._now() - self._began))
        if gpu_hours is not None:
            taken_s = sum(map(engine_s, trials)) + under_way * self.launch_s(trials)
            left.append(gpu_hours * HOUR_S / self._problem.spec.hardware.num_gpus - taken_s)
        return min(left)

    def launch_s(self, trials: Sequence[Trial]) -> float:
        """Expected seconds of a launch that runs to its end: the mean of those so far, else what the plan expects."""
        whole = [engine_s(t) for t in trials if t.outcome == "measured" and t.stopped_at is None]
        return fmean(whole) if whole else self._launch_s

    def num_finals(self, trials: Sequence[Trial]) -> int:
        """Launches of the finals to keep time for, should one more candidate be launched and compete."""
        if not self._has_finals:
            return 0
        now, usual = (
            len(heats(self._problem, trials)),
            expected_heats(self._problem, num_launched(searched(trials)) + 1),
        )
        return max(now, min(usual[0], max(now + LEAST_ROUNDS, 2 * least_rounds(2))))

    def may_begin(self, trials: Sequence[Trial], under_way: int = 0) -> bool:
        """Whether one more candidate may be launched and the finals still have room. The first launch always may."""
        if not num_launched(searched(trials)) + under_way:
            return True
        needed = self.launch_s(trials) * (1 + self.num_finals(trials))
        return self.left_s(trials, under_way) >= needed

    def may_begin_finals(self, trials: Sequence[Trial], launches: int, is_first: bool) -> bool:
        """Whether so many launches of the finals have room; the first rounds may take LONGER."""
        needed = self.launch_s(trials) * launches
        return self.left_s(trials) * (1 + LONGER if is_first else 1.0) >= needed

    def ended_words(self, trials: Sequence[Trial], target: int) -> str:
        """Why the search ended: `stopped after 9 of 30 launches: ...`."""
        launched, left_s = num_launched(searched(trials)), max(self.left_s(trials), 0.0)
        finals = len(heats(self._problem, trials)) if self._has_finals else 0
        each = format_duration(self.launch_s(trials))
        needs = f"the finals need {finals} launches of about {each}" if finals else f"a launch takes about {each}"
        return (
            f"stopped after {launched} of {target} launches: of {self._budget.words} "
            f"{format_duration(left_s)} are left, and {needs}"
        )

    def unsure_words(self, trials: Sequence[Trial], launches: int, is_first: bool) -> str:
        """Why launches of the finals are left out."""
        each, left = format_duration(self.launch_s(trials)), format_duration(max(self.left_s(trials), 0.0))
        what = "finals left out" if is_first else "finals: not sure yet, but over"
        return f"{what}: {launches} launches of about {each} do not fit {left}, what is left of {self._budget.words}"
