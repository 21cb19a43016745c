"""What a launch measured beside its metrics, and what the trial keeps of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from planner.engine.metrics_page import EngineTelemetry
from planner.study.problem import Problem
from planner.trials.racing import Repeats
from planner.tuning.evaluation import evaluate, provenance_of
from planner.tuning.measure import Measurement, simulated
from tests.forecasts import forecast_of


def test_a_trial_keeps_the_share_of_drafts_that_were_taken(make_problem: Callable[..., Problem]) -> None:
    problem = make_problem()
    forecast = forecast_of(problem)
    plain = simulated(forecast)(problem.default, 0, lambda *_: None, Repeats(0, 1))
    assert plain.draft_acceptance is None
    windows = (
        EngineTelemetry(draft_tokens=100, accepted_tokens=40),
        EngineTelemetry(draft_tokens=300, accepted_tokens=160),
        EngineTelemetry(),
    )
    drafting = replace(plain, telemetry=windows)
    assert drafting.draft_acceptance == 0.5

    def kept(measurement: Measurement) -> float | None:
        trial = evaluate(
            forecast, problem.default, 0, lambda *_: measurement, lambda *_: None, provenance_of(problem, "simulated")
        )
        return trial.draft_acceptance

    assert kept(drafting) == 0.5
    assert kept(plain) is None
