"""vLLM's /metrics page as values: `EngineTelemetry`, gauges, the TTFT histogram. In: text. Out: values."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

NAMES: dict[str, tuple[str, ...]] = {
    "num_requests_running": ("vllm:num_requests_running",),
    "num_requests_waiting": ("vllm:num_requests_waiting",),
    # 0.9.2 writes both names, 0.14 only the first, 0.8 and before (V0 and V1) only the second.
    "kv_cache_usage_fraction": ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
    "preemptions": ("vllm:num_preemptions_total",),
    "prompt_tokens": ("vllm:prompt_tokens_total",),
    "generation_tokens": ("vllm:generation_tokens_total",),
    # V1 only; 0.6.6 and 0.8.5 V0 have at most a hit rate, as a gauge.
    "prefix_cache_queries": ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"),
    "prefix_cache_hits": ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"),
    # only with speculative decoding (vllm@0.8.5 engine/metrics.py, 0.32 v1/spec_decode/metrics.py)
    "draft_tokens": ("vllm:spec_decode_num_draft_tokens_total",),
    "accepted_tokens": ("vllm:spec_decode_num_accepted_tokens_total",),
}
"""Sample names by field; the first one present counts. Read in vllm/engine/metrics.py and vllm/v1/metrics/loggers.py of
0.6.6.post1, 0.8.5 and 0.32; prometheus_client adds `_total` to every counter."""

CACHE_CONFIG = "vllm:cache_config_info"
"""Gauge whose labels hold the KV cache's configuration; an unset value is the word None."""

COUNTERS = (
    "preemptions", "prompt_tokens", "generation_tokens", "prefix_cache_queries", "prefix_cache_hits", "draft_tokens",
    "accepted_tokens",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTelemetry:
    """One reading, summed over the engines of a data parallel server; None if this version has no such sample."""

    num_requests_running: int | None = None
    num_requests_waiting: int | None = None
    kv_cache_usage_fraction: float | None = None
    """Used fraction of the KV cache, 0 to 1; the fullest of several engines, because that one preempts."""
    preemptions: int | None = None
    prompt_tokens: int | None = None
    generation_tokens: int | None = None
    prefix_cache_queries: int | None = None
    """Tokens looked up in the prefix cache; tokens, not requests."""
    prefix_cache_hits: int | None = None
    draft_tokens: int | None = None
    """Tokens that speculative decoding proposed; None without it."""
    accepted_tokens: int | None = None
    """Those of them that the model took."""
    num_gpu_blocks: int | None = None
    block_size: int | None = None
    kv_cache_tokens: int | None = None


LONGEST_ROW = 1 << 14
"""Most characters of a sample's row; the parser takes quadratic time for rows of many labels. vLLM's have some 400."""
MOST_DIGITS = 15
MOST = float(1 << 53)
"""Largest figure: of greater ones not every integer is a float any more, and no counter of an engine gets there."""


def _possible(name: str, value: float) -> float:
    """The figure. Raises ValueError if it is negative, too large, infinite or no number: no engine counts so."""
    if not 0 <= value <= MOST:
        raise ValueError(f"{name} {value:g} cannot be")
    return value


class MetricsPage:
    """A page that is parsed once, and asked as often as needed. Raises ValueError if the text is none."""

    def __init__(self, text: str) -> None:
        if (longest := max(map(len, text.splitlines()), default=0)) > LONGEST_ROW:
            raise ValueError(f"is no page of metrics: a row of {longest} characters; at most {LONGEST_ROW} are read")
        try:
            families = list(text_string_to_metric_families(text))
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
        ) as error:  # raised by the parser for other text
            raise ValueError(f"is no page of metrics: {error}") from None
        self._families: dict[str, list[Sample]] = {}
        self._samples: dict[str, list[Sample]] = {}
        for family in families:
            self._families.setdefault(family.name, []).extend(family.samples)
            for sample in family.samples:
                self._samples.setdefault(sample.name, []).append(sample)

    def value(self, name: str) -> float | None:
        """The value of a sample of this name, summed over its labels; None without any, or if one is not finite."""
        values = [sample.value for sample in self._samples.get(name, [])]
        return sum(values) if values and all(map(math.isfinite, values)) else None

    def labels(self, name: str) -> Mapping[str, str]:
        """The labels of the first sample of this name; empty without any."""
        return next((sample.labels for sample in self._samples.get(name, [])), {})

    def histograms(self, names: Collection[str]) -> dict[str, Histogram | None]:
        """The histograms of these names, summed over the engines of a data parallel server; None for those not there.

        Raises ValueError if a bound is no number, or a figure cannot be.
        """
        return {name: _histogram(name, self._families.get(name, [])) for name in names}

    def telemetry(self) -> EngineTelemetry:
        """Gauges and counters. Raises ValueError if one of them is no finite number."""
        try:
            return _telemetry(self._samples)
        except (ArithmeticError, ValueError) as error:
            raise ValueError(f"is no page of metrics: {error}") from None


