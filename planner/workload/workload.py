"""`Workload`: the load put on an engine, and the requests that it plans.

In: lengths, concurrency or rate, seed. Out: `RequestPlan`s, and the figures that predictions need. Knows nothing of
HTTP or engines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from statistics import NormalDist
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import msgspec

from planner.arrays import LazyModule
from planner.units import Seconds
from planner.workload.recorded import MOST_TOKENS, GivenPrompt, Tokens
from planner.workload.windows import Window, window_start

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = LazyModule("numpy")


MOST_REQUESTS = 1_000_000
"""Most requests in one run: all are planned before the first is sent."""
Positive = Annotated[int, msgspec.Meta(ge=1, le=MOST_REQUESTS)]
Rate = Annotated[float, msgspec.Meta(ge=1e-6, le=1e6)]
Ids: TypeAlias = "NDArray[np.int64]"


class Lengths(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lengths from low to high: uniform, or with `median` lognormal (what lies outside is drawn in to the limits)."""

    low: Tokens
    high: Tokens
    median: Tokens | None = None
    sigma: Annotated[float, msgspec.Meta(gt=0, le=10)] = 1.0
    """Standard deviation of the length's logarithm; 1 is typical of text that people write."""

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        if self.median is not None and not self.low <= self.median <= self.high:
            raise ValueError(f"median {self.median} is not between low {self.low} and high {self.high}")


class Workload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `planner bench` sends to a server and a study to its candidates.

    A closed loop of `concurrency` requests in flight over all instances, each followed by the next; with `request_rate`
    an open loop; with `prompts` that have arrival times their trace.
    """

    name: str = "custom"
    concurrency: Positive
    """Requests in flight over all instances. In an open loop it sets only the concurrency of the warm-up."""
    num_requests: Positive
    input_tokens: Tokens | Lengths = 512
    """Length of a prompt; with several turns, that of the first turn. Not used if `prompts` are given."""
    output_tokens: Tokens | Lengths = 128
    """Length of an answer; also for given prompts that do not say how long their answers were."""
    shared_prefix_tokens: Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)] = 0
    """Number of first tokens of the prompt that are the same in all requests with the prefix."""
    shared_prefix_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    """Fraction of the requests (of the conversations, with several turns) that begin with the shared prefix."""
    turns: Positive = 1
    """Turns per conversation. Each turn's prompt is the previous prompt, its answer, and `turn_tokens` more."""
    turn_tokens: Tokens | Lengths = 128
    prompts: str | None = None
    """A JSONL file of prompts, or a ShareGPT JSON file; relative to the workload's file. Not allowed in a study."""
    repeat_prompts: bool = False
    """Whether prompts may be sent again if the file has fewer than the run needs."""
    window: Window = "start"
    """Where in `prompts` the requests are taken: at its start, where they come fastest, or where they are typical."""
    ramp: Seconds = msgspec.field(default_factory=lambda: Seconds(0.0))
    """Duration of the start of a closed loop, over which its `concurrency` slots join one after the other."""
    request_rate: Rate | None = None
    """Requests per second, sent whether or not others have ended: an open loop."""
    burstiness: Annotated[float, msgspec.Meta(ge=1e-3)] = 1.0
    """Burstiness of arrivals, as vLLM defines it: 1 is Poisson, below 1 comes in bursts, infinity is constant gaps."""
    start_rate: Rate | None = None
    """Rate at the start, in requests per second; it rises linearly to `request_rate`, reached at the last request."""
    replay: bool | None = None
    """Whether prompts are sent when they arrived, whatever the rate says; false: in a closed loop or at the rate. By
    default when they arrived, unless there is a rate."""
    trace_speed: Rate = 1.0
    """Speed at which a trace is sent, as a multiple of the recorded speed."""
    max_concurrency: Positive | None = None
    """Most requests in flight in an open loop or a trace; the wait for a free slot is reported as `queue_times`."""
    warmup_requests: Annotated[int, msgspec.Meta(ge=0, le=MOST_REQUESTS)] | None = None
    """Number of requests sent first and not measured; by default `concurrency`."""
    endpoint: Literal["completions", "chat"] = "completions"
    ignore_eos: bool = True
    """Whether to ask for answers of exactly the planned length, from servers that support it."""
    request_timeout: Seconds = msgspec.field(default_factory=lambda: Seconds(1800.0))
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0

    def __post_init__(self) -> None:
        if self.prompts is None and self.shared_prefix_tokens >= _low(self.input_tokens):
            raise ValueError(
                f"shared_prefix_tokens {self.shared_prefix_tokens} must be below the shortest input "
                f"{_low(self.input_tokens)}, or all prompts would be the same"
            )
        if self.start_rate is not None and self.request_rate is None:
            raise ValueError("start_rate is where a request_rate begins, and there is none")
        if self.ramp and self.request_rate is not None:
            raise ValueError("ramp is of a closed loop; with request_rate say start_rate")

    @property
    def num_warmup_requests(self) -> int:
        return self.concurrency if self.warmup_requests is None else self.warmup_requests

    @property
    def max_total_tokens(self) -> int:
        """Longest sequence, prompt and answer, in tokens: it must fit max_model_len.

        With several turns it is the longest planned one, as not all turns reach their upper limits at once.
        """
        if self.turns == 1:
            return _high(self.input_tokens) + _high(self.output_tokens)
        return _longest_planned(self)

    @property
    def mean_input_tokens(self) -> float:
        """Mean prompt length over all turns, in tokens."""
        return _mean(self.input_tokens) + (self.turns - 1) / 2 * self.mean_growth_tokens

    @property
    def mean_output_tokens(self) -> float:
        return _mean(self.output_tokens)

    @property
    def mean_growth_tokens(self) -> float:
        """Mean growth of the prompt from one turn to the next, in tokens."""
        return _mean(self.output_tokens) + _mean(self.turn_tokens)

    @property
    def mean_shared_tokens(self) -> float:
        """Mean tokens of a prompt that belong to the shared prefix."""
        return self.shared_prefix_share * self.shared_prefix_tokens

    @property
    def mean_seen_tokens(self) -> float:
        """Mean tokens of a prompt that the engine has computed before: the shared prefix, or the turns so far."""
        later = self.turns - 1
        earlier_prompts = later * (_mean(self.input_tokens) + (later - 1) / 2 * self.mean_growth_tokens)
        return (self.mean_shared_tokens + earlier_prompts) / self.turns

    def longest_input_tokens(self, count: Any) -> Any:
        """Expected longest prompt, in tokens, of `count` (a number or an array) requests that run at once."""
        return _longest(self.input_tokens, count) + (self.turns - 1) * self.mean_growth_tokens


