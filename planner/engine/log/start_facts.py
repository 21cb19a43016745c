"""Read the figures and times of a start from its log: `read_start_facts(text) -> StartFacts`.

`FactsReader` takes line by line and keeps one reading per pattern, so its memory does not grow with the log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from planner.engine.log.lines import LogLine, lines_of
from planner.engine.log.patterns import ATTENTION_NAMES, FACTS, NOT_ATTENTION, is_routine
from planner.units import GIB


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFacts:
    """Figures from a start-up log, per rank those of rank 0; None if this version does not log it."""

    vllm_version: str | None = None
    engine_generation: str | None = None
    """Engine generation: V0 or V1."""
    weights_bytes: int | None = None
    non_torch_bytes: int | None = None
    activation_bytes: int | None = None
    kv_cache_bytes: int | None = None
    total_bytes: int | None = None
    """Total memory of the card as CUDA reports it."""
    num_gpu_blocks: int | None = None
    kv_tokens: int | None = None
    max_concurrency: float | None = None
    """Number of requests of max_model_len tokens that the KV cache holds."""
    graph_bytes: int | None = None
    """Memory of the CUDA graphs, by the growth of used memory: negative if something else was freed."""
    attention_backend: str | None = None
    """Attention backend by its name for `--attention-backend`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTimes:
    """Durations of a start's stages on rank 0, in seconds; None if the log does not say."""

    load_s: float | None = None
    profile_s: float | None = None
    compile_s: float | None = None
    graph_s: float | None = None
    init_s: float | None = None
    """Sum of profiling, KV cache, graphs and warm-up, as the engine logs it."""


@dataclass(slots=True)
class _Reading:
    """Matches of one pattern over all lines: text of the preferred rank, and the least number."""

    text: str
    is_first_rank: bool
    least: float | None

    def add(self, text: str, is_first_rank: bool) -> None:
        if is_first_rank and not self.is_first_rank:
            self.text, self.is_first_rank = text, True
        number = _number(text)
        if number is not None and self.least is not None:
            self.least = min(self.least, number)


Told = Literal["", "again", "new"]

_FACTS = {name: tuple(re.compile(pattern) for pattern in patterns) for name, patterns in FACTS.items()}


class FactsReader:
    """Folds the lines of one start into `StartFacts` and `StartTimes`."""

    def __init__(self) -> None:
        self._readings: dict[re.Pattern[str], _Reading] = {}
        self._attention: str | None = None

    def feed(self, line: LogLine) -> Told:
        """Take a line in. Returns `new` if it has a new figure, `again` if only known ones, else an empty string."""
        told: Told = ""
        if is_routine(line.text):
            return told
        for name, patterns in _FACTS.items():
            for pattern in patterns:
                match = pattern.search(line.text)
                if match and not (line.is_cut and match.end() == len(line.text)):
                    is_new = self._add(name, pattern, match[1], line)
                    told = "new" if is_new or told == "new" else "again"
        return told

    def _add(self, name: str, pattern: re.Pattern[str], text: str, line: LogLine) -> bool:
        if name == "attention":
            backend = _attention(text)
            is_new = self._attention is None and backend is not None
            self._attention = self._attention or backend
            return is_new
        reading = self._readings.get(pattern)
        if reading is None:
            self._readings[pattern] = _Reading(text, line.is_first_rank, _number(text))
            return True
        reading.add(text, line.is_first_rank)
        return False

    def _reading(self, name: str) -> _Reading | None:
        return next((self._readings[pattern] for pattern in _FACTS[name] if pattern in self._readings), None)

    def text(self, name: str) -> str | None:
        """Rank 0's reading of a fact by its best pattern that matched; None if none did."""
        reading = self._reading(name)
        return None if reading is None else reading.text

    def _least(self, name: str) -> float | None:
        reading = self._reading(name)
        return None if reading is None else reading.least

    def _gib(self, name: str) -> int | None:
        number = _number(self.text(name) or "")
        return None if number is None else round(number * GIB)

    def facts(self) -> StartFacts:
        """The figures so far. If ranks differ: bytes of rank 0, and the fewest blocks and tokens of any."""
        least_blocks, least_tokens = self._least("blocks"), self._least("tokens")
        num_gpu_blocks = None if least_blocks is None else int(least_blocks)
        kv_tokens = None if least_tokens is None else int(least_tokens)
        version, generation = self.text("version"), self.text("generation")
        if generation is None and num_gpu_blocks is not None and version is not None and version.startswith("0.6."):
            generation = "V0"  # 0.6 does not log it
        block_size = self.text("block_size")
        if kv_tokens is None and num_gpu_blocks is not None and block_size is not None:
            kv_tokens = num_gpu_blocks * int(_number(block_size) or 0)
        weights_bytes, non_torch_bytes, consumed_bytes = map(
            self._gib, ("weights_gib", "non_torch_gib", "consumed_gib")
        )
        if non_torch_bytes is None and weights_bytes is not None and consumed_bytes is not None:
            non_torch_bytes = consumed_bytes - weights_bytes
        return StartFacts(
            vllm_version=version,
            engine_generation=generation,
            weights_bytes=weights_bytes,
            non_torch_bytes=non_torch_bytes,
            activation_bytes=self._gib("activation_gib"),
            total_bytes=self._gib("total_gib"),
            kv_cache_bytes=self._gib("kv_cache_gib"),
            num_gpu_blocks=num_gpu_blocks,
            kv_tokens=kv_tokens,
            max_concurrency=self._least("concurrency"),
            graph_bytes=self._gib("graph_gib"),
            attention_backend=self._attention,
        )

    def times(self) -> StartTimes:
        return StartTimes(
            load_s=_number(self.text("load_s") or ""),
            profile_s=_number(self.text("profile_s") or ""),
            compile_s=_number(self.text("compile_s") or ""),
            graph_s=_number(self.text("graph_s") or ""),
            init_s=_number(self.text("init_s") or ""),
        )


def facts_of(lines: Iterable[LogLine]) -> StartFacts:
    reader = FactsReader()
    for line in lines:
        reader.feed(line)
    return reader.facts()


def read_start_facts(log_text: str) -> StartFacts:
    """Read the figures of a start from its log."""
    return facts_of(lines_of(log_text))


def _attention(name: str) -> str | None:
    upper = name.upper()
    if upper in NOT_ATTENTION or upper.endswith(("MOE", "PREFILL")):
        return None
    return ATTENTION_NAMES.get(upper, upper.replace(" ", "_"))


MOST = 1e15
"""Bound on any figure: no card has this many bytes."""


def _number(text: str) -> float | None:
    try:
        number = float(text.replace(",", ""))
    except ValueError:
        return None  # a version, a name
    return number if abs(number) < MOST else None
