"""Seconds of a decoder's parts from what was measured on the card: `MeasuredCurves(profile, gpu, ...)`.

In: a `CardProfile` and what the step model knows of a rank. Out: seconds of linear layers, experts, head, attention
and the small kernels; None for a part that was not measured, which the roofline then gives.

A measurement is kept as its ratio to what the data sheet allows for the same work, and the ratio is read off between
the sizes that were measured. So the layer that was measured comes out as measured, and another model's layer gets the
same ratio at the same size: transferred, not measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

from planner import arrays as columns
from planner.hardware import CardProfile, GpuSpec, ProfilePart, ProfileRow, ProfileShape

HALF = 2
"""Bytes of a 16-bit number."""
WEIGHT_BYTES = {"dense": 2.0, "fp8": 1.0, "marlin": 0.5, "awq": 0.5, "gptq": 0.5}


class Curve:
    """Positive values by size, read off on logarithmic axes; beyond the ends, the nearest end's value."""

    def __init__(self, points: Iterable[tuple[float, float]]) -> None:
        """`points`: size and value; values of one size are averaged."""
        logs = sorted((math.log(size), math.log(value)) for size, value in points)
        self._points = [(x, sum(y for _, y in same) / len(same)) for x, same in _grouped(logs)]

    @property
    def smallest(self) -> float:
        """Smallest size that was measured."""
        return math.exp(self._points[0][0])

    def at(self, size: Any) -> Any:
        """The value at a size, or at each of an array of sizes."""
        xs, ys = zip(*self._points, strict=True)
        if columns.is_array(size):
            import numpy as np

            return np.exp(np.interp(np.log(np.maximum(size, 1e-9)), xs, ys))
        x = math.log(max(float(size), 1e-9))
        if x <= xs[0] or x >= xs[-1]:
            return math.exp(ys[0] if x <= xs[0] else ys[-1])
        right = next(i for i, known in enumerate(xs) if known > x)
        share = (x - xs[right - 1]) / (xs[right] - xs[right - 1])
        return math.exp(ys[right - 1] + share * (ys[right] - ys[right - 1]))


def _grouped(logs: list[tuple[float, float]]) -> Iterable[tuple[float, list[tuple[float, float]]]]:
    return ((x, list(same)) for x, same in groupby(logs, key=lambda point: point[0]))


