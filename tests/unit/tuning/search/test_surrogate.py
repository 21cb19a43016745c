"""What is launched next: the model's favourite first, then what the data say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from planner.constraints import Constraint
from planner.estimate.memory.calibration import predicted_figures
from planner.study.problem import Problem
from planner.trials.trial import Provenance, Trial
from planner.tuning.search import surrogate
from planner.tuning.search.gaussian_process import _expected_improvement, _posterior
from planner.tuning.search.launch_seconds import expected_start_s
from planner.tuning.search.left import expected_gain
from planner.tuning.search.samplers import untried_rows
from planner.tuning.search.surrogate import Surrogate
from tests.forecasts import forecast_of, grid_of

Make = Callable[..., Problem]
SEARCH = {
    "max_num_seqs": [8, 16, 32, 64, 128],
    "max_num_batched_tokens": [4096, 8192, 16384],
    "swap_space": [0, 1, 2],
    "block_size": [16, 32],
}
PROVENANCE = Provenance(
    planner_version="0",
    backend="x",
    simulated=True,
    vllm_version="0.8.5",
    image=None,
    gpu="",
    workload_seed=0,
    finished_at="",
)


@pytest.fixture
def problem(make_problem: Make) -> Problem:
    return make_problem(search_space={"search": SEARCH}, workload__concurrency=64, workload__num_requests=256)


def _trial(problem: Problem, row: int, value: float | None, number: int = 0) -> Trial:
    """A measured trial, or one whose engine failed."""
    candidate = problem.choices.candidate(problem.choices.params(grid_of(problem).indices[row]))
    return Trial(
        number=number,
        candidate=candidate,
        outcome="failed" if value is None else "measured",
        value=value,
        constraints=(),
        predicted_value=problem.objective.value(forecast_of(problem).predicted(candidate)),
        predicted_memory=predicted_figures(problem.deployment(candidate).memory),
        real_memory=None,
        provenance=PROVENANCE,
    )


def throughput(problem: Problem) -> Any:
    return grid_of(problem).predicted()["output_throughput"]


def _open(problem: Problem, past: Sequence[Trial]) -> Any:
    """Feasible rows that were not tried, with all members of a class: what the surrogate makes of any rows."""
    tried = [problem.row_of(trial.candidate) for trial in past]
    return np.setdiff1d(grid_of(problem).feasible_rows, [row for row in tried if row is not None])


def _choose(problem: Problem, past: Sequence[Trial]) -> dict[str, Any]:
    row = Surrogate(forecast_of(problem)).choose(_open(problem, past), past)
    assert row in _open(problem, past)
    return problem.choices.params(grid_of(problem).indices[row])


def test_before_any_measurement_the_models_favourite_is_taken(problem: Problem) -> None:
    rows = grid_of(problem).feasible_rows
    chosen = Surrogate(forecast_of(problem)).choose(rows, [])
    predicted = throughput(problem)
    assert predicted[chosen] == predicted[rows].max()


def test_a_setting_without_effect_is_not_varied_while_others_can_be(problem: Problem) -> None:
    """Whatever was measured, the next point differs in more than swap_space, which V0 never uses."""
    rows = grid_of(problem).feasible_rows
    past = [_trial(problem, int(row), float(throughput(problem)[row]), i) for i, row in enumerate(rows[::7])]
    seen = {tuple(v for k, v in _params(problem, trial).items() if k != "swap_space") for trial in past}
    chosen = tuple(v for k, v in _choose(problem, past).items() if k != "swap_space")
    assert chosen not in seen


def _params(problem: Problem, trial: Trial) -> dict[str, Any]:
    return {name: problem.choices.value_of(trial.candidate, name) for name in problem.choices.names}


def test_data_overrule_the_model(problem: Problem) -> None:
    """Where few sequences turn out twenty times as fast as predicted, the search goes there."""
    grid, predicted = grid_of(problem), throughput(problem)
    past = []
    for number, row in enumerate(grid.feasible_rows[::5]):
        params = problem.choices.params(grid.indices[row])
        factor = 20.0 if params["max_num_seqs"] == 8 else 1.0
        past.append(_trial(problem, int(row), float(predicted[row]) * factor, number))
    assert _choose(problem, past)["max_num_seqs"] <= 16


def test_neighbours_of_failures_are_avoided(problem: Problem) -> None:
    grid, rows = grid_of(problem), grid_of(problem).feasible_rows
    fine = next(int(row) for row in rows if problem.choices.params(grid.indices[row])["max_num_seqs"] == 8)
    past = [_trial(problem, fine, float(throughput(problem)[fine]))]
    wanted = _choose(problem, past)["max_num_seqs"]
    assert wanted > 8
    alike = [int(row) for row in rows if problem.choices.params(grid.indices[row])["max_num_seqs"] == wanted]
    past += [_trial(problem, row, None, 1 + i) for i, row in enumerate(alike[:-1])]
    assert alike[-1] in _open(problem, past)
    assert _choose(problem, past)["max_num_seqs"] != wanted


def test_a_broken_limit_is_no_best(problem: Problem) -> None:
    """A fast trial over its limit counts as knowledge, not as the value to beat."""
    grid, rows = grid_of(problem), grid_of(problem).feasible_rows
    over = replace(_trial(problem, int(rows[0]), 1e9), constraints=(Constraint("slo", 1.0, ""),))
    assert _choose(problem, [over]) != problem.choices.params(grid.indices[rows[0]])


@pytest.mark.parametrize("metric", ["ttft_p50", "output_throughput"])
def test_latencies_are_minimised(make_problem: Make, metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surrogate, "NOTHING_LEFT", 0.0)  # else it tests its model: no other can be better by much
    problem = make_problem(search_space={"search": SEARCH}, objective={"metric": metric})
    past = []
    for number, row in enumerate(grid_of(problem).feasible_rows[::4]):
        seqs = problem.choices.params(grid_of(problem).indices[row])["max_num_seqs"]
        past.append(_trial(problem, int(row), float(seqs), number))
    assert _choose(problem, past)["max_num_seqs"] == (8 if metric == "ttft_p50" else 128)


def test_posterior_passes_through_the_data_and_is_unsure_elsewhere() -> None:
    known, points = np.array([[0.0], [0.5], [1.0]]), np.array([[0.0], [0.5], [1.0], [0.25], [3.0]])
    found = _posterior(known, np.array([0.0, 0.3, 0.0]), np.zeros(3), points, np.zeros(5), 0.005)
    assert found.mean[:3] == pytest.approx([0.0, 0.3, 0.0], abs=0.03)
    assert found.at_known == pytest.approx(found.mean[:3])
    assert 0.0 < found.mean[3] < 0.3
    assert found.std[4] > found.std[3] > found.std[:3].max()


def test_a_model_that_ranks_backwards_is_overruled() -> None:
    """Measured is the opposite of predicted: after a few points the posterior falls where the prediction rises."""
    predicted = np.linspace(0.0, 1.0, 6)
    known, points = predicted[:, None] * 0.0, np.zeros((2, 1))
    found = _posterior(known, -predicted, predicted, points, np.array([0.0, 1.0]), 0.02)
    assert found.mean[0] > found.mean[1] + 0.5


def test_limits_count_as_probabilities(make_problem: Make) -> None:
    """Where many sequences keep the limit for sure and few break it, the search stays where it is kept."""
    problem = make_problem(
        search_space={"search": SEARCH}, workload__concurrency=64, objective={"slo": {"tpot_p95": "50ms"}}
    )
    past = []
    for number, row in enumerate(grid_of(problem).feasible_rows[::4]):
        seqs = problem.choices.params(grid_of(problem).indices[row])["max_num_seqs"]
        tpot_s = 0.02 if seqs <= 16 else 0.5
        trial = _trial(problem, int(row), 100.0 + seqs, number)
        limit = Constraint("slo tpot_p95", tpot_s - 0.05, "")
        past.append(
            replace(trial, metrics={"tpot_p95": tpot_s, "output_throughput": 100.0 + seqs}, constraints=(limit,))
        )
    assert _choose(problem, past)["max_num_seqs"] <= 16


CONTEXTS = {"search": {"max_model_len": {"low": 2048, "high": 34816, "step": 256}, "max_num_seqs": [32, 64]}}


@pytest.mark.parametrize("border", [5000, 12000, 30000])
def test_the_largest_context_is_closed_in_on(make_problem: Make, border: int) -> None:
    """The throughput falls through the limit at the border, whatever the model says: found among 258 in 8 launches."""
    problem = make_problem(
        engine__settings={"dtype": "half", "tensor_parallel_size": 2, "enable_chunked_prefill": True},
        search_space=CONTEXTS,
        workload__concurrency=64,
        workload__num_requests=256,
        objective={"metric": "max_model_len", "slo": {"output_throughput": 500}},
    )
    past: list[Trial] = []
    while len(past) < 8:
        row = Surrogate(forecast_of(problem)).choose(untried_rows(forecast_of(problem), past), past)
        params = problem.choices.params(grid_of(problem).indices[row])
        throughput = 500 * (border / params["max_model_len"]) ** 0.5 * (params["max_num_seqs"] / 64) ** 0.2
        limit = Constraint("slo output_throughput", 1 - throughput / 500, "")
        trial = _trial(problem, row, params["max_model_len"], len(past))
        past.append(replace(trial, metrics={"output_throughput": throughput}, constraints=(limit,)))
    best = max(trial.value or 0.0 for trial in past if trial.is_acceptable)
    assert 0.95 * border <= best <= border


@pytest.mark.parametrize(
    ("kept", "chances", "gain"),
    [
        ([], [], [10, 20]),
        ([15], [1.0], [0, 5]),
        ([15], [0.5], [5, 12.5]),
        ([5, 15], [1.0, 0.5], [2.5, 10]),
    ],
)
def test_a_known_value_gains_over_what_keeps_its_limits_again(
    kept: list[float], chances: list[float], gain: list[float]
) -> None:
    found = expected_gain(np.array([10.0, 20.0]), np.array(kept), np.array(chances))
    assert found.tolist() == pytest.approx(gain)


def test_a_score_is_pushed_where_its_metrics_agree_to_go(make_problem: Make) -> None:
    """Throughput rises with sequences, TTFT faster: by weight one or the other end is searched."""
    for weight, wanted in ((0.1, 128), (2.0, 8)):
        weights = {"output_throughput": 1, "ttft_p95": weight}
        problem = make_problem(
            search_space={"search": SEARCH}, workload__concurrency=64, objective={"weights": weights}
        )
        past = []
        for number, row in enumerate(grid_of(problem).feasible_rows[::4]):
            seqs = problem.choices.params(grid_of(problem).indices[row])["max_num_seqs"]
            metrics = {"output_throughput": 100.0 * seqs**0.5, "ttft_p95": 0.01 * seqs}
            past.append(replace(_trial(problem, int(row), problem.objective.value(metrics), number), metrics=metrics))
        assert _choose(problem, past)["max_num_seqs"] == wanted


def test_a_rates_limit_counts_as_a_probability(make_problem: Make) -> None:
    """Latency is best with few sequences, but only many keep the throughput."""
    objective = {"metric": "ttft_p50", "slo": {"output_throughput": 500}}
    problem = make_problem(search_space={"search": SEARCH}, workload__concurrency=64, objective=objective)
    past = []
    for number, row in enumerate(grid_of(problem).feasible_rows[::4]):
        seqs = problem.choices.params(grid_of(problem).indices[row])["max_num_seqs"]
        throughput = 1000.0 if seqs >= 64 else 100.0
        trial = _trial(problem, int(row), 0.01 * seqs, number)
        limit = Constraint("slo output_throughput", 1 - throughput / 500, "")
        past.append(replace(trial, metrics={"output_throughput": throughput}, constraints=(limit,)))
    assert _choose(problem, past)["max_num_seqs"] >= 64


def test_ten_thousand_candidates_are_chosen_from(make_problem: Make) -> None:
    search = {
        **SEARCH,
        "gpu_memory_utilization": {"low": 0.80, "high": 0.95, "step": 0.005},
        "enforce_eager": [True, False],
    }
    problem = make_problem(search_space={"search": search}, workload__concurrency=64)
    rows = grid_of(problem).feasible_rows
    assert len(rows) > 5_000
    past = [
        _trial(problem, int(row), float(throughput(problem)[row]), i) for i, row in enumerate(rows[:: len(rows) // 30])
    ]
    assert _choose(problem, past)


@pytest.mark.parametrize(
    ("mean", "std", "gain"), [(0.0, 1.0, 0.3989), (1.0, 1e-9, 1.0), (-1.0, 1e-9, 0.0), (-1, 1, 0.0833)]
)
def test_expected_improvement_over_zero(mean: float, std: float, gain: float) -> None:
    assert _expected_improvement(np.array([mean]), np.array([std]), 0.0)[0] == pytest.approx(gain, abs=1e-4)


def test_a_shape_that_was_compiled_before_starts_sooner(problem: Problem) -> None:
    """swap_space is no part of the compile cache's key, the batch is."""
    rows = grid_of(problem).feasible_rows
    first = _params(problem, _trial(problem, int(rows[0]), 1.0))
    twins = [row for row in rows if _same_but(problem, int(row), first, "swap_space")]
    past = [replace(_trial(problem, int(row), 1.0), start_s=s) for row, s in zip(twins, (60.0, 20.0), strict=False)]
    expected = expected_start_s(forecast_of(problem), rows, past)
    assert set(expected[np.isin(rows, twins)]) == {20.0}
    assert set(expected[~np.isin(rows, twins)]) == {60.0}


