"""Find a card by the name people use, by the driver's name, or by its memory size and family alone.

In: a name, or a request with a memory size. Out: a `GpuSpec`, with a note for each figure that had to be guessed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import msgspec

from planner.errors import InputError
from planner.files import half_width, matching, near_names
from planner.hardware.gpus import GPUS, GpuSpec, Interconnect
from planner.units import GIB, format_gib

OLDEST_CAPABILITY = (7, 0)
"""Lowest compute capability that vLLM's kernels are built for (docs of vLLM 0.6 to 0.33, GPU installation)."""
TOO_OLD = {"6.0": ("P100",), "6.1": ("P40", "P4", "GTX 1080 Ti", "GTX 1080", "GTX 1070 Ti", "GTX 1070", "GTX 1060",
           "Titan Xp", "Quadro P6000", "Quadro P5000"), "5.2": ("M40", "M60"), "3.7": ("K80",)}  # fmt: skip
"""Cards still in use that vLLM does not support, by compute capability (developer.nvidia.com/cuda-gpus)."""
MEMORY_TOLERANCE = 0.1
"""Largest relative difference between a card's memory and the table's: turning ECC on takes a sixteenth."""

SAME_MEMORY = 0.02
"""Largest relative difference between the memory that a log shows and the table's, where that is reckoned."""


def _plain(text: str) -> str:
    """A card's name in lower case, without spaces, punctuation and the words that drivers add."""
    return re.sub(r"nvidia|geforce|tesla|[\W_]", "", half_width(text).lower())


_DRESS = re.compile(
    r"nvidia|geforce|tesla|graphics|generation|blackwell|(?<=laptop) gpu|(server|workstation) edition|hbm\d\w?"
    r"|sxm\d( ac)?|\d+ ?gi?b?\b"
)
_SIZE = re.compile(r"(\d{1,6}) ?gi?b?\b", re.IGNORECASE)


def _kind(text: str) -> str:
    """The name that cards of different memory share: `NVIDIA A100-SXM4-80GB` and `A100 40GB` are both `a100`."""
    return re.sub(r"[\W_]", "", _DRESS.sub("", half_width(text).lower()))


def _short(plain: str) -> str:
    """`rtx4090` -> `4090`, the short form people use."""
    return plain.removeprefix("rtx")


def _refuse_old(name: str) -> None:
    """Raises InputError for a card that vLLM does not support on any setting."""
    for capability, cards in TOO_OLD.items():
        if _plain(_SIZE.sub("", name)).removesuffix("pcie").removesuffix("sxm2") in {_plain(card) for card in cards}:
            least = ".".join(map(str, OLDEST_CAPABILITY))
            raise InputError(
                f"GPU {name!r}: compute capability {capability}; vLLM needs {least} or newer on any setting"
            )


MACHINES = {"dgxspark": "GB10", "jetsonthor": "Thor", "jetsonagxthor": "Thor", "agxthor": "Thor"}
"""Cards of machines that people name instead of the card."""


def find_gpu(name: str) -> GpuSpec:
    """The card of that name. Case, spaces and RTX are ignored; the memory may be left out where only one size exists.

    Several names with + between them are different cards of one host, of which the weakest decides.

    Raises InputError listing near names.
    """
    if UNLIKE in name:
        return weakest([find_gpu(one.strip()) for one in name.split(UNLIKE)])
    alike = []
    name = MACHINES.get(_plain(name), name)
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


UNLIKE = "+"
"""Between the names of different cards in one host: `RTX 3090 + RTX A5000`."""


def weakest(cards: Sequence[GpuSpec]) -> GpuSpec:
    """What a group of different cards can do together: the least of each figure, as the same share goes to each.

    Every rank takes its own card's share of memory, and the pool is that of the rank with the least room
    (vllm@0.24.0 v1/core/kv_cache_utils.py:get_kv_cache_configs); a step waits for the slowest.
    """
    smallest = min(cards, key=lambda card: card.memory_bytes)
    return replace(
        smallest,
        name=f" {UNLIKE} ".join(dict.fromkeys(card.name for card in cards)),
        memory_bandwidth_bytes_per_s=min(card.memory_bandwidth_bytes_per_s for card in cards),
        peak_flop_per_s=min(card.peak_flop_per_s for card in cards),
        compute_capability=min(card.compute_capability for card in cards),
    )


