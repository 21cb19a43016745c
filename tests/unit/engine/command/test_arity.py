"""Which words are values before the version is known."""

from __future__ import annotations

import pytest

from planner.engine.command.arity import full_name, is_flag, is_flag_name, positionals, takes, unknown_anywhere


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("study --max-num-seqs 4", ["study"]),
        ("--max-num-seqs 4 study", ["study"]),
        ("--enforce-eager study", ["study"]),
        ("--max-num-seqs=4 study", ["study"]),
        ("--no-enable-prefix-caching study", ["study"]),
        ("--enable-chunked-prefill true study", ["study"]),
        ("--served-model-name a b", []),
        ("--max-model-len -1 study", ["study"]),
        ("-tp 4 study", ["study"]),
        ("-tp4 study", ["study"]),
        ("-O3 study", ["study"]),
        ("-O 3 study", ["study"]),
        ("-cc.mode 3 study", ["study"]),
        ("--speculative-config.method mtp study", ["study"]),
        ("--unknown value", []),
        ("-q awq study", ["study"]),
    ],
)
def test_positional_words(line: str, words: list[str]) -> None:
    split = line.split()
    assert [split[place] for place in positionals(split)] == words


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("--max_num_seqs=4", "--max-num-seqs"),
        ("--max-num-seq", "--max-num-seqs"),
        ("--no-enforce-eager", "--enforce-eager"),
        ("--disable-prefix-caching", "--enable-prefix-caching"),
        ("-tp", "--tensor-parallel-size"),
        ("-tp8", "--tensor-parallel-size"),
        ("-cc.mode", "--compilation-config"),
        ("--nothing", None),
        ("-z", None),
    ],
)
def test_the_flag_that_a_word_means(word: str, name: str | None) -> None:
    assert full_name(word) == name


def test_values_and_flags() -> None:
    assert not is_flag("-1")
    assert not is_flag("-")
    assert not is_flag("-x y")
    assert is_flag("-tp")
    assert takes("--enforce-eager") == "bool_optional"
    assert takes("--nothing") is None
    assert is_flag_name("--max_num_seqs")
    assert is_flag_name("-q")
    assert not is_flag_name("--max-num-seq")


def test_only_what_no_release_knows_is_unknown_anywhere() -> None:
    line = "--enable-reasoning --omni x --max-num-seq 4 --swap-space 4 -O3 --stage-configs-path y -tp4 --help"
    assert unknown_anywhere(line.split()) == ["--omni", "--stage-configs-path"]