def _same_but(problem: Problem, row: int, params: dict[str, Any], but: str) -> bool:
    others = problem.choices.params(grid_of(problem).indices[row])
    return all(others[name] == value for name, value in params.items() if name != but)


def test_a_leader_is_launched_again_where_launches_differ_much(problem: Problem) -> None:
    """Many sequences were launched, some twice with 30 % between the launches; few sequences are far behind."""
    grid, rows, predicted = grid_of(problem), grid_of(problem).feasible_rows, throughput(problem)
    many = [int(row) for row in rows if problem.choices.params(grid.indices[row])["max_num_seqs"] >= 32]
    past = [_trial(problem, row, float(predicted[row]), i) for i, row in enumerate(many)]
    past += [_trial(problem, row, float(predicted[row]) * 1.3, 100 + i) for i, row in enumerate(many[-6:])]
    outlook = Surrogate(forecast_of(problem)).outlook(untried_rows(forecast_of(problem), past), past)
    assert outlook.is_again
    assert outlook.row in many


def test_where_nothing_more_is_expected_the_model_is_tested_far_from_what_was_launched(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that the model likes was measured and was as predicted: the next launch is no neighbour of these."""
    forecast = forecast_of(problem)
    rows = forecast.classes.nearest(forecast.grid.feasible_rows)
    predicted = forecast.grid.predicted()["output_throughput"]
    ranked = rows[np.argsort(-predicted[rows])]
    past = [_trial(problem, int(row), float(predicted[row]), i) for i, row in enumerate(ranked[:6])]
    left = untried_rows(forecast, past)

    def doubt(row: int) -> float:
        """Steps from the nearest launched row."""
        indices = forecast.grid.indices
        return float(np.abs(indices[ranked[:6]] - indices[row]).sum(axis=1).min())

    monkeypatch.setattr(surrogate, "NOTHING_LEFT", 1.0)
    tested = Surrogate(forecast).outlook(left, past)
    monkeypatch.setattr(surrogate, "NOTHING_LEFT", 0.0)
    promising = Surrogate(forecast).outlook(left, past)
    assert tested.gain == promising.gain
    assert not tested.is_again
    assert doubt(tested.row) > doubt(promising.row)
