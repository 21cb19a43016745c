"""Calibration on real logs: after one start the machine's other starts are predicted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from planner.engine.defaults import resolve
from planner.engine.log.start_facts import read_start_facts
from planner.engine.versions import parse_version
from planner.errors import InputError
from planner.estimate.memory.calibration import (
    ImpossibleCalibrationError,
    calibrate,
    load_calibrations,
    real_figures,
    save_calibrations,
)
from planner.estimate.memory.per_gpu import Calibration, MemoryEstimate, MemoryFigures, estimate_memory
from planner.hardware.by_name import find_gpu
from planner.hardware.placement import Placement
from planner.model.catalog import load_model
from planner.units import GIB
from tests.places import GOLDEN

LOGS = GOLDEN / "logs" / "vllm-0.8.5-v0-h200"
FOUR_CARDS = {"tensor_parallel_size": 4, "max_num_seqs": 64, "max_model_len": 32768}


def estimate(model_name: str, calibration: Calibration | None = None, **settings: Any) -> MemoryEstimate:
    """The H200 starts held to 20.79 GiB, with an interconnect that is wrong for them: PCIe."""
    model, gpu = load_model(model_name), find_gpu("H200")
    common = {"dtype": "half", "attention_backend": "XFORMERS", "gpu_memory_utilization": 0.1487}
    engine = resolve({**common, **settings}, model, gpu, parse_version("0.8.5"))
    return estimate_memory(model, Placement(gpu, interconnect="pcie"), engine, calibration)


def real(name: str) -> MemoryFigures:
    figures = real_figures(read_start_facts((LOGS / f"{name}.log").read_text("utf-8")))
    assert figures is not None
    return figures


def test_one_start_teaches_the_other_starts_of_the_machine() -> None:
    seed = {**FOUR_CARDS, "max_num_batched_tokens": 32768, "quantization": "awq"}
    before = estimate("Qwen3-32B-AWQ", **seed)
    assert abs(before.num_blocks / 10_781 - 1) > 0.2, "without calibration PCIe is assumed, the cards have NVLink"
    learned = calibrate(before, real("seed_tp4"), "seed_tp4")
    assert estimate("Qwen3-32B-AWQ", learned, **seed).num_blocks == 10_781
    # Another model and other batches on the same four cards: within 1 % of the KV pool it really had.
    other = estimate("Qwen3-32B", learned, **FOUR_CARDS, max_num_batched_tokens=8192, enable_chunked_prefill=True)
    assert other.num_blocks == pytest.approx(1811, rel=0.01)


def test_a_calibrated_interval_is_narrower() -> None:
    seed = {**FOUR_CARDS, "max_num_batched_tokens": 32768, "quantization": "awq"}
    before = estimate("Qwen3-32B-AWQ", **seed)
    after = estimate("Qwen3-32B-AWQ", calibrate(before, real("seed_tp4"), "seed_tp4"), **seed)
    assert after.uncertainty_bytes < before.uncertainty_bytes / 2
    low, high = after.kv_interval_bytes
    assert low < 10_781 * after.kv_block_bytes < high


def test_the_log_of_another_card_is_refused() -> None:
    other = MemoryFigures(total_bytes=24 << 30, num_blocks=100)
    with pytest.raises(InputError, match=r"a start was on a card of 24.00 GiB, this one has 139.80 GiB"):
        calibrate(estimate("Qwen3-8B"), other, "a start")


def test_a_log_without_a_kv_cache_teaches_nothing() -> None:
    assert calibrate(estimate("Qwen3-8B"), MemoryFigures(), "nothing") is None


def test_the_file_round_trips_and_garbage_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "calibration.json"
    assert load_calibrations(path) == {}
    learned = calibrate(estimate("Qwen3-8B"), MemoryFigures(num_blocks=100), "a start")
    assert learned is not None
    save_calibrations(path, {"key": learned})
    assert load_calibrations(path) == {"key": learned}
    path.write_text("{", "utf-8")
    with pytest.raises(InputError, match="is not a calibration file"):
        load_calibrations(path)


STARTS = GOLDEN / "starts"


def test_a_start_with_a_warm_compile_cache_teaches_what_a_cold_one_leaves() -> None:
    """Its KV cache is a gigabyte larger, because nothing was compiled; the machine is the same."""
    warm = next(r for r in json.loads((STARTS / "warm-compile-cache.json").read_text("utf-8"))["records"])
    cold = [r for r in json.loads((STARTS / "startups.json").read_text("utf-8"))["records"] if _is_cold_twin(r, warm)]
    assert cold
    model, gpu, version = load_model("Qwen/Qwen3-8B"), find_gpu("H200"), parse_version("0.24.0")

    def of(record: Any, calibration: Calibration | None = None) -> MemoryEstimate:
        engine = resolve(record["request"]["engine"], model, gpu, version)
        return estimate_memory(model, Placement(gpu, interconnect="none"), engine, calibration)

    before, tokens = of(warm), warm["observed"]["kv_tokens"]
    assert tokens > 1.2 * before.kv_tokens
    learned = calibrate(before, MemoryFigures(kv_tokens=tokens), "a warm start")
    for record in cold:
        assert of(record, learned).kv_tokens == pytest.approx(record["observed"]["kv_tokens"], rel=0.02)


def _is_cold_twin(record: Any, warm: Any) -> bool:
    """A compiled start of the same model on the same card; an fp8 cache has other kernels."""
    same = record["id"].startswith("h200-v1-024c-q8") and record["request"]["model"] == warm["request"]["model"]
    engine = record["request"]["engine"]
    return same and not engine.get("enforce_eager") and "kv_cache_dtype" not in engine


def gpt_oss() -> MemoryEstimate:
    """Windows and full attention share the pool of gpt-oss; its log counts requests times their length."""
    model, gpu = load_model("openai/gpt-oss-20b"), find_gpu("H100 80GB")
    settings = {"max_model_len": 131072, "gpu_memory_utilization": 0.9}
    engine = resolve(settings, model, gpu, parse_version("0.23.1"))
    return estimate_memory(model, Placement(gpu), engine)


@pytest.mark.parametrize(
    "figures",
    [MemoryFigures(kv_cache_bytes=55.5 * GIB, kv_tokens=2_279_965), MemoryFigures(kv_cache_bytes=55.5 * GIB),
     MemoryFigures(kv_cache_bytes=55.5 * GIB, num_blocks=2928), MemoryFigures(kv_tokens=2_279_965)],
    ids=["GiB and tokens", "GiB", "GiB and blocks of another size", "tokens"],
)  # fmt: skip
def test_the_logged_gib_decide_and_tokens_mean_what_the_version_means(figures: MemoryFigures) -> None:
    """Tokens times groups would be 104 GiB on a card of 79, and 49 GiB less than nothing outside torch."""
    before = gpt_oss()
    learned = calibrate(before, figures, "a start")
    assert learned is not None
    left = float(before.kv_cache_bytes) + float(before.non_torch_bytes) - learned.non_torch_bytes
    assert left == pytest.approx(55.5 * GIB, rel=0.02)
    assert abs(learned.non_torch_bytes) < 1.5 * GIB


@pytest.mark.parametrize(
    ("figures", "words"),
    [(MemoryFigures(kv_cache_bytes=104.27 * GIB), "104.27 GiB does not fit beside"),
     (MemoryFigures(num_blocks=300_000), "GiB does not fit beside"),
     (MemoryFigures(kv_cache_bytes=62 * GIB), "outside torch, which cannot be"),
     (MemoryFigures(kv_cache_bytes=1 * GIB), "outside torch, which cannot be")],
)  # fmt: skip
def test_figures_that_no_card_can_have_are_refused(figures: MemoryFigures, words: str) -> None:
    with pytest.raises(ImpossibleCalibrationError, match="a start: its KV cache of") as error:
        calibrate(gpt_oss(), figures, "a start")
    assert words in str(error.value)
