"""Prompts share the blocks that they have in common from the start, and no others."""

from __future__ import annotations

from planner.simulated.prompt_blocks import TraceBlocks, prompt_blocks
from planner.workload.workload import PromptBlocks, RequestPlan


def of_trace(ids: tuple[int, ...], tokens: int, salt: int = 0) -> list[int]:
    return list(prompt_blocks(RequestPlan(0, tokens, 1, 0, blocks=PromptBlocks(ids, 512, salt)), 16))


def num_common(a: list[int], b: list[int]) -> int:
    return len(set(a) & set(b))


def test_a_traces_blocks_are_shared_from_the_start() -> None:
    one = of_trace((1, 2, 3), 1300)
    assert len(one) == len(set(one)) == 1300 // 16
    assert num_common(one, of_trace((1, 2, 4), 1300)) == 64
    assert num_common(one, of_trace((1, 2, 3), 1400)) == 1300 // 16
    assert num_common(one, of_trace((1, 9, 3), 1300)) == 32, "the same id behind other tokens is another block"
    assert num_common(one, of_trace((1, 2, 3), 1300, salt=1)) == 0


def test_what_two_prompts_have_in_common_is_what_single_hashes_say() -> None:
    for block_size, tokens in ((16, 512), (48, 64), (64, 48)):
        made = [
            TraceBlocks(PromptBlocks(ids, tokens), length, block_size)
            for ids in ((1, 2, 3), (1, 2, 4), (1, 2), (5, 2, 3))
            for length in (len(ids) * tokens, len(ids) * tokens - 20)
        ]
        for one in made:
            for other in made:
                expected = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
                assert one.num_common(other) == (min(len(one), len(other)) if expected is None else expected)


def test_ids_that_cover_less_than_the_prompt_name_what_they_cover() -> None:
    assert len(of_trace((1, 2), 2000)) == 1024 // 16


def test_turns_begin_with_what_was_said_before() -> None:
    first = list(prompt_blocks(RequestPlan(0, 400, 1, 160, conversation=1), 16))
    second = list(prompt_blocks(RequestPlan(1, 640, 1, 160, conversation=1), 16))
    other = list(prompt_blocks(RequestPlan(2, 640, 1, 160, conversation=2), 16))
    assert second[: len(first)] == first
    assert num_common(second, other) == 10
    assert list(prompt_blocks(RequestPlan(3, 400, 1, 160), 16)) == first[:10]
