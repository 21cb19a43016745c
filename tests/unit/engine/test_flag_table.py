"""The table of flags: every release, rules that were once wrong, and that what is written is known and read back."""

from __future__ import annotations

import re
from typing import Any, get_args, get_type_hints

import pytest
from packaging.version import Version

from planner.engine.command.meaning import read_flags
from planner.engine.config import BOOLEANS, FIELDS, EngineConfig, KvCacheDtype, convert_settings
from planner.engine.flag_table import every_choice, every_flag, lifespan, lifespan_words, release_of, releases
from planner.engine.flags import flag, refused_choice, serve_args, serve_env
from planner.engine.versions import CONFIG_FILE_LISTS_SINCE, NEWEST, knows
from planner.errors import InputError
from tests.places import GOLDEN

RELEASES = releases()
RECORDED = {"0.6.6": "flags-0.6.6.txt", "0.8.5": "flags-0.8.5.txt"}
"""Releases whose own help was kept."""


def test_the_releases_stand_in_order_and_the_newest_is_the_one_that_planner_knows() -> None:
    assert list(RELEASES) == sorted(RELEASES, key=Version)
    assert len(RELEASES) == 55
    assert Version(RELEASES[-1]) == NEWEST


@pytest.mark.parametrize("version", RECORDED)
def test_the_flags_are_those_of_the_release_itself(version: str) -> None:
    lines = (GOLDEN / RECORDED[version]).read_text("utf-8").splitlines()[1:]
    real = {word for word in " ".join(lines).split() if word.startswith("--")} - {"--help"}
    release = release_of(Version(version))
    ours = set(release.flags)
    for one in release.flags.values():
        ours |= {*one.negatives(release.rules), *(name for name in one.also if name.startswith("--"))}
    assert real <= ours


@pytest.mark.parametrize(
    ("name", "since", "until"),
    [
        ("--enable-expert-parallel", "0.8.0", None),
        ("--num-scheduler-steps", None, "0.10.1"),
        ("--speculative-config", "0.8.2", None),
        ("--max-seq-len-to-capture", None, "0.11.0"),
        ("--attention-backend", "0.13.0", None),
        ("--enable-reasoning", "0.7.1", "0.10.0"),
        ("--port", None, None),
    ],
)
def test_when_flags_came_and_went(name: str, since: str | None, until: str | None) -> None:
    assert lifespan(name) == (since, until)
    assert release_of(Version("0.6.6")).knows(name) == (since is None)
    for release in RELEASES:
        now = Version(release)
        assert release_of(now).knows(name) == (
            (since is None or now >= Version(since)) and (until is None or now < Version(until))
        )


def test_the_last_release_that_has_a_flag_is_named() -> None:
    assert lifespan_words("--num-scheduler-steps") == "until 0.10.0"
    assert lifespan_words("--enable-reasoning") == "since 0.7.1, until 0.9.2"
    assert lifespan_words("--port") == ""


def test_booleans_have_a_negative_form_from_the_release_that_has_it() -> None:
    for name, first in (
        ("enable-chunked-prefill", "0.8.5"),
        ("enforce-eager", "0.9.0"),
        ("trust-remote-code", "0.9.0"),
    ):
        for version in RELEASES:
            found = release_of(Version(version)).flag(f"--{name}")
            assert found is not None
            assert (found.kind == "bool_optional") == (Version(version) >= Version(first)), (name, version)


@pytest.mark.parametrize(
    ("version", "release"),
    [
        ("0.15.0", "0.14.1"),
        ("0.9.2.dev5", "0.9.1"),
        ("0.10.1+cu128", "0.10.1"),
        ("0.6.0", "0.6.6"),
        ("0.40.0", "0.33.0"),
        ("0.8.5.post1", "0.8.5.post1"),
    ],
)
def test_a_version_between_releases_has_the_rules_of_the_earlier_one(version: str, release: str) -> None:
    found = release_of(Version(version))
    assert found.version == release
    assert found.is_exact == (version == release)


def test_0_33_pairs_enable_with_disable() -> None:
    for version, has in (("0.32.0", False), ("0.33.0", True)):
        release = release_of(Version(version))
        found = release.flag("--enable-prefix-caching")
        assert found is not None
        assert ("--disable-prefix-caching" in found.negatives(release.rules)) == has


def test_parser_rules_agree_with_the_facts_of_versions() -> None:
    for version in RELEASES:
        assert release_of(Version(version)).rules.config_lists == (Version(version) >= CONFIG_FILE_LISTS_SINCE)


def test_every_kv_cache_dtype_of_any_release_is_a_setting() -> None:
    kinds = set(get_args(KvCacheDtype))
    assert every_choice("--kv-cache-dtype") <= kinds
    assert "octave_k3v4" in kinds  # of 0.33.0, which takes others too


SAMPLES: dict[str, Any] = {
    "dtype": "bfloat16", "quantization": "awq", "kv_cache_dtype": "fp8", "speculative_config": '{"method": "ngram"}',
    "attention_backend": "FLASH_ATTN", "load_format": "auto", "block_size": 16, "gpu_memory_utilization": 0.8,
    "optimization_level": 2,
}  # fmt: skip


def _samples(field: str) -> list[Any]:
    if field in BOOLEANS:
        return [True, False]
    return [SAMPLES.get(field, 0.5 if "float" in str(get_type_hints(EngineConfig)[field]) else 2)]


@pytest.mark.parametrize("version", RELEASES)
def test_what_is_written_is_known_to_the_release_and_read_back(version: str) -> None:
    """In every release, every setting: only flags that it has are written, and they say what the setting says."""
    now = Version(version)
    for field in FIELDS:
        for value in _samples(field):
            engine = convert_settings({field: value}, version)
            if not knows(now, field):
                with pytest.raises(InputError, match=re.escape(f"{flag(field)} is not a flag of vLLM {version}")):
                    serve_args(engine, now)
                continue
            words = serve_args(engine, now)
            if serve_env(engine, now) or (value is False and not words):
                continue  # a variable of the environment; or left out, where there is no way to say no
            read = read_flags(words, now)
            assert (read.settings, read.extra_args) == (engine, ()), (field, words)


@pytest.mark.parametrize(
    ("version", "field", "value", "is_refused"),
    [
        ("0.8.5", "kv_cache_dtype", "nvfp4", True),
        ("0.6.6", "kv_cache_dtype", "turboquant_k8v4", True),
        ("0.20.2", "kv_cache_dtype", "nvfp4", False),
        ("0.33.0", "kv_cache_dtype", "nvfp4", False),
        ("0.26.0", "quantization", "gguf", False),
        ("0.26.0", "quantization", "a_typing_eror", True),
        ("0.8.5", "load_format", "hocus", True),
        ("0.6.6", "block_size", 7, True),
    ],
)
def test_values_have_releases_too(version: str, field: str, value: Any, is_refused: bool) -> None:
    now = Version(version)
    assert (refused_choice(now, field, value) is not None) == is_refused
    if is_refused:
        with pytest.raises(InputError, match=r"invalid choice|Unknown quantization|Load format"):
            serve_args(convert_settings({field: value}, ""), now)


def test_flags_are_spelled_with_hyphens_and_every_setting_is_one() -> None:
    names = set(every_flag())
    assert all(re.fullmatch(r"--[a-z0-9]+(-[a-z0-9]+)*", name) for name in names)
    assert {flag(field) for field in FIELDS} <= names
