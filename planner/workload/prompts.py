"""Random prompts of a given length, as token ids or as words, different for each seed and shared prefix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.arrays import LazyModule
from planner.workload.workload import RequestPlan

if TYPE_CHECKING:
    import numpy as np
else:
    np = LazyModule("numpy")


FIRST_ORDINARY_TOKEN = 1000
"""Lowest token id used in prompts: vocabularies keep bytes and special tokens below it."""
RESERVED_SHARE = 32
"""The top 1/RESERVED_SHARE of the token ids is not used: special tokens, and padding that the tokenizer does not have
(the engine answers 400 'Token id is out of vocabulary' to those)."""
WORDS = [
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state",
    "family", "student", "group", "country", "problem", "hand", "part", "place", "case", "week", "company", "system",
    "program", "question", "work", "government", "number", "night", "point", "home", "water", "room", "mother",
    "area", "money", "story", "fact", "month", "lot", "right", "study", "book", "eye", "job", "word", "business",
    "issue", "side", "kind", "head", "house", "service", "friend",
]  # fmt: skip
"""Common English words. With the space before, each is one token in the vocabularies of today's models."""


def prompt_token_ids(plan: RequestPlan, vocab_size: int, seed: int) -> list[int]:
    """`plan.input_tokens` random token ids. The shared prefix depends only on the seed, the rest on the plan too.

    Of a plan with blocks each block depends on the seed, its id and the salt alone, so equal ids are equal tokens.
    """
    low = min(FIRST_ORDINARY_TOKEN, vocab_size // 2)
    return _two_streams(plan, seed, plan.input_tokens, low, vocab_size - vocab_size // RESERVED_SHARE)


def prompt_words(plan: RequestPlan, seed: int, num_words: int) -> str:
    """`num_words` random words of about one token each, at least one; the prefix is shared as in `prompt_token_ids`."""
    return " ".join([WORDS[i] for i in _two_streams(plan, seed, max(1, num_words), 0, len(WORDS))])


def _two_streams(plan: RequestPlan, seed: int, count: int, low: int, high: int) -> list[int]:
    def ids(stream: tuple[int, ...], size: int) -> list[int]:
        drawn: list[int] = np.random.default_rng(stream).integers(low, high, size).tolist()
        return drawn

    if (blocks := plan.blocks) is not None:
        made = [ids((seed, 4, blocks.salt, one % 2**63), blocks.tokens) for one in blocks.ids]
        return [token for block in made for token in block][:count]
    shared = min(plan.shared_prefix_tokens, count - 1)
    own = (seed, 1, plan.index + 2**31) if plan.conversation is None else (seed, 2, plan.conversation + 2**31)
    return [*ids((seed, 0), shared), *ids(own, count - shared)]
