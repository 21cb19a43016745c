"""What is drawn: at 80 columns, in plain text, with the right words about the budget."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from packaging.version import Version
from rich.console import Console, RenderableType

from planner.estimate.answer import Setup
from planner.estimate.explore import SideBySide, fit, layouts_of, sweep
from planner.estimate.fixes import nearest_fixes
from planner.estimate.view import estimate_view, exploration_view
from planner.hardware.by_name import find_gpu
from planner.hardware.placement import Placement
from planner.model.catalog import load_model


def drawn(what: RenderableType, width: int = 80, is_terminal: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=is_terminal, highlight=False)
    console.print(what)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def setup_for(model: str = "Qwen/Qwen3-32B-AWQ", gpu: str = "RTX 2080 Ti 22GB", version: str = "0.8.5",
              num_gpus: int = 4, **settings: Any) -> Setup:  # fmt: skip
    common = {"tensor_parallel_size": num_gpus, "dtype": "half", "max_model_len": 32768, "max_num_seqs": 64}
    return Setup(
        model=load_model(model),
        placement=Placement(find_gpu(gpu), num_gpus, "pcie"),
        version=Version(version),
        settings=common | settings,
    )


def row(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if f"│ {name}" in line)


@pytest.mark.parametrize(
    ("version", "where"), [("0.8.5", "outside"), ("0.10.2", "outside"), ("0.21.0", "inside"), ("0.22.0", "outside")]
)
def test_graphs_are_where_this_version_counts_them(version: str, where: str) -> None:
    setup = setup_for(model="Qwen/Qwen3-8B", gpu="A100 40GB", version=version, num_gpus=1)
    assert where in row(drawn(estimate_view(setup.answer())), "CUDA graphs")


def test_sources_of_the_numbers() -> None:
    setup = setup_for()
    text = drawn(estimate_view(setup.answer()))
    assert "exact from config.json" in row(text, "weights")
    assert "real starts, PCIe" in row(text, "non-torch")
    over_nvlink = replace(setup, placement=replace(setup.placement, interconnect="nvlink"))
    assert "NVLink" in row(drawn(estimate_view(over_nvlink.answer())), "non-torch")
    in_pairs = replace(setup, placement=replace(setup.placement, interconnect="nvlink-pairs"))
    assert "real starts, PCIe" in row(drawn(estimate_view(in_pairs.answer())), "non-torch")
    assert "what is left" in row(text, "KV cache")


def test_nothing_is_broken_at_80_columns() -> None:
    setup = setup_for()
    lines = drawn(estimate_view(setup.answer(), nearest_fixes(setup))).splitlines()
    assert lines[0] == "Qwen/Qwen3-32B-AWQ on 4 x RTX 2080 Ti 22GB (pcie)"
    assert lines[1].endswith("memory per GPU:")
    assert lines[2].startswith("┏")
    assert sum(line.startswith("│") for line in lines) == 7


def test_the_interval_is_shown_in_gib_and_tokens() -> None:
    answer = setup_for().answer()
    low, high = answer.kv_tokens_interval
    assert low < answer.deployment.memory.kv_tokens < high
    line = next(line for line in drawn(estimate_view(answer)).splitlines() if line.startswith("likely"))
    assert f"{high:,}".replace(",", " ") + " tokens" in line


def test_a_heat_map_has_colours_only_in_a_terminal() -> None:
    setup = setup_for(enable_chunked_prefill=True)
    swept = sweep(setup, ["max_num_batched_tokens=32..32768", "max_num_seqs=16..512"])
    plain, coloured = drawn(exploration_view(swept)), drawn(exploration_view(swept), is_terminal=True)
    assert "\x1b" not in plain
    assert "\x1b[" in coloured
    assert all(len(line) <= 80 for line in plain.splitlines())
    smallest = swept.answers[0].deployment.memory.kv_tokens
    assert f"{smallest:,}".replace(",", " ") in plain
    assert "a will not start: breaks 'max_num_batched_tokens >= max_num_seqs'" in " ".join(plain.split())


def test_one_setting_is_a_table_with_the_broken_rule() -> None:
    text = drawn(exploration_view(sweep(setup_for(), ["tensor_parallel_size=4,8"])), 132)
    assert "will not start: breaks 'enough GPUs'" in text


def test_a_fit_shows_its_gaps() -> None:
    text = " ".join(drawn(exploration_view(fit(setup_for(gpu_memory_utilization=0.4), "max_model_len"))).split())
    assert "largest max_model_len: 40960" in text
    assert "32784 to 40960; V0 turns chunked prefill on by itself above 32768" in text
    text = drawn(exploration_view(fit(setup_for(gpu_memory_utilization=0.1), "max_model_len")))
    assert "no max_model_len is feasible" in text


def test_a_comparison_fits_80_columns_and_says_why_not() -> None:
    setups = layouts_of(setup_for())
    found = SideBySide(tuple(("awq", f"{s.instances}xtp", s.answer()) for s in setups))
    text = drawn(exploration_view(found))
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "No available memory for the cache blocks" in " ".join(text.split())


def test_the_cpu_backend_has_no_bar_and_no_shares() -> None:
    setup = replace(setup_for(gpu="CPU", version="0.20.0", num_gpus=1), settings={"max_model_len": 2048})
    text = drawn(estimate_view(setup.answer()))
    assert "on CPU" in text
    assert "%" not in row(text, "weights")
    assert "CUDA" not in text
