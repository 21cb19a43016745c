"""Whatever the settings and the version: an export has no flag that the version does not know, or there is none."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packaging.version import Version

from planner.engine.config import FIELDS, EngineConfig
from planner.engine.flag_table import lifespan, release_of
from planner.engine.flags import flag
from planner.errors import InputError
from planner.files.structured import convert
from planner.service.export.kinds import ExportKind, exported
from planner.study.problem import Problem
from planner.study.spec import StudySpec
from planner.trials.trial import Trial
from tests.forecasts import forecast_of
from tests.gears import some_in_ci

GOLDEN = Path(__file__).parents[1] / "golden"
VERSIONS = sorted(
    {version for field in FIELDS for version in lifespan(flag(field)) if version is not None}
    | {"0.6.6", "0.7.0", "0.8.0", "0.8.5", "0.9.2", "0.33.0", "0.13.0"},
    key=Version,
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "dtype": st.sampled_from(["half", "bfloat16"]),
    "quantization": st.just("awq"),
    "kv_cache_dtype": st.sampled_from(["auto", "fp8"]),
    "speculative_config": st.just('{"method": "ngram", "num_speculative_tokens": 3}'),
    "attention_backend": st.sampled_from(["XFORMERS", "FLASH_ATTN"]),
    "load_format": st.sampled_from(["auto", "safetensors"]),
    "gpu_memory_utilization": st.sampled_from([0.8, 0.95]),
    "swap_space": st.sampled_from([0.0, 4.0]),
    "cpu_offload_gb": st.sampled_from([0.0, 1.5]),
    "scheduler_delay_factor": st.sampled_from([0.0, 0.5]),
    "optimization_level": st.integers(0, 3),
    "block_size": st.sampled_from([16, 32]),
    "tensor_parallel_size": st.just(1),
    "pipeline_parallel_size": st.just(1),
    "data_parallel_size": st.just(1),
}
BOOLEANS = {name for name, kind in EngineConfig.__annotations__.items() if str(kind) == "bool | None"}


def value_of(field: str) -> st.SearchStrategy[Any]:
    return VALUES.get(field, st.booleans() if field in BOOLEANS else st.sampled_from([1024, 4096]))


CHOSEN = st.sets(st.sampled_from(FIELDS), max_size=8).flatmap(
    lambda names: st.fixed_dictionaries({name: value_of(name) for name in sorted(names)})
)


@cache
def flags_of(version: str) -> frozenset[str]:
    """Flags of the wheel, where its list was read; else by the table of versions."""
    listed = GOLDEN / f"flags-{version}.txt"
    if listed.exists():
        words = listed.read_text("utf-8").split()
        return frozenset(word.removeprefix("--") for word in words if word.startswith("--"))
    known = [f for f in FIELDS if release_of(Version(version)).knows(flag(f))]
    return frozenset(name for f in known for name in (f.replace("_", "-"), "no-" + f.replace("_", "-")))


def written_flags(kind: ExportKind, text: str) -> set[str]:
    """Flags of ours in an export: words that begin with dashes, keys of the file for --config, settings of rungs."""
    if kind == "config":
        words = set(yaml.safe_load(text))
    elif kind == "ladder":
        keys = {key for rung in yaml.safe_load(text)["rungs"] for key in rung["settings"]}
        words = {key.replace("_", "-") for key in keys - {"attention_backend"}}  # a setting, however it is passed
    else:
        code = "\n".join(line for line in text.splitlines() if not line.startswith("# in doubt: "))
        words = set(re.findall(r"(?<![\w-])--([a-z][a-z0-9-]*)", code))
    ours = {field.replace("_", "-") for field in FIELDS}
    return {word for word in words if word in ours or word.removeprefix("no-") in ours}


@pytest.mark.parametrize("version", some_in_ci(VERSIONS, ("0.6.6", "0.8.5", "0.11.0", "0.18.0", "0.33.0")))
def test_no_flag_is_written_that_the_version_does_not_know(version: str, study_data: Any, launch: Any) -> None:
    problem = Problem.of(convert(study_data(engine__version=version, engine__settings={}), StudySpec, "study.yaml"))
    trial: Trial = launch(problem)[0]

    @settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
    @given(chosen=CHOSEN)
    def holds(chosen: dict[str, Any]) -> None:
        engine = convert(chosen, EngineConfig, "settings")
        here = replace(trial, candidate=msgspec.structs.replace(trial.candidate, engine=engine))
        named = set(chosen) - {"attention_backend"}  # an environment variable where it is no flag
        unknown = {f for f in named if not {f.replace("_", "-"), "no-" + f.replace("_", "-")} & flags_of(version)}
        for kind in get_args(ExportKind):
            try:
                text = exported(kind, forecast_of(problem), here, None, Path("ladder.yaml"))
            except (InputError, ValueError) as error:  # a ladder that a person edits has ValueErrors
                assert any(f.replace("_", "-") in str(error) or f in str(error) for f in unknown), (kind, error)  # noqa: PT017
                continue
            assert kind == "systemd" or not unknown, kind
            written = written_flags(kind, text)
            assert all({flag, flag.removeprefix("no-")} & flags_of(version) for flag in written), (kind, written)
            if kind not in ("systemd", "ladder"):
                assert {f.replace("_", "-") for f in named if chosen[f] is not False} <= written, kind

    holds()


@pytest.mark.parametrize("where", ["engine__settings", "models__small__settings"])
def test_a_study_that_sets_an_unknown_flag_has_no_export_at_all(study_data: Any, where: str) -> None:
    data = study_data(engine__version="0.6.6", **{where: {"async_scheduling": True}})
    with pytest.raises(InputError, match=r"async_scheduling is not a setting of vLLM 0\.6\.6"):
        Problem.of(convert(data, StudySpec, "study.yaml"))
