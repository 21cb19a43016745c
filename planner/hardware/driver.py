"""NVIDIA cards as the driver sees them now: `read_gpus() -> GpuFacts`, through NVML, the driver's own library.

Names, real memory, the processes using it, and which cards reach each other. Knows nothing of studies.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

from planner.hardware.by_name import recognise
from planner.hardware.gpus import GpuSpec, Interconnect

BRANDS = {
    "QUADRO": "quadro", "TESLA": "tesla", "GEFORCE": "geforce", "TITAN": "titan", "QUADRO_RTX": "quadrortx",
    "NVIDIA_RTX": "nvidiartx", "NVIDIA": "nvidia", "GEFORCE_RTX": "geforcertx", "TITAN_RTX": "titanrtx",
}  # fmt: skip
"""NVML's name of a card's brand -> its spelling in an image's NVIDIA_REQUIRE_CUDA."""
PATHS = {0: "same board", 10: "PIX", 20: "PXB", 30: "PHB", 40: "NODE", 50: "SYS"}
"""nvmlGpuTopologyLevel_t -> the term of `nvidia-smi topo -m` for the nearest common ancestor of two cards."""
P2P_WRITE = 1
"""nvmlGpuP2PCapsIndex_t for writing. pynvml's constant for reading is a tuple by mistake and cannot be passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    pid: int
    name: str
    used_bytes: int | None
    """GPU memory of the process; None where the driver does not report it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    index: int
    name: str
    uuid: str
    brand: str
    compute_capability: tuple[int, int]
    total_bytes: int
    """Memory as CUDA reports it: without the part that the driver reserves."""
    free_bytes: int
    processes: tuple[GpuProcess, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """How two cards, given by index, reach each other."""

    first: int
    second: int
    has_nvlink: bool
    """NVML reports NVLink between them; vLLM asks it too (vllm@0.8.5..0.32.0 platforms/cuda.py:is_fully_connected)."""
    has_peer_access: bool
    """Whether one card can write the other's memory."""
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFacts:
    driver: str = ""
    cuda: tuple[int, int] = (0, 0)
    """Newest CUDA version that the driver supports, as (major, minor)."""
    cards: tuple[Card, ...] = ()
    links: tuple[Link, ...] = ()
    """One link per pair of cards."""
    error: str = ""
    """Why the cards could not be read; empty if they could."""

    def only(self, cards: tuple[Card, ...]) -> GpuFacts:
        """These facts reduced to the given cards and the links among them."""
        kept = {card.index for card in cards}
        return replace(self, cards=cards, links=tuple(x for x in self.links if {x.first, x.second} <= kept))

    @property
    def interconnect(self) -> Interconnect:
        """How the cards are connected, as a study spells it; "none" for fewer than two."""
        if len(self.cards) < 2:
            return "none"
        if all(link.has_nvlink for link in self.links):
            return "nvlink"
        ends = [end for link in self.links if link.has_nvlink for end in (link.first, link.second)]
        return "nvlink-pairs" if sorted(ends) == [card.index for card in self.cards] else "pcie"


def read_gpus() -> GpuFacts:
    """What the driver reports of its cards; without a driver, facts whose `error` says why."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return GpuFacts(error=str(error))
    try:
        return _facts(pynvml)
    except pynvml.NVMLError as error:
        return GpuFacts(error=str(error))
    finally:
        pynvml.nvmlShutdown()


def detect_gpus() -> list[GpuSpec]:
    """The visible cards, as entries of `GPUS`. Raises InputError for a card that is not in the table."""
    return [recognise(card.name, card.total_bytes) for card in read_gpus().cards]


def _facts(nvml: Any) -> GpuFacts:
    handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    cuda = nvml.nvmlSystemGetCudaDriverVersion()  # 12040 is 12.4
    pairs = itertools.combinations(range(len(handles)), 2)
    return GpuFacts(
        driver=nvml.nvmlSystemGetDriverVersion(),
        cuda=(cuda // 1000, cuda % 1000 // 10),
        cards=tuple(_card(nvml, index, handle) for index, handle in enumerate(handles)),
        links=tuple(_link(nvml, handles, first, second) for first, second in pairs),
    )


def _card(nvml: Any, index: int, handle: Any) -> Card:
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
        total = memory.total - memory.reserved
    except nvml.NVMLError:  # drivers before 510 do not report what they reserve
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        total = memory.total
    brands = {getattr(nvml, f"NVML_BRAND_{name}", None): word for name, word in BRANDS.items()}
    running = [*nvml.nvmlDeviceGetComputeRunningProcesses(handle), *nvml.nvmlDeviceGetGraphicsRunningProcesses(handle)]
    return Card(
        index=index,
        name=nvml.nvmlDeviceGetName(handle),
        uuid=nvml.nvmlDeviceGetUUID(handle),
        brand=brands.get(nvml.nvmlDeviceGetBrand(handle), "unknown"),
        compute_capability=tuple(nvml.nvmlDeviceGetCudaComputeCapability(handle)),
        total_bytes=total,
        free_bytes=memory.free,
        processes=tuple(_process(pid, used) for pid, used in {p.pid: p.usedGpuMemory for p in running}.items()),
    )


def _process(pid: int, used_bytes: int | None) -> GpuProcess:
    import psutil  # not needed for an estimate

    try:
        name = psutil.Process(pid).name()
    except psutil.Error:
        name = "not visible here"  # it belongs to another user or container
    return GpuProcess(pid=pid, name=name, used_bytes=used_bytes)


def _link(nvml: Any, handles: list[Any], first: int, second: int) -> Link:
    def works(kind: int) -> bool:
        try:
            return bool(nvml.nvmlDeviceGetP2PStatus(handles[first], handles[second], kind) == nvml.NVML_P2P_STATUS_OK)
        except nvml.NVMLError:  # the card does not support this query
            return False

    try:
        path = PATHS.get(nvml.nvmlDeviceGetTopologyCommonAncestor(handles[first], handles[second]), "unknown")
    except nvml.NVMLError:
        path = "unknown"
    return Link(
        first=first,
        second=second,
        has_nvlink=works(nvml.NVML_P2P_CAPS_INDEX_NVLINK),
        has_peer_access=works(P2P_WRITE),
        path=path,
    )