def recognise(name: str, memory_bytes: int) -> GpuSpec:
    """The card of `GPUS` that the driver reports under this name. Raises InputError for a card not in the table.

    `memory_bytes` tells apart cards that differ only in memory: the 22 GB RTX 2080 Ti, both A100, both RTX 4060 Ti.
    """
    _refuse_old(name)
    kinds = (_kind(name), _kind(name).removesuffix("pcie"))  # a V100 or A100 on PCIe has the same chip and memory
    for kind in kinds:
        alike = [gpu for gpu in GPUS if kind and _kind(gpu.name) == kind]
        fitting = [gpu for gpu in alike if abs(gpu.memory_bytes - memory_bytes) <= MEMORY_TOLERANCE * gpu.memory_bytes]
        if fitting:
            return replace(min(fitting, key=lambda gpu: abs(gpu.memory_bytes - memory_bytes)), source="driver")
    raise InputError(f"GPU {name!r} with {format_gib(memory_bytes)} is not known{_near_cards(name)}")


def cards_of_memory(memory_bytes: float) -> list[GpuSpec]:
    """The cards whose memory, as CUDA reports it, is this one to SAME_MEMORY; the nearest first."""
    near = [gpu for gpu in GPUS if abs(gpu.memory_bytes - memory_bytes) <= SAME_MEMORY * memory_bytes]
    return sorted(near, key=lambda gpu: abs(gpu.memory_bytes - memory_bytes))


def _near_cards(name: str, alike: Sequence[str] = ()) -> str:
    """The end of an error message: names of the cards closest to this one."""
    plain = _plain(name)
    spelled = {_plain(gpu.name) if plain.startswith("rtx") else _short(_plain(gpu.name)): gpu.name for gpu in GPUS}
    near = list(alike) or [spelled[found] for found in near_names(plain, spelled, cutoff=0.65)]
    return f"; near names: {', '.join(near)}" if near else "; planner gpus lists all, of NVIDIA only"


Amount = Annotated[float, msgspec.Meta(gt=0, le=1e9)]


class GpuRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The card by name, by memory, or both; a card that is in no table needs its memory."""

    name: Annotated[str, msgspec.Meta(max_length=100)] | None = None
    memory_gib: Amount | None = None
    """Memory of one card as CUDA reports it, in GiB. A size from LABELS_GIB is read as the label; CUDA shows less."""
    used_gib: Annotated[float, msgspec.Meta(ge=0, le=1e9)] = 0.0
    """Memory of each card that other processes hold, in GiB: a desktop, a second server."""
    interconnect: Interconnect | None = None
    compute_capability: Annotated[str, matching(r"^\d+\.\d$", "two numbers with a point, as 8.6")] | None = None


# --- cards -----------------------------------------------------------------------------------------------------------

_NOISE = re.compile(
    r"nvidia|geforce|tesla|quadro|graphics|device|generation|edition|server|workstation|blackwell|gpu|unnamed"
    r"|sxm\d?|pcie?|hbm\de?|\d+ ?gi?b|[^a-z0-9]"
)
_SIZE_IN_LABEL = re.compile(r"(\d{1,6}) ?gi?b", re.IGNORECASE)
FAMILIES: tuple[tuple[str, tuple[int, int]], ...] = (
    (r"p100", (6, 0)), (r"p4|gtx10", (6, 1)), (r"v100|titanv", (7, 0)), (r"rtx\d000ada", (8, 9)),
    (r"t4|rtx20|titanrtx|gtx16|rtx[3-8]000", (7, 5)), (r"a100|a30$|a800", (8, 0)),
    (r"rtx30|a10|a40|a16|a2$|(rtx)?a\d000|orin", (8, 6)), (r"rtx40|l4|l20|l2$", (8, 9)),
    (r"h100|h200|h20|h800|gh200", (9, 0)), (r"b300|gb300", (10, 3)), (r"b200|b100|gb200", (10, 0)),
    (r"gb10|spark", (12, 1)), (r"rtx50|rtxpro", (12, 0)),
)  # fmt: skip
"""Compute capability by the start of a card's name (developer.nvidia.com/cuda-gpus)."""
GUESSED_CAPABILITY = (8, 0)
"""Compute capability of a card without a name: the oldest that every current kernel supports."""
LABELS_GIB = {4, 6, 8, 10, 11, 12, 16, 20, 22, 24, 32, 40, 48, 64, 72, 80, 94, 96, 128, 141, 144, 180, 192, 288}
"""Memory sizes that cards are sold with, in GiB. A request for exactly one of them is read as the label."""
VISIBLE_SHARE = 0.98
"""Fraction of the label's memory that CUDA reports: 0.976 to 0.993 over the cards of the table."""


