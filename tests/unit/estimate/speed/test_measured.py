"""Predictions from a card's profile against what the engine did on that card, and how curves are read off."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from statistics import median
from typing import Any

import msgspec
import numpy as np
import pytest
from packaging.version import Version

from planner.engine.defaults import resolve
from planner.estimate.speed.measured import Curve, MeasuredCurves
from planner.estimate.speed.step import Step, StepModel, prefill_pairs
from planner.hardware.by_name import find_gpu
from planner.hardware.gpus import GpuSpec
from planner.hardware.placement import Placement
from planner.hardware.profile import load_profile
from planner.model.catalog import load_model
from tests.places import ROOT

SHEET = find_gpu("H200")
PROFILE = load_profile("h200-vllm-0.24.0")
MEASURED = replace(SHEET, measured=PROFILE)
ENGINE = ROOT / "tests" / "golden" / "profiles" / "h200-vllm-0.24.0-engine.jsonl"
RUNS = [msgspec.json.decode(line) for line in ENGINE.read_text().splitlines()]
BUDGET = 8192
"""Tokens a step of the engine that was measured; its graphs reached 512 tokens, as with 256 sequences."""


@cache
def steps(model: str, weights: str, gpu: GpuSpec) -> StepModel:
    spec = load_model("Qwen/Qwen3-8B-AWQ" if weights == "awq" else model)
    settings: dict[str, Any] = {"max_model_len": 33280, "max_num_seqs": 256, "max_num_batched_tokens": BUDGET}
    settings |= {"dtype": "half" if weights == "awq" else "bfloat16", "enable_prefix_caching": False}
    settings |= {"quantization": "fp8"} if weights == "fp8" else {}
    return StepModel(spec, Placement(gpu, interconnect="none"), resolve(settings, spec, gpu, Version("0.24.0")))


def seconds(run: dict[str, Any], gpu: GpuSpec) -> float:
    """What the step model says of a run: a step of decoding, or all steps of one prompt."""
    model = steps(run["model"], run["weights"], gpu)
    if run["what"] == "tpot":
        seqs, context = run["seqs"], run["mean_context"]
        return float(model.seconds(Step(decode_seqs=seqs, context_tokens=seqs * context, longest_tokens=context)))
    total = 0.0
    for done in range(0, run["prompt"], BUDGET):
        new = min(BUDGET, run["prompt"] - done)
        last = done + new == run["prompt"]
        pairs = prefill_pairs(new, done)
        step = Step(prefill_tokens=new, prefill_pairs=pairs, continues_prefix=done > 0, sampled_prefills=int(last))
        total += float(model.seconds(step))
    return total


def errors(what: str, weights: str, model: str, gpu: GpuSpec) -> list[float]:
    chosen = [run for run in RUNS if (run["what"], run["weights"], run["model"]) == (what, weights, model)]
    return [abs(seconds(run, gpu) / median(run["seconds"]) - 1) for run in chosen]


@pytest.mark.parametrize(
    ("model", "weights"), [("Qwen/Qwen3-8B", "bf16"), ("Qwen/Qwen3-8B", "fp8"), ("Qwen/Qwen3-30B-A3B", "bf16")]
)
def test_decoding_is_predicted_from_the_profile(model: str, weights: str) -> None:
    measured, sheet = (errors("tpot", weights, model, gpu) for gpu in (MEASURED, SHEET))
    assert median(measured) < 0.05
    assert max(measured) < 0.10
    assert median(measured) < median(sheet) / 3


@pytest.mark.parametrize("weights", ["bf16", "fp8"])
def test_prefill_is_predicted_from_the_profile(weights: str) -> None:
    measured = errors("prefill", weights, "Qwen/Qwen3-8B", MEASURED)
    assert median(measured) < 0.10
    assert max(measured) < 0.25


def test_weights_whose_kernel_was_not_measured_stay_with_the_data_sheet() -> None:
    """AWQ on Hopper is Machete's, and the profile has Marlin."""
    by_sheet, by_profile = (steps("Qwen/Qwen3-8B", "awq", gpu)._linear_s(64) for gpu in (SHEET, MEASURED))
    assert by_sheet == by_profile
    assert MeasuredCurves(PROFILE, SHEET, None, "FLASH_ATTN", 4096).linear_s(1e9, 1e9, 8) is None
    assert MeasuredCurves(PROFILE, SHEET, "dense", "TRITON_ATTN", 4096).decode_s(1e6) is None


def test_the_layer_that_was_measured_comes_out_as_measured() -> None:
    curves = MeasuredCurves(PROFILE, SHEET, "dense", "FLASH_ATTN", 4096)
    part = PROFILE.parts[0]
    params = 4096 * 128 * 2 * (32 + 8) + 3 * 4096 * 12288
    for row in part.of("linear"):
        assert curves.linear_s(2 * params, params, row.tokens) == pytest.approx(row.seconds)
    for row in part.of("small"):
        assert curves.small_s(4096, row.tokens) == pytest.approx(row.seconds)
    longest = max(part.of("fresh"), key=lambda row: row.new)
    assert curves.fresh_s(4 * 32 * 128 * prefill_pairs(longest.new)) == pytest.approx(longest.seconds)


def test_a_curve_is_read_off_between_its_points_and_held_beyond_them() -> None:
    curve = Curve([(1, 2.0), (100, 8.0), (100, 8.0), (10, 4.0)])
    assert [curve.at(size) for size in (0, 1, 10, 1000)] == pytest.approx([2, 2, 4, 8])
    assert curve.at(10**1.5) == pytest.approx(32**0.5)
    assert curve.at(np.array([1.0, 30.0, 500.0])) == pytest.approx([curve.at(1), curve.at(30), curve.at(500)])
    assert curve.smallest == pytest.approx(1)


def test_many_candidates_at_once_are_predicted_as_each_alone() -> None:
    model = steps("Qwen/Qwen3-30B-A3B", "bf16", MEASURED)
    seqs = np.array([1, 3, 8, 100])
    together = model.seconds(Step(decode_seqs=seqs, context_tokens=seqs * 700, longest_tokens=700))
    alone = [model.seconds(Step(decode_seqs=n, context_tokens=n * 700, longest_tokens=700)) for n in seqs.tolist()]
    assert together == pytest.approx(alone)


def test_what_is_smaller_than_measured_takes_as_long_as_the_smallest() -> None:
    curves = MeasuredCurves(PROFILE, SHEET, "dense", "FLASH_ATTN", 4096)
    smallest = min(PROFILE.parts[0].of("decode"), key=lambda row: row.seqs * row.context)
    assert curves.decode_s(4096.0) == pytest.approx(smallest.seconds)
    assert curves.decode_s(0) == 0
