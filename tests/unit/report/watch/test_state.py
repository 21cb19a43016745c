"""The state of a study and the time that is left, from what its planner wrote down and who holds the lock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from planner.report.watch.state import ahead_of, state_of
from planner.trials.trial import Rerun
from planner.tuning.journal import SessionRecord

BEGAN = datetime(2026, 1, 2, 3, 0, tzinfo=UTC)
SESSION = SessionRecord(began=BEGAN.isoformat(), host="box", pid=42, backend="docker", target=10, finals=9)


def with_(**changes: object) -> SessionRecord:
    return msgspec.structs.replace(SESSION, **changes)


@pytest.mark.parametrize(
    ("session", "is_held", "alive", "kind", "words"),
    [
        (SESSION, True, None, "running", "a planner runs it"),
        (None, True, None, "running", "a planner runs it"),
        (SESSION, False, 2, "running", "2 launches under way"),
        (SESSION, False, None, "killed", "planner (pid 42 on box) is gone"),
        (SESSION, False, 0, "killed", "the same command continues"),
        (with_(ended="finished", ended_at=BEGAN.isoformat()), False, None, "ended", "at 2026-01-0"),
        (with_(ended="interrupted", ended_at="?"), False, None, "interrupted", "the same command continues it"),
        (with_(ended="no Docker Engine"), False, None, "failed", ": no Docker Engine"),
        (with_(ended="finished"), True, None, "running", "a planner runs it"),
        (None, False, None, "idle", "not recorded"),
    ],
)
def test_states(session: SessionRecord | None, is_held: bool, alive: int | None, kind: str, words: str) -> None:
    state = state_of(session, is_held=is_held, num_alive=alive)
    assert state.kind == kind
    assert words in state.words
    assert state.is_over == (kind != "running")


@pytest.fixture
def trials(make_problem: Callable[..., Any], launch: Callable[..., list[Any]]) -> list[Any]:
    """Three launches that ended 10, 20 and 30 minutes after the session began."""
    found = launch(make_problem(), 3)
    ends = [(BEGAN + timedelta(minutes=10 * n)).isoformat() for n in (1, 2, 3)]
    return [replace(t, provenance=replace(t.provenance, finished_at=end)) for t, end in zip(found, ends, strict=True)]


def test_the_time_left_counts_what_the_finals_need(trials: list[Any]) -> None:
    ahead = ahead_of(SESSION, trials, BEGAN + timedelta(minutes=31))
    assert ahead.words == "search 3 of 10 launches, finals 0 of 9"
    assert ahead.left_words == "about 2 h 40 min; 16 launches at most: 7 of the search, 9 of the finals"


def test_hours_end_it_earlier(trials: list[Any]) -> None:
    ahead = ahead_of(with_(hours=1.0), trials, BEGAN + timedelta(minutes=31))
    assert ahead.left_words.startswith("about 29 min 00 s, what the study's hours leave; ")


def test_before_a_launch_has_ended_it_is_what_the_plan_expects() -> None:
    assert ahead_of(SESSION, [], BEGAN).left_words.startswith("cannot say yet; 19 launches")
    assert ahead_of(with_(trial_s=60.0), [], BEGAN).left_words.startswith("about 19 min 00 s; ")


def test_in_the_finals_only_they_are_left(trials: list[Any]) -> None:
    again = replace(trials[0], number=9, rerun=Rerun(of=0, series="0 1", round=0))
    ahead = ahead_of(with_(finals=6, finals_begun=0), [*trials, again], BEGAN + timedelta(minutes=40))
    assert ahead.words == "search 3 of 10 launches, finals 1 of 6"
    assert ahead.left_words.endswith("5 launches at most: 5 of the finals")
    done = ahead_of(with_(finals=1, finals_begun=0), [*trials, again], BEGAN + timedelta(minutes=40))
    assert done.left_words == "the last launch"
