"""Which single changes the models find worth a trial, on settings that one thing bounds."""

from __future__ import annotations

from planner.doctor.server.changes import Weighed, weighed
from planner.engine import EngineConfig
from planner.study import Problem, StudySource, read_study
from planner.workload import Workload


def asked(in_flight: int, **settings: object) -> Weighed | None:
    source = StudySource(model="Qwen/Qwen3-8B", gpu="RTX 4090", version="0.24.0")
    problem = Problem.of(read_study(source, EngineConfig(**settings)).spec)
    load = Workload(concurrency=in_flight, num_requests=4 * in_flight, input_tokens=2000, output_tokens=300)
    return weighed(problem, load)


def test_more_sequences_where_they_are_the_limit() -> None:
    found = asked(32, max_model_len=8192, max_num_seqs=4)
    assert found is not None
    assert found.worth[0].setting == "max_num_seqs"
    assert found.worth[0].flags.startswith("--max-num-seqs ")
    assert found.worth[0].gain > 0.5
    assert abs(found.more_load) < 0.05, "four at a time are four at a time"


def test_a_smaller_kv_cache_dtype_where_the_cache_is_the_limit() -> None:
    found = asked(64, max_model_len=8192, max_num_seqs=256)
    assert found is not None
    assert "--kv-cache-dtype fp8" in [one.flags for one in found.worth]
    assert "max_num_seqs" in found.useless
    assert "speculative_config" not in {*found.useless, *(one.setting for one in found.worth)}


def test_settings_that_do_not_start_are_not_weighed() -> None:
    assert asked(4, max_model_len=40_960, gpu_memory_utilization=0.7) is None
