"""Spellings become plain words by the rules of their release."""

from __future__ import annotations

import json

import pytest
from packaging.version import Version

from planner.engine.command.spelling import glued_short, human_int, plain
from planner.engine.flag_table import release_of


def _plain(line: str, version: str) -> list[str]:
    words, wrong = plain(line.split(), release_of(Version(version)))
    assert wrong == []
    return words


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("16k", 16_000), ("16K", 16_384), ("25.6k", 25_600), ("4G", 4 << 30), ("1.5K", None), ("16", None),
        ("k", None), ("16kb", None),
    ],
)  # fmt: skip
def test_small_letters_are_decimal_and_capitals_binary(text: str, number: int | None) -> None:
    assert human_int(text) == number


@pytest.mark.parametrize("version", ["0.6.6", "0.9.2", "0.33.0"])
def test_underscores_are_hyphens_in_names_only(version: str) -> None:
    assert _plain("--max_num_seqs=1_6 --model a_b", version) == ["--max-num-seqs=1_6", "--model", "a_b"]


@pytest.mark.parametrize(
    ("version", "line", "words"),
    [
        ("0.8.5", "-O3", "-O 3"),
        ("0.10.2", "-O3", '-O {"level":3}'),
        ("0.10.2", "-O 3", '-O {"level":3}'),
        ("0.11.2", "-O=3", '-O {"mode":3}'),
        ("0.12.0", "-O3", "--optimization-level 3"),
        ("0.33.0", "-O 3", "--optimization-level 3"),
        ("0.10.2", "-O.level 3", '-O {"level":3}'),
        ("0.24.0", "-cc.mode 3", '-cc {"mode":3}'),
        ("0.24.0", "-tp4 -pp=2", "-tp 4 -pp=2"),
    ],
)
def test_optimization_levels_and_short_flags(version: str, line: str, words: str) -> None:
    assert [word.replace(" ", "") for word in _plain(line, version)] == words.split()


def test_dotted_keys_are_json_since_0_9() -> None:
    line = "--speculative-config.method mtp --speculative_config.num_speculative_tokens=2 --port 80"
    *rest, name, text = _plain(line, "0.19.1")
    assert (rest, name) == (["--port", "80"], "--speculative-config")
    assert json.loads(text) == {"method": "mtp", "num_speculative_tokens": 2}
    assert "--speculative-config.method" in _plain(line, "0.8.5")


def test_dotted_keys_nest_join_lists_and_replace() -> None:
    line = "--x.a.b 1 --x.a.c true --x.l+ u --x.l+=v,w --x.a.b 2 --x.n 1k"
    assert json.loads(_plain(line, "0.33.0")[-1]) == {"a": {"b": 2, "c": True}, "l": ["u", "v", "w"], "n": 1000}
    assert json.loads(_plain("--x.n 1k", "0.12.0")[-1]) == {"n": "1k"}


def test_a_dotted_key_without_a_value_is_wrong() -> None:
    assert plain(["--x.key"], release_of(Version("0.24.0"))) == ([], ["argument --x.key: expected one argument"])


def test_dots_in_values_and_numbers_are_no_keys() -> None:
    words = ["--served-model-name=a.b", "-0.5", "v1.2"]
    assert _plain(" ".join(words), "0.24.0") == words


def test_a_glued_short_flag_is_told() -> None:
    assert "-tp 4" in "".join(glued_short("-tp4"))
    assert not list(glued_short("-q4"))  # argparse takes it