Length: TypeAlias = int | Lengths
NUM_QUANTILES = 1000
LONGEST_OF_REPEATS = 8
"""Number of repeats planned to find the longest conversation."""


@cache
def _quantiles(lengths: Lengths) -> NDArray[np.float64]:
    """NUM_QUANTILES quantiles of lognormal lengths, at the middles of equal parts of the probability."""
    assert lengths.median is not None
    normal = NormalDist(math.log(lengths.median), lengths.sigma)
    drawn = np.exp([normal.inv_cdf((i + 0.5) / NUM_QUANTILES) for i in range(NUM_QUANTILES)])
    return np.clip(drawn, lengths.low, lengths.high)


@cache
def _longest_planned(workload: Workload) -> int:
    return max(max_total_tokens(plan_requests(workload, repeat)) for repeat in range(LONGEST_OF_REPEATS))


@dataclass(frozen=True, slots=True)
class PromptBlocks:
    """What a prompt is made of: equal ids within one `salt` are equal tokens, all else differs."""

    ids: tuple[int, ...]
    tokens: int
    """Tokens of a block; the last may be shorter."""
    salt: int = 0


@dataclass(frozen=True, slots=True)
class RequestPlan:
    index: int
    """Number of the request, distinct over warm-up (negative) and all repeats, so that no prompt is sent twice."""
    input_tokens: int
    output_tokens: int
    shared_prefix_tokens: int
    conversation: int | None = None
    """Number of the conversation. Its plans follow each other; each prompt begins with the one before."""
    prompt: str | None = None
    """The text of a given prompt; None: the prompt is generated from the lengths."""
    blocks: PromptBlocks | None = None
    """Blocks of a generated prompt, some of which other prompts have too; None: the prompt has none."""
    due_s: float | None = None
    """When the trace sent the request, in seconds after its first one; None without a trace."""


def plan_requests(workload: Workload, repeat: int = 0) -> list[RequestPlan]:
    """The measured requests of one repeat: the same for every candidate (paired comparison), new in every repeat.

    Of recorded prompts the file is read, once. Raises InputError if it cannot be, ValueError if they run out.
    """
    if workload.prompts is not None:
        from planner.workload.traces.reading import read_again

        return plan_given(workload, read_again(workload.prompts), repeat)
    first = repeat * workload.num_requests
    return _plan(workload, range(first, first + workload.num_requests), stream=1 + repeat)


def plan_warmup(workload: Workload) -> list[RequestPlan]:
    return _plan(workload, range(-workload.num_warmup_requests, 0), stream=0)