def parse_telemetry(text: str) -> EngineTelemetry:
    """Read the telemetry of a /metrics page. Raises ValueError if the text is not one."""
    return MetricsPage(text).telemetry()


def _telemetry(samples: Mapping[str, Sequence[Sample]]) -> EngineTelemetry:
    caches = [sample.labels for sample in samples.get(CACHE_CONFIG, [])]

    def found(field: str) -> list[float]:
        name = next((name for name in NAMES[field] if name in samples), None)
        return [] if name is None else [_possible(name, sample.value) for sample in samples[name]]

    def total(field: str) -> int | None:
        values = found(field)
        return round(sum(values)) if values else None

    num_gpu_blocks, block_size, kv_cache_tokens = _cache_size(caches)
    return EngineTelemetry(
        num_requests_running=total("num_requests_running"),
        num_requests_waiting=total("num_requests_waiting"),
        kv_cache_usage_fraction=max(found("kv_cache_usage_fraction"), default=None),
        preemptions=total("preemptions"),
        prompt_tokens=total("prompt_tokens"),
        generation_tokens=total("generation_tokens"),
        prefix_cache_queries=total("prefix_cache_queries"),
        prefix_cache_hits=total("prefix_cache_hits"),
        draft_tokens=total("draft_tokens"),
        accepted_tokens=total("accepted_tokens"),
        num_gpu_blocks=num_gpu_blocks,
        block_size=block_size,
        kv_cache_tokens=kv_cache_tokens,
    )


def difference(before: EngineTelemetry, after: EngineTelemetry) -> EngineTelemetry:
    """Telemetry of the window between two readings: growth of the counters, last value of the rest.

    A counter that decreased is of a restarted engine, and has grown from zero.
    """
    growth: dict[str, int | None] = {}
    for field in COUNTERS:
        start, end = getattr(before, field), getattr(after, field)
        growth[field] = None if start is None or end is None else end - start if end >= start else end
    return replace(after, **growth)


def cache_config(text: str) -> dict[str, str]:
    """The labels of a page's KV cache configuration that are set; of several engines the first's, of no page none."""
    try:
        labels = MetricsPage("".join(_CACHE_ROWS.findall(text))).labels(CACHE_CONFIG)
    except ValueError:
        return {}
    return {name: value for name, value in labels.items() if value != "None"}


_CACHE_ROWS = re.compile(rf"^{CACHE_CONFIG}\{{.*\n?", re.MULTILINE)


def _cache_size(caches: list[dict[str, str]]) -> tuple[int | None, int | None, int | None]:
    """(blocks, tokens per block, tokens) of all engines together; None for what is not known.

    A data parallel V1 server repeats its configuration for each engine with the blocks already summed and the tokens
    of one engine (vllm@0.32 v1/engine/core_client.py). 0.8.5 V1 does not know the blocks here.
    """
    num_gpu_blocks = _largest(cache.get("num_gpu_blocks") for cache in caches)
    block_size = _largest(cache.get("block_size") for cache in caches)
    engine_tokens = _largest(cache.get("kv_cache_size_tokens") for cache in caches)
    if engine_tokens is not None:
        return num_gpu_blocks, block_size, engine_tokens * len(caches)
    tokens = num_gpu_blocks * block_size if num_gpu_blocks is not None and block_size is not None else None
    return num_gpu_blocks, block_size, tokens


def _largest(labels: Iterable[str | None]) -> int | None:
    sizes = (int(label) for label in labels if label is not None and label.isdecimal() and len(label) <= MOST_DIGITS)
    return max(sizes, default=None)


_ENGINE = re.compile(r'[{,]engine="([^"]*)"')


