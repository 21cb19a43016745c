"""The contents of recorded traffic: lengths, arrivals, burstiness, prefix sharing, the busiest minute.

In: requests in the order of their arrivals. Out: a `Survey`, and the `Workload` that sends a window of a file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec

from planner.workload.recorded import GivenPrompt
from planner.workload.windows import WINDOW_REQUESTS, Window, length_of, window_start
from planner.workload.workload import Lengths, Workload

PEAK_S = 60.0
"""Length of the busiest window that is told, in seconds."""
ENGINE_BLOCK, COARSE_BLOCK = 16, 512
"""Tokens of a block of the prefix cache: vLLM's default, and that of Mooncake's traces."""
CONCURRENCY = 16
"""Requests in flight of a file without arrivals, and of any warm-up."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Lengths in tokens."""

    mean: float
    p50: int
    p90: int
    p99: int
    least: int
    most: int
    sigma: float
    """Standard deviation of the logarithms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """None stands for what the traffic does not tell."""

    num_requests: int
    inputs: Spread
    outputs: Spread | None
    has_texts: bool
    """Whether prompts are texts whose tokens were not counted: their lengths are about right."""
    duration_s: float | None
    rate_per_s: float | None
    gap_cv: float | None
    """Coefficient of variation of the gaps between arrivals: 1 is Poisson, above 1 comes in bursts."""
    peak_rate_per_s: float | None
    peak_start_s: float | None
    """Beginning of the busiest PEAK_S seconds, after the first arrival."""
    hit_rate: float | None
    """Share of the prompts' tokens that a prefix cache without limit finds, with blocks of ENGINE_BLOCK tokens."""
    coarse_hit_rate: float | None
    """The same with blocks of COARSE_BLOCK tokens."""
    in_flight: float | None = None
    """Mean number of requests in a server at once."""


def surveyed(requests: Sequence[GivenPrompt]) -> Survey:
    """What these requests are. There must be one at least."""
    outputs = [one.output_tokens for one in requests if one.output_tokens is not None]
    times = [one.arrival_s for one in requests if one.arrival_s is not None]
    duration_s = times[-1] - times[0] if len(times) == len(requests) > 1 else None
    duration_s = duration_s if duration_s else None
    peak_start_s, peak = _peak(times) if duration_s is not None else (None, None)
    return Survey(
        num_requests=len(requests),
        inputs=_spread([length_of(one) for one in requests]),
        outputs=_spread(outputs) if outputs else None,
        has_texts=any(one.input_tokens is None for one in requests),
        duration_s=duration_s,
        rate_per_s=None if duration_s is None else (len(times) - 1) / duration_s,
        gap_cv=None if duration_s is None else _gap_cv(times),
        peak_rate_per_s=peak,
        peak_start_s=peak_start_s,
        hit_rate=hit_rate(requests, ENGINE_BLOCK),
        coarse_hit_rate=hit_rate(requests, COARSE_BLOCK),
    )


def _spread(lengths: Sequence[int]) -> Spread:
    ordered = sorted(lengths)
    logs = [math.log(max(1, one)) for one in ordered]
    mean = sum(logs) / len(logs)

    def at(share: float) -> int:
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    return Spread(
        mean=sum(ordered) / len(ordered),
        p50=at(0.5),
        p90=at(0.9),
        p99=at(0.99),
        least=ordered[0],
        most=ordered[-1],
        sigma=math.sqrt(sum((one - mean) ** 2 for one in logs) / len(logs)),
    )


def _gap_cv(times: Sequence[float]) -> float:
    gaps = [after - before for before, after in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    return math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) / mean


def _peak(times: Sequence[float]) -> tuple[float, float]:
    """Start, in seconds after the first arrival, and rate per second of the busiest PEAK_S seconds."""
    width_s = min(PEAK_S, times[-1] - times[0])
    most, start_s, first = 0, 0.0, 0
    for last, time_s in enumerate(times):
        while time_s - times[first] > width_s:
            first += 1
        if last - first + 1 > most:
            most, start_s = last - first + 1, times[first]
    return start_s - times[0], most / width_s


# --- prefix sharing ---------------------------------------------------------------------------------------------------


