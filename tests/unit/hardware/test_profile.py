"""Profiles shipped with planner: every row is possible on the card that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from planner.errors import InputError
from planner.hardware.by_name import find_gpu
from planner.hardware.profile import CardProfile, load_profile, shipped_profiles

PROFILES = list(shipped_profiles().values())


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: f"{profile.card}-{profile.vllm}")
def test_nothing_is_faster_than_the_card(profile: CardProfile) -> None:
    gpu = find_gpu(profile.card)
    for part in profile.parts:
        for row in part.rows:
            assert row.seconds > 0
            assert row.bytes / row.seconds < gpu.memory_bandwidth_bytes_per_s or row.what in {"to-card", "from-card"}
            assert row.flop / row.seconds < gpu.peak_flop_per_s


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: f"{profile.card}-{profile.vllm}")
def test_more_tokens_take_longer(profile: CardProfile) -> None:
    for part in profile.parts:
        seconds = {row.tokens: row.seconds for row in part.of("linear")}
        assert max(seconds) >= 8192
        assert min(seconds) == 1
        assert seconds[8192] > 3 * seconds[1024] > 3 * seconds[1]


def test_each_card_is_measured_once_for_each_version() -> None:
    assert len({(profile.card, profile.vllm) for profile in PROFILES}) == len(PROFILES) == 2


def test_a_profile_of_ones_own_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_bytes(msgspec.json.encode(PROFILES[0]))
    assert load_profile(str(path)) == PROFILES[0]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"what": "linear", "seconds": 1.0}, "tokens is missing"),
        ({"what": "linear", "seconds": 0.0, "tokens": 8}, "seconds"),
        ({"what": "fresh", "seconds": 1.0, "new": 9, "context": 8}, "more than the context"),
        ({"what": "guess", "seconds": 1.0}, "guess"),
    ],
)
def test_a_row_that_says_nothing_is_refused_in_words(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    document = msgspec.to_builtins(PROFILES[0])
    document["parts"] = [{**document["parts"][0], "rows": [{"spread": 0.0, "by": "x", **row}]}]
    path = tmp_path / "card.json"
    path.write_bytes(msgspec.json.encode(document))
    with pytest.raises(InputError, match=words):
        load_profile(str(path))


def test_a_name_that_is_not_shipped_is_answered_with_those_that_are() -> None:
    with pytest.raises(InputError, match=r"h200-vllm-0\.24\.0"):
        load_profile("h200-vllm-0.24")
