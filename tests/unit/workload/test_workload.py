"""What a workload stands for: the same requests each time, and never the same prompt twice."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest

from planner.units import Seconds
from planner.workload.prompts import FIRST_ORDINARY_TOKEN, prompt_token_ids
from planner.workload.recorded import GivenPrompt
from planner.workload.traces.reading import parse_traffic
from planner.workload.workload import Lengths, RequestPlan, Workload, plan_given, plan_requests, plan_warmup

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
    asked = workload(num_requests=500, input_tokens=Lengths(10, 13), output_tokens=Lengths(1, 2))
    plans = plan_requests(asked)
    assert {plan.input_tokens for plan in plans} == {10, 11, 12, 13}
    assert {plan.output_tokens for plan in plans} == {1, 2}
    assert (asked.max_total_tokens, asked.mean_input_tokens, asked.mean_output_tokens) == (15, 11.5, 1.5)
    assert all(len(prompt_token_ids(plan, VOCAB_SIZE, 0)) == plan.input_tokens for plan in plans)


def test_plans_and_prompts_are_the_same_for_every_candidate() -> None:
    asked = workload(input_tokens=Lengths(10, 100))
    assert plan_requests(asked) == plan_requests(workload(input_tokens=Lengths(10, 100)))
    assert prompts(asked) == prompts(asked)
    assert plan_requests(asked) != plan_requests(workload(input_tokens=Lengths(10, 100), seed=1))


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
    assert decoded == Workload(concurrency=4, num_requests=8, input_tokens=Lengths(5, 9), output_tokens=7)
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
        ({"start_rate": 1.0}, "start_rate is where a request_rate begins, and there is none"),
        ({"request_rate": 0.0}, r">= 1e-06.* - at `\$.request_rate`"),
        ({"endpoint": "embeddings"}, r"Invalid enum value 'embeddings' - at `\$.endpoint`"),
    ],
)
def test_refuses_with_the_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert({**WRITTEN, **changes}, Workload)


# ---------------------------------------------------------------- lengths, conversations, recorded prompts


def test_lognormal_lengths() -> None:
    lengths = Lengths(low=10, high=2000, median=100, sigma=1.0)
    drawn = [plan.input_tokens for plan in plan_requests(workload(num_requests=4000, input_tokens=lengths))]
    assert sorted(drawn)[2000] == pytest.approx(100, rel=0.1)
    assert sum(drawn) / 4000 == pytest.approx(100 * 2.718**0.5, rel=0.1)
    assert (min(drawn), max(drawn)) == (10, 2000)
    with pytest.raises(ValueError, match="median 5 is not between low 10 and high 20"):
        Lengths(low=10, high=20, median=5)


def test_a_share_of_the_requests_has_the_prefix() -> None:
    plans = plan_requests(workload(num_requests=1000, shared_prefix_tokens=8, shared_prefix_share=0.25))
    assert sum(plan.shared_prefix_tokens > 0 for plan in plans) == pytest.approx(250, abs=50)


def test_conversations_grow_and_begin_with_what_was_said() -> None:
    asked = workload(num_requests=40, output_tokens=16, turns=4, turn_tokens=10, shared_prefix_tokens=8)
    plans = plan_requests(asked)
    first = plans[:4]
    assert [plan.input_tokens for plan in first] == [64, 64 + 26, 64 + 52, 64 + 78]
    assert len({plan.conversation for plan in plans}) == 10
    turns = [prompt_token_ids(plan, VOCAB_SIZE, 0) for plan in first]
    for earlier, later in pairwise(turns):
        assert later[: len(earlier)] == earlier
    other = prompt_token_ids(plans[4], VOCAB_SIZE, 0)
    assert other[:8] == turns[0][:8]
    assert other[8:] != turns[0][8:]


def test_the_longest_request_of_conversations_is_one_that_is_planned() -> None:
    lengths = Lengths(10, 100)
    asked = workload(num_requests=64, turns=8, input_tokens=lengths, output_tokens=lengths, turn_tokens=lengths)
    planned = [plan for repeat in range(3) for plan in plan_requests(asked, repeat)]
    longest = max(plan.input_tokens + plan.output_tokens for plan in planned)
    assert longest <= asked.max_total_tokens < 100 + 7 * 200 + 100, "not the sum of all limits"
    mean = sum(plan.input_tokens for plan in planned) / len(planned)
    assert asked.mean_input_tokens == pytest.approx(mean, rel=0.05)
    assert workload(input_tokens=lengths, output_tokens=lengths).max_total_tokens == 200


@pytest.mark.parametrize("repeat", [0, 1])
def test_recorded_prompts_in_their_order(repeat: int) -> None:
    given = [GivenPrompt(f"prompt {i}", 5 + i, 10.0 + i) for i in range(6)]
    plans = plan_given(workload(num_requests=3), given, repeat)
    assert [plan.prompt for plan in plans] == [f"prompt {i}" for i in range(3 * repeat, 3 * repeat + 3)]
    assert [plan.output_tokens for plan in plans] == [5 + i for i in range(3 * repeat, 3 * repeat + 3)]
    assert [plan.due_s for plan in plans] == [0.0, 1.0, 2.0]


def test_recorded_prompts_run_out_unless_they_may_be_repeated() -> None:
    given = [GivenPrompt("a"), GivenPrompt("b")]
    with pytest.raises(ValueError, match="3 prompts are needed and there are 2"):
        plan_given(workload(num_requests=3), given)
    plans = plan_given(workload(num_requests=3, repeat_prompts=True, output_tokens=9), given)
    assert [(plan.prompt, plan.output_tokens) for plan in plans] == [("a", 9), ("b", 9), ("a", 9)]


def test_a_file_of_lengths_gets_new_prompts_each_time() -> None:
    lines = '{"input_tokens": 5, "output_tokens": 3, "arrival_s": 1}\n{"input_len": 7, "output_len": 2, "timestamp": 4}'
    given = parse_traffic(lines, "f").requests
    assert given == (GivenPrompt(None, 3, 1.0, 5), GivenPrompt(None, 2, 4.0, 7))
    plans = plan_given(workload(num_requests=2), given) + plan_given(workload(num_requests=2), given, repeat=1)
    assert [(plan.input_tokens, plan.output_tokens, plan.due_s) for plan in plans] == 2 * [(5, 3, 0.0), (7, 2, 3.0)]
    assert [plan.prompt for plan in plans] == [None] * 4
    assert len({tuple(prompt_token_ids(plan, VOCAB_SIZE, 0)) for plan in plans}) == 4


def test_blocks_with_equal_ids_are_equal_tokens_within_a_repeat_alone() -> None:
    given = [GivenPrompt(None, 1, 0.0, 40, (7, 8, 9), 16), GivenPrompt(None, 1, 0.0, 33, (7, 8, 3), 16)]
    first, second, again, _ = (
        prompt_token_ids(plan, VOCAB_SIZE, 0)
        for repeat in range(2)
        for plan in plan_given(workload(num_requests=2), given, repeat)
    )
    assert (len(first), len(second)) == (40, 33)
    assert first[:32] == second[:32]
    assert first[32] != second[32]
    assert first[:16] != first[16:32]
    assert not set(zip(first, again, strict=True)) & {(token, token) for token in first}
