"""Modules that hold a model's weights: values with names, shapes, and how ranks share them.

A module is one weight of vLLM, made of one or more tensors of the checkpoint (`q_proj`, `k_proj`, `v_proj` become one).
Those of a mixer are in `mixer_modules.py`, those of a whole layer in `layer_modules.py`.
Source: vllm@0.32 model_executor/layers/linear.py, layers/fused_moe/layer.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

Cut = Literal["outputs", "inputs", "whole"]
"""What tensor parallelism divides; `whole`: each rank holds all of it."""


class Part(msgspec.Struct, frozen=True):
    """One tensor of the checkpoint: `pieces` that stay whole on a rank (heads, or single rows), each `width` rows."""

    name: str
    pieces: int
    width: int = 1

    def rows(self, ranks: int) -> int:
        """Rows on one of `ranks`; with fewer pieces than ranks, each rank keeps one."""
        return max(1, self.pieces // ranks) * self.width if self.pieces else 0


class Module(msgspec.Struct, frozen=True):
    parts: tuple[Part, ...]
    inputs: int
    cut: Cut
    is_quantizable: bool = True
    """Whether a quantised checkpoint quantises it unless it says otherwise; never norms, routers, convolutions."""
    copies: int = 0
    """Number of experts that it stacks; 0: it is no expert."""
    has_bias: bool = False
    itemsize: int = 0
    """Bytes of an element; 0: as the model's dtype."""

    is_narrow: bool = False
    """Whether it is too narrow for Marlin's kernels once divided, so that AWQ, GPTQ and AutoRound keep it whole."""
    is_copy: bool = False
    """Whether it is a dequantised copy of another weight, and so only there if that one is quantised."""

    @property
    def name(self) -> str:
        """Name of its first tensor within the layer, by which lists of exceptions name the module."""
        return self.parts[0].name

    def shape(self, ranks: int) -> tuple[int, int]:
        """Rows and columns on one of `ranks`, of one expert if it stacks some."""
        if self.cut == "outputs":
            return sum(part.rows(ranks) for part in self.parts), self.inputs
        rows = sum(part.pieces * part.width for part in self.parts)
        return rows, self.inputs // ranks if self.cut == "inputs" else self.inputs


def plain(name: str, outputs: int, inputs: int = 1, itemsize: int = 0) -> Module:
    """A replicated weight that is never quantised."""
    return Module((Part(name, outputs),), inputs, "whole", is_quantizable=False, itemsize=itemsize)


def norm(name: str, width: int, has_bias: bool = False) -> Iterator[Module]:
    """The weight of a norm, and its bias."""
    yield plain(name, width)
    if has_bias:
        yield plain(f"{name}.bias", width)


def divided(name: str, rows: int, columns: int = 1, itemsize: int = 0) -> Module:
    """A weight divided by rows that is never quantised: convolutions, decays, time steps."""
    return Module((Part(name, rows),), columns, "outputs", is_quantizable=False, itemsize=itemsize)


def by_outputs(name: str, outputs: int, inputs: int, has_bias: bool = False) -> Module:
    return Module((Part(name, outputs),), inputs, "outputs", has_bias=has_bias)


def by_inputs(name: str, outputs: int, inputs: int, has_bias: bool = False) -> Module:
    return Module((Part(name, outputs),), inputs, "inputs", has_bias=has_bias)


def whole(name: str, outputs: int, inputs: int, is_quantizable: bool = True, has_bias: bool = False) -> Module:
    return Module((Part(name, outputs),), inputs, "whole", is_quantizable=is_quantizable, has_bias=has_bias)