def hit_rate(requests: Sequence[GivenPrompt], block_tokens: int) -> float | None:
    """Share of the prompts' tokens that a prefix cache without limit has computed before; None where nothing tells.

    Whole blocks count, from the first token on, and never a prompt's last token: it is always computed (vllm@0.32
    v1/core/kv_cache_manager.py:get_computed_blocks). Of a text the words are cut into blocks.
    """
    if not all(one.hash_ids or one.prompt is not None for one in requests):
        return None
    if (ids := _by_ids(requests, block_tokens)) is not None:
        return ids
    seen: set[int] = set()
    hits = total = 0
    for one in requests:
        length = length_of(one)
        hashes = block_hashes(one, block_tokens)
        found = next((i for i, block in enumerate(hashes) if block not in seen), len(hashes))
        hits += min(found, (length - 1) // block_tokens) * block_tokens
        seen.update(hashes)
        total += length
    return hits / total


def _by_ids(requests: Sequence[GivenPrompt], block_tokens: int) -> float | None:
    """`hit_rate` where whole blocks of the cache make a block with an id: an id is looked up, not each block in it."""
    if not all(one.hash_ids and one.block_tokens % block_tokens == 0 for one in requests):
        return None
    seen: set[int] = set()
    hits = total = 0
    for one in requests:
        length = length_of(one)
        known = next((i for i, block in enumerate(one.hash_ids) if block not in seen), len(one.hash_ids))
        hits += min(known * one.block_tokens, length - 1) // block_tokens * block_tokens
        seen.update(one.hash_ids)
        total += length
    return hits / total


def block_hashes(given: GivenPrompt, block_tokens: int) -> list[int]:
    """One hash per whole block of a prompt; equal hashes mean equal tokens up to the block's end."""
    if given.hash_ids:
        ends = range(block_tokens, length_of(given) + 1, block_tokens)
        return [hash((given.hash_ids[(end - 1) // given.block_tokens], end)) for end in ends]
    words = (given.prompt or "").split()
    size = max(1, round(block_tokens * len(words) / length_of(given)))
    hashes: list[int] = []
    for start in range(0, len(words) - size + 1, size):
        hashes.append(hash((hashes[-1] if hashes else 0, *words[start : start + size])))
    return hashes


# --- a workload that sends it -----------------------------------------------------------------------------------------


def windowed(
    requests: Sequence[GivenPrompt], prompts: str, window: Window = "busiest", count: int | None = None
) -> Workload:
    """The workload that sends a window of a file. `prompts`: its path, as the workload is to name it.

    Lengths and sharing are those of the window, for predictions and the warm-up.
    """
    count = min(count or WINDOW_REQUESTS, len(requests))
    seen = surveyed(window_of(requests, window, count))
    return Workload(
        name=_name(prompts),
        prompts=prompts,
        window=window,
        concurrency=CONCURRENCY,
        num_requests=count,
        input_tokens=token_lengths(seen.inputs),
        output_tokens=token_lengths(seen.outputs) if seen.outputs is not None else 128,
        shared_prefix_tokens=round((seen.hit_rate or 0.0) * seen.inputs.mean),
    )


def workload_keys(workload: Workload) -> dict[str, Any]:
    """The keys of a workload that differ from their defaults, as a file of it has them."""
    plain: dict[str, Any] = msgspec.to_builtins(workload, enc_hook=float)
    defaults: dict[str, Any] = msgspec.to_builtins(Workload(concurrency=1, num_requests=1), enc_hook=float)
    return {
        key: value
        for key, value in plain.items()
        if key in {"concurrency", "num_requests"} or value != defaults.get(key)
    }


def window_of(requests: Sequence[GivenPrompt], window: Window, count: int) -> Sequence[GivenPrompt]:
    """The requests of a window of `count`."""
    start = window_start(requests, count, window)
    return requests[start : start + count]


def _name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2].partition(".")[0] or "traffic"


def token_lengths(spread: Spread) -> int | Lengths:
    """Lognormal lengths within the same limits, with the same mean and the same spread of the logarithms."""
    low, high = max(1, spread.least), max(1, spread.most)
    if low == high:
        return low
    sigma = round(min(10.0, max(0.01, spread.sigma)), 3)
    least, most = low, high
    while least < most:  # the mean grows with the median
        median = (least + most) // 2
        tried = Workload(concurrency=1, num_requests=1, input_tokens=Lengths(low, high, median, sigma))
        least, most = (median + 1, most) if tried.mean_input_tokens < spread.mean else (least, median)
    return Lengths(low, high, least, sigma)


def window_words(requests: Sequence[GivenPrompt], window: Window, count: int) -> str:
    """What a window cannot show of the whole, in one line; empty where it is the whole."""
    if window == "start" or count >= len(requests):
        return ""
    part, whole = surveyed(window_of(requests, window, count)), surveyed(requests)
    pairs: list[tuple[str, float | None, float | None, Callable[[float], str]]] = [
        ("requests/s", part.rate_per_s, whole.rate_per_s, lambda x: f"{x:.3g}"),
        ("input p99", part.inputs.p99, whole.inputs.p99, lambda x: f"{x:.0f}"),
        ("prefix hits", part.hit_rate, whole.hit_rate, lambda x: f"{x:.0%}"),
    ]
    told = [f"{name} {say(a)}, of all {say(b)}" for name, a, b, say in pairs if a is not None and b is not None]
    if part.duration_s is not None and whole.duration_s is not None:
        told.insert(0, f"{part.duration_s:.0f} s of {whole.duration_s:.0f} s")
    return f"{window} window of {count} of {len(requests)} requests cannot show the rest: {'; '.join(told)}"
