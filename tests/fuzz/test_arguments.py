"""No argument list ends in a traceback: those of one seed, the same in every run; `make prove` draws new ones."""

from __future__ import annotations

import random
import threading

import pytest

from tests.fuzz.arguments import commands, drawn, fault, faults, harmless, lists_of

pytestmark = pytest.mark.filterwarnings("ignore")
DRAWS = 2000


def test_no_argument_list_ends_in_a_traceback() -> None:
    assert faults(DRAWS) == []


def test_every_command_and_every_option_is_drawn() -> None:
    known, random_ = commands(), random.Random(1)
    lists = [drawn(random_, known) for _ in range(20_000)]
    assert {words[0] for words in lists} >= set(known)
    seen = {name: {word.partition("=")[0] for words in lists if words[0] == name for word in words} for name in known}
    for name, command in known.items():
        options = {option for one in command.params if one.param_type_name == "option" for option in one.opts}
        assert options - {"--follow", "-f"} <= seen[name], name


def test_a_run_that_begins_later_draws_the_same_lists() -> None:
    whole = list(lists_of(7, 0, 1200))
    assert [number for number, _ in whole] == list(range(1200))
    assert list(lists_of(7, 730, 1200)) == whole[730:]


def test_what_would_run_for_long_is_left_out() -> None:
    assert harmless(["tune", "study.yaml"])[-1] == "--dry-run"
    assert harmless(["simulate", "--speedup", "2"])[-2:] == ["--speedup", "0"]
    assert harmless(["init", ".."]) == ["init"]
    assert harmless(["log", "x", "--follow", "-f"]) == ["log", "x"]


def test_a_list_that_does_not_end_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def waits(words: list[str]) -> None:  # noqa: ARG001
        threading.Event().wait()

    monkeypatch.setattr("planner.cli.main.main", waits)
    why = fault(["estimate"], limit_s=0.2)
    assert why is not None
    assert "does not end within 0.2 s" in why