class MeasuredCurves:
    """The ratios of one profile to the data sheet, for one kind of weights and one attention backend."""

    def __init__(self, profile: CardProfile, gpu: GpuSpec, kernel: str | None, backend: str, hidden: int) -> None:
        """`kernel`: how the profile calls the linear layers' kernel; None: one that it cannot have measured."""
        self._bandwidth, self._peak = gpu.memory_bandwidth_bytes_per_s, gpu.peak_flop_per_s
        parts = sorted(profile.parts, key=lambda part: abs(math.log(part.shape.hidden / hidden)))
        self._linear = self._ratio(
            [part for part in parts if part.kernel == kernel], "linear", lambda part, row: self._linear_roof(part, row)
        )
        self._experts = self._ratio(
            [part for part in parts if part.kernel == kernel and part.shape.experts],
            "experts",
            lambda part, row: self._experts_roof(part.shape, row.tokens),
        )
        self._head = self._ratio(parts, "head", lambda part, row: self.head_roof_s(part.shape, row.rows))
        same = [part for part in parts if part.backend == backend]
        self._small = self._seconds(parts, ("small",), lambda part, row: row.tokens * part.shape.hidden)
        self._decode = self._seconds(
            same, ("decode",), lambda part, row: _kv_bytes(part.shape) * row.seqs * row.context
        )
        kinds = (("fresh",), ("continued",)) if backend == "XFORMERS" else (("fresh", "continued"),) * 2
        self._fresh, self._continued = (
            self._seconds(same, kind, lambda part, row: _pairs(row) * _pair_flop(part.shape)) for kind in kinds
        )

    def _ratio(
        self, parts: list[ProfilePart], what: Any, roof: Callable[[ProfilePart, ProfileRow], float]
    ) -> Curve | None:
        """Measured over data sheet by tokens or rows, of the part whose shape is nearest."""
        for part in parts:
            if rows := part.of(what):
                return Curve((row.tokens or row.rows, row.seconds / roof(part, row)) for row in rows)
        return None

    def _seconds(
        self, parts: list[ProfilePart], kinds: Any, size: Callable[[ProfilePart, ProfileRow], float]
    ) -> Curve | None:
        """Seconds by size; the ratio is to the size itself, so that beyond the last one time grows with it."""
        for part in parts:
            if rows := part.of(*kinds):
                return Curve((size(part, row), row.seconds / size(part, row)) for row in rows)
        return None

    def _linear_roof(self, part: ProfilePart, row: ProfileRow) -> float:
        shape = part.shape
        params = shape.hidden * shape.head_dim * 2 * (shape.heads + shape.kv_heads)
        params += 3 * shape.hidden * shape.intermediate
        return self.roof_s(params * WEIGHT_BYTES[part.kernel], params, row.tokens)

    def _experts_roof(self, shape: ProfileShape, tokens: int) -> float:
        experts = shape.experts
        if experts is None:
            raise ValueError("experts were measured of a shape that has none")
        params, share = 3 * experts.count * experts.width * shape.hidden, experts.top_k / experts.count
        return self.roof_s(params * HALF * (1 - (1 - share) ** tokens), params * share, tokens)

    def roof_s(self, read_bytes: Any, params: float, tokens: Any) -> Any:
        """What the data sheet allows: the slower of reading the weights and 2 operations a parameter and token."""
        return columns.maximum(read_bytes / self._bandwidth, 2 * params * tokens / self._peak)

    def head_roof_s(self, shape: ProfileShape, rows: int) -> float:
        return self.head_s_by_sheet(shape.vocab * shape.hidden, shape.vocab, rows)

    def head_s_by_sheet(self, params: float, vocab: float, rows: Any) -> Any:
        """Reading the head, its arithmetic, and 24 bytes a logit for the sampler, at the data sheet's rates."""
        return self.roof_s(params * HALF, params, rows) + rows * vocab * 24 / self._bandwidth

    # --- what the step model asks; each None where it was not measured ---

    def linear_s(self, read_bytes: float, params: float, tokens: Any) -> Any:
        """Seconds of linear layers of this many parameters, all layers together."""
        return self._linear and self.roof_s(read_bytes, params, tokens) * self._linear.at(tokens)

    def experts_s(self, read_bytes: Any, params: float, tokens: Any) -> Any:
        """Seconds of the routed experts; `params`: those that one token uses."""
        return self._experts and self.roof_s(read_bytes, params, tokens) * self._experts.at(tokens)

    def head_s(self, params: float, vocab: float, rows: Any) -> Any:
        return self._head and self.head_s_by_sheet(params, vocab, rows) * self._head.at(columns.maximum(rows, 1))

    def small_s(self, hidden: int, tokens: Any) -> Any:
        """Seconds of the kernels between the linear layers, of one layer."""
        return _grown(self._small, hidden * tokens)

    def decode_s(self, kv_bytes: Any) -> Any:
        """Seconds of attention of one layer over this many bytes of its KV cache."""
        return _grown(self._decode, kv_bytes)

    def fresh_s(self, flop: Any) -> Any:
        """Seconds of a whole prompt's attention in one layer."""
        return _grown(self._fresh, flop)

    def continued_s(self, flop: Any) -> Any:
        """The same of a prompt that already has tokens in the cache."""
        return _grown(self._continued, flop)


def _grown(curve: Curve | None, size: Any) -> Any:
    """Seconds at a size from a curve of seconds a unit; below the smallest that was measured, its seconds."""
    if curve is None:
        return None
    at = columns.maximum(size, curve.smallest)
    return columns.where(size > 0, at * curve.at(at), 0.0)


def _kv_bytes(shape: ProfileShape) -> int:
    """Bytes of one token's keys and values in one layer."""
    return 2 * shape.kv_heads * shape.head_dim * HALF


def _pair_flop(shape: ProfileShape) -> int:
    return 4 * shape.heads * shape.head_dim


def _pairs(row: ProfileRow) -> float:
    """Query-key pairs of a causal prefill of `new` tokens, `context` in all."""
    return row.new * (row.context - row.new) + row.new * (row.new + 1) / 2
