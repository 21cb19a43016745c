"""Commands as chats, editors, notebooks and lists of processes show them: read as they were meant."""

from __future__ import annotations

import json
from typing import Any

import pytest

from planner.engine.command.pasted import is_start, read_line
from planner.engine.command.retyped import buried, retyped
from tests.places import GOLDEN

TEXTS: list[dict[str, Any]] = [
    json.loads(line) for line in (GOLDEN / "pasted-texts.jsonl").read_text("utf-8").splitlines()
]
"""Starts as people paste them, with the model and the flags that each names."""


@pytest.mark.parametrize("case", TEXTS, ids=lambda case: case["text"][:20])
def test_a_start_is_read_whatever_carried_it(case: dict[str, Any]) -> None:
    assert is_start([case["text"]])
    found = read_line([case["text"]])
    assert found.model == case["model"]
    assert set(case["flags"]) <= set(found.words)
    assert all(word.isascii() for word in found.words)


@pytest.mark.parametrize(
    ("typed", "plain"),
    [
        ("x \u2014max-model-len 1", "x --max-model-len 1"),
        ("x \u2013tp 2 \u2013port 1", "x -tp 2 --port 1"),
        ("x -\u2010seed 1", "x --seed 1"),
        ("a\u2014b", "a\u2014b"),
        ("\u201ca\u201d \u2018b\u2019", "\"a\" 'b'"),
        ("a\u00a0b\u3000c\u200b", "a b c"),
        ("!nohup x", "nohup x"),
        ("%%bash --bg\nx", "\nx"),
        ("`x y`", "x y"),
        ("100% x!", "100% x!"),
        ("vllm serve m --api-key a!b %c", "vllm serve m --api-key a!b %c"),
    ],
)
def test_characters_are_those_of_a_keyboard(typed: str, plain: str) -> None:
    assert retyped(typed) == plain


@pytest.mark.parametrize(
    "text",
    [
        "I run `vllm serve o/m --port 1` and get OOM",
        "cmd = 'vllm serve o/m --port 1'\nos.system(cmd)",
        "<code>vllm serve o/m --port 1</code> ends",
        "see: vllm serve o/m --port 1",
    ],
)
def test_a_start_ends_with_the_mark_that_began_it(text: str) -> None:
    assert buried(text) == "vllm serve o/m --port 1"


@pytest.mark.parametrize(
    "text", ["a study of mine", "run(['ls', '-l'])", "x = [1, 2]", "myvllm serve x", "['vllm', 3]"]
)
def test_what_starts_no_engine_holds_none(text: str) -> None:
    assert buried(text) is None


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("uv run --with vllm==0.11.0 vllm serve o/m", "0.11.0"),
        ("pip install 'vllm[audio]==0.10.2'\nvllm serve o/m", "0.10.2"),
        ("pip install -U vllm\nvllm serve o/m", None),
        ("pip install vllm==0.10.2; docker run vllm/vllm-openai:v0.12.0 o/m", "0.12.0"),
    ],
)
def test_a_version_that_is_installed_beside_the_start_is_its_own(text: str, version: str | None) -> None:
    assert read_line([text]).version == version
