"""What a session writes down of itself, for whoever watches from another process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from planner.errors import BackendError
from planner.study.problem import Problem
from planner.tuning.journal import FINISHED, INTERRUPTED, Journal, SessionRecord, read_session, recorded
from planner.tuning.plan import Plan, make_plan
from planner.tuning.session import NobodyWatches, tune_study

Make = Callable[..., Problem]


def plan_of(problem: Problem, folder: Path, target: int = 2) -> Plan:
    return replace(make_plan(problem.spec, folder, target, "simulated", has_finals=False), until=0.01)


def read(plan: Plan) -> SessionRecord:
    session = read_session(plan.workspace.session_path)
    assert session is not None
    return session


def test_a_whole_session_says_its_plan_and_that_it_finished(make_problem: Make, tmp_path: Path) -> None:
    plan = plan_of(make_problem(), tmp_path)
    tune_study(plan, NobodyWatches())
    session = read(plan)
    assert (session.target, session.finals, session.until, session.backend) == (2, 0, 0.01, "simulated")
    assert (session.ended, session.is_over, session.trial) == (FINISHED, True, None)
    assert session.began <= session.ended_at


def test_a_launch_under_way_has_its_stage(make_problem: Make, tmp_path: Path) -> None:
    problem = make_problem()
    plan = plan_of(problem, tmp_path)
    with recorded(plan, NobodyWatches()) as journal:
        with journal.watching(plan, [], 2, 4) as watcher:
            watcher.started(3, problem.default)
            watcher.stage("measuring", 5, 48)
        journal.say("one line")
        for number in range(40):
            journal.say(f"line {number}")
        with journal.watching(plan, [], 1, 6):
            pass
        journal.close("left here")
    session = read(plan)
    assert (session.trial, session.stage, session.done, session.total) == (3, "measuring", 5, 48)
    assert session.lines[-1] == "line 39"
    assert "one line" not in session.lines, "only the latest are kept"
    assert (session.finals, session.finals_begun) == (6, 0)


@pytest.mark.parametrize(
    ("error", "ended"),
    [(BackendError("no Docker Engine answers"), "no Docker Engine answers"), (KeyboardInterrupt(), INTERRUPTED)],
)
def test_what_ends_it_is_written(make_problem: Make, tmp_path: Path, error: BaseException, ended: str) -> None:
    plan = plan_of(make_problem(), tmp_path)
    with pytest.raises(type(error)), recorded(plan, NobodyWatches()):
        raise error
    assert read(plan).ended == ended


def test_secrets_are_not_written(make_problem: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnop")
    plan = plan_of(make_problem(), tmp_path)
    with recorded(plan, NobodyWatches()) as journal:
        journal.say("asked with hf_abcdefghijklmnop")
    assert read(plan).lines == ("asked with <HF_TOKEN>",)


def test_a_place_that_cannot_be_written_ends_nothing(make_problem: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    journal = Journal(plan_of(make_problem(), tmp_path / "file"), NobodyWatches())
    journal.say("still here")
    journal.close(FINISHED)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"began": 1}', "\0", "{" * 9999])
def test_a_file_of_something_else_is_no_session(tmp_path: Path, text: str) -> None:
    path = tmp_path / "session.json"
    assert read_session(path) is None
    path.write_text(text)
    assert read_session(path) is None
