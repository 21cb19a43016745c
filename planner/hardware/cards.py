"""The GPUs of a run: locked while it lasts (`held_cards`), and checked to be free before each launch (`Cards`).

Knows the driver's facts and this machine's processes. Knows nothing of studies; never touches others' processes.
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
"""How long to wait for memory to be freed. The driver frees a dead engine's memory within a few seconds."""
SLACK_BYTES = 256 * MIB
"""Growth in another program's GPU memory that is ignored."""
POLL_S = 0.5


@contextmanager
def held_cards(cards: Sequence[Card]) -> Iterator[None]:
    """Lock each card by its UUID against all users' planners on this machine. Raises BackendError naming the holder.

    The lock is a name in Linux's abstract socket namespace: only one process can bind it, it is free as soon as that
    process is dead, and it needs no file that another user might not be able to open.
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
    """The run's cards and their memory in use when the run began, to compare with later."""

    def __init__(self, ids: Collection[int], read: Callable[[], GpuFacts] = read_gpus) -> None:
        """`ids`: the driver's indices of the cards to watch."""
        self._read, self._ids = read, ids
        self.cards = self._mine()
        """Empty where there is no driver."""
        self._used = {card.uuid: card.total_bytes - card.free_bytes for card in self.cards}

    def wait_until_free(self, timeout_s: float = CARDS_FREE_WITHIN_S) -> None:
        """Wait until no card has more memory in use than at the start. Raises BackendError naming the processes."""
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
