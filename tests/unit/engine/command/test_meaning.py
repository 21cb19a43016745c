"""Words become settings, words to pass on, and doubts; real lines are taken whole, or every invalid flag is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from packaging.version import Version

from planner.engine.command.meaning import VllmFlags, merged, read_extra_args, read_flags
from planner.engine.command.pasted import is_start, of_flags, read_line
from planner.engine.command.shell import split_line
from planner.engine.config import EngineConfig, settings
from planner.errors import InputError
from tests.places import GOLDEN

LINES: list[dict[str, Any]] = [
    json.loads(line) for line in (GOLDEN / "command-lines.jsonl").read_text("utf-8").splitlines()
]
"""Start lines of public projects, each with its version and the flags that this version refuses."""


def _read(line: str, version: str = "0.24.0") -> VllmFlags:
    return read_flags(line.split(), Version(version))


@pytest.mark.parametrize("case", LINES, ids=lambda case: case["id"])
def test_a_real_line_is_taken_whole_or_each_invalid_flag_is_named(case: dict[str, Any]) -> None:
    words = split_line(case["line"])
    line = read_line(words) if is_start(words) else of_flags(words)
    if not case["refused"]:
        read_flags(line.words, Version(case["vllm"]))
        return
    with pytest.raises(InputError, match="unrecognized arguments: ") as caught:
        read_flags(line.words, Version(case["vllm"]))
    assert [name for name in case["refused"] if name not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("--max-model-len 16k --max-num-batched-tokens 8K", {"max_model_len": 16_000, "max_num_batched_tokens": 8192}),
        ("--kv-cache-memory-bytes 4G", {"kv_cache_memory_bytes": 4 << 30}),
        ("-O3 -tp4", {"optimization_level": 3, "tensor_parallel_size": 4}),
        ("--dtype float --attention-backend flashinfer", {"dtype": "float32", "attention_backend": "FLASHINFER"}),
        ("--no-enforce-eager --enable-prefix-caching", {"enforce_eager": False, "enable_prefix_caching": True}),
        ("--gpu-memory-utilization=.9", {"gpu_memory_utilization": 0.9}),
        ("--device-memory-utilization 0.8", {"gpu_memory_utilization": 0.8}),
    ],
)
def test_settings(line: str, values: dict[str, object]) -> None:
    version = "0.33.0" if "device-memory" in line else "0.24.0"
    assert settings(_read(line, version).settings) == values


@pytest.mark.parametrize(
    ("version", "line", "config"),
    [
        ("0.27.1", "--spec-method mtp --spec-tokens 3", {"method": "mtp", "num_speculative_tokens": 3}),
        ("0.24.0", "--speculative-config.method mtp", {"method": "mtp"}),
        ("0.24.0", '--speculative-config {"method":"mtp"}', {"method": "mtp"}),
        ("0.8.2", "--speculative-config {}", {}),
    ],
)
def test_speculation_is_one_setting_and_a_doubt(version: str, line: str, config: dict[str, object]) -> None:
    found = _read(line, version)
    assert json.loads(found.settings.speculative_config or "null") == config
    assert found.extra_args == ()
    assert [doubt.flags for doubt in found.doubts] == [("--speculative-config",)]


def test_speculation_of_releases_without_the_setting_is_passed_on() -> None:
    found = _read("--speculative-model [ngram] --num-speculative-tokens 5", "0.7.3")
    assert found.settings == EngineConfig()
    assert found.extra_args == ("--speculative-model", "[ngram]", "--num-speculative-tokens", "5")
    assert len(found.doubts) == 1


def test_a_context_of_auto_is_passed_on_since_0_14() -> None:
    for word in ("auto", "-1"):
        found = _read(f"--max-model-len {word}", "0.14.0")
        assert found.is_context_auto
        assert found.settings.max_model_len is None
        assert found.extra_args[0].startswith("--max-model-len")
    with pytest.raises(InputError, match="max-model-len: invalid int value: 'auto'"):
        _read("--max-model-len auto", "0.13.0")


def test_other_flags_are_passed_on_except_those_that_planner_writes() -> None:
    found = _read("--port 80 --host h --served-model-name a b --seed 1 --api-key k --enable-lora --seed 2")
    assert found.extra_args == ("--enable-lora", "--seed", "2")
    assert set(found.replaced) == {"--port", "--host", "--served-model-name", "--api-key"}
    assert set(found.set_aside) == {"--port", "--host", "--served-model-name", "--api-key", "--seed"}
    assert [doubt.words for doubt in found.doubts] == [
        "--enable-lora: room for LoRA adapters is counted with the weights; what they take in activations and graphs "
        "is not modelled"
    ]


def test_all_that_is_wrong_is_one_line_with_the_version() -> None:
    with pytest.raises(InputError) as caught:
        _read("--one --max-num-seqs many --two 2", "0.15.0")
    assert str(caught.value) == (
        "command line: unrecognized arguments: --one, --two 2; argument --max-num-seqs: invalid int value: 'many' "
        "(vLLM 0.15.0, by the rules of 0.14.1)"
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--max-num-seqs 0", "max_num_seqs: Expected `int` >= 1, got '0'"),
        ("--max-num-seqs $SEQS", "max_num_seqs: $SEQS is a variable whose value is not known here"),
        ("--dtype int3", "dtype: Invalid enum value 'int3'"),
        ("--gpu-memory-utilization 1.5", "gpu_memory_utilization: Expected `float` <= 1.0"),
        ("--gpu-memory-utilization nan", "gpu_memory_utilization: "),
        ("--max-num-seqs", "argument --max-num-seqs: expected one argument"),
        ("--enforce-eager=perhaps", "argument --enforce-eager/--no-enforce-eager: ignored explicit argument 'perhaps'"),
        ("--no-max-num-seqs 3", "unrecognized arguments: --no-max-num-seqs 3"),
    ],
)
def test_a_setting_that_cannot_be(line: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        _read(line)
    assert words in str(caught.value)


def test_values_that_only_vllm_refuses_are_told_in_its_words() -> None:
    assert _read("--speculative-config {x").refused == ("argument --speculative-config: invalid loads value: '{x'",)
    assert (
        _read("--lora-dtype int3").refused[0].startswith("argument --lora-dtype: invalid choice: 'int3' (choose from")
    )


def test_extra_args_of_a_study_may_be_of_another_build() -> None:
    words = ["--own-flag", "a b", "--max-num-seqs", "4", "--seed=1"]
    found = read_extra_args(words, Version("0.24.0"), "engine.extra_args")
    assert found.settings.max_num_seqs == 4
    assert [doubt.flags for doubt in found.doubts] == [("--own-flag",)]
    with pytest.raises(InputError, match=r"extra_args: unrecognized arguments: --swap-space 4 \(until 0.17.1\)"):
        read_extra_args(["--swap-space", "4"], Version("0.24.0"), "engine.extra_args")


def test_a_glued_short_flag_is_noted() -> None:
    assert _read("-tp4").notes == ("-tp4 is read as -tp 4; vLLM itself takes it only with a space or =",)


def test_two_readings_together_say_everything_once() -> None:
    first, then = _read("--enable-lora --max-num-seqs 4 --seed 1"), _read("--enable-lora --max-num-seqs 8")
    both = merged(first, then)
    assert both.settings.max_num_seqs == 8
    assert len(both.doubts) == 1
    assert both.set_aside == ("--seed",)
    assert merged(VllmFlags(), first) == first
