"""What a workload stands for: the same requests each time, and never the same prompt twice."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from planner.units import Seconds
from planner.workload import (
    FIRST_ORDINARY_TOKEN,
    LengthRange,
    RequestPlan,
    Workload,
    plan_requests,
    plan_warmup,
    prompt_token_ids,
)

VOCAB_SIZE = 32_000


def workload(**changes: Any) -> Workload:
    fields: dict[str, Any] = {"concurrency": 4, "num_requests": 50, "input_tokens": 64, "output_tokens": 16}
    return Workload(**{**fields, **changes})


def prompts(asked: Workload) -> list[list[int]]:
    plans = [*plan_warmup(asked), *plan_requests(asked)]
    return [prompt_token_ids(plan, VOCAB_SIZE, asked.seed) for plan in plans]


def test_fixed_lengths() -> None:
    plans = plan_requests(workload(num_requests=2, shared_prefix_tokens=8))
    assert plans == [RequestPlan(0, 64, 16, 8), RequestPlan(1, 64, 16, 8)]
    asked = workload()
    assert (asked.max_total_tokens, asked.mean_input_tokens, asked.mean_output_tokens) == (80, 64.0, 16.0)


def test_drawn_lengths_reach_both_ends_and_no_further() -> None:
    asked = workload(num_requests=500, input_tokens=LengthRange(10, 13), output_tokens=LengthRange(1, 2))
    plans = plan_requests(asked)
    assert {plan.input_tokens for plan in plans} == {10, 11, 12, 13}
    assert {plan.output_tokens for plan in plans} == {1, 2}
    assert (asked.max_total_tokens, asked.mean_input_tokens, asked.mean_output_tokens) == (15, 11.5, 1.5)
    assert all(len(prompt_token_ids(plan, VOCAB_SIZE, 0)) == plan.input_tokens for plan in plans)


def test_plans_and_prompts_are_the_same_for_every_candidate() -> None:
    asked = workload(input_tokens=LengthRange(10, 100))
    assert plan_requests(asked) == plan_requests(workload(input_tokens=LengthRange(10, 100)))
    assert prompts(asked) == prompts(asked)
    assert plan_requests(asked) != plan_requests(workload(input_tokens=LengthRange(10, 100), seed=1))


def test_no_prompt_is_sent_twice_not_in_the_warm_up_either() -> None:
    sent = prompts(workload(warmup_requests=30))
    assert len(sent) == 80
    assert len({tuple(prompt) for prompt in sent}) == 80
    # Not even a first block of the KV cache is shared, so no cache helps where no prefix is asked for.
    assert len({tuple(prompt[:16]) for prompt in sent}) == 80


def test_the_prefix_is_shared_and_the_rest_is_not() -> None:
    sent = prompts(workload(shared_prefix_tokens=40))
    assert len({tuple(prompt[:40]) for prompt in sent}) == 1
    assert len({tuple(prompt[40:]) for prompt in sent}) == len(sent)
    assert all(len(prompt) == 64 for prompt in sent)


def test_another_seed_has_other_prompts() -> None:
    first, second = (prompts(workload(shared_prefix_tokens=40, seed=seed)) for seed in (0, 1000))
    assert first[0][:40] != second[0][:40]
    assert not {tuple(p[40:]) for p in first} & {tuple(p[40:]) for p in second}


def test_token_ids_are_ordinary() -> None:
    ids = prompt_token_ids(RequestPlan(0, 100_000, 1, 1000), VOCAB_SIZE, 0)
    assert min(ids) >= FIRST_ORDINARY_TOKEN
    assert max(ids) < VOCAB_SIZE
    assert all(type(token_id) is int for token_id in ids[:3])  # numpy's would not encode as JSON
    tiny = prompt_token_ids(RequestPlan(0, 1000, 1, 0), 100, 0)
    assert (min(tiny), max(tiny)) == (50, 96)


def test_token_ids_stay_below_special_and_padding_tokens() -> None:
    """Qwen3: config.json says 151936, the tokenizer ends at 151668, its special tokens begin at 151643."""
    assert max(prompt_token_ids(RequestPlan(0, 100_000, 1, 0), 151_936, 0)) < 151_643


def test_warm_up() -> None:
    assert [plan.index for plan in plan_warmup(workload())] == [-4, -3, -2, -1]  # as many as the concurrency
    assert plan_warmup(workload(warmup_requests=0)) == []
    assert workload(warmup_requests=9).num_warmup_requests == 9


# ---------------------------------------------------------------- decoding

WRITTEN = {"concurrency": 4, "num_requests": 8, "input_tokens": {"low": 5, "high": 9}, "output_tokens": 7}


def test_decodes_what_a_person_writes() -> None:
    decoded = msgspec.convert(WRITTEN, Workload)
    assert decoded == Workload(concurrency=4, num_requests=8, input_tokens=LengthRange(5, 9), output_tokens=7)
    assert (decoded.endpoint, decoded.request_timeout, decoded.seed) == ("completions", Seconds(1800.0), 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"concurency": 4}, "unknown field `concurency`"),
        ({"concurrency": 0}, r"`int` >= 1 - at `\$.concurrency`"),
        ({"num_requests": "many"}, r"Expected `int`, got `str` - at `\$.num_requests`"),
        ({"output_tokens": 0}, r">= 1.* - at `\$.output_tokens`"),
        ({"input_tokens": {"low": 9, "high": 5}}, r"low 9 is above high 5 - at `\$.input_tokens`"),
        ({"input_tokens": {"low": 9}}, r"missing required field `high` - at `\$.input_tokens`"),
        ({"shared_prefix_tokens": 6}, "shared_prefix_tokens 6 must be below the shortest input 5"),
        ({"input_tokens": 3, "shared_prefix_tokens": 4}, "shared_prefix_tokens 4 must be below the shortest input 3"),
        ({"warmup_requests": -1}, r"`int` >= 0 - at `\$.warmup_requests`"),
        ({"endpoint": "embeddings"}, r"Invalid enum value 'embeddings' - at `\$.endpoint`"),
    ],
)
def test_refuses_with_the_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert({**WRITTEN, **changes}, Workload)
