"""One rule for all commands: --json prints one document, -o FILE writes what is printed, - is stdout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main

from planner.cli.main import LASTING, app

Run = Callable[[str], tuple[int, str, str]]
GROUP: Any = typer.main.get_command(app)


def test_every_command_that_answers_writes_its_answer_to_a_file() -> None:
    for name, command in GROUP.commands.items():
        options = {word for parameter in command.params for word in parameter.opts}
        assert ({"-o", "--output"} <= options) == (name not in LASTING), name


@pytest.mark.parametrize(
    "line",
    ["gpus", "gpus --json", "models --json", "schema study", "estimate --model qwen3-8b --gpu H200",
     "candidates", "candidates --json"],
)  # fmt: skip
def test_the_file_has_what_stdout_would_have(run: Run, study: Path, line: str) -> None:
    printed = run(line)
    assert run(f"{line} -o -") == printed
    assert run(f"{line} -o answer") == (0, "", "wrote answer\n")
    assert Path("answer").read_text("utf-8") == printed[1]
    assert study.exists()


def test_an_answer_with_an_exit_code_is_written_too(run: Run) -> None:
    line = "estimate --model qwen3-8b --gpu 'RTX 3090' --gpu-memory-utilization 0.2 --json -o answer.json"
    assert run(line) == (3, "", "wrote answer.json\n")
    assert json.loads(Path("answer.json").read_text("utf-8"))["verdict"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gpus -o none/x", "--output none/x: no such folder: "),
        ("gpus -o .", "--output .: is a folder"),
        ("tune --model qwen3-8b --gpu H200 --dry-run -o /proc/self/mem", "--output /proc/self/mem: cannot be written"),
        ("estimate --model nothing --gpu H200 -o answer", "nothing"),
        ("report --html --jsonl -o answer", "one at a time"),
    ],
)
def test_nothing_is_written_where_there_is_no_answer(run: Run, line: str, words: str) -> None:
    code, out, err = run(line)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert not Path("answer").exists()


def test_a_file_on_which_writing_fails_is_one_line(run: Run) -> None:
    code, out, err = run("gpus -o /dev/full")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "No space left on device" in err


def test_an_old_answer_stays_until_the_new_one_is_whole(run: Run) -> None:
    Path("answer").write_text("old", "utf-8")
    assert run("estimate --model nothing --gpu H200 -o answer")[0] == 2
    assert Path("answer").read_text("utf-8") == "old"


def test_an_export_goes_to_stdout(run: Run, study: Path) -> None:
    assert run("tune --backend simulated --trials 2 --quiet")[0] == 0
    code, out, err = run("export --simulated -o -")
    assert (code, err) == (0, "")
    assert out == (study.parent / "simulated" / "run.sh").read_text("utf-8")
    code, _, err = run("export --simulated --json -o -")
    assert (code, "drop one" in err) == (2, True)


def test_progress_is_no_part_of_the_answer(run: Run, study: Path) -> None:
    code, out, err = run("tune --backend simulated --trials 2 -o answer")
    assert (code, out) == (0, "")
    assert "Searched settings" in err
    assert "Trials: output_throughput" in Path("answer").read_text("utf-8")
    assert "trial 0" not in Path("answer").read_text("utf-8")
    assert study.exists()
