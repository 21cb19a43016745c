"""`prompt_blocks`: the hashes of the full blocks of a planned prompt, by which prompts share the KV cache.

In: a `RequestPlan` and the engine's block size. Out: one hash per full block that another prompt may have too, over
everything before it.

Source: vllm@0.8.5 v1/core/kv_cache_utils.py:hash_block_tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from planner.workload import GivenPrompt, PromptBlocks, RequestPlan, block_hashes


class TraceBlocks(Sequence[int]):
    """Hashes of a prompt that a trace describes by ids of larger blocks, each made when it is asked for.

    Two prompts share what they have in common from the start: equal ids behind different ones are different blocks.
    """

    def __init__(self, blocks: PromptBlocks, input_tokens: int, block_size: int) -> None:
        self._tokens, self._block_size = blocks.tokens, block_size
        self._chained = list[int]()
        chained = hash(blocks.salt)
        for block in blocks.ids:
            chained = hash((chained, block))
            self._chained.append(chained)
        self._key = blocks.tokens, block_size
        self._length = min(input_tokens, len(blocks.ids) * blocks.tokens) // block_size

    def __len__(self) -> int:
        return self._length

    def num_common(self, other: TraceBlocks) -> int:
        """Number of blocks, from the start, that both prompts have."""
        most = min(self._length, other._length)
        if self._key != other._key:
            return first_difference(self, other, 0, most)
        ids = min(len(self._chained), len(other._chained))
        same = first_difference(self._chained, other._chained, 0, ids)
        return min(most, same * self._tokens // self._block_size)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...
    def __getitem__(self, index: int | slice) -> int | Sequence[int]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._length))]
        if not 0 <= index < self._length:
            raise IndexError(index)
        end = (index + 1) * self._block_size
        return hash((self._chained[(end - 1) // self._tokens], end))


def first_difference(one: Sequence[int], other: Sequence[int], low: int, high: int) -> int:
    """First position from `low` to `high` at which two paths differ; all before `low` are the same. `high` if none."""
    while low < high:
        middle = (low + high) // 2
        if one[middle] == other[middle]:
            low = middle + 1
        else:
            high = middle
    return low


def prompt_blocks(plan: RequestPlan, block_size: int) -> Sequence[int]:
    """Hashes of the prompt's full blocks that others may share: a shared prefix, turns, blocks of a trace, texts."""
    if (blocks := plan.blocks) is not None and blocks.ids:
        return TraceBlocks(blocks, plan.input_tokens, block_size)
    if blocks is not None or plan.prompt is not None:
        salt = 0 if blocks is None else blocks.salt
        given = GivenPrompt(plan.prompt, None, None, plan.input_tokens)
        return [hash((salt, block)) for block in block_hashes(given, block_size)]
    shared = list(range(plan.shared_prefix_tokens // block_size))
    if plan.conversation is None:
        return shared
    own = range(len(shared), plan.input_tokens // block_size)
    return shared + [hash((plan.conversation, plan.shared_prefix_tokens, block)) for block in own]
