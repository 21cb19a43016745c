"""Which levers the plan calls likely, and why."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from planner.report.lever_hints import LeverHint, lever_hints, lever_lines
from planner.study.problem import Problem
from tests.forecasts import forecast_of

Make = Callable[..., Problem]
NGRAM = '{"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4}'


def hints(problem: Problem) -> dict[str, LeverHint]:
    return {hint.name: hint for hint in lever_hints(forecast_of(problem))}


def drafting(make_problem: Make, concurrency: int) -> Problem:
    return make_problem(
        models={"small": {"path": "/models/Qwen3-8B", "architecture": "Qwen/Qwen3-8B"}},
        hardware={"gpu": "A100 40GB", "num_gpus": 1},
        engine={"version": "0.24.0", "settings": {"max_model_len": 4096}},
        search_space={"search": {"max_num_seqs": [16, 512]}, "levers": {"speculative_config": [None, NGRAM]}},
        workload__concurrency=concurrency,
        workload__num_requests=2 * concurrency,
        container=None,
    )


def test_drafts_are_likely_for_one_user_and_not_for_many(make_problem: Make) -> None:
    alone, many = hints(drafting(make_problem, 1)), hints(drafting(make_problem, 512))
    one, crowd = alone["speculative_config"], many["speculative_config"]
    assert (one.is_likely, crowd.is_likely) == (True, False)
    assert one.lever == "engine", "it is not searched, and --levers engine would"
    assert one.words.startswith("speculative_config: 4 drafts for each of 1 requests make a step ")
    assert one.words.endswith(" of them are taken (--levers engine)")


def test_what_the_model_knows_is_judged_by_single_changes(make_problem: Make) -> None:
    problem = make_problem(
        models={"small": {"path": "/models/Qwen3-8B", "architecture": "Qwen/Qwen3-8B"}},
        hardware={"gpu": "A100 40GB", "num_gpus": 2},
        engine={"version": "0.24.0", "settings": {"max_model_len": 4096}},
        search_space={"search": {"layout": ["1xtp2", "2xtp1"]}, "levers": {"max_num_seqs": [256, 512]}},
        workload__concurrency=64,
        workload__num_requests=128,
        container=None,
    )
    found = hints(problem)
    assert (found["layout"].is_likely, found["layout"].lever) == (True, "")
    assert found["layout"].reason.startswith("layout 2xtp1: +"), "two cards need no all-reduce over PCIe"
    assert (found["max_num_seqs"].is_likely, found["max_num_seqs"].lever) == (False, "scheduler")


@pytest.mark.parametrize(("interconnect", "is_said"), [("pcie", True), ("nvlink-pairs", False)])
def test_the_all_reduce_matters_between_two_cards_without_nvlink(
    make_problem: Make, interconnect: str, is_said: bool
) -> None:
    problem = make_problem(
        hardware__interconnect=interconnect,
        engine__settings={"tensor_parallel_size": 2, "max_model_len": 1024, "dtype": "half"},
        search_space={"search": {"max_num_seqs": [8]}, "levers": {"disable_custom_all_reduce": [None, True]}},
    )
    found = hints(problem)
    assert ("disable_custom_all_reduce" in found) == is_said
    if is_said:
        assert "of a step is all-reduce over PCIe" in found["disable_custom_all_reduce"].reason


def test_the_plan_names_the_likely_the_others_and_what_holds_the_defaults_back(make_problem: Make) -> None:
    lines = lever_lines(forecast_of(drafting(make_problem, 4)))
    assert lines[0].startswith("likely to matter: speculative_config: ")
    assert lines[1] == "no gain of 3% predicted of: max_num_seqs"
    assert lines[2].startswith("the defaults: all 4 offered requests run at once")


def test_of_defaults_that_do_not_start_nothing_is_said(make_problem: Make) -> None:
    problem = make_problem(engine__settings={"tensor_parallel_size": 4}, search_space={"search": {}})
    assert lever_lines(forecast_of(problem)) == []