def pages_of_engines(text: str) -> dict[str, str]:
    """The page of each engine of a data parallel server, by the engine's number: its own samples, and those of none.

    V1 labels its samples so (vllm@0.8.5 and 0.32 v1/metrics/loggers.py). A page of one engine is that engine's whole.
    """
    rows = text.splitlines(keepends=True)
    labels = [found[1] if (found := _ENGINE.search(row)) else None for row in rows]
    engines = sorted({label for label in labels if label is not None})
    if len(engines) < 2:
        return {engines[0] if engines else "": text}
    return {
        engine: "".join(row for row, label in zip(rows, labels, strict=True) if label in (None, engine))
        for engine in engines
    }


# --- peaks over a window ----------------------------------------------------------------------------------------------

GAUGES = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_fraction")
_GAUGE_LINES = {
    field: re.compile(rf"^(?:{'|'.join(map(re.escape, NAMES[field]))})(?:\{{[^\n]*\}})? (\S+)", re.MULTILINE)
    for field in GAUGES
}


def read_gauges(text: str) -> dict[str, float]:
    """Values of GAUGES, without parsing the whole page: called often, it must not delay the load generator.

    Raises ValueError for a figure that cannot be.
    """
    read = {
        field: [_possible(field, float(value)) for value in pattern.findall(text)]
        for field, pattern in _GAUGE_LINES.items()
    }
    return {
        field: max(values) if field == "kv_cache_usage_fraction" else sum(values)
        for field, values in read.items()
        if values
    }


TTFT = "vllm:time_to_first_token_seconds"
"""Histogram of TTFT in seconds; vllm/engine/metrics.py of 0.6.6, v1/metrics/loggers.py of 0.8.5 and 0.32."""


def read_ttft(page: MetricsPage) -> dict[float, float]:
    """The histogram of TTFT: number of requests so far with at most that TTFT, by upper bound in seconds.

    Empty if the page has none. Raises ValueError if a bound is not a number.
    """
    found = page.histograms((TTFT,))[TTFT]
    return {} if found is None else dict(found.buckets)


def ttft_quantile(before: Mapping[float, float], after: Mapping[float, float], share: float) -> float | None:
    """TTFT in seconds at quantile `share` of the requests between two readings, interpolated linearly within a bucket.

    None if there was no request. Source: histogram_quantile of Prometheus (promql/quantile.go).
    """
    grown = [(bound, after[bound] - before.get(bound, 0.0)) for bound in sorted(after)]
    total = grown[-1][1] if grown else 0.0
    if total <= 0:
        return None
    low, below = 0.0, 0.0
    for bound, count in grown:
        if count >= share * total:
            return low if bound == float("inf") else low + (bound - low) * (share * total - below) / (count - below)
        low, below = bound, count
    return low


# --- histograms -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Histogram:
    """Requests so far by upper bound, and the sum of what was counted."""

    buckets: Mapping[float, float]
    total: float
    count: float

    def since(self, before: Histogram) -> Histogram:
        """Growth since an earlier reading. Raises ValueError if the counts have gone back: the engine was restarted."""
        if self.count < before.count:
            raise ValueError("the engine was restarted meanwhile")
        grown = {bound: count - before.buckets.get(bound, 0.0) for bound, count in self.buckets.items()}
        return Histogram(grown, self.total - before.total, self.count - before.count)

    def parts(self) -> list[tuple[float, float, float]]:
        """(above, up to, number of requests) of each bucket that has any; the last bound may be infinite."""
        found, below, low = [], 0.0, 0.0
        for bound in sorted(self.buckets):
            if self.buckets[bound] > below:
                found.append((low, bound, self.buckets[bound] - below))
            low, below = bound, self.buckets[bound]
        return found


def _histogram(name: str, samples: Iterable[Sample]) -> Histogram | None:
    buckets: dict[float, float] = {}
    sums = {"_sum": 0.0, "_count": 0.0}
    for sample in samples:
        kind = sample.name.removeprefix(name)
        if kind == "_bucket" and "le" in sample.labels:
            bound = float(sample.labels["le"])
            buckets[bound] = buckets.get(bound, 0.0) + _possible(sample.name, sample.value)
        elif kind in sums:
            sums[kind] += _possible(sample.name, sample.value)
    if not buckets:
        return None
    return Histogram(buckets, sums["_sum"], sums["_count"])
