"""Recorded launches: read strictly, replayed through the real loop, and never more than was measured."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from planner.errors import InputError
from planner.report.stored import report_lines
from planner.study.problem import Problem
from planner.trials.rejudging import rejudged
from planner.trials.trial import Trial, default_trial
from planner.tuning.evaluation import evaluate
from planner.tuning.executor import LocalExecutor
from planner.tuning.loop import run_study
from planner.tuning.measure import simulated
from planner.tuning.replay import limited_to, read_records, replayed
from planner.tuning.search import samplers as samplers_module
from planner.tuning.search.search import Search
from tests.forecasts import forecast_of, grid_of

Make = Callable[..., Problem]
Write = Callable[..., Path]
SIX = {"search": {"max_num_seqs": [8, 16, 32], "block_size": [16, 32]}}


def line(seqs: int, block: int, throughput: float, **more: Any) -> dict[str, Any]:
    metrics = {"output_throughput": throughput, "p50_ttft_ms": 250.0, "completed": 6, "failed": 0, "duration": 9.0}
    config = {"max_num_seqs": seqs, "block_size": block}
    return {"config": config, "outcome": "measured", "start_s": 30.0, "metrics": metrics, **more}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(*lines: Any) -> Path:
        path = tmp_path / "launches.jsonl"
        path.write_text("".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in lines), "utf-8")
        return path

    return to_file


def limited(problem: Problem, path: Path) -> Problem:
    return limited_to(problem, read_records(path, problem)).problem


def replay(problem: Problem, path: Path, watcher: Any, target: int = 20) -> list[Trial]:
    records = read_records(path, problem)
    problem = limited_to(problem, records).problem
    return run_study(
        problem,
        Search.open(forecast_of(problem), None),
        LocalExecutor(problem, replayed(problem, records), watcher.stage, "replay"),
        target,
        watcher,
    )


def test_a_table_must_have_what_the_objective_is_made_of(make_problem: Make, write: Write) -> None:
    path = write(line(8, 16, 100.0))
    problem = make_problem(search_space=SIX, objective={"weights": {"output_throughput": 1, "ttft_p95": 1}})
    with pytest.raises(InputError, match=r"launches.jsonl:1: metrics: has no ttft_p95"):
        read_records(path, problem)
    search = {"search": {"max_model_len": [1024, 2048], **SIX["search"]}}
    weights = {"weights": {"output_throughput": 1, "max_model_len": 1}}
    known = make_problem(engine__settings={"dtype": "half"}, search_space=search, objective=weights)
    assert read_records(path, known)


@pytest.mark.parametrize("sampler", ["planner", "tpe", "random", "grid"])
def test_only_what_was_measured_is_asked_and_each_once(
    make_problem: Make, write: Write, watcher: Any, sampler: str
) -> None:
    path = write(line(8, 16, 100.0), line(16, 32, 120.0), line(32, 16, 90.0, benchmark_s=11.0, preemptions=3))
    problem = limited(make_problem(search_space=SIX, sampler={"name": sampler}), path)
    trials = [trial for trial in replay(problem, path, watcher) if trial.was_launched]
    assert sorted(trial.value for trial in trials) == [90.0, 100.0, 120.0]
    by_value = {trial.value: trial for trial in trials}
    assert (by_value[100.0].start_s, by_value[100.0].benchmark_s) == (30.0, 9.0)
    assert (by_value[90.0].benchmark_s, by_value[90.0].preemptions) == (11.0, 3)
    assert by_value[100.0].metrics["ttft_p50"] == pytest.approx(0.25)
    assert {trial.provenance.backend for trial in trials} == {"replay"}
    assert grid_of(problem).removed_by() == {"is in the replayed table": 3}


def test_a_default_that_was_not_measured_gives_way_to_the_nearest(
    make_problem: Make, write: Write, watcher: Any
) -> None:
    path = write(line(8, 16, 1.0), line(32, 32, 2.0), line(32, 16, 3.0))
    problem = limited(make_problem(search_space=SIX), path)  # the engine's own: 256 sequences, blocks of 16
    trials = replay(problem, path, watcher, 1)
    assert [trial.value for trial in trials] == [3.0]
    assert default_trial(problem, trials) is trials[0]
    assert problem.default_words == "nearest to engine defaults"


def test_a_measured_default_is_first(make_problem: Make, write: Write, watcher: Any) -> None:
    path = write(line(32, 16, 3.0), {**line(0, 0, 2.0), "config": {}})
    problem = limited(make_problem(search_space=SIX), path)
    trials = replay(problem, path, watcher)
    assert [trial.value for trial in trials] == [2.0, 3.0]
    assert problem.default_words == "engine defaults"


def test_a_recorded_failure_fails_again_and_costs_its_start(make_problem: Make, write: Write, watcher: Any) -> None:
    failure = {"kind": "EngineOutOfMemory", "message": "CUDA out of memory", "log_tail": "the end"}
    failed = {"config": {"max_num_seqs": 32, "block_size": 16}, "outcome": "failed", "start_s": 61.0}
    trials = replay(make_problem(search_space=SIX), write({**failed, "failure": failure}, line(8, 16, 5.0)), watcher)
    assert [trial.outcome for trial in trials] == ["failed", "measured"]
    assert trials[0].failure is not None
    assert (trials[0].failure.kind, trials[0].failure.message) == ("EngineOutOfMemory", "CUDA out of memory")
    assert trials[0].start_s == 61.0


def test_repeats_are_drawn_by_seed(make_problem: Make, write: Write, watcher: Any) -> None:
    path = write(line(8, 16, 1.0, repeat=1), line(8, 16, 2.0, repeat=2), line(8, 16, 3.0, repeat=3))

    def drawn(seed: int) -> float | None:
        problem = make_problem(search_space=SIX, sampler={"name": "random", "seed": seed})
        return replay(problem, path, watcher)[0].value

    values = [drawn(seed) for seed in range(12)]
    assert set(values) == {1.0, 2.0, 3.0}
    assert values == [drawn(seed) for seed in range(12)]


def test_lines_of_another_workload_are_left_out(make_problem: Make, write: Write) -> None:
    path = write(line(8, 16, 1.0, workload="custom"), line(16, 16, 2.0, workload="other"), line(32, 16, 3.0))
    problem = make_problem(search_space=SIX)
    assert [record.candidate.engine.max_num_seqs for record in read_records(path, problem)] == [8, 32]


def test_extra_args_are_settings_and_leave_the_search_space(make_problem: Make, write: Write) -> None:
    more = line(8, 16, 1.0)
    more["config"]["extra_args"] = ["--enforce-eager"]
    problem = make_problem(search_space=SIX)
    records = read_records(write(more, line(16, 16, 2.0)), problem)
    assert records[0].candidate.engine.enforce_eager is True
    problem = limited_to(problem, records).problem
    assert len(grid_of(problem).feasible_rows) == 1


def test_the_projects_own_trials_are_replayed(
    make_problem: Make, tune: Any, watcher: Any, storage: str, tmp_path: Path
) -> None:
    trials = tune(make_problem(search_space=SIX), 4)
    path = tmp_path / "trials.jsonl"
    path.write_text(report_lines(make_problem(search_space=SIX).spec, tmp_path, False, storage), "utf-8")
    again = [trial for trial in replay(make_problem(search_space=SIX), path, watcher) if trial.was_launched]
    assert {(t.candidate.key, t.value) for t in again} == {(t.candidate.key, t.value) for t in trials}
    assert all(trial.provenance.simulated for trial in again)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{", "is not JSON"),
        ("3", "is no mapping"),
        ({**line(8, 16, 1.0), "when": 3}, "unknown key `when`"),
        ({**line(8, 16, 1.0), "outcome": "lost"}, "outcome: Invalid enum value 'lost'"),
        ({**line(8, 16, 1.0), "config": {"speed": 3}}, "config.speed: is no setting"),
        ({**line(8, 16, 1.0), "config": {"max_num_seqs": "many"}}, "config: candidate: max_num_seqs"),
        ({**line(8, 16, 1.0), "config": {"extra_args": ["--faster"]}}, "extra_args: unrecognized arguments: --faster"),
        ({**line(8, 16, 1.0), "config": {"extra_args": ["--enable-lora"]}}, "--enable-lora is no setting of a search"),
        ({**line(8, 16, 1.0), "config": {"extra_args": ["-tp"]}}, "-tp/--tensor-parallel-size: expected one argument"),
        ({**line(8, 16, 1.0), "config": {"extra_args": "--enforce-eager"}}, "extra_args: is no list"),
        ({**line(8, 16, 1.0), "metrics": {"duration": 3.0}}, "metrics: has no output_throughput"),
        ({**line(8, 16, 1.0), "start_s": -1}, "start_s: Expected"),
    ],
)
def test_a_bad_line_is_named(make_problem: Make, write: Write, bad: Any, message: str) -> None:
    path = write(line(8, 16, 1.0), bad)
    with pytest.raises(InputError, match=rf"^{path}:2: ") as caught:
        read_records(path, make_problem(search_space=SIX))
    assert message in str(caught.value)


@pytest.mark.parametrize("figure", [math.nan, math.inf, -1.0, 1e308])
@pytest.mark.parametrize("where", ["metrics.output_throughput", "metrics.p50_ttft_ms", "metrics.completed", "start_s"])
def test_a_figure_that_cannot_be_is_refused(make_problem: Make, write: Write, where: str, figure: float) -> None:
    said = line(8, 16, 100.0)
    (said["metrics"] if where.startswith("metrics.") else said)[where.removeprefix("metrics.")] = figure
    with pytest.raises(InputError, match=rf"launches.jsonl:1: {where}\b"):
        read_records(write(said), make_problem(search_space=SIX))


def test_a_measurement_of_no_time_is_refused(make_problem: Make, write: Write) -> None:
    said = line(8, 16, 100.0)
    said["metrics"]["duration"] = 0
    with pytest.raises(InputError, match=r"metrics\.duration: 0 s"):
        read_records(write(said), make_problem(search_space=SIX))


@pytest.mark.parametrize("figure", [math.nan, math.inf, -1.0, 1e308])
def test_an_own_trial_whose_figures_cannot_be_is_refused(
    make_problem: Make, tune: Any, storage: str, tmp_path: Path, figure: float
) -> None:
    problem = make_problem(search_space=SIX)
    tune(problem, 1)
    trial = json.loads(report_lines(problem.spec, tmp_path, False, storage).splitlines()[0])
    trial["metrics"]["output_throughput"] = figure
    path = tmp_path / "trials.jsonl"
    path.write_text(json.dumps(trial), "utf-8")
    with pytest.raises(InputError, match=r"trials.jsonl:1: output_throughput\b"):
        read_records(path, problem)


def test_a_table_of_something_else_is_refused(make_problem: Make, write: Write) -> None:
    problem = make_problem(search_space=SIX)
    with pytest.raises(InputError, match=r"no launch of workload 'custom'"):
        read_records(write(line(8, 16, 1.0, workload="other")), problem)
    with pytest.raises(InputError, match=r"^tiny: no recorded candidate is in the search space"):
        limited_to(problem, read_records(write(line(9, 16, 1.0)), problem))


def test_an_unmeasured_proposal_says_how_far_off_it_is(make_problem: Make, write: Write) -> None:
    problem = make_problem(search_space=SIX)
    problem = limited_to(problem, read_records(write(line(8, 16, 1.0)), problem)).problem
    for seqs, block, excess in ((8, 16, []), (8, 32, [1.0]), (32, 32, [2.0])):
        candidate = problem.choices.candidate({"max_num_seqs": seqs, "block_size": block})
        assert [constraint.excess for constraint in forecast_of(problem).check(candidate)] == excess


def test_gp_without_torch_says_what_to_install(make_problem: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers_module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"^sampler gp needs torch and scipy: pip install 'vllm-planner\[gp\]'"):
        Search.open(forecast_of(make_problem(sampler={"name": "gp"})), None)


def test_gp_learns_though_the_default_sets_nothing(make_problem: Make, tune: Any) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("scipy")
    space = {"search": {"max_num_seqs": [2, 4, 8, 16, 32, 64], "block_size": [16, 32], "layout": ["2xtp1", "1xtp2"]}}
    problem = make_problem(sampler={"name": "gp"}, search_space=space)
    trials = tune(problem, 14, simulated(forecast_of(problem)))
    assert len({trial.candidate.key for trial in trials if trial.was_launched}) == 14


def test_a_search_for_the_most_load_is_replayed_from_its_levels_and_judged_for_other_limits(
    make_problem: Make, launch: Any, tmp_path: Path
) -> None:
    def asking(metric: str, slo: str) -> Problem:
        return make_problem(objective={"metric": metric, "slo": {"tpot_p95": slo, "ttft_p95": "9s"}})

    trials = launch(asking("capacity", "70ms"), 3)
    path = tmp_path / "trials.jsonl"
    path.write_bytes(b"".join(msgspec.json.encode(trial) + b"\n" for trial in trials))
    for slo in ("70ms", "68ms"):
        problem = asking("capacity", slo)
        records = read_records(path, problem)
        forecast = limited_to(problem, records)
        for trial in trials:
            replay = evaluate(
                forecast, trial.candidate, 0, replayed(problem, records), lambda *_: None, trial.provenance
            )
            judged = rejudged(forecast_of(problem), trial)
            assert replay.value == pytest.approx(judged.value)
            assert (replay.levels, replay.interval) == (trial.levels, judged.interval)
    with pytest.raises(InputError, match="levels: of a search for the most load"):
        read_records(path, make_problem())
    path.write_bytes(b"".join(msgspec.json.encode(trial) + b"\n" for trial in launch(make_problem(), 1)))
    with pytest.raises(InputError, match="metrics: has no capacity, which the study's objective needs"):
        read_records(path, asking("capacity", "70ms"))
