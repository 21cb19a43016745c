"""Where a study stands: does a planner run it, how did the last one end, how long will it take.

In: what `tune` wrote down, who holds the lock, the trials. Out: values and words. It reads no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from planner.trials import Trial, num_launched, searched, wall_s
from planner.tuning import FINISHED, INTERRUPTED, SessionRecord
from planner.units import HOUR_S, format_duration

Kind = Literal["running", "ended", "interrupted", "failed", "killed", "idle"]
CANNOT_SAY = "cannot say"


@dataclass(frozen=True, slots=True)
class StudyState:
    kind: Kind
    words: str
    """When and why, beside the kind."""

    @property
    def is_over(self) -> bool:
        return self.kind != "running"


def state_of(session: SessionRecord | None, *, is_held: bool, num_alive: int | None) -> StudyState:
    """The study's state. `num_alive`: in a shared storage, launches whose planner gave a sign of life; else None.

    A planner that is killed cannot write so. Its lock is free at once; in a shared storage its signs of life end.
    """
    if is_held or num_alive:
        others = f": {num_alive} launches under way" if num_alive else ""
        return StudyState("running", f"a planner runs it{others}")
    if session is None:
        return StudyState("idle", "no planner runs it; how the last one ended was not recorded")
    if session.ended == FINISHED:
        return StudyState("ended", _clock(session.ended_at))
    if session.ended == INTERRUPTED:
        return StudyState("interrupted", f"{_clock(session.ended_at)}; the same command continues it")
    if session.is_over:
        return StudyState("failed", f"{_clock(session.ended_at)}: {session.ended}")
    who = f"planner (pid {session.pid} on {session.host})"
    return StudyState("killed", f"{who} is gone and said nothing; the same command continues the study")


def _clock(iso: str) -> str:
    """`at 2026-12-01 04:10` in local time; empty for what is no time."""
    try:
        return f"at {datetime.fromisoformat(iso).astimezone():%Y-%m-%d %H:%M}"
    except ValueError:
        return ""


@dataclass(frozen=True, slots=True)
class LaunchesAhead:
    """Launches so far and those planned."""

    launched: int
    """Launches of the search."""
    target: int
    finals_launched: int
    finals_left: int
    """Launches of the finals that are planned; before the finals, those expected."""
    in_finals: bool
    launch_s: float | None
    """Seconds from the end of one launch to that of the next; None: nothing says."""
    most_s: float | None
    """Seconds that the study's hours leave; None without a limit."""

    @property
    def words(self) -> str:
        """`search 12 of 30 launches, finals 0 of 9`."""
        search = f"search {self.launched} of {self.target} launches"
        finals = self.finals_launched + self.finals_left
        return f"{search}, finals {self.finals_launched} of {finals}" if finals else f"{search}, no finals"

    @property
    def searches_left(self) -> int:
        return 0 if self.in_finals else max(0, self.target - self.launched)

    @property
    def left_words(self) -> str:
        """`about 5 h 10 min: 12 launches of the search, 9 of the finals`."""
        count = self.searches_left + self.finals_left
        parts = [f"{self.searches_left} of the search"] if self.searches_left else []
        parts += [f"{self.finals_left} of the finals"] if self.finals_left else []
        if not count:
            return "the last launch"
        what = f"{count} launches at most: {', '.join(parts)}"
        if self.launch_s is None:
            return f"{CANNOT_SAY} yet; {what}"
        left_s = count * self.launch_s
        if self.most_s is not None and self.most_s < left_s:
            return f"about {format_duration(self.most_s)}, what the study's hours leave; {what}"
        return f"about {format_duration(left_s)}; {what}"


def ahead_of(session: SessionRecord, trials: Sequence[Trial], now: datetime) -> LaunchesAhead:
    """What the session has done and plans. `now` has a time zone."""
    began = datetime.fromisoformat(session.began)
    finals = [trial for trial in trials if trial.rerun is not None and trial.rerun.is_final]
    here = [trial for trial in trials if trial.was_launched and _ended(trial) >= began]
    launch_s = (max(map(_ended, here)) - began).total_seconds() / len(here) if here else session.trial_s or None
    most_s = None
    if session.hours is not None:
        passed_s = max(wall_s(trials), (now - began).total_seconds())
        most_s = max(0.0, session.hours * HOUR_S - passed_s)
    done = sum(trial.was_launched for trial in finals)
    since = session.finals_begun
    left = session.finals if since is None else max(0, session.finals - (done - since))
    return LaunchesAhead(
        num_launched(searched(trials)), session.target, done, left, session.in_finals, launch_s, most_s
    )


def _ended(trial: Trial) -> datetime:
    return datetime.fromisoformat(trial.provenance.finished_at)
