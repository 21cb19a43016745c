"""Profiles shipped with planner: every row is possible on the card that it names."""

from __future__ import annotations

import pytest

from planner.hardware.by_name import find_gpu
from planner.hardware.profile import CardProfile, shipped_profiles

PROFILES = shipped_profiles()


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
