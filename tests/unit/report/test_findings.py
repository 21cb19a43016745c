"""What a study found, as values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from planner.estimate.memory.per_gpu import MemoryFigures
from planner.hardware.driver import read_gpus
from planner.hardware.machine import Machine
from planner.launch.machine import machine_of
from planner.report.findings import (
    PERCENTILES,
    UNSAID,
    compared,
    distributions,
    feasible_words,
    launches,
    memory_fits,
    memory_words,
    origins,
    progress_words,
)
from planner.study.problem import Problem
from planner.trials.trial import Failure
from planner.tuning.executor import LocalExecutor
from planner.tuning.loop import run_finals
from planner.tuning.measure import simulated
from planner.tuning.search.search import Search
from tests.forecasts import forecast_of

Make = Callable[..., Problem]


def test_the_best_so_far_counts_whole_and_acceptable_launches(make_problem: Make, launch: Any) -> None:
    problem = make_problem()
    default, second, third, fourth = launch(problem, 4)
    given = [
        replace(default, value=100.0, start_s=10.0, benchmark_s=20.0),
        replace(second, value=300.0, stopped_at=0.5, start_s=1.0, benchmark_s=1.0),
        replace(third, value=None, outcome="failed", failure=Failure(kind="X", message="x"), start_s=5.0),
        replace(fourth, value=120.0, start_s=0.0, benchmark_s=3.0),
    ]
    found = launches(problem, given)
    assert [launch.value for launch in found] == [100.0, None, None, 120.0]
    assert [launch.best for launch in found] == [100.0, 100.0, 100.0, 120.0]
    assert found[0].engine_s == 30.0
    assert found[1].engine_s == 32.0
    assert progress_words(problem, found).startswith("the best of the search, 120.0 tok/s, came at launch 4 of 4")
    assert "none with a value" in progress_words(problem, [replace(found[2], best=None)])


def test_less_is_better_where_a_latency_is_minimised(make_problem: Make, launch: Any) -> None:
    problem = make_problem(objective={"metric": "ttft_p95"})
    first, second = launch(problem, 2)
    found = launches(problem, [replace(first, value=2.0), replace(second, value=1.0)])
    assert [launch.best for launch in found] == [2.0, 1.0]


def test_only_what_differs_from_the_resolved_default_differs(make_problem: Make, launch: Any) -> None:
    problem = make_problem(search_space={"search": {"layout": ["1xtp2"], "max_num_seqs": [8], "block_size": [16]}})
    default, other = launch(problem, 2)
    found = compared(forecast_of(problem), [replace(default, value=1.0), replace(other, value=2.0)])
    assert found is not None
    assert found.default is not None
    words = {setting.name: (setting.default, setting.best, setting.differs) for setting in found.settings}
    assert words["max_num_seqs"] == ("256 (default)", "8", True)
    assert words["block_size"] == ("16 (default)", "16", False)
    assert words["layout"] == ("1xtp2", "1xtp2", False)
    assert not found.from_finals
    assert "output_throughput" in [name for name, _, _ in found.metrics]


def test_the_default_is_compared_with_itself_nowhere(make_problem: Make, launch: Any) -> None:
    problem = make_problem()
    default, other = launch(problem, 2)
    found = compared(forecast_of(problem), [replace(default, value=2.0), replace(other, value=1.0)])
    assert found is not None
    assert found.default is None
    assert compared(forecast_of(problem), []) is None


def test_the_metrics_of_the_finals_win(make_problem: Make, tune: Any, storage: str, watcher: Any) -> None:
    problem = make_problem()
    tune(problem, 5)
    trials = run_finals(
        problem,
        Search.open(forecast_of(problem), storage),
        LocalExecutor(problem, simulated(forecast_of(problem)), watcher.stage, "simulated"),
        watcher,
    )
    found = compared(forecast_of(problem), trials)
    assert found is not None
    assert found.from_finals
    shown = distributions(problem, trials)
    assert len(shown) >= 2
    assert shown[0].is_default
    assert all(list(values) == sorted(values) for one in shown for values in one.percentiles.values())
    assert len(shown[0].percentiles["ttft"]) == len(PERCENTILES)


def test_memory_is_compared_where_a_start_told_it(make_problem: Make, launch: Any) -> None:
    problem = make_problem()
    silent, told = launch(problem, 2)
    predicted = replace(told.predicted_memory, kv_tokens=1010)
    told = replace(told, predicted_memory=predicted, real_memory=MemoryFigures(kv_tokens=1000))
    fits = memory_fits([silent, told])
    assert [fit.error for fit in fits] == [pytest.approx(0.01)]
    blocks = MemoryFigures(num_blocks=predicted.num_blocks)  # as V0 logs it
    assert [fit.error for fit in memory_fits([replace(told, real_memory=blocks)])] == [0.0]
    assert memory_fits([replace(told, real_memory=MemoryFigures())]) == []
    assert memory_words(fits) == "KV cache: 1.0% off before its launch (median of 1 starts)"


def test_origins_name_the_machine_or_say_that_nobody_did(make_problem: Make, launch: Any) -> None:
    problem = make_problem(sampler={"name": "tpe", "seed": 7})
    (trial,) = launch(problem)
    rows = dict(origins(problem, [trial]))
    assert rows["image digest"] == UNSAID[0]
    assert rows["sampler"] == "tpe, seed 7"
    machine = Machine(driver="570.1", image_digest="sha256:abc")
    real = replace(trial, provenance=replace(trial.provenance, backend="docker", machine=machine))
    rows = dict(origins(problem, [trial, real]))
    assert (rows["driver"], rows["image digest"], rows["backend"]) == ("570.1", "sha256:abc", "simulated, docker")
    assert (
        dict(origins(problem, [replace(real, provenance=replace(real.provenance, machine=Machine()))]))["driver"]
        == UNSAID[1]
    )
    assert feasible_words(forecast_of(problem)).startswith(
        "8 combinations of the search space: 8 feasible, 0 infeasible by rules"
    )


def test_only_launches_have_a_machine(make_problem: Make) -> None:
    problem = make_problem(container={"image": "planner-test/no-such-image:1"})
    assert machine_of(problem, "simulated") == machine_of(problem, "replay") == Machine()
    assert machine_of(problem, "docker") == machine_of(problem, "process") == Machine(read_gpus().driver or None)
