"""Progress of a session in a terminal: `TerminalSession`, a Rich live view on a terminal and plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from planner.study import Candidate, Problem
from planner.trials import Trial, best_trial, describe, num_launched, outcome_text
from planner.tuning import Observer, Plan
from planner.units import format_duration

LAST_OUTCOMES = 6


@dataclass(frozen=True, slots=True)
class Ahead:
    """What a session has to do, and how long it may take."""

    target: int
    """Launches before the finals, with those of earlier runs."""
    finals: int
    """Launches of the finals after them, as far as is known."""
    trial_s: float
    """Expected seconds of a launch; 0: not known."""
    most_s: float = math.inf
    """Most seconds that the study's budget leaves."""


class _Progress:
    """The state behind both views: where the study stands and how long it may still take, finals included."""

    def __init__(self, problem: Problem, past: list[Trial], ahead: Ahead) -> None:
        self.problem = problem
        self.trials = list(past)
        self.ahead = ahead
        self.total = ahead.target + ahead.finals
        self.began = time.monotonic()
        self.ran = 0

    def launched(self) -> int:
        return num_launched(self.trials)

    def counted(self) -> str:
        """`4/38`: the launch that runs, of all that the search and the finals may take."""
        return f"{min(self.launched() + 1, self.total)}/{self.total}"

    def remaining(self) -> str:
        per_launch = (time.monotonic() - self.began) / self.ran if self.ran else self.ahead.trial_s
        left_s = (self.total - self.launched()) * per_launch
        most_s = max(self.ahead.most_s - (time.monotonic() - self.began), 0.0)
        return f"about {format_duration(min(left_s, most_s))}" if per_launch else "not known yet"

    def best(self) -> str:
        best = best_trial(self.problem, self.trials)
        if best is None or best.value is None:
            return "none yet"
        return f"trial {best.number}: {self.problem.objective.format(best.value)}"

    def add(self, trial: Trial) -> None:
        if trial.rerun is None or trial.rerun.is_final:
            self.trials.append(trial)
        self.ran += trial.was_launched


class PlainObserver:
    """One line per stage and one per outcome: for logs and pipes."""

    def __init__(self, console: Console, progress: _Progress) -> None:
        self._console = console
        self._progress = progress
        self._stage = ""

    def started(self, number: int, candidate: Candidate) -> None:
        self._stage = ""
        p = self._progress
        self._print(f"trial {number} ({p.counted()}): {describe(p.problem, candidate)}")

    def stage(self, stage: str, done: int, total: int) -> None:  # noqa: ARG002
        if stage != self._stage and not self._progress_is_simulated():
            self._print(f"  {stage}")
        self._stage = stage

    def finished(self, trial: Trial) -> None:
        self._progress.add(trial)
        self._print(f"  {outcome_text(self._progress.problem, trial)}; best {self._progress.best()}")

    def _progress_is_simulated(self) -> bool:
        return self._progress.ahead.trial_s == 0

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


class LiveObserver:
    """A block that redraws itself: trial, stage, times, best so far, the last outcomes."""

    def __init__(self, progress: _Progress) -> None:
        self._progress = progress
        self._outcomes: deque[str] = deque(maxlen=LAST_OUTCOMES)
        self._number = 0
        self._candidate: Candidate | None = None
        self._stage = ""
        self._stage_began = time.monotonic()

    def started(self, number: int, candidate: Candidate) -> None:
        self._number, self._candidate = number, candidate
        self.stage("starting", 0, 0)

    def stage(self, stage: str, done: int, total: int) -> None:
        text = f"{stage} {done}/{total}" if total else stage
        if not self._stage.startswith(stage):
            self._stage_began = time.monotonic()
        self._stage = text

    def finished(self, trial: Trial) -> None:
        self._progress.add(trial)
        settings = describe(self._progress.problem, trial.candidate)
        self._outcomes.append(f"{trial.number:>4}  {outcome_text(self._progress.problem, trial)}  {settings}")

    def __rich__(self) -> RenderableType:
        p = self._progress
        settings = describe(p.problem, self._candidate) if self._candidate else ""
        lines = [Text(line, "dim", overflow="ellipsis", no_wrap=True) for line in self._outcomes]
        stage_s = format_duration(time.monotonic() - self._stage_began)
        lines += [
            Text(f"trial {self._number} ({p.counted()})  {self._stage}  {stage_s}", "bold"),
            Text(f"  {settings}"),
            Text(f"elapsed {format_duration(time.monotonic() - p.began)}, remaining {p.remaining()}, "
                 f"best so far {p.best()}", "green"),
        ]  # fmt: skip
        return Group(*lines)


@contextmanager
def terminal_observer(console: Console, problem: Problem, past: list[Trial], ahead: Ahead) -> Iterator[Observer]:
    """The observer for this console: a live view on a terminal, plain lines elsewhere."""
    progress = _Progress(problem, past, ahead)
    if not console.is_terminal:
        yield PlainObserver(console, progress)
        return
    observer = LiveObserver(progress)
    with Live(observer, console=console, refresh_per_second=4, transient=True):
        yield observer


class TerminalSession:
    """Prints a session on a console: single lines, and the launches as `terminal_observer` shows them."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)

    def ended_early(self, line: str) -> None:
        self.say(line)

    def watching(self, plan: Plan, past: list[Trial], target: int, finals: int) -> AbstractContextManager[Observer]:
        clock = plan.clock(past) if plan.expected_trial_s else None  # virtual hours say nothing of ours
        ahead = Ahead(target, finals, plan.expected_trial_s, math.inf if clock is None else clock.left_s(past))
        return terminal_observer(self._console, plan.problem, past, ahead)
