"""What flags say of compilation and CUDA graphs."""

from __future__ import annotations

import pytest
from packaging.version import Version

from planner.engine.command.compiling import effect_on_graphs
from planner.engine.command.meaning import read_flags
from planner.engine.command.words import read_words
from planner.engine.flag_table import release_of
from planner.engine.traits import Compilation

CONFIG = "--compilation-config"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([CONFIG, '{"cudagraph_mode":"piecewise"}'], Compilation(mode="PIECEWISE")),
        ([CONFIG, '{"cudagraph_capture_sizes":[8,1,4,8]}'], Compilation(sizes=(1, 4, 8))),
        ([CONFIG, '{"max_cudagraph_capture_size":32}'], Compilation(largest=32)),
        ([CONFIG, '{"level":0}'], Compilation(compiles=False)),
        ([f"{CONFIG}.cudagraph_mode=NONE"], Compilation(mode="NONE")),
        (["-cc.cudagraph_mode=FULL"], Compilation(mode="FULL")),
        (["--cudagraph-capture-sizes", "1", "2", "16"], Compilation(sizes=(1, 2, 16))),
        ([CONFIG, '{"cudagraph_capture_sizes":"a"}'], Compilation()),
        ([CONFIG, '{"cudagraph_capture_sizes":[0]}'], Compilation()),
        ([CONFIG, '{"cudagraph_mode":7}'], Compilation()),
    ],
)
def test_kinds_and_sizes_of_graphs(words: list[str], found: Compilation) -> None:
    assert read_flags(words, Version("0.24.0")).traits.compilation == found


@pytest.mark.parametrize(
    ("values", "found"), [(["16"], Compilation(largest=16)), (["1", "8"], Compilation(sizes=(1, 8)))]
)
def test_one_size_of_0_10_is_the_largest_batch(values: list[str], found: Compilation) -> None:
    assert read_flags(["--cuda-graph-sizes", *values], Version("0.10.2")).traits.compilation == found


@pytest.mark.parametrize(
    ("config", "effect"),
    [
        ('{"cudagraph_mode":"NONE"}', "counted"),
        ('{"cudagraph_capture_sizes":[1,2]}', "counted"),
        ('{"cudagraph_capture_sizes":[]}', "unknown"),
        ('{"cudagraph_capture_sizes":[-1]}', "unknown"),
        ('{"cudagraph_mode":"odd"}', "unknown"),
        ('{"mode":1}', "unknown"),
        ('{"mode":3,"use_inductor":true}', "none"),
        ("{}", "none"),
        ("[]", "unknown"),
        ('{"mode":0}', "eager"),
        ('{"compile_sizes":[1]}', "unknown"),
    ],
)
def test_how_far_a_config_is_modelled(config: str, effect: str) -> None:
    (given,) = read_words([CONFIG, config], release_of(Version("0.24.0"))).given
    assert effect_on_graphs(given) == effect
