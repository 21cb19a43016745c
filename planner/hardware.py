"""GPUs: what a card can do, by its name in the table or by what the driver calls it.

`GpuSpec` is plain SI. `GPUS` is the table of data/gpus.json, each card with its source. Capacities are what CUDA says
(`cudaMemGetInfo`), a little under the label: `logged` where a start log of vLLM said it, else 2 % less than the label,
8 % less where the card keeps ECC in the same memory and is delivered with it on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib import resources
from typing import Any, Literal

import msgspec

from planner.errors import InputError
from planner.near import half_width, near_names
from planner.units import GIB, format_gib

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

    def document(self) -> dict[str, Any]:
        """As `planner gpus --json` gives it."""
        return {**asdict(self), "compute_capability": ".".join(map(str, self.compute_capability))}


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of data/gpus.json, in the units of data sheets."""

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
"""The cards whose figures are known: data/gpus.json."""
OLDEST_CAPABILITY = (7, 0)
"""Least compute capability that vLLM's kernels are built for (docs of vLLM 0.6 to 0.33, GPU installation)."""
TOO_OLD = {"6.0": ("P100",), "6.1": ("P40", "P4", "GTX 1080 Ti", "GTX 1080", "GTX 1070 Ti", "GTX 1070", "GTX 1060",
           "Titan Xp", "Quadro P6000", "Quadro P5000"), "5.2": ("M40", "M60"), "3.7": ("K80",)}  # fmt: skip
"""Cards that people still have and that vLLM does not serve, by compute capability (developer.nvidia.com/cuda-gpus)."""
MEMORY_TOLERANCE = 0.1
"""By how much a card's memory may differ from the table's: switching ECC takes a sixteenth."""


def _plain(text: str) -> str:
    """A card's name without case, spaces and the words that drivers put around it."""
    return re.sub(r"nvidia|geforce|tesla|[\W_]", "", half_width(text).lower())


_DRESS = re.compile(
    r"nvidia|geforce|tesla|graphics|generation|blackwell|(server|workstation) edition|hbm\d\w?|sxm\d( ac)?|\d+ ?gi?b?\b"
)
_SIZE = re.compile(r"(\d{1,6}) ?gi?b?\b", re.IGNORECASE)


def _kind(text: str) -> str:
    """What cards that differ in memory only have in common: `NVIDIA A100-SXM4-80GB` and `A100 40GB` are `a100`."""
    return re.sub(r"[\W_]", "", _DRESS.sub("", half_width(text).lower()))


def _short(plain: str) -> str:
    """`rtx4090` -> `4090`, as people say it."""
    return plain.removeprefix("rtx")


def _refuse_old(name: str) -> None:
    """Raises InputError for a card that is too old for any setting."""
    for capability, cards in TOO_OLD.items():
        if _plain(_SIZE.sub("", name)).removesuffix("pcie").removesuffix("sxm2") in {_plain(card) for card in cards}:
            least = ".".join(map(str, OLDEST_CAPABILITY))
            raise InputError(
                f"GPU {name!r}: compute capability {capability}; vLLM needs {least} or newer on any setting"
            )


def find_gpu(name: str) -> GpuSpec:
    """The card of that name; case, spaces and RTX do not matter, nor does the memory where there is one size only.

    Raises InputError listing near names.
    """
    alike = []
    for gpu in GPUS:
        if _short(_plain(gpu.name)) == _short(_plain(name)):
            return gpu
        if _kind(name) and _short(_kind(gpu.name)) == _short(_kind(name)):
            alike.append(gpu)
    size = _SIZE.search(half_width(name))
    alike = [gpu for gpu in alike if size is None or 0.9 < gpu.memory_bytes / (int(size[1]) * GIB) <= 1.0]
    if len(alike) == 1:
        return alike[0]
    _refuse_old(name)
    raise InputError(f"GPU {name!r} is not known{_near_cards(name, [gpu.name for gpu in alike])}")


def recognise(name: str, memory_bytes: int) -> GpuSpec:
    """The card of the table that the driver calls so. Raises InputError for one that is not in `GPUS`.

    Cards that differ in memory only are told apart by it: the 22 GB RTX 2080 Ti, both A100, both RTX 4060 Ti.
    """
    _refuse_old(name)
    kinds = (_kind(name), _kind(name).removesuffix("pcie"))  # a V100 or A100 on PCIe has the same chip and memory
    for kind in kinds:
        alike = [gpu for gpu in GPUS if kind and _kind(gpu.name) == kind]
        fitting = [gpu for gpu in alike if abs(gpu.memory_bytes - memory_bytes) <= MEMORY_TOLERANCE * gpu.memory_bytes]
        if fitting:
            return replace(min(fitting, key=lambda gpu: abs(gpu.memory_bytes - memory_bytes)), source="driver")
    raise InputError(f"GPU {name!r} with {format_gib(memory_bytes)} is not known{_near_cards(name)}")


def _near_cards(name: str, alike: Sequence[str] = ()) -> str:
    """What an error says of the cards that are most like this one."""
    plain = _plain(name)
    spelled = {_plain(gpu.name) if plain.startswith("rtx") else _short(_plain(gpu.name)): gpu.name for gpu in GPUS}
    near = list(alike) or [spelled[found] for found in near_names(plain, spelled, cutoff=0.65)]
    return f"; near names: {', '.join(near)}" if near else "; planner gpus lists all, of NVIDIA only"
