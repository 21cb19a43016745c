"""Memory of a running service, read again and again while a load runs: `MemoryWatch`.

In: sources by name, each a function that reads one memory now. Out: `MemoryReading`s by name; none of a source that
says nothing, as where the driver does not answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

import psutil

from planner.hardware import Card, read_gpus
from planner.service.verify.growth import MemoryReading

Source = Callable[[], tuple[float, float] | None]
"""Bytes in use and bytes that may still be taken; None where that cannot be read now."""


class MemoryWatch:
    """Reads every source once in `every_s` seconds, in a thread, while the context is open."""

    def __init__(self, sources: Mapping[str, Source], every_s: float) -> None:
        self.readings: dict[str, list[MemoryReading]] = {name: [] for name in sources}
        self._sources, self._every_s = sources, every_s
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory watch", daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            for name, read in self._sources.items():
                if (found := read()) is not None:
                    self.readings[name].append(MemoryReading(time.monotonic(), *found))
            if self._is_over.wait(self._every_s):
                return


def card_sources(
    indices: Sequence[int], read: Callable[[], Sequence[Card]] = lambda: read_gpus().cards
) -> dict[str, Source]:
    """One source for each card of these indices that the driver shows: all that is in use on it."""

    def source(index: int) -> Source:
        def now() -> tuple[float, float] | None:
            card = next((one for one in read() if one.index == index), None)
            return None if card is None else (card.total_bytes - card.free_bytes, card.free_bytes)

        return now

    return {f"card {card.index}": source(card.index) for card in read() if card.index in indices}


def process_source(pid: int) -> Source:
    """Host memory of a process and all its children; what they share counts in each."""

    def now() -> tuple[float, float] | None:
        try:
            head = psutil.Process(pid)
            used = sum(_resident(one) for one in (head, *head.children(recursive=True)))
        except psutil.NoSuchProcess:
            return None
        return used, psutil.virtual_memory().available

    return now


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0  # it has ended meanwhile
