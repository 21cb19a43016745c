"""Texts as they are copied."""

from __future__ import annotations

import pytest

from planner.engine.command.pasted import is_start, read_line
from planner.engine.command.shell import assigned, commands, is_left_behind, split_line
from planner.errors import InputError

SERVE = ["vllm", "serve", "o/m", "--port", "1"]


@pytest.mark.parametrize(
    "text",
    [
        "vllm serve o/m --port 1",
        "$ vllm serve o/m --port 1",
        "(venv) $ vllm serve o/m --port 1",
        "me@box:~/work$ vllm serve o/m --port 1",
        "(base) root@gpu-1:/data# vllm serve o/m --port 1",
        "[me@node01 ~]$ vllm serve o/m --port 1",
        "PS C:\\Users\\me> vllm serve o/m --port 1",
        "# vllm serve o/m --port 1",
        "```bash\nvllm serve o/m --port 1\n```",
        "vllm serve o/m --port 1  # eight thousand",
        "vllm serve o/m \\\n  --port 1",
        "vllm serve o/m \\  \n  --port 1 \\",
        "$ vllm serve o/m \\\n> --port 1",
        "vllm serve o/m \\\n  # the port\n  --port 1",
        "vllm serve o/m\n  --port 1",
        "vllm serve o/m `\n  --port 1",
        "vllm serve o/m ^\r\n  --port 1",
    ],
)
def test_what_copying_adds_is_taken_away(text: str) -> None:
    assert commands(text) == [SERVE]


def test_commands_end_outside_quotes_only() -> None:
    text = 'cd /x && export A=1; vllm serve o/m --x \'{"a":\n 1}; # b\' --y "c \\" && d"\nnvidia-smi'
    assert commands(text) == [
        ["cd", "/x"],
        ["export", "A=1"],
        ["vllm", "serve", "o/m", "--x", '{"a":\n 1}; # b', "--y", 'c " && d'],
        ["nvidia-smi"],
    ]
    assert commands("vllm serve o/m#1 --x=a#b") == [["vllm", "serve", "o/m#1", "--x=a#b"]]
    with pytest.raises(InputError, match="the pasted line: No closing quotation"):
        commands("vllm serve 'o/m")


def test_variables_are_those_of_a_command_that_only_sets_them() -> None:
    assert assigned(["export", "A=1", "B=a b"]) == {"A": "1", "B": "a b"}
    assert assigned(["A="]) == {"A": ""}
    assert assigned(["A=1", "vllm"]) is None
    assert assigned([]) is assigned(["export"]) is None


def test_only_blanks_and_prompts_are_left_behind() -> None:
    assert [word for word in ("", " ", "\\", "$", "^", "-", "0", "\\x") if is_left_behind(word)] == [
        " ",
        "\\",
        "$",
        "^",
    ]
    assert split_line("vllm serve \\ o/m") == ["vllm", "serve", " o/m"]


@pytest.mark.parametrize(
    "text",
    [
        "# start\nexport CUDA_VISIBLE_DEVICES=0,1\nexport A=1\nvllm serve o/m --port 1",
        "CUDA_VISIBLE_DEVICES=0,1 A=1 o/m --port 1",
        "export CUDA_VISIBLE_DEVICES=0,1 A=1 && vllm o/m --port 1",
        "bash -c 'export CUDA_VISIBLE_DEVICES=0,1 A=1; exec vllm serve o/m --port 1'",
    ],
)
def test_the_first_command_that_starts_vllm_is_read_with_the_variables_before_it(text: str) -> None:
    assert is_start([text])
    found = read_line([text])
    assert (found.model, found.words) == ("o/m", ("--port", "1"))
    assert found.env == {"CUDA_VISIBLE_DEVICES": "0,1", "A": "1"}


@pytest.mark.parametrize("text", ["o/m --port 1", "/models/m --port 1", "--model o/m --port 1", "vllm o/m --port 1"])
def test_vllm_serve_may_be_lost(text: str) -> None:
    assert is_start([text])
    assert read_line([text]).words == ("--port", "1")
    assert str(read_line([text]).model).endswith("/m")


@pytest.mark.parametrize("text", ["a sentence of words", "studies/x and y", "--port 80", "ls -l /x", "# a b", "A=1"])
def test_other_texts_start_nothing(text: str) -> None:
    assert not is_start([text])
