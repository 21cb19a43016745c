"""A ladder: the first rung is what was measured, each further one is feasible and uses less; people may edit it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.engine.versions import parse_version
from planner.errors import InputError
from planner.estimate.rules import check
from planner.files.structured import decode, encode
from planner.launch.runs import service_runs
from planner.service.export.guarded import ladder_yaml
from planner.service.ladder import Ladder, load_ladder
from planner.service.reliefs import make_ladder, used_bytes
from planner.study.candidate import Candidate
from planner.study.problem import CPU_KV_ENV, Problem
from planner.units import GIB
from tests.forecasts import forecast_of

Make = Callable[..., Problem]
CPU_STUDY = {
    "hardware": {"gpu": "CPU"},
    "models": {"m": {"path": "Qwen/Qwen3-0.6B"}},
    "search_space": {"search": {}},
}


@pytest.fixture
def ladder_of(launch: Any) -> Callable[..., Ladder]:
    """The ladder under a problem's default, or under it with other settings."""

    def make(problem: Problem, **changes: Any) -> Ladder:
        trial = launch(problem)[0]
        engine = msgspec.structs.replace(trial.candidate.engine, **changes)
        return make_ladder(
            forecast_of(problem), replace(trial, candidate=msgspec.structs.replace(trial.candidate, engine=engine))
        )

    return make


def candidates(problem: Problem, ladder: Ladder) -> list[Candidate]:
    return [
        msgspec.structs.replace(problem.default, engine=rung.settings, env=tuple(sorted(rung.env.items())))
        for rung in ladder.rungs
    ]


def is_a_ladder(problem: Problem, ladder: Ladder) -> bool:
    deployments = [problem.deployment(candidate) for candidate in candidates(problem, ladder)]
    assert not [constraint for deployment in deployments for constraint in check(deployment)]
    used = [used_bytes(deployment.memory) for deployment in deployments]
    assert used == sorted(used, reverse=True)
    assert len(set(used)) == len(used)
    for rung, deployment, num_bytes in zip(ladder.rungs, deployments, used, strict=True):
        assert (rung.memory, rung.kv_tokens) == (int(num_bytes), int(deployment.memory.kv_tokens))
        assert rung.max_model_len == deployment.engine.max_model_len
        assert rung.why
    return True


def test_the_first_rung_is_what_the_script_runs(make_problem: Make, ladder_of: Callable[..., Ladder]) -> None:
    problem = make_problem(engine__extra_args=["--disable-log-stats"], engine__env={"A": "b $c"})
    ladder = ladder_of(problem)
    exported = [msgspec.structs.replace(run, restart=None) for run in service_runs(problem, problem.default)]
    assert [ladder.run_of(i, 0) for i in range(2)] == exported


def test_a_card_gets_headroom_then_smaller_steps_a_shorter_context_and_less_cache(
    make_problem: Make, ladder_of: Callable[..., Ladder]
) -> None:
    problem = make_problem(
        models={"awq": {"path": "Qwen/Qwen3-8B-AWQ"}},
        engine__settings={"dtype": "half", "max_model_len": 16384, "enable_chunked_prefill": True},
    )
    ladder = ladder_of(problem)
    assert [rung.name for rung in ladder.rungs] == [
        "winner", "more headroom", "smaller steps", "shorter context", "half the cache",
    ]  # fmt: skip
    assert is_a_ladder(problem, ladder)
    first, headroom, steps, context, half = (problem.deployment(c) for c in candidates(problem, ladder))
    assert headroom.memory.spare_outside_bytes - first.memory.spare_outside_bytes >= 0.0199 * first.memory.total_bytes
    assert steps.engine.max_num_seqs == headroom.engine.max_num_seqs // 2
    assert steps.memory.activation_bytes < headroom.memory.activation_bytes
    assert context.engine.max_model_len == 8192
    assert context.memory.max_concurrency >= 0.9 * steps.memory.max_concurrency
    assert half.memory.kv_cache_bytes <= context.memory.kv_cache_bytes / 2


def test_the_context_stays_long_enough_for_the_workload(make_problem: Make, ladder_of: Callable[..., Ladder]) -> None:
    problem = make_problem(workload__input_tokens=3900)
    assert {rung.max_model_len for rung in ladder_of(problem).rungs} <= {4096, 3920}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    version=st.sampled_from(["0.6.6", "0.8.5", "0.9.2", "0.14.0", "0.32.0"]),
    gib=st.sampled_from([18, 22, 24, 48, 80, 141]),
    changes=st.fixed_dictionaries(
        {},
        optional={
            "max_num_seqs": st.sampled_from([1, 8, 64, 1024]),
            "max_num_batched_tokens": st.sampled_from([4096, 16384]),
            "gpu_memory_utilization": st.sampled_from([0.85, 0.95]),
            "enforce_eager": st.booleans(),
            "num_gpu_blocks_override": st.sampled_from([600, 1000]),
            "enable_chunked_prefill": st.booleans(),
        },
    ),
)
def test_whatever_the_winner_is(
    make_problem: Make, launch: Any, version: str, gib: int, changes: dict[str, Any]
) -> None:
    problem = make_problem(
        engine__version=version, hardware__gpu="RTX 3090", hardware__gpu_memory=f"{gib}GiB",
        engine__settings={"dtype": "half", "max_model_len": 4096, **changes},
    )  # fmt: skip
    if not forecast_of(problem).check(problem.default):
        assert is_a_ladder(problem, make_ladder(forecast_of(problem), launch(problem)[0]))


