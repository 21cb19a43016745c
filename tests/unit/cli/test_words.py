"""Whose words are whose, and whole lines in place of options."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.cli.words import OwnOptions, PartedWords, part
from planner.errors import InputError

OPTIONS = OwnOptions(
    frozenset({"--json", "--help", "-q", "--quiet"}),
    frozenset({"--model", "--gpu", "--num-gpus", "--vllm-version", "--fit", "--seed"}),
)


def _part(*words: str) -> PartedWords:
    return part(words, OPTIONS)


@pytest.mark.parametrize(
    ("line", "own", "vllm"),
    [
        ("study --fit max_model_len", "study --fit max_model_len", ""),
        ("--max-num-seqs 4 study --json", "study --json", "--max-num-seqs 4"),
        ("study --port 80 --gpu H200 --enforce-eager", "study --gpu H200", "--port 80 --enforce-eager"),
        ("study --enforce-eager --json", "study --json", "--enforce-eager"),
        ("--gpu=H200 --model m -tp 4 --help", "--gpu=H200 --model m --help", "-tp 4"),
        ("study --max-model-len -1", "study", "--max-model-len -1"),
        ("study -q", "study -q", ""),
        ("study -q --json", "study -q --json", ""),
        ("study -q awq", "study", "-q awq"),
        ("--gpu H200 org/model --port 80", "--gpu H200 --model org/model", "--port 80"),
        ("study --seed 1", "study --seed 1", ""),
        ("--gpu H200 org/model", "--gpu H200 --model org/model", ""),
        ("--gpu H200 qwen3-8b", "--gpu H200 --model qwen3-8b", ""),
        ("--gpu H200 /nowhere/Qwen3-8B", "--gpu H200 --model /nowhere/Qwen3-8B", ""),
        ("--gpu H200 study", "--gpu H200 study", ""),
        ("--gpu H200 org/model \\ --port 80", "--gpu H200 --model org/model", "--port 80"),
    ],
)
def test_words_are_parted(line: str, own: str, vllm: str) -> None:
    found = _part(*line.split())
    assert (found.own, found.vllm) == (own.split(), vllm.split())


def test_a_pasted_line_gives_model_version_cards_and_tensor_parallel_size() -> None:
    line = "docker run --gpus all -e VLLM_USE_V1=0 vllm/vllm-openai:v0.9.2 org/model -pp 2 --seed 1 --json"
    found = _part("--gpu", "H200", *line.split())
    assert found.own == [
        "--gpu", "H200", "--json", "--model", "org/model", "--vllm-version", "0.9.2", "--num-gpus", "2",
    ]  # fmt: skip
    assert found.vllm == ["-pp", "2", "--seed", "1", "--tensor-parallel-size", "1"]
    assert found.env == {"VLLM_USE_V1": "0"}


@pytest.mark.parametrize(
    "words",
    [
        ["$", "vllm", "serve", "org/model", "--port", "80"],
        ["A=1", "org/model", "--port", "80"],
        ["vllm", "org/model", " ", "--port", "80"],
        ["org/model --port 80"],
        ["--model org/model --port 80"],
        ["me@host:~$ vllm serve org/model \\\n --port 80"],
    ],
)
def test_a_line_may_be_pasted_as_it_was_copied(words: list[str]) -> None:
    found = _part("--gpu", "H200", *words)
    assert found.own == ["--gpu", "H200", "--model", "org/model", "--num-gpus", "1"]
    assert found.vllm == ["--port", "80", "--tensor-parallel-size", "1"]


def test_options_may_follow_a_quoted_line() -> None:
    line = "vllm serve org/model --port 80 -tp 2"
    for words in ((line, "--gpu", "H200", "--max-num-seqs", "4"), ("--max-num-seqs", "4", "--gpu", "H200", line)):
        found = _part(*words)
        assert found.own == ["--gpu", "H200", "--model", "org/model", "--num-gpus", "2"]
        assert found.vllm == ["--port", "80", "-tp", "2", "--max-num-seqs", "4"], "so that what is typed wins"
    with pytest.raises(InputError, match="two lines that start vLLM; paste one"):
        _part(line, line)
    assert _part("vllm serve o/m", "--gpu", "H200", "-tp", "4").own[-2:] == ["--num-gpus", "4"]
    assert _part(line, "--model", "m", "--num-gpus", "8").own == ["--model", "m", "--num-gpus", "8"]


@pytest.mark.parametrize("words", [[" "], ["$"], ["study", "\\"], [" ", "--json"]])
def test_a_blank_without_a_line_is_refused(words: list[str]) -> None:
    with pytest.raises(InputError, match="is no word for planner; is it a variable that is not set"):
        _part(*words)


def test_a_text_that_starts_no_engine_is_refused() -> None:
    with pytest.raises(InputError, match="a text that starts no vLLM; paste vllm serve MODEL"):
        _part("from vllm import LLM\nllm = LLM('o/m')")


def test_planners_own_options_win() -> None:
    line = "docker run --gpus 4 vllm/vllm-openai:v0.9.2 org/model -tp 2"
    found = _part("--model", "m", "--num-gpus", "8", "--vllm-version", "0.24.0", line)
    assert found.own == ["--model", "m", "--num-gpus", "8", "--vllm-version", "0.24.0"]
    assert found.vllm == ["-tp", "2"]


def test_a_compose_file_stands_for_its_line(tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text("services: {a: {image: 'vllm/vllm-openai:v0.24.0', command: [org/model, -tp, '2']}}")
    found = _part(str(path), "--gpu", "H200")
    assert found.own == ["--model", "org/model", "--vllm-version", "0.24.0", "--num-gpus", "2", "--gpu", "H200"]
    study = tmp_path / "study.yaml"
    study.write_text("name: a\n")
    assert _part(str(study), "--json").own == [str(study), "--json"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["study", "--omni", "--nothing-like-it", "1"], "unrecognized arguments: --omni, --nothing-like-it"),
        (["--modle", "m"], "--modle (did you mean --model?)"),
        (["--model", "m", "--omni", "--enable-reasoning"], "--omni, --enable-reasoning (since 0.7.1, until 0.9.2)"),
        (["vllm serve --port 80"], "the pasted line names no model; add --model"),
        (["vllm serve $MODEL"], "the pasted line's model is $MODEL"),
        (["\N{EM DASH}gpu", "H200"], "is no hyphen; write --gpu"),
    ],
)
def test_what_nobody_knows_is_one_line(words: list[str], told: str) -> None:
    with pytest.raises(InputError) as caught:
        _part(*words)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
