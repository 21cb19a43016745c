"""`Workload`: what is asked of the engine, and the requests it stands for.

In: lengths, concurrency, seed. Out: `RequestPlan`s and their prompts as token ids. Knows nothing of HTTP or engines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from planner.units import Seconds

Positive = Annotated[int, msgspec.Meta(ge=1)]

FIRST_ORDINARY_TOKEN = 1000
"""Token ids below are left out of prompts: vocabularies keep bytes and special tokens there."""
RESERVED_SHARE = 32
"""The top 1/32 of the ids is left out too: special tokens, and padding that the tokenizer does not have (the engine
answers 400 'Token id is out of vocabulary' to those)."""


class LengthRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lengths drawn uniformly from low to high, both included."""

    low: Positive
    high: Positive

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")


class Workload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A closed loop: `concurrency` requests in flight over all instances, each followed by the next."""

    name: str = "custom"
    concurrency: Positive
    num_requests: Positive
    input_tokens: Positive | LengthRange
    output_tokens: Positive | LengthRange
    shared_prefix_tokens: Annotated[int, msgspec.Meta(ge=0)] = 0
    """How many of the input's first tokens are the same in all requests."""
    warmup_requests: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Sent and thrown away first; by default as many as the concurrency."""
    endpoint: Literal["completions", "chat"] = "completions"
    request_timeout: Seconds = msgspec.field(default_factory=lambda: Seconds(1800.0))
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0

    def __post_init__(self) -> None:
        shortest = self.input_tokens if isinstance(self.input_tokens, int) else self.input_tokens.low
        if self.shared_prefix_tokens >= shortest:
            raise ValueError(
                f"shared_prefix_tokens {self.shared_prefix_tokens} must be below the shortest input {shortest}, "
                "or all prompts would be the same"
            )

    @property
    def num_warmup_requests(self) -> int:
        return self.concurrency if self.warmup_requests is None else self.warmup_requests

    @property
    def max_total_tokens(self) -> int:
        """The longest sequence: it must fit max_model_len."""
        return _high(self.input_tokens) + _high(self.output_tokens)

    @property
    def mean_input_tokens(self) -> float:
        return _mean(self.input_tokens)

    @property
    def mean_output_tokens(self) -> float:
        return _mean(self.output_tokens)


@dataclass(frozen=True, slots=True)
class RequestPlan:
    index: int
    """Distinct over warm-up (negative) and all repeats: no prompt is ever sent twice."""
    input_tokens: int
    output_tokens: int
    shared_prefix_tokens: int


def plan_requests(workload: Workload, repeat: int = 0) -> list[RequestPlan]:
    """The measured requests of a repeat, the same for every candidate (paired comparison), new in every repeat."""
    first = repeat * workload.num_requests
    return _plan(workload, range(first, first + workload.num_requests), stream=1 + repeat)


def plan_warmup(workload: Workload) -> list[RequestPlan]:
    return _plan(workload, range(-workload.num_warmup_requests, 0), stream=0)


def _plan(workload: Workload, indices: range, stream: int) -> list[RequestPlan]:
    rng = np.random.default_rng((workload.seed, stream))
    inputs = _draw(rng, workload.input_tokens, len(indices))
    outputs = _draw(rng, workload.output_tokens, len(indices))
    prefix = workload.shared_prefix_tokens
    return [RequestPlan(i, int(n), int(m), prefix) for i, n, m in zip(indices, inputs, outputs, strict=True)]


def prompt_token_ids(plan: RequestPlan, vocab_size: int, seed: int) -> list[int]:
    """Random ids, `plan.input_tokens` of them: the shared prefix depends on the seed alone, the rest on the index."""

    def ids(stream: tuple[int, ...], count: int) -> NDArray[np.int64]:
        low = min(FIRST_ORDINARY_TOKEN, vocab_size // 2)
        high = vocab_size - vocab_size // RESERVED_SHARE
        return np.random.default_rng(stream).integers(low, high, count)

    own = plan.input_tokens - plan.shared_prefix_tokens
    prefix = ids((seed, 0), plan.shared_prefix_tokens)
    return [*prefix.tolist(), *ids((seed, 1, plan.index + 2**31), own).tolist()]


def _draw(rng: np.random.Generator, length: int | LengthRange, count: int) -> NDArray[np.int64]:
    if isinstance(length, int):
        return np.full(count, length)
    return rng.integers(length.low, length.high + 1, count)


def _high(length: int | LengthRange) -> int:
    return length if isinstance(length, int) else length.high


def _mean(length: int | LengthRange) -> float:
    return float(length) if isinstance(length, int) else (length.low + length.high) / 2
