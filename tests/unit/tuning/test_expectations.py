"""What is expected of the limits before any launch: as the speed model says it, at every load, with its doubt."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest

from planner.study.problem import Problem
from planner.tuning.expectations import expected_most, expected_of_limits
from planner.tuning.search.gaussian_process import OFFSET_STD
from tests.forecasts import forecast_of

Make = Callable[..., Problem]
LOAD = {"workload__concurrency": 16, "workload__num_requests": 64}


def most_by_hand(make_problem: Make, limit: float) -> int:
    """Largest number in flight at which the model's best TTFT p95 of all feasible combinations is within the limit."""
    most = 0
    for load in range(1, 65):
        forecast = forecast_of(make_problem(workload__concurrency=load, workload__num_requests=4 * load))
        best = forecast.grid.predicted()["ttft_p95"][forecast.grid.feasible_rows].min()
        most = load if best <= limit else most
    return most


def predicted(make_problem: Make) -> float:
    forecast = forecast_of(make_problem(**LOAD))
    return float(forecast.grid.predicted()["ttft_p95"][forecast.grid.feasible_rows].min())


def test_nothing_is_said_without_limits_or_candidates(make_problem: Make) -> None:
    assert expected_of_limits(forecast_of(make_problem(**LOAD))) is None


@pytest.mark.parametrize("share", [0.9, 1.2])
def test_the_load_that_keeps_a_limit_is_the_models_own(make_problem: Make, share: float) -> None:
    limit = share * predicted(make_problem)
    found = expected_of_limits(forecast_of(make_problem(**LOAD, objective={"slo": {"ttft_p95": limit}})))
    assert found is not None
    assert (found.keeping > 0) is (share > 1)
    assert found.chance == pytest.approx(0.5 * math.erfc(-math.log(share) / OFFSET_STD / math.sqrt(2)), rel=1e-6)
    by_hand = most_by_hand(make_problem, limit)
    middle = found.most[0] or 0.0
    assert abs(middle - by_hand) <= 1 + 0.1 * by_hand
    assert (by_hand < LOAD["workload__concurrency"]) is (share < 1)
    assert (found.most[2] or 0.0) <= middle <= (found.most[1] or math.inf)


def test_it_is_said_in_one_sentence(make_problem: Make) -> None:
    limit = 0.9 * predicted(make_problem)
    found = expected_of_limits(forecast_of(make_problem(**LOAD, objective={"slo": {"ttft_p95": limit}})))
    assert found is not None
    assert re.fullmatch(
        r"at 16 in flight no candidate is expected to keep ttft_p95 at most [\d.]+ m?s "
        r"\(the nearest: ttft_p95 [\d.]+ m?s; chance \d+%\); "
        r"about \d+ in flight is the most \((none|\d+) to (more|\d+) with the model's doubt\)",
        found.words,
    ), found.words


def test_a_limit_that_no_load_keeps(make_problem: Make) -> None:
    found = expected_of_limits(forecast_of(make_problem(**LOAD, objective={"slo": {"ttft_p50": 1e-6}})))
    assert found is not None
    assert found.most == (None, None, None)
    assert found.words.endswith("nor is any at another load")


def test_an_open_loop_is_told_in_requests_per_second(make_problem: Make) -> None:
    rate = {"workload__request_rate": 2.0, "objective": {"slo": {"ttft_p50": "9s"}}}
    found = expected_of_limits(forecast_of(make_problem(**rate)))
    assert found is not None
    assert found.words.startswith("at 2 requests/s ")


def test_the_plan_says_it(run: Callable[[str], tuple[int, str, str]], study: object) -> None:
    _, out, _ = run(f"tune {study} --dry-run --slo ttft_p50=1us --backend simulated")
    assert "expected    at " in out
    assert "before any launch" in " ".join(out.split())


def test_what_the_defaults_and_the_best_are_expected_to_carry(make_problem: Make) -> None:
    slo = {"ttft_p95": "9s", "tpot_p95": "100ms"}
    assert expected_most(forecast_of(make_problem(objective={"slo": slo}))) is None
    problem = make_problem(**LOAD, objective={"metric": "capacity", "slo": slo})
    forecast = forecast_of(problem)
    best = int(forecast.grid.predicted()["capacity"][forecast.grid.feasible_rows].max())
    default = int(forecast.predicted(problem.default)["capacity"])
    assert default > 1
    assert expected_most(forecast) == (
        f"engine defaults are expected to carry {default} in flight inside the limits, "
        f"the best candidate {best} in flight"
    )
    by_rate = make_problem(**LOAD, objective={"metric": "capacity_rate", "slo": slo})
    assert "requests/s inside the limits" in (expected_most(forecast_of(by_rate)) or "")


def test_a_capacity_without_limits_is_refused_in_one_line(
    run: Callable[[str], tuple[int, str, str]], study: object
) -> None:
    code, _, err = run(f"tune {study} --dry-run --objective capacity --backend simulated")
    assert (code, err.count("\n")) == (2, 1)
    assert "metric capacity: is the most load that keeps limits, and there are none: add --slo" in err
