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
"""Token ids below are left out of prompts: vocabularies keep bytes and special tokens there."""
RESERVED_SHARE = 32
"""The top 1/32 of the ids is left out too: special tokens, and padding that the tokenizer does not have (the engine
answers 400 'Token id is out of vocabulary' to those)."""
WORDS = [
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state",
    "family", "student", "group", "country", "problem", "hand", "part", "place", "case", "week", "company", "system",
    "program", "question", "work", "government", "number", "night", "point", "home", "water", "room", "mother",
    "area", "money", "story", "fact", "month", "lot", "right", "study", "book", "eye", "job", "word", "business",
    "issue", "side", "kind", "head", "house", "service", "friend",
]  # fmt: skip
"""Common English words: one token each, with the space before, in the vocabularies of today's models."""


def prompt_token_ids(plan: RequestPlan, vocab_size: int, seed: int) -> list[int]:
    """Random ids, `plan.input_tokens` of them: the shared prefix depends on the seed alone, the rest on the index."""
    low = min(FIRST_ORDINARY_TOKEN, vocab_size // 2)
    return _two_streams(plan, seed, plan.input_tokens, low, vocab_size - vocab_size // RESERVED_SHARE)


def prompt_words(plan: RequestPlan, seed: int, num_words: int) -> str:
    """Random words, about a token each; the prefix is shared as with token ids."""
    return " ".join([WORDS[i] for i in _two_streams(plan, seed, max(1, num_words), 0, len(WORDS))])


def _two_streams(plan: RequestPlan, seed: int, count: int, low: int, high: int) -> list[int]:
    def ids(stream: tuple[int, ...], size: int) -> list[int]:
        drawn: list[int] = np.random.default_rng(stream).integers(low, high, size).tolist()
        return drawn

    shared = min(plan.shared_prefix_tokens, count - 1)
    own = (seed, 1, plan.index + 2**31) if plan.conversation is None else (seed, 2, plan.conversation + 2**31)
    return [*ids((seed, 0), shared), *ids(own, count - shared)]
