"""What a report says where the trials were measured for another question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from planner.report.questions import asked_anew
from planner.study.problem import Problem
from planner.trials.rejudging import rejudged
from tests.forecasts import forecast_of

Make = Callable[..., Problem]


def test_nothing_is_said_of_the_question_that_was_measured(make_problem: Make, launch: Any) -> None:
    problem = make_problem()
    assert asked_anew(problem, launch(problem, 3)) == []


def test_it_names_the_questions_and_the_launches_that_would_tell(make_problem: Make, launch: Any) -> None:
    trials = launch(make_problem(), 4)
    trials[1] = replace(trials[1], stopped_at=0.5)
    bare = {name: value for name, value in trials[3].metrics.items() if name != "ttft_p99"}
    trials[3] = replace(trials[3], metrics=bare, repeat_metrics=(bare,))
    problem = make_problem(objective={"metric": "tpot_p50", "slo": {"ttft_p99": "9s"}})
    said = asked_anew(problem, [rejudged(forecast_of(problem), trial) for trial in trials])
    assert said[:3] == [
        "judged for tpot_p50; ttft_p99 at most 9 s; trials were measured for output_throughput",
        "given up early for what was asked then, so not compared: trial 1; 1 launch would tell (planner tune with "
        "these limits)",
        "ttft_p99 was not measured in trial 3; 1 launch would tell",
    ]


def test_a_report_answers_another_question_without_a_launch(run: Any, study: Any) -> None:
    assert run(f"tune {study} --backend simulated --trials 3 --no-finals --keep-going --quiet")[0] == 0
    code, out, err = run(f"report {study} --simulated --slo ttft_p95=1ms")
    assert code == 0, err
    assert "no trial kept every limit" in out
    assert "judged for output_throughput; ttft_p95 at most 1 ms" in " ".join(out.split())
    code, _, err = run(f"export {study} --simulated --slo ttft_p95=1ms -o -")
    assert (code, err.count("\n")) == (2, 1)
    assert "no trial kept every limit" in err
    code, out, _ = run(f"export {study} --simulated --objective ttft_p50 -o -")
    assert code == 0
    assert "ttft_p50" in out
    code, out, err = run(f"tune {study} --backend simulated --trials 4 --no-finals --keep-going --slo ttft_p95=1ms")
    assert code == 3, err
    assert "judged for" in out
