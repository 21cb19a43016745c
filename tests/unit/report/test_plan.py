"""What a plan says beside its figures, and why nothing can be deployed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner.engine import NEWEST
from planner.report.plan import infeasible_words, left_out_lines, nothing_words, plan_notes
from planner.study.forecast import Forecast
from planner.trials.wording import describe

Make = Callable[..., Any]


def test_a_layout_for_more_cards_is_said(make_problem: Make) -> None:
    problem = make_problem(search_space={"search": {"layout": ["1xtp2", "1xtp8", "4xtp1"]}})
    assert left_out_lines(problem) == ["layout 1xtp8, 4xtp1: needs more than 2 cards"]
    assert left_out_lines(make_problem()) == []


def test_a_newer_release_is_a_doubt(make_problem: Make) -> None:
    newer = f"0.{NEWEST.minor + 1}.0"
    settings = {"dtype": "half", "max_model_len": 4096}
    (note,) = plan_notes(make_problem(engine={"version": newer, "settings": settings}))
    assert note == f"vLLM {newer} is newer than planner knows: judged by the rules of {NEWEST.major}.{NEWEST.minor}"
    assert plan_notes(make_problem()) == []


def test_what_a_search_for_the_most_load_does_not_use_is_said(make_problem: Make) -> None:
    changes: dict[str, Any] = {"repeats": 3, "workload__ramp": "2s"}
    assert plan_notes(make_problem(**changes)) == []
    asked = {"metric": "capacity", "slo": {"ttft_p95": "2s"}}
    assert plan_notes(make_problem(**changes, objective=asked)) == [
        "repeats 3: not used, as each launch sends several levels of load",
        "workload.ramp: not used; each level begins at once",
    ]
    assert plan_notes(make_problem(objective=asked)) == []


def test_flags_that_are_not_modelled_are_said(make_problem: Make) -> None:
    given = ["--enable-sleep-mode", "--limit-mm-per-prompt", '{"image": 2}', "--seed", "3"]
    problem = make_problem(engine__extra_args=given)
    assert plan_notes(problem) == [
        "--enable-sleep-mode: its allocator keeps what is freed while the weights are loaded; "
        "after that nothing differs"
    ]
    draft = '{"method": "ngram", "num_speculative_tokens": 3}'
    searched = make_problem(search_space={"search": {"speculative_config": [None, draft]}})
    (note,) = plan_notes(searched)
    assert note.startswith("--speculative-config: a draft takes memory")
    assert searched.doubts(searched.default) == ()


def test_a_download_by_every_container_is_said(
    make_problem: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (note,) = plan_notes(make_problem(), "docker")
    assert note.startswith("Qwen/Qwen3-8B: every container downloads it anew")
    assert plan_notes(make_problem(), "process") == []
    (tmp_path / ".cache" / "huggingface").mkdir(parents=True)
    assert plan_notes(make_problem(), "docker") == []


def test_heads_that_do_not_divide_come_with_a_number_that_does(make_problem: Make) -> None:
    problem = make_problem(hardware__num_gpus=3, search_space={"search": {"max_num_seqs": [8]}})
    words = infeasible_words(Forecast(problem))
    assert words is not None
    assert "attention heads (32) must be divisible by tensor parallel size (3)" in words
    assert "what would start: tensor_parallel_size 3 -> 1, pipeline_parallel_size 1 -> 3: starts" in words
    assert infeasible_words(Forecast(make_problem())) is None


def test_the_nearest_of_the_trials_that_broke_a_limit_is_named(make_problem: Make, launch: Any) -> None:
    problem = make_problem(objective={"slo": {"ttft_p95": "10ms"}})
    trials = launch(problem, 3)
    words = nothing_words(Forecast(problem), trials)
    assert words is not None
    assert words.startswith("no trial kept every limit; the nearest is trial ")
    nearest = min(trials, key=lambda trial: trial.metrics["ttft_p95"])
    (excess,) = (one.excess for one in nearest.constraints if one.name == "slo ttft_p95")
    assert f"trial {nearest.number} ({describe(problem, nearest.candidate)}): ttft_p95 is " in words
    assert f", missed by {excess:.0%};" in words
    assert nothing_words(Forecast(make_problem()), launch(make_problem(), 3)) is None
