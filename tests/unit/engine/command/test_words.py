"""argparse's own reading with the flags of a release; all that is wrong at once."""

from __future__ import annotations

import pytest
from packaging.version import Version

from planner.engine.command.words import Reading, read_words, unknown_words
from planner.engine.flag_table import release_of


def _read(line: str, version: str = "0.24.0") -> Reading:
    return read_words(line.split(), release_of(Version(version)))


def _values(line: str, version: str = "0.24.0") -> dict[str, tuple[str, ...] | bool]:
    reading = _read(line, version)
    assert (reading.unknown, reading.wrong) == ([], [])
    return {one.flag.field: one.values or not one.is_off for one in reading.given}


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("--max-num-seqs 4", {"max_num_seqs": ("4",)}),
        ("--max-num-seq=4", {"max_num_seqs": ("4",)}),
        ("--tensor-parallel 2", {"tensor_parallel_size": ("2",)}),
        ("-tp=2 -pp 2", {"tensor_parallel_size": ("2",), "pipeline_parallel_size": ("2",)}),
        ("-q awq", {"quantization": ("awq",)}),
        ("-qawq", {"quantization": ("awq",)}),
        ("--no-enable-prefix-caching", {"enable_prefix_caching": False}),
        ("--max-model-len -1", {"max_model_len": ("-1",)}),
        ("--max-model-len auto", {"max_model_len": ("auto",)}),
        ("--max-model-len 16k --kv-cache-memory 4G", {"max_model_len": ("16k",), "kv_cache_memory_bytes": ("4G",)}),
        ("--served-model-name a b --port 1", {"served_model_name": ("a", "b"), "port": ("1",)}),
        ("--port $PORT", {"port": ("$PORT",)}),
        ("--middleware a --middleware b", {"middleware": ("b",)}),
    ],
)  # fmt: skip
def test_words_are_read_as_argparse_reads_them(line: str, values: dict[str, object]) -> None:
    assert _values(line) == values


def test_a_repeated_flag_counts_the_last_time() -> None:
    assert _read("--max-num-seqs 4 --max-num-seqs 8").last()["--max-num-seqs"].values == ("8",)


@pytest.mark.parametrize(
    ("version", "line", "is_off"),
    [
        ("0.7.3", "--enable-chunked-prefill=False", True),
        ("0.7.3", "--enable-chunked-prefill true", False),
        ("0.7.3", "--enable-chunked-prefill", False),
        ("0.33.0", "--disable-prefix-caching", True),
        ("0.33.0", "--enable-custom-all-reduce", True),
    ],
)
def test_booleans_of_the_first_and_the_last_releases(version: str, line: str, is_off: bool) -> None:
    (one,) = _read(line, version).given
    assert one.is_off == is_off


@pytest.mark.parametrize(
    ("version", "line"),
    [
        ("0.19.1", "--enable-chunked-prefill true"),
        ("0.8.4", "--no-disable-custom-all-reduce"),
        ("0.32.0", "--disable-prefix-caching"),
        ("0.10.0", "--enable-reasoning"),
        ("0.8.5", "--speculative-config.method mtp"),
    ],
)
def test_what_a_release_does_not_take_is_unknown(version: str, line: str) -> None:
    assert _read(line, version).unknown


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--enable-chunked-prefill=False", "ignored explicit argument 'False'"),
        ("--max-num-seqs many", "argument --max-num-seqs: invalid int value: 'many'"),
        ("--max-num-seqs", "argument --max-num-seqs: expected one argument"),
        ("--gpu-memory-utilization high", "argument --gpu-memory-utilization: invalid float value: 'high'"),
        ("--max 4", "ambiguous option: --max could match"),
    ],
)
def test_wrong_values_are_told_in_argparses_words(line: str, words: str) -> None:
    (wrong,) = _read(line).wrong
    assert words in wrong


def test_all_that_is_wrong_is_told_at_once() -> None:
    reading = _read("--one 1 --max-num-seqs many --enforce-eager=yes --two --port 80 --max 3 --three=3")
    assert reading.unknown == ["--one 1", "--two", "--three=3"]
    assert len(reading.wrong) == 3
    assert [one.flag.field for one in reading.given] == ["port"]


def test_unknown_words_are_told_with_releases_and_near_names() -> None:
    told = unknown_words(
        ["--enable-reasoning", "--no-port", "--max-nmu-seqs 4", "--tp 2", "--trails", "--zzz"],
        release_of(Version("0.24.0")),
        ["--trials"],
    )
    assert told == (
        "unrecognized arguments: --enable-reasoning (since 0.7.1, until 0.9.2), --no-port (--port has no --no- form in "
        "this version), --max-nmu-seqs 4 (did you mean --max-num-seqs?), --tp 2 (did you mean -tp?), --trails (did you "
        "mean --trials?), --zzz"
    )


def test_flags_are_written_again_as_they_are_read() -> None:
    line = "--port 80 --served-model-name a b --no-enable-sleep-mode --seed=-1 --limit-mm-per-prompt {}"
    reading = _read(line)
    again = [word for one in reading.given for word in one.words]
    assert read_words(again, release_of(Version("0.24.0"))).given == reading.given
