"""The answer in five lines: what is deployed, at what price, under which flags, how, and what is as good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from planner.study.problem import Problem
from planner.trials.result import answer_of, changed_words, export_command, result_lines
from planner.trials.trial import Failure, Trial
from planner.trials.wording import flags_of

Make = Callable[..., Problem]


@pytest.fixture
def two(make_problem: Make, launch: Any) -> tuple[Problem, Trial, Trial]:
    """The default at 100 tok/s, and a trial at 125 tok/s whose first token comes later."""
    problem = make_problem()
    default, better = launch(problem, 2)
    metrics = {**default.metrics, "ttft_p50": 1.0, "ttft_p95": 2.0}
    slower = {**metrics, "ttft_p50": 1.5}
    return problem, replace(default, value=100.0, metrics=metrics), replace(better, value=125.0, metrics=slower)


def test_five_lines_say_gain_price_flags_command_and_noise(two: tuple[Problem, Trial, Trial]) -> None:
    problem, default, better = two
    gain, price, flags, command, alike = result_lines(problem, [default, better], "bash run.sh")
    assert gain.startswith(f"best: trial {better.number}, output_throughput 125.0 tok/s; engine defaults: 100.0 tok/s")
    assert "+25.0%" in gain
    assert price == "price: TTFT p50 1 s -> 1.5 s (+50%)"
    assert flags == changed_words(problem, better)
    assert command == "run: bash run.sh"
    assert alike == "as good: no other trial is within the noise of it"


def test_what_is_within_the_noise_is_named(two: tuple[Problem, Trial, Trial], launch: Any) -> None:
    problem, default, better = two
    near = replace(launch(problem, 3)[2], value=124.5)
    assert result_lines(problem, [default, better, near], "")[-1].endswith(f"in the search): trial {near.number}")


def test_without_a_trial_that_kept_the_limits_there_is_one_line(two: tuple[Problem, Trial, Trial]) -> None:
    problem, default, _ = two
    failure = Failure(kind="EngineOutOfMemory", message="CUDA out of memory")
    failed = replace(default, value=None, outcome="failed", failure=failure)
    assert result_lines(problem, [failed], "bash run.sh") == (
        "no trial kept every limit; see the reasons in the table",
    )
    assert answer_of(problem, [failed]).trial is None


def test_the_flags_are_those_that_differ_from_the_engines_defaults(make_problem: Make, launch: Any) -> None:
    search = {"max_num_seqs": [8, 256], "gpu_memory_utilization": [0.9, 0.95]}
    problem = make_problem(search_space={"search": search}, engine__settings={"max_model_len": 1024})
    (trial,) = launch(problem, 1)
    written = problem.choices.candidate({"max_num_seqs": 256, "gpu_memory_utilization": 0.95})
    same = problem.deployment(problem.default).engine
    text = changed_words(problem, replace(trial, candidate=written))
    assert "--gpu-memory-utilization 0.95" in text
    assert ("--max-num-seqs" in text) == (int(same.max_num_seqs) != 256), "a default that is written out is no change"
    assert "--max-model-len 1024" in text.partition("; of the study: ")[2]
    kept = changed_words(problem, replace(trial, candidate=problem.default))
    assert kept.startswith("flags: none, the defaults are kept; of the study: ")
    assert flags_of(problem, problem.default, problem.choices.names) == ""


def test_the_command_writes_what_the_study_can_run(make_problem: Make, launch: Any) -> None:
    problem = make_problem()
    (trial,) = launch(problem, 1)
    assert export_command(problem, trial, "mine --simulated") == (
        "planner export mine --simulated --trial 0 -o run.sh && bash run.sh"
    )
    bare = problem.with_spec(msgspec.structs.replace(problem.spec, container=None))
    assert export_command(bare, trial) == "planner export --trial 0 --kind serve -o serve.sh && bash serve.sh"
