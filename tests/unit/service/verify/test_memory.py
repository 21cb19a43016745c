"""Memory is read while a context is open: this process's own, and cards as the driver would show them."""

from __future__ import annotations

import mmap
import os
import threading

from planner.hardware import Card
from planner.service.verify.memory import MemoryWatch, card_sources, process_source
from planner.units import GIB, MIB


def test_a_process_is_read_with_its_growth_and_a_dead_one_is_not() -> None:
    read = process_source(os.getpid())
    before = read()
    with mmap.mmap(-1, 64 * MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as kept:  # pages that nobody had before
        for place in range(0, len(kept), mmap.PAGESIZE):
            kept[place] = 1
        after = read()
    assert before is not None
    assert after is not None
    assert after[0] - before[0] > 48 * MIB
    assert after[1] > 0
    assert process_source(2**22 + 5)() is None


def test_cards_of_the_study_are_read_and_others_left_out() -> None:
    cards = [
        Card(
            index=i,
            name="x",
            uuid=str(i),
            brand="",
            compute_capability=(8, 9),
            total_bytes=24 * GIB,
            free_bytes=i * GIB,
        )
        for i in range(3)
    ]
    sources = card_sources([0, 2], lambda: cards)
    assert list(sources) == ["card 0", "card 2"]
    assert sources["card 2"]() == (22 * GIB, 2 * GIB)
    cards.clear()
    assert sources["card 2"]() is None


def test_every_source_is_read_while_the_watch_is_open() -> None:
    enough = threading.Event()
    told: list[float] = []

    def source() -> tuple[float, float] | None:
        told.append(float(len(told)))
        if len(told) > 3:
            enough.set()
        return (told[-1], 1.0) if len(told) != 2 else None

    with MemoryWatch({"a": source}, 0.01) as watch:
        assert enough.wait(60)
    used = [one.used_bytes for one in watch.readings["a"]]
    assert used[:3] == [0.0, 2.0, 3.0]
    assert watch.readings["a"][0].at_s <= watch.readings["a"][1].at_s
