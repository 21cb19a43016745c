"""GPUs: what a card can do, by its name in the table or by what the driver calls it.

`GpuSpec` is plain SI. `GPUS` is a table of constants, each with its source; capacities are what CUDA reports
(`cudaMemGetInfo`), which is a little under the label: measured where the source says so.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from typing import Literal

from planner.errors import InputError
from planner.units import GIB

Interconnect = Literal["pcie", "nvlink", "nvlink-pairs", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSpec:
    name: str
    memory_bytes: int
    """Total as CUDA reports it."""
    memory_bandwidth_bytes_per_s: float
    peak_flop_per_s: float
    """Dense 16-bit matrix arithmetic with 32-bit accumulation."""
    compute_capability: tuple[int, int]
    source: str

    @property
    def is_cpu(self) -> bool:
        return self.compute_capability == (0, 0)


def _card(
    name: str, gib: float, tb_per_s: float, tflop_per_s: float, capability: tuple[int, int], source: str
) -> GpuSpec:
    return GpuSpec(
        name=name,
        memory_bytes=round(gib * GIB),
        memory_bandwidth_bytes_per_s=tb_per_s * 1e12,
        peak_flop_per_s=tflop_per_s * 1e12,
        compute_capability=capability,
        source=source,
    )


_LOGGED = "total: a vLLM start log; rates: vendor's paper"
_LABEL = "total: about 2 % under the label, not measured; rates: vendor's paper"

GPUS: tuple[GpuSpec, ...] = (
    _card("RTX 2080 Ti 22GB", 21.48, 0.616, 53.8, (7, 5), _LOGGED),
    _card("RTX 2080 Ti", 10.57, 0.616, 53.8, (7, 5), _LABEL),
    _card("T4", 14.56, 0.320, 65.0, (7, 5), _LOGGED),
    _card("V100 16GB", 15.77, 0.900, 125.0, (7, 0), _LABEL),
    _card("V100 32GB", 31.74, 0.900, 125.0, (7, 0), _LOGGED),
    _card("RTX 3090", 23.58, 0.936, 71.0, (8, 6), _LOGGED),
    _card("A10", 22.06, 0.600, 125.0, (8, 6), _LOGGED),
    _card("A10G", 21.99, 0.600, 70.0, (8, 6), _LOGGED),
    _card("A100 40GB", 39.38, 1.555, 312.0, (8, 0), _LOGGED),
    _card("A100 80GB", 79.25, 2.039, 312.0, (8, 0), _LOGGED),
    _card("RTX 4090", 23.53, 1.008, 165.2, (8, 9), _LABEL),
    _card("L4", 21.95, 0.300, 121.0, (8, 9), _LOGGED),
    _card("L40S", 44.40, 0.864, 362.0, (8, 9), _LABEL),
    _card("RTX 5090", 31.36, 1.792, 209.5, (12, 0), _LABEL),
    _card("RTX PRO 6000", 94.97, 1.792, 503.8, (12, 0), _LOGGED),
    _card("H100 80GB", 79.18, 3.350, 989.0, (9, 0), _LOGGED),
    _card("H100 NVL", 93.10, 3.900, 835.0, (9, 0), _LOGGED),
    _card("H200", 139.80, 4.800, 989.0, (9, 0), _LOGGED),
    _card("B200", 178.35, 8.000, 2250.0, (10, 0), _LABEL),
    _card("CPU", 0.0, 0.02, 0.2, (0, 0), "vLLM's CPU backend; rates: two server cores, rough"),
)


def find_gpu(name: str) -> GpuSpec:
    """The card of that name; case and spaces do not matter. Raises InputError listing near names."""

    def plain(text: str) -> str:
        return re.sub(r"nvidia|geforce|tesla|[^a-z0-9]", "", text.lower())

    for gpu in GPUS:
        if plain(gpu.name) == plain(name):
            return gpu
    names = [gpu.name for gpu in GPUS]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names
    raise InputError(f"GPU {name!r} is not known; near names: {', '.join(near)}")


def recognise(name: str, memory_bytes: int) -> GpuSpec:
    """The card of the table that the driver calls so. Raises InputError for one that is not in `GPUS`.

    The 22 GB RTX 2080 Ti is told from the 11 GB one by its memory, and so are the sizes of V100, A100 and H100.
    """
    label = "RTX 2080 Ti 22GB" if "2080 Ti" in name and memory_bytes > 16 * GIB else name
    if memory := re.search(r"(V100|A100|H100)", label):
        sizes = [gpu for gpu in GPUS if gpu.name.startswith(memory[1])]
        label = min(sizes, key=lambda gpu: abs(gpu.memory_bytes - memory_bytes)).name
    return replace(find_gpu(label), source="driver")
