"""Where an engine is to run: `Placement`, the cards, how they are joined, and what the host has beside them."""

from __future__ import annotations

from dataclasses import dataclass

from planner.hardware.gpus import GpuSpec, Interconnect


@dataclass(frozen=True, slots=True)
class Placement:
    """The cards of one machine and the memory around them. They always travel together, so they are one value."""

    gpu: GpuSpec
    """What each of the cards is."""
    num_gpus: int = 1
    interconnect: Interconnect = "pcie"
    host_memory_bytes: int | None = None
    """Host memory for the engines; None: not known."""
    shm_bytes: int | None = None
    """Size of the container's own /dev/shm; None: the host's, or not known."""

    used_bytes: int = 0
    """Memory of each card that other processes hold: a desktop, a second server."""

    def bridged(self, ranks: int) -> bool:
        """Whether NVLink joins all cards of a group of that many ranks; bridged pairs join a group of two only."""
        return self.interconnect == "nvlink" or (self.interconnect == "nvlink-pairs" and ranks == 2)
