"""Cards are one planner's at a time, and free before a launch."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from dataclasses import replace

import pytest

from planner.errors import BackendError
from planner.hardware.cards import Cards, held_cards
from planner.hardware.driver import Card, GpuFacts, GpuProcess
from planner.units import GIB

HOLDER = """
import sys, time
from planner.hardware.cards import held_cards
from planner.hardware.driver import Card
zero = {"index": 0, "total_bytes": 0, "free_bytes": 0, "brand": "", "compute_capability": (7, 5)}
with held_cards([Card(name="any", uuid=sys.argv[1], **zero)]):
    print("held", flush=True)
    time.sleep(600)
"""


def make_card(free_gib: float, *processes: GpuProcess) -> Card:
    return Card(
        index=0,
        name="NVIDIA GeForce RTX 2080 Ti",
        uuid=f"GPU-{uuid.uuid4()}",
        brand="geforce",
        compute_capability=(7, 5),
        total_bytes=22 * GIB,
        free_bytes=int(free_gib * GIB),
        processes=processes,
    )


def test_a_card_has_one_holder_and_is_free_when_that_is_dead() -> None:
    card = make_card(22)
    with subprocess.Popen([sys.executable, "-c", HOLDER, card.uuid], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        taken = rf"^GPU 0 \(.*2080 Ti\): another planner \(pid {holder.pid}\)"
        with pytest.raises(BackendError, match=taken), held_cards([make_card(22), card]):
            pytest.fail("held twice")
        with held_cards([make_card(22)]):
            pass  # another card is nobody's
        holder.send_signal(signal.SIGKILL)
    with held_cards([card]):
        pass


def test_a_launch_waits_until_the_last_engine_has_let_go() -> None:
    idle = make_card(21.5)
    dying = GpuFacts(
        cards=(replace(idle, free_bytes=3 * GIB, processes=(GpuProcess(pid=7, name="vllm", used_bytes=1),)),)
    )
    states = [GpuFacts(cards=(idle,)), dying, dying, GpuFacts(cards=(idle,))]
    cards = Cards(range(1), lambda: states.pop(0) if len(states) > 1 else states[0])
    cards.wait_until_free()
    assert len(states) == 1


def test_one_that_stays_is_named() -> None:
    idle = make_card(21.5)
    other = replace(idle, free_bytes=3 * GIB, processes=(GpuProcess(pid=7, name="python3", used_bytes=1),))
    states = [GpuFacts(cards=(idle,)), GpuFacts(cards=(other,))]
    cards = Cards(range(1), lambda: states.pop(0) if len(states) > 1 else states[0])
    with pytest.raises(BackendError, match=r"GPU 0: 18\.50 GiB more in use than when the run began: python3 \(pid 7\)"):
        cards.wait_until_free(timeout_s=0)


def test_without_a_driver_there_is_nothing_to_wait_for() -> None:
    cards = Cards(range(4), lambda: GpuFacts(error="no driver"))
    cards.wait_until_free(timeout_s=0)
    assert cards.cards == []
