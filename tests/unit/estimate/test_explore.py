"""Fit, sweep, compare: against one estimate at a time, and the case where the fit has a gap."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from packaging.version import Version

from planner.cli.main import main
from planner.engine.config import EngineConfig
from planner.errors import InputError
from planner.estimate.answer import Setup
from planner.estimate.explore import fit, layouts_of, sweep
from planner.hardware.by_name import find_gpu
from planner.hardware.placement import Placement
from planner.model.catalog import load_model
from planner.study.loading import load_study
from planner.study.setup import compare, explore
from planner.units import GIB
from tests.places import ROOT

STUDY = ROOT / "studies" / "qwen3-32b-awq-4x2080ti" / "study.yaml"


def setup_for(**settings: Any) -> Setup:
    return Setup(
        model=load_model("Qwen/Qwen3-32B-AWQ"),
        placement=Placement(find_gpu("RTX 2080 Ti 22GB"), 4, "pcie", 512 * GIB),
        version=Version("0.8.5"),
        settings={"tensor_parallel_size": 4, "dtype": "half", "max_num_seqs": 64, **settings},
    )


def starts(setup: Setup, **changes: Any) -> bool:
    answer = replace(setup, settings={**setup.settings, **changes}).answer()
    return answer.is_likely and not any("is ever admitted" in danger for danger in answer.dangers)


def test_the_longest_context_has_a_gap_below_where_v0_chunks_by_itself() -> None:
    """Unchunked, a step takes a whole prompt: at 0.40 that leaves too little KV cache long before 32768 tokens."""
    setup = setup_for(gpu_memory_utilization=0.40)
    found = fit(setup, "max_model_len")
    (first, turn), (again, last) = found.feasible
    assert (first, again, last, found.value) == (16, 32784, 40960, 40960)
    assert 20_000 < turn < 32768
    assert starts(setup, max_model_len=turn)
    assert not starts(setup, max_model_len=turn + 16)
    assert not starts(setup, max_model_len=32768)
    assert starts(setup, max_model_len=32784)
    assert "chunked prefill" in found.note


@pytest.mark.parametrize(
    ("field", "step"),
    [("max_num_seqs", 1), ("max_num_batched_tokens", 16), ("gpu_memory_utilization", 0.01), ("swap_space", 1.0)],
)
def test_the_largest_value_fits_and_the_next_does_not(field: str, step: float) -> None:
    setup = setup_for(max_model_len=16384, enable_chunked_prefill=True)
    found = fit(setup, field)
    assert found.exit_code == 0
    assert starts(setup, **{field: found.value})
    assert found.beyond is not None
    assert found.beyond[0] == pytest.approx(found.value + step)
    assert not starts(setup, **{field: found.beyond[0]})
    assert found.safe is None or (found.safe[0] < found.value and found.safe[1].verdict == "starts")


def test_swap_space_fits_up_to_seven_tenths_of_the_host() -> None:
    assert fit(setup_for(max_model_len=16384), "swap_space").value == 89.0  # 4 ranks x 89 GiB of 0.7 x 512


def test_where_no_value_fits_the_rule_is_named() -> None:
    found = fit(setup_for(gpu_memory_utilization=0.1), "max_model_len")
    assert (found.value, found.feasible, found.exit_code) == (None, (), 3)
    assert found.answer.violated
    assert found.document("x")["fit"]["value"] is None


def test_a_fit_of_cards() -> None:
    assert fit(setup_for(max_model_len=16384), "tensor_parallel_size").value == 4


def test_a_sweep_says_what_single_estimates_say() -> None:
    setup = setup_for(max_model_len=16384, enable_chunked_prefill=True)
    swept = sweep(setup, ["max-num-batched-tokens=512..40000", "tensor_parallel_size=2,4"])
    assert swept.names == ("max_num_batched_tokens", "tensor_parallel_size")
    assert swept.values == ((512, 1024, 2048, 4096, 8192, 16384, 32768, 40000), (2, 4))
    for (tokens, size), answer in swept.cells():
        changes = {"max_num_batched_tokens": tokens, "tensor_parallel_size": size}
        alone = replace(setup, settings={**setup.settings, **changes}).answer()
        assert answer.document(0) == alone.document(0)


def test_fractions_are_swept_in_hundredths_and_words_as_listed() -> None:
    setup = setup_for(max_model_len=16384)
    assert sweep(setup, ["gpu_memory_utilization=0.9..0.93"]).values == ((0.9, 0.91, 0.92, 0.93),)
    assert sweep(setup, ["kv_cache_dtype=auto,fp8_e5m2", "enforce_eager=true,false"]).values[1] == (True, False)
    cells = sweep(setup, ["max_num_seqs=16,32"]).document("x")["cells"]
    assert [cell["settings"] for cell in cells] == [{"max_num_seqs": 16}, {"max_num_seqs": 32}]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["max_num_seqs"], "write FIELD=LOW..HIGH"),
        (["max_num_seq=1..2"], "is not a setting; near: max_num_seqs"),
        (["max_num_seqs=64..16"], "64 is above 16"),
        (["max_num_seqs=few,many"], "Expected `int"),
        (["max_num_seqs=16..many"], "Expected `int"),
        (["max_num_seqs=8,8"], "names a value twice"),
        (["kv_cache_dtype=auto..fp8"], "a range needs numbers"),
        (["enforce_eager=false..true"], "a range needs numbers"),
        (["max_num_seqs=1,2", "max_num_seqs=3,4"], "given twice"),
        (["max_num_seqs=1,2", "block_size=16", "swap_space=0"], "give one or two"),
        (["load_format=auto"], "changes neither memory nor a rule"),
        (["async_scheduling=true"], "is not a setting of vLLM 0.8.5"),
        (["swap_space=0..60", "max_num_seqs=16..512"], "at most 4096"),
    ],
)
def test_a_bad_sweep_is_one_line(texts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        sweep(setup_for(), texts)
    assert "\n" not in str(caught.value)


def test_what_has_no_largest_value_is_refused() -> None:
    for field in ("kv_cache_dtype", "kv_cache_memory_bytes", "nonsense", "num_gpu_blocks_override"):
        with pytest.raises(InputError, match=f"--fit {field}: "):
            fit(setup_for(), field)


def test_layouts_go_as_far_as_the_heads_divide() -> None:
    def layouts(setup: Setup) -> list[tuple[int, Any]]:
        return [(one.instances, one.settings["tensor_parallel_size"]) for one in layouts_of(setup)]

    assert layouts(setup_for()) == [(1, 4), (2, 2), (4, 1)]
    six = replace(setup_for().placement, num_gpus=6)
    assert layouts(replace(setup_for(), placement=six)) == [(3, 2), (6, 1)]  # 64 heads over 6 or 3 ranks: no


def test_variants_and_shipped_models_side_by_side() -> None:
    spec = load_study(STUDY)
    found = compare(spec, EngineConfig(max_num_seqs=64), "awq,Qwen/Qwen3-8B", True)
    assert [(model, layout) for model, layout, _ in found.rows] == list(
        itertools.product(["awq", "Qwen/Qwen3-8B"], ["1xtp4", "2xtp2", "4xtp1"])
    )
    small = found.rows[3][2].deployment
    assert (small.model.quantization, small.engine.quantization) == (None, None)  # not the AWQ variant's setting
    two = found.document("x")["rows"][1]
    assert two["kv_tokens_total"] == 2 * two["kv_tokens"]
    assert two["instances"] == 2
    with pytest.raises(InputError, match="different names"):
        compare(spec, EngineConfig(), "awq,,", False)
    with pytest.raises(InputError, match="no such directory"):
        compare(spec, EngineConfig(), "awq,fp17", False)


@pytest.mark.parametrize(
    ("line", "code", "keys"),
    [
        ("--fit max_model_len --gpu-memory-utilization 0.4", 0, {"fit", "kv_tokens", "verdict"}),
        ("--fit max_model_len --gpu-memory-utilization 0.1", 3, {"fit", "kv_tokens", "verdict"}),
        ("--sweep max_num_seqs=16..64 --sweep block_size=16,32", 0, {"sweep", "cells"}),
        ("--layouts", 0, {"rows"}),
        ("--compare awq,Qwen/Qwen2.5-72B", 0, {"rows"}),
        ("", 0, {"fixes", "verdict"}),
    ],
)
def test_the_command_prints_a_document_or_a_table(
    line: str, code: int, keys: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for extra in ("--json", ""):
        with pytest.raises(SystemExit) as ended:
            main(["estimate", str(STUDY), *line.split(), *extra.split()])
        printed = capsys.readouterr()
        assert (ended.value.code or 0, printed.err) == (code, "")
        assert printed.out
        if extra:
            assert keys | {"id"} <= set(json.loads(printed.out))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--fit max_len", "--fit max_len: is not a setting; near: max_model_len"),
        ("--fit dtype", "has no largest value"),
        ("--sweep max_num_seqs=0..4", "Expected `int` >= 1"),
        ("--compare fp17", "model 'fp17': no such directory"),
        ("--sweep block_size=16 --layouts", "one question at a time"),
        ("--fit max_model_len --requests -", "leave out --fit"),
    ],
)
def test_bad_options_exit_2_with_one_line(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["estimate", str(STUDY), *line.split()])
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    assert printed.err.startswith("planner: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err


def test_one_question_at_a_time() -> None:
    spec = load_study(STUDY)
    assert explore(spec, EngineConfig(), None, [], None, False) is None
    with pytest.raises(InputError, match="one question at a time"):
        explore(spec, EngineConfig(), "max_model_len", ["max_num_seqs=1,2"], None, False)
