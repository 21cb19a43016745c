"""A study looked up: what is searched, what is fixed, which combinations are feasible."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.engine.config import EngineConfig
from planner.errors import InputError
from planner.estimate.rules import RULES, check
from planner.study.candidate import Layout
from planner.study.problem import Problem
from planner.study.setup import setup_of
from planner.units import GIB
from tests.forecasts import forecast_of, grid_of

Make = Callable[..., Problem]


def test_what_the_study_fixes_is_not_searched(make_problem: Make) -> None:
    problem = make_problem(engine__settings={"dtype": "half", "max_model_len": 4096, "max_num_seqs": 16})
    assert problem.choices.names == ["layout", "block_size"]
    assert problem.default.engine.max_num_seqs == 16
    assert len(grid_of(problem).indices) == 4


def test_the_studys_settings_win_over_the_spaces(make_problem: Make) -> None:
    problem = make_problem(search_space={"fixed": {"max_model_len": 1024, "block_size": 32}, "search": {}})
    assert (problem.default.engine.max_model_len, problem.default.engine.block_size) == (4096, 32)


@pytest.mark.parametrize(
    ("settings", "num_gpus", "layout"),
    [
        ({}, 4, Layout(1, 4)),
        ({"tensor_parallel_size": 2}, 4, Layout(1, 2)),
        ({"data_parallel_size": 4}, 4, Layout(1, 1)),
        ({"data_parallel_size": 2}, 4, Layout(1, 2)),
        ({"pipeline_parallel_size": 2}, 4, Layout(1, 2, 2)),
    ],
)
def test_without_a_searched_layout_one_instance_has_all_cards(
    make_problem: Make, settings: dict[str, int], num_gpus: int, layout: Layout
) -> None:
    problem = make_problem(
        engine__settings={"dtype": "half", **settings}, hardware__num_gpus=num_gpus, search_space={"search": {}}
    )
    assert problem.default.layout == layout


def test_layouts_that_do_not_fit_the_machine_are_left_out(make_problem: Make) -> None:
    search = {"search": {"layout": ["1xtp4", "1xtp2", "2xtp1", "4xtp1"]}}
    assert make_problem(search_space=search).choices.searched["layout"] == ["1xtp2", "2xtp1"]
    none_fits = make_problem(search_space={"search": {"layout": ["1xtp4", "4xtp1"]}})
    assert (none_fits.choices.names, none_fits.default.layout) == ([], Layout(1, 2))
    too_wide = make_problem(engine__settings={"tensor_parallel_size": 4}, search_space={"search": {}})
    assert grid_of(too_wide).removed_by() == {"enough GPUs": 1}


def test_several_models_are_searched_each_with_its_settings(make_problem: Make) -> None:
    models = {
        "awq": {"path": "/models/A", "architecture": "Qwen/Qwen3-8B-AWQ", "settings": {"quantization": "awq"}},
        "fp16": {"path": "Qwen/Qwen3-8B"},
    }
    problem = make_problem(models=models, search_space={"search": {}})
    assert problem.choices.searched["model"] == ["awq", "fp16"]
    candidates = [problem.choices.candidate({"model": name}) for name in models]
    assert [candidate.engine.quantization for candidate in candidates] == ["awq", None]
    awq, fp16 = (problem.deployment(candidate) for candidate in candidates)
    assert (awq.model.name, fp16.model.name) == ("A", "Qwen3-8B")
    assert awq.memory.weight_bytes < 0.5 * fp16.memory.weight_bytes


def test_an_unfinished_copy_of_a_model_is_not_taken_for_the_shipped_one(make_problem: Make, tmp_path: Path) -> None:
    folder = tmp_path / "Qwen3-8B"
    folder.mkdir()
    with pytest.raises(InputError, match=r"Qwen3-8B: a directory without config\.json"):
        make_problem(models={"m": {"path": str(folder)}})
    problem = make_problem(models={"m": {"path": str(folder), "architecture": "Qwen/Qwen3-8B"}})
    assert problem.models["m"].num_hidden_layers == 36


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hardware__gpu": "RTX 2090"}, "GPU 'RTX 2090' is not known"),
        ({"engine__version": "newest"}, "'newest' is not a version"),
        ({"models": {"m": {"path": "/nowhere/M"}}}, "models.m.path: /nowhere/M is not on this machine; name its arch"),
        ({"models": {"m": {"path": "Nobody/Nothing"}}}, "model 'Nobody/Nothing': no such directory"),
        (
            {"engine__version": "0.20.2", "engine__settings": {"swap_space": 4}},
            "swap_space is not a setting of vLLM 0.20.2; leave it out",
        ),
        ({"search_space": {"search": {"model": ["small", "big"]}}}, "search.model: 'big'; allowed: small"),
    ],
)
def test_what_cannot_be_looked_up_is_named(make_problem: Make, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        make_problem(**changes)
    assert message in str(caught.value)


def test_the_cards_measured_memory_wins_over_the_table(make_problem: Make) -> None:
    assert make_problem(hardware__gpu_memory="20GiB").gpu.memory_bytes == 20 * GIB


def test_arrays_and_scalars_agree_where_words_and_unset_flags_are_searched(make_problem: Make) -> None:
    search = {
        "layout": ["2xtp1", "1xtp2"],
        "max_num_seqs": [None, 8, 4096],
        "max_model_len": [2048, 40960],
        "max_num_batched_tokens": [None, 2048],
        "kv_cache_dtype": ["auto", "fp8"],
        "block_size": [8, 16],
        "enable_prefix_caching": [None, True],
        "swap_space": [0, 4, 30],
        "gpu_memory_utilization": {"low": 0.5, "high": 1.0, "step": 0.1},
    }
    problem = make_problem(engine__settings={"dtype": "half"}, search_space={"search": search})
    grid, predicted = grid_of(problem), grid_of(problem).predicted()["output_throughput"]
    rows = np.random.default_rng(1).choice(len(grid.indices), 200, replace=False)
    for row in rows:
        candidate = problem.choices.candidate(problem.choices.params(grid.indices[row]))
        violated = check(problem.deployment(candidate))
        assert (violated[0].name if violated else None) == (RULES[grid.rule[row]].name if grid.rule[row] >= 0 else None)
        assert forecast_of(problem).predicted(candidate)["output_throughput"] == pytest.approx(predicted[row])
    assert len(set(grid.rule[rows].tolist())) >= 6  # the sample meets rules of many kinds


def test_the_cpu_backends_environment_variable_sizes_its_cache(make_problem: Make) -> None:
    problem = make_problem(
        hardware={"gpu": "CPU"},
        models={"m": {"path": "Qwen/Qwen3-0.6B"}},
        engine={"version": "0.32.0", "settings": {"max_model_len": 1024}, "env": {"VLLM_CPU_KVCACHE_SPACE": "2"}},
        search_space={"search": {"max_num_seqs": [2, 4]}},
    )
    assert problem.deployment(problem.default).memory.kv_cache_bytes == pytest.approx(2 * GIB, rel=0.01)
    assert grid_of(problem).removed_by() == {}


def test_a_searched_setting_the_version_lacks_is_left_out_and_never_written(make_problem: Make) -> None:
    search = {"swap_space": [0, 4], "max_num_seqs": [8, 16], "optimization_level": [None, 1]}
    problem = make_problem(engine__version="0.20.2", search_space={"search": search})
    assert problem.left_out == ("swap_space",)
    assert list(problem.choices.searched) == ["max_num_seqs", "optimization_level"]
    for row in grid_of(problem).indices:
        assert problem.choices.candidate(problem.choices.params(row)).engine.swap_space is None
    older = make_problem(engine__version="0.8.5", search_space={"search": search})
    assert older.left_out == ("optimization_level",)


def test_an_environment_that_forces_v0_is_heeded(make_problem: Make) -> None:
    changes = {"hardware__gpu": "A100 80GB", "engine__version": "0.8.5", "engine__settings": {"max_model_len": 4096}}
    v1, v0 = (make_problem(**changes, engine__env=env) for env in ({}, {"VLLM_USE_V1": "0"}))
    assert v1.deployment(v1.default).engine.generation == "V1"
    engine = v0.deployment(v0.default).engine
    assert (engine.generation, engine.attention_backend) == ("V0", "FLASH_ATTN")
    assert {d.engine.generation for _, d in grid_of(v0).groups} == {"V0"}


def test_a_generation_that_vllm_cannot_read_is_refused(make_problem: Make) -> None:
    with pytest.raises(InputError, match=r"^VLLM_USE_V1=maybe \(environment of the engine\): allowed are 0 and 1$"):
        make_problem(engine__env={"VLLM_USE_V1": "maybe"})
    assert make_problem(engine__env={"VLLM_USE_V1": "1"}).version


def test_room_for_adapters_among_the_further_flags_takes_candidates_away(make_problem: Make) -> None:
    """As `planner estimate` judges the same study: every candidate lacks what the adapters take."""
    words = ["--enable-lora", "--max-loras", "4", "--max-lora-rank", "64"]
    plain, adapted = make_problem(), make_problem(engine__extra_args=words)
    weights = [problem.deployment(problem.default).memory.weight_bytes for problem in (plain, adapted)]
    room = weights[1] - weights[0]
    assert room > 0
    judged = setup_of(adapted.spec, EngineConfig()).answer().deployment.memory.weight_bytes
    assert judged == weights[1]
    huge = make_problem(engine__extra_args=["--enable-lora", "--max-loras", "64", "--max-lora-rank", "512"])
    assert len(grid_of(huge).feasible_rows) < len(grid_of(plain).feasible_rows)


def test_a_measured_card_is_used_and_another_cards_profile_refused(make_problem: Make) -> None:
    assert make_problem(hardware__gpu="H200").gpu.measured is None
    profile = make_problem(hardware__gpu="H200", hardware__profile="h200-vllm-0.24.0").gpu.measured
    assert profile is not None
    assert profile.vllm == "0.24.0"
    with pytest.raises(InputError, match="was measured on H200, the study's card is H100"):
        make_problem(hardware__gpu="H100 80GB", hardware__profile="h200-vllm-0.24.0")
