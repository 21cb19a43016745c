"""A window of recorded traffic: consecutive requests that stand for the whole, the same ones each time.

In: requests in the order of their arrivals. Out: where the window begins. `busiest` is where the requests come fastest,
`typical` where rate and lengths are nearest to those of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal, TypeAlias, get_args

from planner.errors import InputError
from planner.workload.recorded import TOKENS_PER_WORD, GivenPrompt

Window: TypeAlias = Literal["start", "busiest", "typical"]
WINDOW_REQUESTS = 256
"""Requests in the window of a file unless a number is given, as the shipped workload `chat` has."""
STEPS = 4
"""Windows begun per length of a window when a typical one is looked for."""


def parse_window(text: str) -> Window:
    """The window of this name. Raises InputError."""
    for name in get_args(Window):
        if name == text:
            return name
    raise InputError(f"--window {text}: is no window; allowed: {', '.join(get_args(Window))}")


def window_start(requests: Sequence[GivenPrompt], count: int, kind: Window) -> int:
    """Index of the window's first request; 0 where the window has all of them."""
    last = len(requests) - count
    if kind == "start" or last <= 0:
        return 0
    if kind == "busiest":
        slack = _slack(requests, count)
        return min(range(last + 1), key=slack.__getitem__)
    whole = _features(requests, 0, len(requests))
    starts = [*range(0, last, max(1, count // STEPS)), last]
    return min(starts, key=lambda i: _distance(_features(requests, i, count), whole))


def _slack(requests: Sequence[GivenPrompt], count: int) -> list[float]:
    """What is least in the busiest window, by its first request: seconds, or without arrivals the tokens, negated."""
    starts = range(len(requests) - count + 1)
    if all(one.arrival_s is not None for one in requests):
        times = [one.arrival_s or 0.0 for one in requests]
        return [times[i + count - 1] - times[i] for i in starts]
    sums = [0, *accumulate(length_of(one) + (one.output_tokens or 0) for one in requests)]
    return [sums[i] - sums[i + count] for i in starts]


def length_of(given: GivenPrompt) -> int:
    """Tokens of a prompt, at least 1; of a text that was not counted about as many as its words make."""
    return given.input_tokens or max(1, round(len((given.prompt or "").split()) * TOKENS_PER_WORD))


def _features(requests: Sequence[GivenPrompt], start: int, count: int) -> tuple[float, float, float]:
    """Seconds per request (0 where not known), mean tokens of a prompt and of an answer."""
    chosen = requests[start : start + count]
    times = [one.arrival_s for one in chosen if one.arrival_s is not None]
    gap_s = (times[-1] - times[0]) / count if len(times) == count else 0.0
    return gap_s, sum(map(length_of, chosen)) / count, sum(one.output_tokens or 0 for one in chosen) / count


def _distance(some: Sequence[float], whole: Sequence[float]) -> float:
    """Sum of the squared logarithms of the ratios, so that twice as much is as far as half as much."""
    tiny = 1e-9
    return sum(math.log((a + tiny) / (b + tiny)) ** 2 for a, b in zip(some, whole, strict=True))
