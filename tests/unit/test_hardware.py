"""Cards by name, and those of this machine by nvidia-smi."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.errors import InputError
from planner.hardware import GPUS, detect_gpus, find_gpu
from planner.units import GIB


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


def _nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, *lines: str, code: int = 0) -> None:
    """A program of that name on PATH, which prints what the real one prints."""
    program = folder / "nvidia-smi"
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines) + f"exit {code}\n", "utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("NVIDIA GeForce RTX 2080 Ti, 22528", "RTX 2080 Ti 22GB"),
        ("NVIDIA GeForce RTX 2080 Ti, 11264", "RTX 2080 Ti"),
        ("NVIDIA H100 80GB HBM3, 81559", "H100 80GB"),
        ("NVIDIA A100-SXM4-40GB, 40960", "A100 40GB"),
        ("NVIDIA A100-SXM4-80GB, 81920", "A100 80GB"),
        ("NVIDIA H200, 143771", "H200"),
        ("NVIDIA L4, 23034", "L4"),
    ],
)
def test_cards_are_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, name: str) -> None:
    _nvidia_smi(tmp_path, monkeypatch, line, line)
    assert [gpu.name for gpu in detect_gpus()] == [name, name]


def test_no_driver_means_no_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _nvidia_smi(tmp_path, monkeypatch, "NVIDIA-SMI has failed", code=9)
    assert detect_gpus() == []
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert detect_gpus() == []


def test_an_unknown_card_is_not_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _nvidia_smi(tmp_path, monkeypatch, "NVIDIA Quadro P400, 2048")
    with pytest.raises(InputError, match="Quadro P400"):
        detect_gpus()