def card_of(request: GpuRequest) -> tuple[GpuSpec, list[str]]:
    """The requested card, and one note per guess about it. Raises InputError if its memory is needed but not given."""
    name = request.name or ""
    if UNLIKE in name:
        asked = [msgspec.structs.replace(request, name=one.strip()) for one in name.split(UNLIKE)]
        found = [card_of(one) for one in asked]
        card = weakest([card for card, _ in found])
        guesses = dict.fromkeys(note for _, several in found for note in several)
        return card, [*guesses, f"of different cards the smallest decides: {format_gib(card.memory_bytes)} of each"]
    name = MACHINES.get(_plain(name), name)
    plain = _NOISE.sub("", name.lower())
    label = _label_gib(request)
    known = [gpu for gpu in GPUS if plain and _NOISE.sub("", gpu.name.lower()) == plain]
    notes: list[str] = []
    if known:
        wanted = (request.memory_gib or label or 0) * GIB
        card = min(known, key=lambda gpu: abs(gpu.memory_bytes - wanted))
    elif request.memory_gib is None and label is None:
        near = near_names(name, [gpu.name for gpu in GPUS], cutoff=0.4)
        raise InputError(f"gpu: {name!r} is not known{'; near: ' + ', '.join(near) if near else ''}; give memory_gib")
    else:
        card = _generic(name, plain, (label or 0) * VISIBLE_SHARE)
        if not request.compute_capability and card.source == "guess":
            notes.append("the card is not named: compute capability 8.0 is assumed")
    if request.memory_gib is not None and label is None:
        card = replace(card, memory_bytes=round(request.memory_gib * GIB))
    elif label is not None and not 0.94 * label < card.memory_bytes / GIB < 1.02 * label:  # a card with other chips
        card = replace(card, memory_bytes=round(label * VISIBLE_SHARE * GIB))
    if request.memory_gib is not None and label is not None:
        notes.append(f"{label:g} GiB taken for the label: {format_gib(card.memory_bytes)} are visible")
    if request.compute_capability:
        major, _, minor = request.compute_capability.partition(".")
        card = replace(card, compute_capability=(int(major), int(minor)))
    return card, notes


def _label_gib(request: GpuRequest) -> float | None:
    """The size on the box in GiB: a requested size from LABELS_GIB, or the size in the name if no memory is given."""
    if request.memory_gib is not None:
        return request.memory_gib if request.memory_gib in LABELS_GIB else None
    match = _SIZE_IN_LABEL.search(request.name or "")
    return float(match[1]) if match else None


def _generic(name: str, plain: str, memory_gib: float) -> GpuSpec:
    capability = next((found for start, found in FAMILIES if re.match(start, plain)), None)
    return GpuSpec(
        name=name or "a GPU",
        memory_bytes=round(memory_gib * GIB),
        memory_bandwidth_bytes_per_s=0.5e12,
        peak_flop_per_s=100e12,
        compute_capability=capability or GUESSED_CAPABILITY,
        source="guess" if capability is None else "its family",
    )


def interconnect_of(name: str) -> Interconnect:
    """How cards of this name are usually connected: NVLink for data-centre modules, PCIe for the rest."""
    if re.search(r"nvl\b", name, re.IGNORECASE):
        return "nvlink-pairs"
    modules = re.search(r"sxm|[ab]100|h100|h20\b|h200|[ah]800|b[23]00", name, re.IGNORECASE)
    return "nvlink" if modules and "pcie" not in name.lower() else "pcie"
