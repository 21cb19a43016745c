"""`GpuSpec`, what a card can do, and `GPUS`, the table of data/gpus.json in which each card has its source.

Figures are in plain SI units. Capacities are what CUDA reports (`cudaMemGetInfo`), a little under the label: `logged`
if taken from a start log of vLLM, else 2 % less than the label, or 8 % less where the card keeps ECC in the same
memory and is shipped with it on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any, Literal

import msgspec

from planner.hardware.profile import CardProfile
from planner.units import GIB

Interconnect = Literal["pcie", "nvlink", "nvlink-pairs", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSpec:
    name: str
    memory_bytes: int
    """Total memory as CUDA reports it."""
    memory_bandwidth_bytes_per_s: float
    peak_flop_per_s: float
    """Peak rate of dense 16-bit matrix arithmetic with 32-bit accumulation."""
    compute_capability: tuple[int, int]
    source: str
    measured: CardProfile | None = None
    """What was measured on this card with the engine's kernels; None: the data sheet's rates and guessed shares."""

    @property
    def is_cpu(self) -> bool:
        return self.compute_capability == (0, 0)

    @property
    def shares_host_memory(self) -> bool:
        """Whether the card has no memory of its own but the host's (GB10, Jetson Thor), as CUDA's `integrated` says."""
        return self.compute_capability in INTEGRATED_CAPABILITIES or any(name in self.name for name in INTEGRATED)

    def document(self) -> dict[str, Any]:
        """The card as `planner gpus --json` prints it."""
        figures = {name: value for name, value in asdict(self).items() if name != "measured"}
        return {**figures, "compute_capability": ".".join(map(str, self.compute_capability))}


INTEGRATED = ("GB10", "Thor", "Orin")
"""Words in the names of cards that share the host's memory, of which NVML reports none."""
INTEGRATED_CAPABILITIES = {(8, 7), (11, 0), (12, 1)}
"""Compute capabilities of Orin, Thor and GB10, which no other card has."""


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of data/gpus.json, in the units of data sheets."""

    name: str
    memory_gib: float
    memory: str
    gb_per_s: float
    tflop_per_s: float
    compute_capability: str
    rates: str


def _read_table() -> tuple[GpuSpec, ...]:
    text = resources.files("planner").joinpath("data/gpus.json").read_bytes()
    return tuple(
        GpuSpec(
            name=row.name,
            memory_bytes=round(row.memory_gib * GIB),
            memory_bandwidth_bytes_per_s=row.gb_per_s * 1e9,
            peak_flop_per_s=row.tflop_per_s * 1e12,
            compute_capability=parse_capability(row.compute_capability),
            source=f"memory: {row.memory}; rates: {row.rates}",
        )
        for row in msgspec.json.decode(text, type=list[_Row])
    )


def parse_capability(text: str) -> tuple[int, int]:
    """`8.6` -> (8, 6)."""
    major, _, minor = text.partition(".")
    return int(major), int(minor)


GPUS = _read_table()
"""The cards whose figures are known, from data/gpus.json."""
