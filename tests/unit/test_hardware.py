"""Cards by name, by what the driver calls them, and those of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.errors import InputError
from planner.hardware import GPUS, find_gpu, recognise
from planner.nvml import detect_gpus
from planner.units import GIB, MIB


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("rtx2080ti 22gb", "RTX 2080 Ti 22GB"),
        ("NVIDIA GeForce RTX 2080 Ti", "RTX 2080 Ti"),
        ("H200", "H200"),
        ("a100-80gb", "A100 80GB"),
        ("cpu", "CPU"),
    ],
)
def test_names_are_found_whatever_their_spelling(text: str, name: str) -> None:
    assert find_gpu(text).name == name


@pytest.mark.parametrize("text", ["A100", "RTX 2080", "", "potato"])
def test_a_name_that_is_not_exact_is_refused_with_near_ones(text: str) -> None:
    with pytest.raises(InputError, match="is not known; near names: "):
        find_gpu(text)


def test_the_table_is_in_si_and_believable() -> None:
    assert len({gpu.name for gpu in GPUS}) == len(GPUS)
    for gpu in GPUS:
        if not gpu.is_cpu:
            assert 10 * GIB < gpu.memory_bytes < 192 * GIB
            assert 2e11 < gpu.memory_bandwidth_bytes_per_s < 1e13
            assert 4e13 < gpu.peak_flop_per_s < 3e15
            assert 15 < gpu.peak_flop_per_s / gpu.memory_bandwidth_bytes_per_s < 600  # operations a byte
            assert gpu.source


@pytest.mark.parametrize(
    ("name", "mib", "card"),
    [
        ("NVIDIA GeForce RTX 2080 Ti", 21992, "RTX 2080 Ti 22GB"),
        ("NVIDIA GeForce RTX 2080 Ti", 10820, "RTX 2080 Ti"),
        ("NVIDIA H100 80GB HBM3", 81079, "H100 80GB"),
        ("NVIDIA A100-SXM4-40GB", 40326, "A100 40GB"),
        ("NVIDIA A100-SXM4-80GB", 81153, "A100 80GB"),
        ("NVIDIA H200", 143156, "H200"),
        ("NVIDIA L4", 22478, "L4"),
    ],
)
def test_cards_are_recognised(name: str, mib: int, card: str) -> None:
    """As the driver names them, with the memory that CUDA reports."""
    assert recognise(name, mib * MIB).name == card


def test_an_unknown_card_is_not_guessed() -> None:
    with pytest.raises(InputError, match="Quadro P400"):
        recognise("NVIDIA Quadro P400", 2048 * MIB)


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="a driver is here")
def test_no_driver_means_no_cards() -> None:
    assert detect_gpus() == []