def plan_given(workload: Workload, prompts: Sequence[GivenPrompt], repeat: int = 0) -> list[RequestPlan]:
    """`plan_requests` for recorded prompts, from the workload's window on. Raises ValueError when they run out.

    Each repeat takes the next prompts; where all are generated from lengths and the workload names a window, it sends
    the same window again, of other tokens.
    """
    first, count = repeat * workload.num_requests, workload.num_requests
    are_made = all(given.prompt is None for given in prompts)
    if first + count > len(prompts) and not workload.repeat_prompts and not are_made:
        raise ValueError(
            f"{first + count} prompts are needed and there are {len(prompts)}; ask for fewer requests "
            "or repeats, or say repeat_prompts: true"
        )
    start = window_start(prompts, count, workload.window)
    start += 0 if are_made and workload.window != "start" else first
    chosen = [_lap(prompts, start + i) for i in range(count)]
    outputs = _draw(np.random.default_rng((workload.seed, 1 + repeat)), workload.output_tokens, count)
    start_s = min((arrival_s for _, arrival_s in chosen if arrival_s is not None), default=0.0)
    return [
        RequestPlan(
            first + i,
            given.input_tokens or max(1, len((given.prompt or "").split())),
            given.output_tokens or int(drawn),
            0,
            prompt=given.prompt,
            blocks=PromptBlocks(given.hash_ids, given.block_tokens, repeat) if given.hash_ids else None,
            due_s=None if arrival_s is None else arrival_s - start_s,
        )
        for i, ((given, arrival_s), drawn) in enumerate(zip(chosen, outputs, strict=True))
    ]


def _lap(prompts: Sequence[GivenPrompt], position: int) -> tuple[GivenPrompt, float | None]:
    """The prompt at a position and its arrival; after the last the first follows, one mean gap later."""
    laps, index = divmod(position, len(prompts))
    given = prompts[index]
    if given.arrival_s is None or not laps:
        return given, given.arrival_s
    length_s = (prompts[-1].arrival_s or 0.0) - (prompts[0].arrival_s or 0.0)
    return given, given.arrival_s + laps * length_s * len(prompts) / max(1, len(prompts) - 1)


def _plan(workload: Workload, indices: range, stream: int) -> list[RequestPlan]:
    rng = np.random.default_rng((workload.seed, stream))
    inputs = _draw(rng, workload.input_tokens, len(indices))
    outputs = _draw(rng, workload.output_tokens, len(indices))
    prefix = workload.shared_prefix_tokens
    if workload.shared_prefix_share == 1 and workload.turns == 1:
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
    """Prompt lengths of all turns: the previous prompt and answer, plus this turn's own tokens."""
    grown = inputs.copy()
    for i in range(len(grown)):
        if i % turns:
            grown[i] = grown[i - 1] + outputs[i - 1] + more[i]
    return grown


def conversations(plans: Sequence[RequestPlan]) -> list[list[RequestPlan]]:
    """Group plans by conversation; a single request is a conversation of its own."""
    return [list(talk) for _, talk in groupby(plans, key=_conversation)]


def _conversation(plan: RequestPlan) -> tuple[str, int]:
    return ("alone", plan.index) if plan.conversation is None else ("together", plan.conversation)


def _draw(rng: np.random.Generator, length: Length, count: int) -> Ids:
    if isinstance(length, int):
        return np.full(count, length)
    if length.median is not None:
        drawn = np.exp(rng.normal(math.log(length.median), length.sigma, count))
        return np.clip(np.rint(drawn), length.low, length.high).astype(np.int64)
    return rng.integers(length.low, length.high + 1, count)


def _low(length: Length) -> int:
    return length if isinstance(length, int) else length.low


def _high(length: Length) -> int:
    return length if isinstance(length, int) else length.high


def _mean(length: Length) -> float:
    if isinstance(length, int):
        return float(length)
    return float(_quantiles(length).mean()) if length.median is not None else (length.low + length.high) / 2


def _longest(length: Length, count: Any) -> Any:
    """Expected longest, in tokens, of `count` lengths."""
    if isinstance(length, int):
        return length
    if length.median is None:
        return length.low + (length.high - length.low) * count / (count + 1)
    parts = (np.arange(NUM_QUANTILES) + 0.5) / NUM_QUANTILES
    some = parts[NUM_QUANTILES // 100 :: NUM_QUANTILES // 50]
    # The longest of n is below a quantile u when all of them are: with probability u ** n.
    return np.mean([np.interp(part ** (1 / np.asarray(count)), parts, _quantiles(length)) for part in some], axis=0)


def max_total_tokens(plans: Sequence[RequestPlan]) -> int:
    return max((plan.input_tokens + plan.output_tokens for plan in plans), default=0)
