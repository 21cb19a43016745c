"""Every flag of every release is classified, once."""

from __future__ import annotations

import pytest
from packaging.version import Version

from planner.engine.command.effects import EFFECTS, OF_IMAGES, SET_ASIDE, UNMODELLED, effect_of
from planner.engine.command.meaning import read_flags
from planner.engine.command.words import GivenFlag, read_words
from planner.engine.config import FIELDS
from planner.engine.flag_table import Release, VllmFlag, every_flag, field_of, release_of


def test_every_flag_is_a_setting_or_is_classified_once() -> None:
    known = {field_of(name) for name in every_flag()}
    names = [*SET_ASIDE.values(), *(text for _, text in [*UNMODELLED.values(), *OF_IMAGES.values()])]
    told = [name for text in names for name in text.split()]
    assert len(told) == len(set(told))
    assert set(told) == set(EFFECTS)
    assert set(EFFECTS) <= known
    assert known - set(FIELDS) <= set(EFFECTS)
    assert set(EFFECTS) & set(FIELDS) == {"speculative_config"}  # its draft is not modelled


def test_a_flag_that_is_not_classified_may_move_memory() -> None:
    made_up = VllmFlag("--not-yet-there", "value", (), (), False, False)
    effect = effect_of(GivenFlag(made_up, ("1",), is_off=False))
    assert effect.is_doubt
    assert effect.share == 1.0


@pytest.mark.parametrize(
    ("line", "is_doubt"),
    [
        ("--port 8000", False),
        ("--enable-lora", True),
        ("--no-enable-lora", False),
        ("--runner auto", False),
        ("--runner pooling", False),
        ("--convert embed", False),
        ("--runner draft", True),
        ("--limit-mm-per-prompt {}", True),
        ('--compilation-config {"mode":3}', False),
        ('--compilation-config {"pass_config":{"fuse_act_quant":false}}', False),
        ('--compilation-config {"cudagraph_mode":"NONE"}', True),
        ('--compilation-config {"mode":0}', True),
        ("--compilation-config [1", True),
        ("--kv-offloading-size 0", False),
    ],
)
def test_a_value_that_changes_nothing_is_no_doubt(line: str, is_doubt: bool) -> None:
    release: Release = release_of(Version("0.24.0"))
    (given,) = read_words(line.split(), release).given
    assert effect_of(given).is_doubt == is_doubt


@pytest.mark.parametrize(
    ("config", "eager"),
    [
        ('{"mode":0,"cudagraph_mode":"NONE"}', True),
        ('{"mode":"NONE","cudagraph_mode":"none","cudagraph_capture_sizes":[1]}', True),
        ('{"mode":0}', True),
        ('{"mode":0,"cudagraph_mode":"FULL_DECODE_ONLY"}', False),
        ('{"cudagraph_mode":"NONE"}', False),
        ('{"mode":0,"cudagraph_mode":"NONE","not_known":1}', True),
        ("0", False),
    ],
)
def test_a_config_without_compilation_and_graphs_is_as_enforce_eager(config: str, eager: bool) -> None:
    found = read_flags(["--compilation-config", config], Version("0.24.0"))
    assert found.traits.compilation.is_eager == eager
    assert found.doubts, "what else it does is not modelled"
    assert found.settings.enforce_eager is None, "what is passed on is the config itself"
