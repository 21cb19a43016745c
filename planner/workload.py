"""`Workload`: what is asked of the engine, and the requests it stands for.

In: lengths, concurrency, seed. Out: `RequestPlan`s and their prompts, as token ids or as words. `Traffic` is what only
a live server can be asked (`planner bench`): also lognormal lengths, conversations, recorded prompts and traces. Knows
nothing of HTTP or engines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from planner.units import Seconds

Positive = Annotated[int, msgspec.Meta(ge=1)]
Ids: TypeAlias = NDArray[np.int64]

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


class LengthRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lengths drawn uniformly from low to high, both included."""

    low: Positive
    high: Positive

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")


class Lengths(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Lengths from low to high: uniform, or with `median` lognormal (what lies outside is drawn in to the limits)."""

    low: Positive
    high: Positive
    median: Positive | None = None
    sigma: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    """Standard deviation of the logarithm; 1 is typical of what people write."""

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        if self.median is not None and not self.low <= self.median <= self.high:
            raise ValueError(f"median {self.median} is not between low {self.low} and high {self.high}")


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


class Traffic(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A workload file as `planner bench` reads it: every `Workload`, and what cannot be predicted or simulated."""

    name: str = "custom"
    concurrency: Positive
    num_requests: Positive
    input_tokens: Positive | Lengths = 512
    """Of the first turn, where there are several; not used where prompts are given."""
    output_tokens: Positive | Lengths = 128
    """Also of given prompts that do not say how long their answers were."""
    shared_prefix_tokens: Annotated[int, msgspec.Meta(ge=0)] = 0
    shared_prefix_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    """How many of the requests begin with the shared prefix."""
    turns: Positive = 1
    """Of a conversation: each turn's prompt is the one before, its answer, and `turn_tokens` more."""
    turn_tokens: Positive | Lengths = 128
    prompts: str | None = None
    """A JSONL file of prompts, or a ShareGPT JSON file; beside the workload's file if relative."""
    repeat_prompts: bool = False
    """Whether a prompt may be sent again when the file has fewer than are asked for."""
    warmup_requests: Annotated[int, msgspec.Meta(ge=0)] | None = None
    endpoint: Literal["completions", "chat"] = "completions"
    ignore_eos: bool = True
    """Answers of exactly the planned length, where the server can."""
    request_timeout: Seconds = msgspec.field(default_factory=lambda: Seconds(1800.0))
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0

    def __post_init__(self) -> None:
        if self.prompts is None and self.shared_prefix_tokens >= _low(self.input_tokens):
            raise ValueError(
                f"shared_prefix_tokens {self.shared_prefix_tokens} must be below the shortest input "
                f"{_low(self.input_tokens)}, or all prompts would be the same"
            )

    @property
    def num_warmup_requests(self) -> int:
        return self.concurrency if self.warmup_requests is None else self.warmup_requests


Length: TypeAlias = int | LengthRange | Lengths


@dataclass(frozen=True, slots=True)
class RequestPlan:
    index: int
    """Distinct over warm-up (negative) and all repeats: no prompt is ever sent twice."""
    input_tokens: int
    output_tokens: int
    shared_prefix_tokens: int
    conversation: int | None = None
    """Plans of one conversation follow each other, each turn's prompt beginning with the one before."""
    prompt: str | None = None
    """A given prompt; else it is made of the lengths."""
    due_s: float | None = None
    """When a trace sent it, from its beginning."""


class GivenPrompt(msgspec.Struct, frozen=True):
    """One recorded prompt."""

    prompt: str
    output_tokens: int | None = None
    arrival_s: float | None = None


def plan_requests(workload: Workload | Traffic, repeat: int = 0) -> list[RequestPlan]:
    """The measured requests of a repeat, the same for every candidate (paired comparison), new in every repeat."""
    first = repeat * workload.num_requests
    return _plan(workload, range(first, first + workload.num_requests), stream=1 + repeat)


def plan_warmup(workload: Workload | Traffic) -> list[RequestPlan]:
    return _plan(workload, range(-workload.num_warmup_requests, 0), stream=0)


def plan_given(traffic: Traffic, prompts: Sequence[GivenPrompt], repeat: int = 0) -> list[RequestPlan]:
    """As `plan_requests`, of recorded prompts: each repeat takes the next ones. Raises ValueError when they run out."""
    first = repeat * traffic.num_requests
    if first + traffic.num_requests > len(prompts) and not traffic.repeat_prompts:
        raise ValueError(
            f"{first + traffic.num_requests} prompts are needed and there are {len(prompts)}; ask for fewer requests "
            "or repeats, or say repeat_prompts: true"
        )
    chosen = [prompts[(first + i) % len(prompts)] for i in range(traffic.num_requests)]
    outputs = _draw(np.random.default_rng((traffic.seed, 1 + repeat)), traffic.output_tokens, len(chosen))
    start_s = min((given.arrival_s for given in chosen if given.arrival_s is not None), default=0.0)
    return [
        RequestPlan(
            first + i,
            max(1, len(given.prompt.split())),
            given.output_tokens or int(drawn),
            0,
            prompt=given.prompt,
            due_s=None if given.arrival_s is None else given.arrival_s - start_s,
        )
        for i, (given, drawn) in enumerate(zip(chosen, outputs, strict=True))
    ]


def _plan(workload: Workload | Traffic, indices: range, stream: int) -> list[RequestPlan]:
    rng = np.random.default_rng((workload.seed, stream))
    inputs = _draw(rng, workload.input_tokens, len(indices))
    outputs = _draw(rng, workload.output_tokens, len(indices))
    prefix = workload.shared_prefix_tokens
    if isinstance(workload, Workload) or (workload.shared_prefix_share == 1 and workload.turns == 1):
        return [RequestPlan(i, int(n), int(m), prefix) for i, n, m in zip(indices, inputs, outputs, strict=True)]
    shares = rng.random(len(indices)) < workload.shared_prefix_share
    if workload.turns > 1:
        inputs = _grow(inputs, outputs, _draw(rng, workload.turn_tokens, len(indices)), workload.turns)
    first = indices.start
    return [
        RequestPlan(
            i,
            int(n),
            int(m),
            prefix if shares[(i - first) // workload.turns * workload.turns] else 0,
            conversation=first + (i - first) // workload.turns if workload.turns > 1 else None,
        )
        for i, n, m in zip(indices, inputs, outputs, strict=True)
    ]


def _grow(inputs: Ids, outputs: Ids, more: Ids, turns: int) -> Ids:
    """Input lengths of turns: what was said before, and more."""
    grown = inputs.copy()
    for i in range(len(grown)):
        if i % turns:
            grown[i] = grown[i - 1] + outputs[i - 1] + more[i]
    return grown


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


def _draw(rng: np.random.Generator, length: Length, count: int) -> Ids:
    if isinstance(length, int):
        return np.full(count, length)
    if isinstance(length, Lengths) and length.median is not None:
        drawn = np.exp(rng.normal(math.log(length.median), length.sigma, count))
        return np.clip(np.rint(drawn), length.low, length.high).astype(np.int64)
    return rng.integers(length.low, length.high + 1, count)


def _low(length: Length) -> int:
    return length if isinstance(length, int) else length.low


def _high(length: Length) -> int:
    return length if isinstance(length, int) else length.high


def _mean(length: int | LengthRange) -> float:
    return float(length) if isinstance(length, int) else (length.low + length.high) / 2


def max_total_tokens(plans: Sequence[RequestPlan]) -> int:
    return max((plan.input_tokens + plan.output_tokens for plan in plans), default=0)


def as_traffic(workload: Workload) -> Traffic:
    """The same requests, as bench reads them."""
    fields: dict[str, Any] = {name: getattr(workload, name) for name in workload.__struct_fields__}
    for name in ("input_tokens", "output_tokens"):
        if isinstance(fields[name], LengthRange):
            fields[name] = Lengths(low=fields[name].low, high=fields[name].high)
    return Traffic(**fields)


# --- recorded prompts -------------------------------------------------------------------------------------------------

TOKENS_PER_WORD = 1.3
"""Of English text, about; ShareGPT files do not say how many tokens an answer had."""


def read_prompts(text: str) -> list[GivenPrompt]:
    """JSONL of `{prompt, output_tokens, arrival_s}`, or a ShareGPT file. Raises ValueError.

    Also the names other tools write: `max_tokens`, `output_len`, `timestamp`.
    """
    if text.lstrip().startswith("["):
        lines = msgspec.json.decode(text, type=list[dict[str, Any]])
    else:
        lines = [msgspec.json.decode(line, type=dict[str, Any]) for line in text.splitlines() if line.strip()]
    found = [_from_sharegpt(line) if "conversations" in line else _from_line(line) for line in lines]
    prompts = [given for given in found if given is not None]
    if not prompts:
        raise ValueError("has no prompts")
    return prompts


def _from_line(line: dict[str, Any]) -> GivenPrompt:
    prompt = line.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise ValueError("a line has no prompt")
    output = line.get("output_tokens", line.get("max_tokens", line.get("output_len")))
    arrival = line.get("arrival_s", line.get("timestamp"))
    return GivenPrompt(prompt, None if output is None else int(output), None if arrival is None else float(arrival))


def _from_sharegpt(talk: dict[str, Any]) -> GivenPrompt | None:
    """The first question, and how long its answer was; None where there is not both."""
    turns = talk["conversations"]
    if len(turns) < 2:
        return None
    prompt, answer = str(turns[0].get("value", "")), str(turns[1].get("value", ""))
    return GivenPrompt(prompt, max(1, round(len(answer.split()) * TOKENS_PER_WORD))) if prompt and answer else None
