"""Cards by name, by what the driver calls them, and those of this machine."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from planner.errors import InputError
from planner.hardware.by_name import OLDEST_CAPABILITY, find_gpu, recognise
from planner.hardware.driver import detect_gpus
from planner.hardware.gpus import GPUS
from planner.units import GIB, MIB, to_gib
from tests.places import GOLDEN


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("rtx2080ti 22gb", "RTX 2080 Ti 22GB"),
        ("NVIDIA GeForce RTX 2080 Ti", "RTX 2080 Ti"),
        ("H200", "H200"),
        ("a100-80gb", "A100 80GB"),
        ("cpu", "CPU"),
        ("rtx 4090 laptop", "RTX 4090 Laptop"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "RTX 4090 Laptop"),
        ("DGX Spark", "GB10"),
        ("Jetson AGX Thor", "Thor"),
    ],
)
def test_names_are_found_whatever_their_spelling(text: str, name: str) -> None:
    assert find_gpu(text).name == name


@pytest.mark.parametrize("text", ["A100", "RTX 2080 Super Ti", "RTX 3080", "", "potato"])
def test_a_name_that_is_not_exact_is_refused_with_near_ones(text: str) -> None:
    with pytest.raises(InputError, match=r"is not known; (near names: |planner gpus lists all)"):
        find_gpu(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("RTX 3060 12GB", "RTX 3060"),
        ("H100", "H100 80GB"),
        ("RTX 2080 Ti 11GB", "RTX 2080 Ti"),
        ("A100-40GB", "A100 40GB"),
        ("a100-80g", "A100 80GB"),
        ("rtx 2080ti 22g", "RTX 2080 Ti 22GB"),
        ("4090", "RTX 4090"),
        ("A6000", "RTX A6000"),
        ("2080 Ti 22G", "RTX 2080 Ti 22GB"),
        ("\uff32\uff34\uff38 \uff14\uff10\uff19\uff10", "RTX 4090"),  # full width
    ],
)
def test_the_size_may_be_said_where_it_is_clear(text: str, name: str) -> None:
    assert find_gpu(text).name == name


@pytest.mark.parametrize("text", ["RTX 3080", "A100", "RTX 4060 Ti"])
def test_a_card_of_two_sizes_is_refused_with_both(text: str) -> None:
    with pytest.raises(InputError) as caught:
        find_gpu(text)
    near = str(caught.value).partition("near names: ")[2].split(", ")
    assert len(near) >= 2
    assert all(name.startswith(text) for name in near)


@pytest.mark.parametrize(
    ("text", "capability"),
    [("Tesla P40", "6.1"), ("P40 24GB", "6.1"), ("NVIDIA GeForce GTX 1080 Ti", "6.1"), ("Tesla P100-PCIE-16GB", "6.0")],
)
def test_a_card_too_old_for_vllm_is_refused_with_the_reason(text: str, capability: str) -> None:
    for ask in (lambda: find_gpu(text), lambda: recognise(text, 16 * GIB)):
        with pytest.raises(InputError, match=rf"compute capability {capability}; vLLM needs 7\.0 or newer"):
            ask()


def test_the_table_is_in_si_and_believable() -> None:
    assert len({gpu.name for gpu in GPUS}) == len(GPUS)
    for gpu in GPUS:
        if not gpu.is_cpu:
            assert 5 * GIB < gpu.memory_bytes < 270 * GIB
            assert 2e11 <= gpu.memory_bandwidth_bytes_per_s < 1e13
            assert 1e13 < gpu.peak_flop_per_s < 3e15
            assert (
                15 < gpu.peak_flop_per_s / gpu.memory_bandwidth_bytes_per_s < 1000
            )  # operations a byte; Thor has most
            assert gpu.compute_capability >= OLDEST_CAPABILITY
            assert re.fullmatch(r"memory: .+; rates: .+", gpu.source)


def test_what_is_called_logged_was_seen_in_a_start() -> None:
    """Of each logged card a start with that total is on record, or was when it was added."""
    starts = json.loads((GOLDEN / "starts" / "startups.json").read_text("utf-8"))
    totals = {round(t, 1) for r in starts["records"] if (t := r["request"]["gpu"].get("memory_gib"))}
    logged = [gpu for gpu in GPUS if "memory: logged" in gpu.source]
    seen = [gpu.name for gpu in logged if round(to_gib(gpu.memory_bytes), 1) in totals]
    assert {"RTX 2080 Ti 22GB", "T4", "RTX 3090", "A10", "A10G", "A100 40GB", "H100 80GB", "H200"} <= set(seen)


DRIVER_NAMES = [
    ("NVIDIA GeForce RTX 2080 Ti", 21992, "RTX 2080 Ti 22GB"),
    ("NVIDIA GeForce RTX 2080 Ti", 10820, "RTX 2080 Ti"),
    ("NVIDIA GeForce RTX 2080 SUPER", 7974, "RTX 2080 Super"),
    ("NVIDIA TITAN RTX", 24217, "Titan RTX"),
    ("Quadro RTX 6000", 24217, "Quadro RTX 6000"),
    ("Tesla T4", 14918, "T4"),
    ("Tesla V100-SXM2-32GB", 32501, "V100 32GB"),
    ("Tesla V100-PCIE-16GB", 16151, "V100 16GB"),
    ("NVIDIA GeForce RTX 3060", 12037, "RTX 3060"),
    ("NVIDIA GeForce RTX 3080", 10009, "RTX 3080 10GB"),
    ("NVIDIA GeForce RTX 3080", 12044, "RTX 3080 12GB"),
    ("NVIDIA GeForce RTX 3090", 24146, "RTX 3090"),
    ("NVIDIA RTX A6000", 48669, "RTX A6000"),
    ("NVIDIA A10", 22589, "A10"),
    ("NVIDIA A40", 45416, "A40"),
    ("NVIDIA A100-SXM4-40GB", 40326, "A100 40GB"),
    ("NVIDIA A100-PCIE-40GB", 40326, "A100 40GB"),
    ("NVIDIA A100-SXM4-80GB", 81153, "A100 80GB"),
    ("NVIDIA A100 80GB PCIe", 81153, "A100 80GB PCIe"),
    ("NVIDIA A800-SXM4-80GB", 81153, "A800 80GB"),
    ("NVIDIA GeForce RTX 4060 Ti", 16072, "RTX 4060 Ti 16GB"),
    ("NVIDIA GeForce RTX 4070 Ti SUPER", 16072, "RTX 4070 Ti Super"),
    ("NVIDIA GeForce RTX 4090", 24209, "RTX 4090"),
    ("NVIDIA GeForce RTX 4090", 48500, "RTX 4090 48GB"),
    ("NVIDIA GeForce RTX 4090 D", 24209, "RTX 4090 D"),
    ("NVIDIA GeForce RTX 3080", 20070, "RTX 3080 20GB"),
    ("NVIDIA GeForce RTX 4090 Laptop GPU", 16072, "RTX 4090 Laptop"),
    ("NVIDIA GeForce RTX 5090 Laptop GPU", 24050, "RTX 5090 Laptop"),
    ("NVIDIA GB10", 122573, "GB10"),
    ("NVIDIA Thor", 125772, "Thor"),
    ("NVIDIA B300", 274114, "B300"),
    ("NVIDIA L4", 22478, "L4"),
    ("NVIDIA L20", 45500, "L20"),
    ("NVIDIA L40S", 45500, "L40S"),
    ("NVIDIA RTX 6000 Ada Generation", 48500, "RTX 6000 Ada"),
    ("NVIDIA H20", 97000, "H20"),
    ("NVIDIA H100 80GB HBM3", 81079, "H100 80GB"),
    ("NVIDIA H100 PCIe", 81000, "H100 PCIe"),
    ("NVIDIA H100 NVL", 95320, "H100 NVL"),
    ("NVIDIA H200", 143156, "H200"),
    ("NVIDIA GH200 480GB", 96768, "GH200 96GB"),
    ("NVIDIA B200", 182632, "B200"),
    ("NVIDIA GeForce RTX 5090", 32120, "RTX 5090"),
    ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 97249, "RTX PRO 6000"),
    ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 97249, "RTX PRO 6000"),
]


@pytest.mark.parametrize(("name", "mib", "card"), DRIVER_NAMES)
def test_cards_are_recognised(name: str, mib: int, card: str) -> None:
    """As the driver names them, with about the memory that CUDA reports."""
    assert recognise(name, mib * MIB).name == card


@pytest.mark.parametrize(
    ("name", "mib"),
    [
        ("NVIDIA Quadro P400", 2048),
        ("NVIDIA GeForce RTX 3070 Laptop GPU", 8000),  # another chip than the desktop's
        ("NVIDIA GeForce RTX 3060", 8000),  # the 8 GB one has a narrower bus
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", 97249),
    ],
)
def test_an_unknown_card_is_not_guessed(name: str, mib: int) -> None:
    with pytest.raises(InputError, match=re.escape(name)):
        recognise(name, mib * MIB)


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="a driver is here")
def test_no_driver_means_no_cards() -> None:
    assert detect_gpus() == []
