"""What was measured on a card: `CardProfile`, seconds of the engine's kernels by size, and the profiles shipped here.

In: a JSON file. Out: rows of seconds. It knows no model and no engine: shapes are numbers.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from planner.errors import InputError
from planner.files import convert, near_names, parse_json, read_bytes

Count = Annotated[int, msgspec.Meta(ge=0, le=10**15)]
Size = Annotated[int, msgspec.Meta(gt=0, le=10**9)]
Duration = Annotated[float, msgspec.Meta(gt=0, le=1e6)]
PATH_STARTS = ("/", "./", "../", "~")
"""How the path of a profile begins, in contrast to the name of a shipped one."""

What = Literal[
    "linear", "experts", "head", "small", "decode", "fresh", "fresh-cutlass", "continued",
    "memory-copy", "memory-read", "to-card", "from-card", "peak",
]  # fmt: skip


SIZES: dict[str, tuple[str, ...]] = {
    "linear": ("tokens",), "experts": ("tokens",), "small": ("tokens",), "head": ("rows",),
    "decode": ("seqs", "context"), "fresh": ("new", "context"), "continued": ("new", "context"),
}  # fmt: skip
"""The sizes that a row of each kind needs."""


class ExpertShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    count: Size
    top_k: Size
    width: Size


class ProfileShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One rank's share of the decoder layer that was measured."""

    hidden: Size
    heads: Size
    kv_heads: Size
    head_dim: Size
    intermediate: Count
    """Width of the dense MLP among the rows `linear`; 0 where the layer has routed experts instead."""
    vocab: Size
    experts: ExpertShape | None = None


class ProfileRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One measurement. `linear`, `experts`, `small` and attention are seconds of one decoder layer."""

    what: What
    seconds: Duration
    spread: float
    """Largest minus smallest of the groups, as a share of their median."""
    by: str
    """Kernel that was timed."""
    tokens: Count = 0
    rows: Count = 0
    seqs: Count = 0
    new: Count = 0
    context: Count = 0
    bytes: Count = 0
    flop: Count = 0

    def __post_init__(self) -> None:
        if missing := [name for name in SIZES.get(self.what, ()) if not getattr(self, name)]:
            raise ValueError(f"{self.what}: {missing[0]} is missing")
        if self.what in {"fresh", "continued"} and self.context < self.new:
            raise ValueError(f"{self.what}: {self.new} new tokens are more than the context of {self.context}")


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


def shipped_profiles() -> dict[str, CardProfile]:
    """The profiles in data/profiles, of cards that were measured, by name."""
    folder = resources.files("planner").joinpath("data/profiles")
    files = sorted((one for one in folder.iterdir() if one.name.endswith(".json")), key=lambda one: one.name)
    return {one.name.removesuffix(".json"): _decoded(one.read_bytes(), one.name) for one in files}


def load_profile(name: str) -> CardProfile:
    """A shipped profile by name, or one from a JSON file. Raises InputError."""
    if name.startswith(PATH_STARTS):
        return _decoded(read_bytes(Path(name).expanduser()), name)
    if name in (known := shipped_profiles()):
        return known[name]
    near = near_names(name, known) or list(known)
    raise InputError(f"{name}: no such profile; shipped: {', '.join(near)}; a path starts with / ./ ../ or ~")


def _decoded(content: bytes, where: str) -> CardProfile:
    return convert(parse_json(content, where), CardProfile, where)
