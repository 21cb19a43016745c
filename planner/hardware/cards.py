"""The GPUs that a run takes: nobody else's while it goes on (`held_cards`), and free before each launch (`Cards`).

Knows the driver's facts and this machine's processes. Knows nothing of studies; never touches another's process.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from planner.errors import BackendError
from planner.files import holder
from planner.hardware.driver import Card, GpuFacts, read_gpus
from planner.units import MIB, format_gib

CARDS_FREE_WITHIN_S = 60.0
"""The driver frees a dead engine's memory in a few seconds."""
SLACK_BYTES = 256 * MIB
"""Other programs' small changes."""
POLL_S = 0.5


@contextmanager
def held_cards(cards: Sequence[Card]) -> Iterator[None]:
    """Hold each card by its UUID, against every user's planner on this machine. Raises BackendError naming the holder.

    A name in Linux's abstract socket namespace is taken by one process at a time, is free as soon as that is dead, and
    needs no file that another user may not open.
    """
    with ExitStack() as stack:
        for card in cards:
            name = f"\0planner-card-{card.uuid}"
            lock = stack.enter_context(socket.socket(socket.AF_UNIX))
            try:
                lock.bind(name)
            except OSError:
                raise BackendError(
                    f"GPU {card.index} ({card.name}): another planner (pid {holder(name)}) uses it; wait, or stop it"
                ) from None
            lock.listen()
        yield


class Cards:
    """The cards as they were when the run began, to compare with."""

    def __init__(self, ids: Collection[int], read: Callable[[], GpuFacts] = read_gpus) -> None:
        """`ids`: which of the machine's cards, as the driver counts them."""
        self._read, self._ids = read, ids
        self.cards = self._mine()
        """None where there is no driver."""
        self._used = {card.uuid: card.total_bytes - card.free_bytes for card in self.cards}

    def wait_until_free(self, timeout_s: float = CARDS_FREE_WITHIN_S) -> None:
        """Until no card has more in use than at the beginning. Raises BackendError that names the processes."""
        deadline = time.monotonic() + timeout_s
        while busy := [card for card in self._mine() if self._more_bytes(card) > SLACK_BYTES]:
            if time.monotonic() > deadline:
                raise BackendError("; ".join(map(self._words, busy)))
            time.sleep(POLL_S)

    def _mine(self) -> list[Card]:
        return [card for card in self._read().cards if card.index in self._ids]

    def _more_bytes(self, card: Card) -> int:
        return card.total_bytes - card.free_bytes - self._used.get(card.uuid, 0)

    def _words(self, card: Card) -> str:
        by = (
            ", ".join(f"{process.name} (pid {process.pid})" for process in card.processes)
            or "processes not visible here"
        )
        return f"GPU {card.index}: {format_gib(self._more_bytes(card))} more in use than when the run began: {by}"
