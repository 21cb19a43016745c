"""How far a load is, and how long it takes at least."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from planner.benchmark.load.progress import (
    NOTHING,
    Moment,
    Pace,
    Projection,
    ended,
    moments_of,
    pace_error,
    stopped_after,
)
from planner.benchmark.load.watcher import STOPPED
from planner.benchmark.records import RequestRecord
from planner.simulated.load import simulate_load
from planner.simulated.start import start_engine
from planner.study.problem import Problem
from planner.workload.workload import RequestPlan, Workload, plan_requests
from tests.forecasts import grid_of

WORKLOAD = Workload(concurrency=8, num_requests=64, input_tokens=64, output_tokens=16)


def at(share: float, seconds: float, plans: list[RequestPlan]) -> Moment:
    """Of a load that goes on evenly, all requests one after the other."""
    return Moment(
        elapsed_s=seconds,
        answered=int(share * len(plans)),
        finished=int(share * len(plans)),
        input_tokens=int(share * sum(plan.input_tokens for plan in plans)),
        output_tokens=int(share * sum(plan.output_tokens for plan in plans)),
    )


def test_an_even_load_is_projected_once_it_has_turned_over() -> None:
    plans = plan_requests(WORKLOAD)
    pace = Pace(WORKLOAD, plans)
    assert pace.project(at(0.1, 10.0, plans)) is None, "the engine fills up: 6 of 8 have an answer"
    early = pace.project(at(0.125, 12.5, plans))
    assert early == Projection(pytest.approx(12.5 / 0.1875), 0.125), "half of what is in flight may be done already"
    later = pace.project(at(0.5, 50.0, plans))
    assert later == Projection(pytest.approx(100.0), 0.5, 0.125)
    assert early.doubt > later.doubt > pace.project(at(0.75, 75.0, plans)).doubt
    assert Projection(100.0, 1.0, 0.125).doubt == 0.0


@pytest.mark.parametrize(
    "changes", [{"request_rate": 4.0}, {"turns": 2, "num_requests": 64}, {"ignore_eos": False}], ids=str
)
def test_where_the_pace_says_nothing_there_is_no_projection(changes: dict[str, Any]) -> None:
    workload = msgspec.structs.replace(WORKLOAD, **changes)
    plans = plan_requests(workload)
    assert Pace(workload, plans).project(at(0.5, 50.0, plans)) is None


def test_a_ramp_is_waited_for() -> None:
    workload = msgspec.structs.replace(WORKLOAD, ramp=5.0)
    plans = plan_requests(workload)
    pace = Pace(workload, plans)
    assert pace.project(at(0.125, 12.5, plans)) is None
    assert pace.project(at(0.5, 50.0, plans)) is not None


@pytest.fixture
def simulated(make_problem: Callable[..., Problem]) -> Callable[..., tuple[list[RequestPlan], list[RequestRecord]]]:
    def run(workload: Workload, **settings: Any) -> tuple[list[RequestPlan], list[RequestRecord]]:
        problem = make_problem()
        row = grid_of(problem).feasible_rows[0]
        params = {**problem.choices.params(grid_of(problem).indices[row]), **settings}
        deployment = problem.deployment(problem.choices.candidate(params))
        records, _ = simulate_load([start_engine(deployment)], workload)
        return plan_requests(workload), records

    return run


def test_the_moments_of_an_ended_load_count_all_of_it(simulated: Callable[..., Any]) -> None:
    plans, records = simulated(WORKLOAD)
    moments = list(moments_of(records, plans))
    assert moments[-1].finished == moments[-1].answered == len(plans)
    assert Pace(WORKLOAD, plans).share(moments[-1]) == 1.0
    shares = [Pace(WORKLOAD, plans).share(moment) for moment in moments]
    assert shares == sorted(shares)
    assert sum(map(ended, plans), NOTHING).output_tokens == moments[-1].output_tokens


@pytest.mark.parametrize("seqs", [8, 32])
def test_projections_of_the_simulated_engine_are_not_too_long(simulated: Callable[..., Any], seqs: int) -> None:
    """One that runs all that is offered at once, and one that makes requests wait."""
    workload = msgspec.structs.replace(WORKLOAD, concurrency=16, num_requests=96)
    _, records = simulated(workload, max_num_seqs=seqs)
    error = pace_error(workload, records)
    assert error is not None
    assert error < 0.1


class StopAt:
    def __init__(self, finished: int) -> None:
        self.finished, self.seen = finished, 0

    def on_record(self, record: RequestRecord) -> None:  # noqa: ARG002
        self.seen += 1

    def stop_reason(self, moment: Moment) -> str | None:
        assert moment.finished == self.seen, "it has heard of each before it is asked"
        return STOPPED if self.seen >= self.finished else None

    def estimate(self, result: Any) -> Any:
        return result


def test_an_ended_load_can_be_stopped_afterwards(simulated: Callable[..., Any]) -> None:
    plans, records = simulated(WORKLOAD)
    seconds, seen = stopped_after(records, plans, StopAt(20))
    assert 20 <= len(seen) < 64
    assert max(record.finished_s for record in seen) - min(r.started_s for r in records) <= seconds
    assert stopped_after(records, plans, StopAt(64)) is None, "a load that is over is not stopped"
