"""One value for what flags leave of an engine."""

from __future__ import annotations

import pytest

from planner.engine.adapters import Lora
from planner.engine.traits import NO_TRAITS, Compilation, EngineTraits, GraphMode


@pytest.mark.parametrize(
    ("compilation", "graphs"),
    [
        (Compilation(), None),
        (Compilation(mode="PIECEWISE"), "PIECEWISE"),
        (Compilation(compiles=False), "NONE"),
        (Compilation(compiles=False, mode="PIECEWISE"), "NONE"),
        (Compilation(compiles=False, mode="FULL_DECODE_ONLY"), "FULL_DECODE_ONLY"),
    ],
)
def test_piecewise_graphs_need_compiled_pieces(compilation: Compilation, graphs: GraphMode | None) -> None:
    assert compilation.graphs == graphs
    assert compilation.is_eager == (graphs == "NONE")


def test_what_is_said_later_wins_and_what_is_left_out_adds_up() -> None:
    first = EngineTraits(without=frozenset({"video"}), image_size=(1, 2), lora=Lora(1, 16))
    then = EngineTraits(without=frozenset({"image"}), image_size=(3, 4), compilation=Compilation(mode="FULL"))
    both = first.under(then)
    assert both.without == {"image", "video"}
    assert (both.image_size, both.lora, both.compilation) == ((3, 4), Lora(1, 16), Compilation(mode="FULL"))
    assert first.under(NO_TRAITS) == first == NO_TRAITS.under(first)
