"""What was measured on a card: `CardProfile`, seconds of the engine's kernels by size, and the profiles shipped here.

In: a JSON file. Out: rows of seconds. It knows no model and no engine: shapes are numbers.
"""

from __future__ import annotations

from importlib import resources
from typing import Literal

import msgspec

What = Literal[
    "linear", "experts", "head", "small", "decode", "fresh", "fresh-cutlass", "continued",
    "memory-copy", "memory-read", "to-card", "from-card", "peak",
]  # fmt: skip


class ExpertShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    count: int
    top_k: int
    width: int


class ProfileShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One rank's share of the decoder layer that was measured."""

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    """Width of the dense MLP among the rows `linear`; 0 where the layer has routed experts instead."""
    vocab: int
    experts: ExpertShape | None = None


class ProfileRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One measurement. `linear`, `experts`, `small` and attention are seconds of one decoder layer."""

    what: What
    seconds: float
    spread: float
    """Largest minus smallest of the groups, as a share of their median."""
    by: str
    """Kernel that was timed."""
    tokens: int = 0
    rows: int = 0
    seqs: int = 0
    new: int = 0
    context: int = 0
    bytes: int = 0
    flop: int = 0


class ProfilePart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was measured for one kind of weights and one attention backend."""

    kernel: Literal["dense", "fp8", "marlin", "awq", "gptq"]
    backend: str
    dtype: str
    shape: ProfileShape
    rows: tuple[ProfileRow, ...]

    def of(self, *kinds: What) -> list[ProfileRow]:
        return [row for row in self.rows if row.what in kinds]


class CardProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    card: str
    """Name of the card, as in `planner gpus`."""
    vllm: str
    source: str
    parts: tuple[ProfilePart, ...]


def shipped_profiles() -> list[CardProfile]:
    """The profiles in data/profiles, of cards that were measured."""
    folder = resources.files("planner").joinpath("data/profiles")
    files = sorted((one for one in folder.iterdir() if one.name.endswith(".json")), key=lambda one: one.name)
    return [msgspec.json.decode(one.read_bytes(), type=CardProfile) for one in files]
