"""What counts as the same answers, and what a verdict does to trials."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner.errors import InputError
from planner.service.export.docker_script import run_sh
from planner.study.spec import QualitySpec
from planner.trials.finals import chosen_trial
from planner.trials.quality import (
    RULE,
    Agreement,
    PromptAnswer,
    QualityVerdict,
    compare,
    constraint_of,
    differing,
    judge_answers,
    judged,
    numerics,
    quality_words,
)
from planner.tuning.quality_gate import Gate, NoAnswers, load_prompts, read_answer
from planner.tuning.search.search import Search
from tests.forecasts import forecast_of

Make = Callable[..., Any]


def _answer(text: str, *logprobs: float) -> PromptAnswer:
    return PromptAnswer(tuple(text), logprobs or None)


# --- the measure ---


def test_the_same_answers_agree_wholly() -> None:
    answers = [_answer("abcd", -1.0, -2.0, -3.0, -4.0), _answer("xy", -1.0, -1.0)]
    found = compare(answers, answers)
    assert found == Agreement(num_prompts=2, num_same=2, agreement=1.0, first_difference=None, drift=0.0)
    assert found.words == "2 of 2 answers the same, 100% of the tokens, log-probabilities differ by 0.000"


def test_only_what_is_before_the_first_difference_is_compared() -> None:
    reference = [_answer("abcd", -1.0, -2.0, -3.0, -4.0), _answer("ab", -1.0, -1.0)]
    other = [_answer("abXd", -1.5, -2.0, -9.0, -9.0), _answer("ab", -1.0, -1.0)]
    found = compare(reference, other)
    assert (found.num_same, found.agreement, found.first_difference) == (1, 0.75, 2)
    assert found.drift == pytest.approx(0.5 / 4), "two tokens of the first answer, two of the second"


def test_an_answer_that_ends_earlier_differs_where_it_ends() -> None:
    found = compare([_answer("abcd")], [_answer("ab")])
    assert (found.num_same, found.agreement, found.first_difference, found.drift) == (0, 0.5, 2, None)


@pytest.mark.parametrize(
    ("agreement", "drift", "outcome", "fault"),
    [
        (1.0, 0.0, "passed", ""),
        (0.5, 0.1, "passed", ""),
        (0.49, 0.1, "failed", "(less than 50% of the tokens)"),
        (0.5, 0.11, "failed", "(drift above 0.1)"),
        (0.1, 0.5, "failed", "(less than 50% of the tokens, drift above 0.1)"),
        (0.5, None, "passed", ""),
    ],
)
def test_limits_are_kept_at_their_very_value(agreement: float, drift: float | None, outcome: str, fault: str) -> None:
    found = Agreement(num_prompts=16, num_same=0, agreement=agreement, first_difference=1.0, drift=drift)
    verdict = judge_answers(QualitySpec(min_agreement=0.5, max_drift=0.1), (("model", "m"),), found, found)
    assert verdict.outcome == outcome
    assert verdict.message == found.words + (f" {fault}" if fault else "")


# --- what can change answers ---


@pytest.fixture
def problem(make_problem: Make) -> Any:
    return make_problem(search_space={"search": {"kv_cache_dtype": ["auto", "fp8_e5m2"], "max_num_seqs": [2, 3]}})


def test_numerics_are_what_the_engine_resolves(problem: Any, make_problem: Make) -> None:
    same = problem.choices.candidate({"kv_cache_dtype": "auto", "max_num_seqs": 2})
    other = problem.choices.candidate({"kv_cache_dtype": "fp8_e5m2", "max_num_seqs": 2})
    assert differing(problem, same) == ()
    assert differing(problem, other) == ("kv_cache_dtype fp8_e5m2 (auto)",)
    assert dict(numerics(problem, other))["dtype"] == "float16", "half, by its full name"
    models = {"a": {"path": "Qwen/Qwen3-8B"}, "b": {"path": "Qwen/Qwen3-8B-AWQ"}}
    variants = make_problem(models=models, search_space={"search": {}})
    assert "model b (a)" in differing(variants, variants.choices.candidate({"model": "b"}))


def test_a_refused_winner_wins_nothing_and_the_report_says_why(
    problem: Any, tune: Callable[..., list[Any]], storage: str
) -> None:
    trials = [trial for trial in tune(problem, 5) if trial.outcome == "measured"]
    search = Search.open(forecast_of(problem), storage)
    best = chosen_trial(problem, search.trials())
    refused = next(trial for trial in trials if differing(problem, trial.candidate))
    assert quality_words(problem, refused) == "answers not compared: kv_cache_dtype fp8_e5m2 (auto) can change them"
    for outcome in ("passed", "not compared", "failed"):
        verdict = QualityVerdict(numerics=numerics(problem, refused.candidate), outcome=outcome, message="said so")
        found = judged(problem, trials, [verdict])
        for trial in found:
            is_concerned = bool(differing(problem, trial.candidate))
            assert trial.is_acceptable == (not is_concerned or outcome != "failed")
            assert quality_words(problem, trial) == (f"answers {outcome}: said so" if is_concerned else None)
        assert f"answers {outcome}: said so" in run_sh(problem, found[trials.index(refused)], None)
    search.store.keep_verdicts([verdict])
    again = Search.open(forecast_of(problem), storage)
    assert again.store.verdicts() == [verdict]
    chosen = chosen_trial(problem, again.trials())
    assert chosen is not None
    assert best is not None
    assert not differing(problem, chosen.candidate)
    assert [c.name for trial in again.trials() for c in trial.constraints if c.excess > 0] == [RULE] * 2
    assert constraint_of(verdict).message == "answers failed: said so"


def test_what_was_refused_is_not_searched_further(problem: Any, tune: Callable[..., list[Any]], storage: str) -> None:
    first = tune(problem, 2)[-1]
    assert differing(problem, first.candidate), "an fp8 cache holds more, so it is tried first"
    verdict = QualityVerdict(numerics=numerics(problem, first.candidate), outcome="failed", message="nonsense")
    Search.open(forecast_of(problem), storage).store.keep_verdicts([verdict])
    later = tune(problem, 10)[2:]
    assert len(later) == 2
    assert not any(differing(problem, trial.candidate) for trial in later)


# --- prompts and answers as they are written ---


def test_the_shipped_prompts_are_in_two_languages() -> None:
    prompts = load_prompts(QualitySpec())
    assert len(prompts) == len(set(prompts)) >= 16
    chinese = [prompt for prompt in prompts if any("\u4e00" <= letter <= "\u9fff" for letter in prompt)]
    assert len(chinese) >= 8
    assert len(prompts) - len(chinese) >= 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "a"}\nnonsense\n', r'own\.jsonl:2: is no prompt; write {"prompt": "text"}'),
        ('{"text": "a"}\n', r"own\.jsonl:1: is no prompt"),
        ('["a"]\n', r"own\.jsonl:1: is no prompt"),
        ("\n\n", r"own\.jsonl: has no prompts"),
    ],
)
def test_prompts_that_are_none_are_named_by_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=message):
        load_prompts(QualitySpec(prompts=str(path)))
    with pytest.raises(InputError, match="cannot be read: No such file"):
        load_prompts(QualitySpec(prompts=str(tmp_path / "none.jsonl")))


def test_what_the_gate_needs_is_looked_for_before_any_launch(make_problem: Make, tmp_path: Path) -> None:
    for quality, message in (
        ({"command": ["no-such-program"]}, "quality.command: no-such-program: not found"),
        ({"prompts": str(tmp_path / "none")}, "cannot be read"),
    ):
        problem = make_problem(quality=quality)
        with pytest.raises(InputError, match=message):
            Gate(problem, Search.open(forecast_of(problem), None), None, tmp_path, print)  # type: ignore[arg-type]
    working = make_problem(quality={"command": [sys.executable, "-V"]})
    Gate(working, Search.open(forecast_of(working), None), None, tmp_path, print)  # type: ignore[arg-type]


def test_completions_are_read_with_and_without_logprobs() -> None:
    logprobs = {"tokens": ["token_id:5", "token_id:6"], "token_logprobs": [-0.5, -1]}
    with_them = {"choices": [{"text": "ab", "logprobs": logprobs}]}
    assert read_answer(json.dumps(with_them)) == PromptAnswer(("token_id:5", "token_id:6"), (-0.5, -1.0))
    assert read_answer('{"choices": [{"text": "ab", "logprobs": null}]}') == PromptAnswer(("a", "b"))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"choices": []}', '{"choices": [{"logprobs": 3}]}', "null"])
def test_what_is_no_completion_is_said(text: str) -> None:
    with pytest.raises(NoAnswers, match="is no completion"):
        read_answer(text)