@pytest.mark.parametrize(
    ("env", "setting", "caches"),
    [({CPU_KV_ENV: "4"}, None, [4, 2, 1]), ({}, 4 * GIB, [4, 2, 1, 0.5]), ({CPU_KV_ENV: "1"}, None, [1])],
)
def test_on_the_cpu_the_cache_is_what_can_shrink(
    make_problem: Make, ladder_of: Callable[..., Ladder], env: dict[str, str], setting: int | None, caches: list[int]
) -> None:
    problem = make_problem(
        **CPU_STUDY,
        engine={"version": "0.32.0", "env": env, "settings": {"max_model_len": 512, "kv_cache_memory_bytes": setting}},
    )
    ladder = ladder_of(problem)
    assert is_a_ladder(problem, ladder)
    memories = [problem.deployment(candidate).memory for candidate in candidates(problem, ladder)]
    assert [float(memory.kv_cache_bytes) / GIB for memory in memories] == pytest.approx(caches, rel=0.02)


def test_the_limit_of_the_study_is_the_guards(make_problem: Make, ladder_of: Callable[..., Ladder]) -> None:
    policy = ladder_of(make_problem(objective={"slo": {"ttft_p95": "2s"}}, engine__start_timeout="5min")).policy
    assert (policy.ttft_p95, policy.start_timeout) == (2.0, 300.0)


def test_a_written_ladder_is_read_back(make_problem: Make, launch: Any, tmp_path: Path) -> None:
    problem = make_problem()
    trial = launch(problem)[0]
    path = tmp_path / "ladder.yaml"
    path.write_text(ladder_yaml(forecast_of(problem), trial, None), "utf-8")
    assert "SIMULATED" in path.read_text("utf-8").splitlines()[0]
    found, folder = load_ladder(path)
    assert (found, folder) == (make_ladder(forecast_of(problem), trial), tmp_path)
    assert load_ladder(tmp_path) == (found, folder), "by its folder"
    assert found.source.startswith("SIMULATED")


def test_a_missing_ladder_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ladder\.yaml: no such ladder; planner tune writes a ladder\.yaml"):
        load_ladder(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("typo.yaml", None, r"typo\.yaml: no such ladder"),
        ("mine.yaml", "", r"mine\.yaml: is no ladder: it has no `rungs:`; .*/ladder\.yaml is one"),
        ("study.yaml", "name: x\n", r"study\.yaml: is no ladder: it has no `rungs:`; .*/ladder\.yaml is one"),
    ],
)
def test_no_other_ladder_is_read_than_the_one_named(
    ladder_of: Callable[..., Ladder], make_problem: Make, tmp_path: Path, name: str, content: str | None, words: str
) -> None:
    (tmp_path / "ladder.yaml").write_text(encode(ladder_of(make_problem())), "utf-8")
    if content is not None:
        (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(InputError, match=words):
        load_ladder(tmp_path / name)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("name: winner", "nam: winner", r"rungs\[0\]: unknown key `nam`"),
        ("max_num_seqs: 8", "max_num_seqs: many", r"rungs\[0\]\.settings\.max_num_seqs: Expected `int \| null`"),
        ("version: 0.8.5", "version: 0.6.6", r"rung winner: enable_expert_parallel is not a setting of vLLM 0\.6\.6"),
        ("version: 0.8.5", "version: new", r"vLLM version 'new' is not a version"),
        ("host_port: 8000", "gpu_ids: [0]", r"containers: vllm: missing key `host_port`"),
        ("quiet: 1800.0", "quiet: often", r"policy\.quiet: 'often' is not a duration"),
        ("every: 5.0", "every: 0s", r"policy: every: must be above 0"),
        ("rungs:", "rungs: []\nunused:", r"rungs: Expected `array` of length >= 1|unknown key `unused`"),
    ],
)
def test_a_mistake_in_an_edited_ladder_is_named(
    make_problem: Make, ladder_of: Callable[..., Ladder], old: str, new: str, words: str
) -> None:
    problem = make_problem(search_space={"search": {}}, hardware__num_gpus=1)
    text = encode(ladder_of(problem, max_num_seqs=8, enable_expert_parallel=False))
    assert old in text
    with pytest.raises(InputError, match=rf"^ladder\.yaml: .*{words}"):
        decode(text.replace(old, new), Ladder, "ladder.yaml")


def test_edited_settings_are_what_is_launched(make_problem: Make, ladder_of: Callable[..., Ladder]) -> None:
    """There is no second place that would have to be changed with them."""
    ladder = ladder_of(make_problem())
    edited = decode(encode(ladder).replace("dtype: half", "dtype: bfloat16"), Ladder, "ladder.yaml")
    assert parse_version(edited.version) == parse_version("0.8.5")
    words = edited.run_of(0, 0).command
    assert words[words.index("--dtype") + 1] == "bfloat16"
