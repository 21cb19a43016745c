"""Empty words, closed streams and a COLUMNS that is no width: an answer or one line, and never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from planner.cli.main import COMMANDS
from planner.cli.surroundings import mend_width, refuse_empty
from planner.errors import InputError
from tests.places import ROOT

ESTIMATE = ["estimate", "--model", "Qwen/Qwen3-8B", "--gpu", "H200"]
Run = Callable[[str], tuple[int, str, str]]


@pytest.mark.parametrize("line", [f"{command.__name__} ''" for command in COMMANDS] + ["''", "estimate --gpu ''"])
def test_an_empty_word_is_one_line(run: Run, line: str) -> None:
    code, out, err = run(line)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "an empty word" in err


def test_an_option_without_its_value_is_named(run: Run) -> None:
    code, _, err = run("tune --storage= --dry-run")
    assert (code, err) == (
        2,
        "planner: command line: --storage: its value is empty; leave the option out, or give it a value\n",
    )


def test_words_that_have_something_pass() -> None:
    refuse_empty(["estimate", "--gpu=H200", "a=", "-", "--", " "])
    with pytest.raises(InputError, match="after --model"):
        refuse_empty(["estimate", "--model", ""])


@pytest.mark.parametrize(
    ("columns", "kept"),
    [("80", True), ("1", True), ("0", False), ("-5", False), ("wide", False), ("99999999999", False), ("", False)],
)
def test_a_width_that_is_none_is_left_out(columns: str, kept: bool) -> None:
    environment = {"COLUMNS": columns}
    mend_width(environment)
    assert ("COLUMNS" in environment) == kept


def planner(words: list[str], redirected: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line under a shell that closes a stream."""
    return subprocess.run(
        ["bash", "-c", f'exec "$@" {redirected}', "bash", sys.executable, "-m", "planner", *words],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def test_zero_columns_are_answered() -> None:
    done = planner(ESTIMATE, COLUMNS="0")
    assert done.returncode == 0
    assert "verdict" in done.stdout


def test_closed_streams_are_one_line() -> None:
    done = planner(ESTIMATE, ">&-")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "standard output is closed" in done.stderr
    done = planner(["estimate", "--requests", "-"], "<&-")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "standard input is closed" in done.stderr
    done = planner(ESTIMATE, "<&- 2>&-")
    assert (done.returncode, "verdict" in done.stdout) == (0, True)
    assert planner(ESTIMATE, "<&- >&- 2>&-").returncode == 2
