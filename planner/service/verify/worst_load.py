"""The worst load that a server must take by its own settings: its longest prompts, and its most sequences, in turn.

In: the context, the largest batch and the KV cache. Out: workloads; nothing here is more than the server allows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from planner.workload import Lengths, Workload

QUEUED = 1.25
"""Requests in flight over those that run at once, so that the queue is never empty."""
ANSWER_SHARE, MOST_ANSWER = 8, 256
"""Part of the context, and most tokens, of an answer: the prompt takes the rest, so that decoding reaches its end."""
OVERFULL = 2.0
"""Tokens of the most sequences over those that the KV cache holds, so that requests are preempted too."""
WAVES = 8
"""Requests of a round per request in flight."""
FIRST_SEED = 20_260
"""Seed of the prompts, which no study's workload has by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one instance takes."""

    max_model_len: int
    max_num_seqs: int
    kv_tokens: int | None
    """Size of its KV cache; None: not known."""

    @property
    def answer_tokens(self) -> int:
        return max(1, min(self.max_model_len // ANSWER_SHARE, MOST_ANSWER))

    @property
    def longest_prompt(self) -> int:
        return max(1, self.max_model_len - self.answer_tokens)

    @property
    def at_once(self) -> int:
        """Requests of the whole context that fit the KV cache at once, and one more that does not."""
        if self.kv_tokens is None:
            return self.max_num_seqs
        return min(self.max_num_seqs, math.ceil(self.kv_tokens / self.max_model_len) + 1)

    @property
    def words(self) -> str:
        return (
            f"prompts of {self.longest_prompt} tokens and answers of {self.answer_tokens} (the whole context), in turn "
            f"with {self.max_num_seqs} sequences of up to {self.many_prompt}"
        )

    @property
    def many_prompt(self) -> int:
        """Longest prompt of the round with the most sequences."""
        if self.kv_tokens is None:
            return self.longest_prompt
        mean = OVERFULL * self.kv_tokens / self.max_num_seqs
        return int(min(self.longest_prompt, max(1, 2 * mean)))


def worst_round(limits: Limits, instances: int, number: int) -> Workload:
    """The load of a round: even ones have the longest prompts, odd ones the most sequences, of all lengths."""
    is_long = number % 2 == 0
    concurrency = math.ceil(QUEUED * instances * (limits.at_once if is_long else limits.max_num_seqs))
    return Workload(
        name="longest prompts" if is_long else "most sequences",
        concurrency=concurrency,
        num_requests=WAVES * concurrency,
        input_tokens=limits.longest_prompt if is_long else Lengths(1, limits.many_prompt),
        output_tokens=limits.answer_tokens,
        warmup_requests=0,
        seed=FIRST_SEED + number,
    )
