"""The study's memory: what is asked, in which order, and what Optuna knows of it afterwards."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import optuna
import pytest
from optuna.trial import TrialState

from planner.errors import EngineOutOfMemory, InputError
from planner.study.problem import Problem
from planner.trials.racing import Repeats
from planner.trials.ranking import best_trial
from planner.tuning.executor import LocalExecutor
from planner.tuning.loop import run_study
from planner.tuning.measure import simulated
from planner.tuning.search.samplers import FeasibleSampler, Situation, distributions, untried_rows
from planner.tuning.search.search import Search
from planner.tuning.search.store import RECORD, StudyStore, definition, record_of
from planner.tuning.search.surrogate import Surrogate
from tests.forecasts import forecast_of, grid_of

Make = Callable[..., Problem]
pytestmark = pytest.mark.timeout(600)  # a combination that is never marked as tried would be asked for ever
SAMPLERS = ("planner", "tpe", "random", "grid")
FOUR = {"search": {"max_num_seqs": [2, 3], "block_size": [16, 32]}}


def _stored(storage: str) -> optuna.Study:
    return optuna.load_study(study_name="tiny", storage=storage)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_tries_the_default_first_and_everything_once(
    make_problem: Make, tune: Any, watcher: Any, sampler: str
) -> None:
    problem = make_problem(sampler={"name": sampler}, search_space=FOUR)
    trials = tune(problem, 12, observer=watcher)
    assert watcher.asked[0] == (0, problem.default)
    assert Counter(candidate.key for _, candidate in watcher.asked).most_common(1)[0][1] == 1
    rows = {problem.row_of(trial.candidate) for trial in trials if trial.was_launched} - {None}
    assert rows == set(grid_of(problem).feasible_rows.tolist())
    assert all(trial.outcome == "measured" for trial in trials)


@pytest.mark.parametrize("sampler", ["planner", "tpe"])
def test_infeasible_combinations_are_never_launched(make_problem: Make, tune: Any, watcher: Any, sampler: str) -> None:
    problem = make_problem(
        sampler={"name": sampler},
        search_space={"search": {"block_size": [16, 32], "max_num_batched_tokens": [1024, 2048, 4096, 8192]}},
        workload__input_tokens=2000,
    )
    assert len(grid_of(problem).feasible_rows) == 4
    tune(problem, 12, observer=watcher)
    assert len(watcher.asked) == 4  # the default, alike the first, and the others
    assert {candidate.engine.max_num_batched_tokens for _, candidate in watcher.asked} == {None, 4096, 8192}


@pytest.mark.parametrize("sampler", ["planner", "tpe", "random"])
def test_the_same_seed_asks_the_same(make_problem: Make, watcher: Any, sampler: str) -> None:
    problem = make_problem(sampler={"name": sampler, "seed": 3})
    for _ in range(2):
        run_study(
            problem,
            Search.open(forecast_of(problem), "sqlite://"),
            LocalExecutor(problem, simulated(forecast_of(problem)), watcher.stage, "simulated"),
            4,
            watcher,
        )
    asked = [candidate.key for _, candidate in watcher.asked]
    assert asked[:4] == asked[4:]


def test_a_second_run_counts_what_the_first_has_launched(make_problem: Make, tune: Any, watcher: Any) -> None:
    first = tune(make_problem(), 3)
    again = tune(make_problem(), 5, observer=watcher)
    assert again[:3] == first
    assert [number for number, _ in watcher.asked] == [3, 4]
    assert tune(make_problem(), 5) == again


def test_an_unfinished_trial_is_finished_first_under_its_own_number(
    make_problem: Make, tune: Any, watcher: Any, storage: str
) -> None:
    problem = make_problem()
    tune(problem, 2)
    asked = Search.open(forecast_of(problem), storage).ask()  # and then the power fails
    assert asked is not None
    trials = tune(make_problem(), 4, observer=watcher)
    assert watcher.asked[0] == asked
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert _stored(storage).get_trials(states=(TrialState.RUNNING,)) == []


def test_a_trial_that_was_half_stored_is_told_and_not_launched_again(
    make_problem: Make, tune: Any, launch: Any, storage: str, watcher: Any
) -> None:
    """What a planner leaves that is killed between two of its writes."""
    problem = make_problem()
    (measured,) = launch(problem)
    Search.open(forecast_of(problem), storage).ask()
    study = _stored(storage)
    record = msgspec.json.encode(measured).decode()
    optuna.Trial(study, study.trials[0]._trial_id).set_user_attr(RECORD, record)

    trials = tune(problem, 2, observer=watcher)
    assert trials[0] == measured
    assert [number for number, _ in watcher.asked] == [1]
    told = _stored(storage).trials
    assert [trial.state for trial in told] == [TrialState.COMPLETE] * 2
    assert told[0].value == measured.value


@pytest.mark.parametrize("is_default_on_grid", [False, True])
@pytest.mark.parametrize("what", ["waiting", "running", "with a setting"])
def test_a_trial_that_was_half_asked_is_asked_whole_under_its_number(
    make_problem: Make, tune: Any, storage: str, watcher: Any, what: str, is_default_on_grid: bool
) -> None:
    """The default stays trial 0 where a planner is killed while it asks."""
    problem = make_problem(search_space={"search": {"layout": ["2xtp1", "1xtp2"]}} if is_default_on_grid else FOUR)
    row = problem.row_of(problem.default)
    assert (row is not None) == is_default_on_grid
    Search.open(forecast_of(problem), storage)
    study = _stored(storage)
    if row is not None:
        study.enqueue_trial(problem.choices.params(grid_of(problem).indices[row]))
    if what != "waiting":
        study.ask(distributions(problem) if is_default_on_grid and what == "with a setting" else None)
    trials = tune(problem, 2, observer=watcher)
    assert watcher.asked[0] == (0, problem.default)
    assert [trial.number for trial in trials] == [0, 1]
    assert [trial.state for trial in _stored(storage).trials] == [TrialState.COMPLETE] * 2
    assert trials[0].candidate != trials[1].candidate


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_context_that_no_other_exceeds_ends_the_search(make_problem: Make, tune: Any, sampler: str) -> None:
    """The default's, the model's own, does not fit; the largest that does is not looked for again once it is found."""
    problem = make_problem(
        engine__settings={"dtype": "half", "tensor_parallel_size": 1},
        search_space={"search": {"max_model_len": [1024, 2048, 4096, 8192], "block_size": [16, 32]}},
        objective={"metric": "max_model_len", "slo": {"output_throughput": 1}},
        sampler={"name": sampler},
    )
    trials = tune(problem, 20)
    assert [trial.value for trial in trials if trial.was_launched][-1] == 8192.0
    assert sum(trial.value == 8192.0 for trial in trials) == 1
    assert tune(problem, 20) == trials


def test_a_failure_is_pruned_never_best_and_never_asked_again(
    make_problem: Make, tune: Any, watcher: Any, storage: str
) -> None:
    problem = make_problem(search_space=FOUR)
    works = simulated(forecast_of(problem))

    def measure(candidate: Any, number: int, on_stage: Any, repeats: Repeats) -> Any:
        if candidate.engine.block_size == 32:
            raise EngineOutOfMemory("CUDA out of memory", log_tail="the end")
        return works(candidate, number, on_stage, repeats)

    trials = tune(problem, 12, measure, watcher)
    failed = [trial for trial in trials if trial.outcome == "failed"]
    assert len(failed) == 2
    assert {trial.failure.kind for trial in failed} == {"EngineOutOfMemory"}
    assert {(trial.value, trial.failure.log_tail) for trial in failed} == {(None, "the end")}
    assert max(Counter(candidate.key for _, candidate in watcher.asked).values()) == 1
    best = best_trial(problem, trials)
    assert best is not None
    assert best.candidate.engine.block_size != 32
    stored = _stored(storage)
    assert {stored.trials[trial.number].state for trial in failed} == {TrialState.PRUNED}
    assert stored.best_trial.number == best.number
    assert tune(problem, 12, measure) == trials


def test_optuna_sees_values_parameters_and_attributes(make_problem: Make, tune: Any, storage: str) -> None:
    problem = make_problem()
    trials = tune(problem, 3)
    stored = _stored(storage)
    assert stored.metric_names == ["output_throughput_tokens_per_s"]
    assert stored.direction == optuna.study.StudyDirection.MAXIMIZE
    for trial, frozen in zip(trials, stored.trials, strict=True):
        assert (frozen.number, frozen.value) == (trial.number, trial.value)
        assert frozen.user_attrs["outcome"] == "measured"
        assert frozen.user_attrs["ttft_p50_s"] == pytest.approx(trial.metrics["ttft_p50"], rel=1e-5)
        assert frozen.user_attrs["backend"] == "SIMULATED"
    assert stored.trials[1].params == {
        name: problem.choices.value_of(trials[1].candidate, name) for name in problem.choices.names
    }


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"workload__concurrency": 5}, "workload"),
        ({"hardware__gpu_memory": "21GiB"}, "hardware"),
        ({"engine__env": {"A": "1"}}, "engine"),
        ({"repeats": 2}, "repeats"),
        ({"search_space": FOUR}, "search_space"),
    ],
)
def test_a_changed_definition_is_refused_by_key(
    make_problem: Make, tune: Any, changes: dict[str, Any], key: str
) -> None:
    tune(make_problem(), 1)
    with pytest.raises(InputError, match=rf"^tiny: {key}[.:].*: changed since this study began") as caught:
        tune(make_problem(**changes), 2)
    assert "\n" not in str(caught.value)


def test_another_objective_continues_the_same_study_and_judges_every_trial(make_problem: Make, tune: Any) -> None:
    first = tune(make_problem(objective__slo={"ttft_p95": "9s"}), 3)
    asked = make_problem(objective={"metric": "ttft_p50", "slo": {"tpot_p95": "1ms"}})
    trials = tune(asked, 4)
    assert [trial.candidate for trial in trials[:3]] == [trial.candidate for trial in first]
    assert [trial.value for trial in trials] == [trial.metrics["ttft_p50"] for trial in trials]
    assert {constraint.name for trial in trials for constraint in trial.constraints} == {
        "slo tpot_p95",
        "requests complete",
    }
    assert not any(trial.is_acceptable for trial in trials)
    assert len({trial.candidate.key for trial in trials}) == 4
    back = tune(make_problem(objective__slo={"ttft_p95": "9s"}), 4)
    assert back[:3] == first
    assert back[3].value == back[3].metrics["output_throughput"]


@pytest.mark.parametrize("sampler", ["tpe"])
def test_a_sampler_that_reads_optunas_values_answers_the_first_question_alone(
    make_problem: Make, tune: Any, storage: str, sampler: str
) -> None:
    tune(make_problem(), 2)
    spec = {"sampler": {"name": sampler}, "objective__metric": "ttft_p50"}
    with pytest.raises(
        InputError, match=rf"^tiny: --sampler {sampler}: .* allowed under others: planner, random, grid"
    ):
        tune(make_problem(**spec), 3)
    tune(make_problem(objective__metric="ttft_p50"), 3)
    stored = optuna.load_study(study_name="tiny", storage=storage)
    values = [trial.value for trial in stored.get_trials(states=(TrialState.COMPLETE,))]
    assert values == [trial.metrics["output_throughput"] for trial in tune(make_problem(), 3)]


def test_a_study_without_results_may_still_change(make_problem: Make, tune: Any, storage: str) -> None:
    Search.open(forecast_of(make_problem()), storage).ask()
    (trial,) = tune(make_problem(workload__concurrency=5), 1)
    assert trial.candidate == make_problem().default


def test_another_sampler_continues_the_same_study(make_problem: Make, tune: Any) -> None:
    tune(make_problem(sampler={"name": "grid"}), 2)
    trials = tune(make_problem(sampler={"name": "tpe", "seed": 1}), 4)
    assert len({trial.candidate.key for trial in trials}) == 4


def test_a_storage_that_is_none(make_problem: Make) -> None:
    with pytest.raises(InputError, match=r"^storage nonsense: cannot be opened: ") as caught:
        Search.open(forecast_of(make_problem()), "nonsense")
    assert "\n" not in str(caught.value)


def test_a_study_from_before_weights_goes_on(make_problem: Make) -> None:
    """Its storage says of the objective what is said today."""
    objective = definition(make_problem(objective={"slo": {"ttft_p95": "2s"}}))["objective"]
    assert objective == {"metric": "output_throughput", "slo": {"ttft_p95": 2.0}}


def test_a_batch_is_asked_before_the_first_is_told(make_problem: Make) -> None:
    problem = make_problem(search_space={"search": {"max_num_seqs": [1, 2, 4, 8, 16, 32]}})
    search = Search.open(forecast_of(problem), "sqlite://")
    asked = [search.ask() for _ in range(3)]
    assert asked[0] == (0, problem.default)
    assert len({candidate.key for _, candidate in filter(None, asked)}) == 3


def test_what_is_under_way_is_no_reason_for_a_twin(make_problem: Make, watcher: Any) -> None:
    space = {"search": {"max_num_seqs": list(range(1, 65))}}
    problem = make_problem(search_space=space, workload__concurrency=64, workload__num_requests=64)
    past = run_study(
        problem,
        Search.open(forecast_of(problem), "sqlite://"),
        LocalExecutor(problem, simulated(forecast_of(problem)), watcher.stage, "simulated"),
        4,
        watcher,
    )
    surrogate, rows = Surrogate(forecast_of(problem)), untried_rows(forecast_of(problem), past)

    def seqs(row: int) -> int:
        return problem.choices.candidate(problem.choices.params(grid_of(problem).indices[row])).engine.max_num_seqs or 0

    first = surrogate.choose(rows, past)
    pending = [problem.choices.candidate(problem.choices.params(grid_of(problem).indices[first]))]
    others = rows[rows != first]
    alone, beside = (seqs(surrogate.choose(others, past, under_way)) for under_way in ((), pending))
    assert abs(beside - seqs(first)) >= abs(alone - seqs(first))
    assert len(surrogate._as_believed(pending, past)) == 1


# --- storages that are no study's


def test_a_database_of_something_else_is_refused_unchanged(make_problem: Make, tmp_path: Path) -> None:
    path = tmp_path / "books.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("create table books(title)")
        database.commit()
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"books\.db: a database of something else, with tables books$"):
        Search.open(forecast_of(make_problem()), f"sqlite:///{path}")
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", [lambda _: b"no database" * 500, lambda data: data[: len(data) // 2]])
def test_a_damaged_file_is_refused_unchanged(
    make_problem: Make, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "study.db"
    Search.open(forecast_of(make_problem()), f"sqlite:///{path}")
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"study\.db: cannot be opened: .*(not a database|malformed)"):
        Search.open(forecast_of(make_problem()), f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_a_damaged_record_is_named(make_problem: Make, tmp_path: Path, watcher: Any) -> None:
    path = tmp_path / "study.db"
    problem = make_problem()
    search = Search.open(forecast_of(problem), f"sqlite:///{path}")
    run_study(
        problem, search, LocalExecutor(problem, simulated(forecast_of(problem)), watcher.stage, "simulated"), 1, watcher
    )
    with closing(sqlite3.connect(path)) as database:
        database.execute("update trial_user_attributes set value_json = ? where key = ?", ('"{no JSON"', RECORD))
        database.commit()
    with pytest.raises(InputError, match=r"^stored trial 0: its record cannot be read: JSON is malformed"):
        Search.open(forecast_of(problem), f"sqlite:///{path}").trials()


def test_a_store_reads_its_trials_whatever_the_sampler(make_problem: Make, tune: Any, storage: str) -> None:
    trials = tune(make_problem(), 3)
    assert StudyStore(make_problem(sampler={"name": "random"}), storage).trials() == trials


@pytest.mark.parametrize("name", ["planner", "random", "grid"])
def test_our_samplers_choose_without_a_storage(make_problem: Make, tune: Any, name: str) -> None:
    problem = make_problem(search_space=FOUR)
    past = tune(problem, 2)
    rows = untried_rows(forecast_of(problem), past)
    chosen = [
        FeasibleSampler(problem, name, seed=1).choose(Situation(forecast_of(problem), rows, past, ())) for _ in range(2)
    ]
    assert chosen[0] == chosen[1]
    assert chosen[0] in rows


def test_a_stored_trial_whose_host_had_no_speed_is_refused(make_problem: Make, launch: Any) -> None:
    trial = replace(launch(make_problem())[0], host_speed=0.0)
    attributes = {RECORD: msgspec.json.encode(trial).decode()}
    with pytest.raises(InputError, match=r"its record cannot be read: .*host_speed"):
        record_of(optuna.trial.create_trial(value=1.0, user_attrs=attributes))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_of_what_runs_alike_one_is_launched(make_problem: Make, tune: Any, sampler: str) -> None:
    """Four requests in flight: 8, 64 and the default's 256 sequences are one, and nothing is ever swapped."""
    space = {"search": {"max_num_seqs": [2, 8, 64], "swap_space": [0, 4], "block_size": [16, 32]}}
    trials = tune(make_problem(sampler={"name": sampler}, search_space=space), 12)
    launched = {(t.candidate.engine.max_num_seqs, t.candidate.engine.block_size) for t in trials if t.was_launched}
    assert launched == {(None, None), (2, 16), (2, 32), (8, 32)}
    assert {trial.candidate.engine.swap_space for trial in trials} == {None, 4}  # vLLM's own is 4
    assert len(trials) == 4


def test_what_is_under_way_stands_for_its_class(make_problem: Make) -> None:
    forecast = forecast_of(make_problem(search_space={"search": {"max_num_seqs": [2, 8, 64]}}))
    choices = forecast.problem.choices
    two, many = (choices.candidate({"max_num_seqs": number}) for number in (2, 64))
    assert len(untried_rows(forecast, ())) == 2
    assert [choices.params(forecast.grid.indices[row]) for row in untried_rows(forecast, (), [two])] == [
        {"max_num_seqs": 8}
    ]
    assert len(untried_rows(forecast, (), [two, many])) == 0
    assert len(untried_rows(forecast, (), [forecast.problem.default])) == 1
