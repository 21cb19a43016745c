"""The worst legal load: the whole context, the largest batch, and nothing that the server would refuse."""

from __future__ import annotations

import pytest

from planner.service.verify.worst_load import Limits, worst_round
from planner.workload import plan_requests


@pytest.mark.parametrize("context", [1, 2, 16, 1024, 131_072])
@pytest.mark.parametrize("kv_tokens", [None, 300, 50_000, 10_000_000])
@pytest.mark.parametrize("seqs", [1, 3, 256])
def test_no_request_is_longer_than_the_context(context: int, kv_tokens: int | None, seqs: int) -> None:
    limits = Limits(max_model_len=context, max_num_seqs=seqs, kv_tokens=kv_tokens)
    for number in range(2):
        load = worst_round(limits, 2, number)
        assert load.max_total_tokens <= max(context, 2)
        assert load.concurrency >= 2


def test_rounds_have_the_longest_prompts_and_the_most_sequences_in_turn() -> None:
    limits = Limits(max_model_len=8192, max_num_seqs=64, kv_tokens=40_000)
    long, many = worst_round(limits, 1, 0), worst_round(limits, 1, 1)
    assert (long.input_tokens, long.output_tokens, long.concurrency) == (7936, 256, 8)
    assert many.concurrency == 80
    assert many.mean_input_tokens * limits.max_num_seqs > 40_000  # requests are preempted
    assert limits.words.startswith("prompts of 7936 tokens and answers of 256")
    first, second = (plan_requests(worst_round(limits, 1, number), number)[0].index for number in (0, 2))
    assert first != second
