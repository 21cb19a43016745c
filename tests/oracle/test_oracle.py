"""planner's estimate agrees with vLLM's own engine, but for a list that can only become shorter."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.oracle.compare import (
    CONFIGS,
    ORACLE,
    cases,
    differences,
    golden_files,
    key_of,
    known_differences,
    weights_gib,
)
from tests.oracle.page import PAGE, models_page
from tests.places import ROOT

TOOL = ROOT / "tools" / "oracle"
SOURCES = CONFIGS / "sources.json"
LOGGED = json.loads((ORACLE / "logged.json").read_text("utf-8"))
"""By name "Model loading took" of a start on a card, in GiB."""


@pytest.fixture(scope="module")
def fakes() -> ModuleType:
    """The stand-ins, which import nothing of torch or vLLM until they are used."""
    spec = importlib.util.spec_from_file_location("oracle_fakes", TOOL / "fakes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", golden_files(), ids=key_of)
def test_the_estimate_agrees_with_the_engine(path: Path) -> None:
    """`python -m tests.oracle --shrink` takes what agrees from the list of known differences."""
    found, known = differences(path), known_differences().get(key_of(path), [])
    assert not {aspect: words for aspect, words in found.items() if aspect not in known}, "not a known difference"
    assert not [aspect for aspect in known if aspect not in found], "agrees now: take it from the list"


def test_the_list_names_only_golden_files() -> None:
    assert set(known_differences()) <= set(map(key_of, golden_files()))


@pytest.mark.parametrize("path", golden_files(), ids=key_of)
def test_a_golden_file_says_where_it_comes_from(path: Path, fakes: ModuleType) -> None:
    golden = json.loads(path.read_text("utf-8"))
    assert golden["name"] == path.stem
    assert (CONFIGS / path.name).is_file()
    assert json.loads(SOURCES.read_text("utf-8"))[path.stem]
    for answer in golden["answers"]:
        assert answer["release"] == path.parent.name
        assert answer["usage_context"] == "OPENAI_API_SERVER"
        assert answer["asked"]["pool_gib"] > 0
        name, _, capability = answer["platform"]["name"].partition("-")
        assert name in {"cpu", "cuda"}
        assert answer["platform"]["card"] == (fakes.CARDS[capability][0] if capability else None)
        assert not [stub for stub in answer["stubs"] if not fakes.is_known(stub)]
        if name == "cpu":
            assert not [stub for stub in answer["stubs"] if stub.startswith(("vllm.", "torch.cuda", "torch.ops._"))]


@pytest.mark.parametrize("path", golden_files(), ids=key_of)
def test_a_golden_file_adds_up(path: Path) -> None:
    """Modules make the bytes of every rank; a pool's blocks fill it; a longer request needs no less."""
    for answer in json.loads(path.read_text("utf-8"))["answers"]:
        pool_bytes = answer["asked"]["pool_gib"] * 2**30
        for size, told in answer["tensor_parallel"].items():
            assert ("refused" in told) + ("failed" in told) + ("requests" in told) == 1
            if "requests" not in told:
                continue
            assert sum(told["parameter_bytes_by_dtype"].values()) == told["parameter_bytes"] > 0
            if answer.get("modules"):
                assert _bytes(answer["modules"], size) == told["parameter_bytes"]
            if told["requests"]:
                assert 0 <= pool_bytes - told["num_blocks"] * told["bytes_per_block"] < 2 * told["bytes_per_block"]
                by_length = [told["requests"][length] for length in sorted(told["requests"], key=int)]
                assert by_length == sorted(by_length, reverse=True)


def _bytes(modules: dict[str, list[list[object]]], size: str) -> int:
    """Bytes of all parameters of one rank, from their shapes."""
    column = modules["columns"].index(size)
    itemsize = {"float32": 4, "int64": 8, "int32": 4, "bfloat16": 2, "float16": 2, "int8": 1, "uint8": 1}
    total = 0
    for row in modules["rows"]:
        shape = row[column]
        if shape is not None:
            width = itemsize.get(row[1], 1)
            for length in shape:
                width *= length
            total += width * row[2]
    return total


def test_every_rank_adds_up_to_the_model() -> None:
    """Ranks never hold less than the model divided, nor more than the whole of it."""
    for path in golden_files():
        weights = {case.tensor_parallel_size: case.answer["parameter_bytes"] for case in cases(path)}
        for size, rank_bytes in weights.items():
            if 1 in weights:
                assert 0.99 * weights[1] / size <= rank_bytes <= 1.01 * weights[1], path.stem


def test_platforms_agree_on_unquantised_weights() -> None:
    """A faked platform changes kernels and the KV cache, never what an unquantised model holds."""
    compared = 0
    for path in golden_files():
        first, *others = json.loads(path.read_text("utf-8"))["answers"]
        for other in others:
            if not (first["defaults"] and other["defaults"]) or first["defaults"]["quantization"]:
                continue
            for size, told in other["tensor_parallel"].items():
                both = told.get("parameter_bytes"), first["tensor_parallel"][size].get("parameter_bytes")
                if all(both):
                    assert both[0] == both[1], (path.stem, other["platform"]["name"], size)
                    compared += 1
    assert compared > 10


@pytest.mark.parametrize("name", LOGGED)
def test_the_engine_without_a_card_agrees_with_one_on_a_card(name: str) -> None:
    """Weights as vLLM 0.24 logged them on an H200; between the releases nothing of these models has changed."""
    golden = json.loads((ORACLE / "0.32.0" / f"{name}.json").read_text("utf-8"))
    logged = LOGGED[name]["weights_gib"]
    assert weights_gib(golden["answers"][0]["tensor_parallel"]["1"]) == pytest.approx(logged, rel=0.005)


def test_the_page_of_model_types_is_made_from_these_files() -> None:
    """`python -m tests.oracle --page` writes it."""
    assert PAGE.read_text("utf-8") == models_page()


def test_a_stub_that_is_called_fails_loudly(fakes: ModuleType) -> None:
    module = fakes.StubModule("vllm._C")
    op = module.rms_norm
    assert fakes.is_known(module.__name__)
    with pytest.raises(fakes.StubCalledError, match=r"vllm\._C\.rms_norm was called"):
        op(1, 2)
    with pytest.raises(fakes.StubCalledError, match=r"vllm\._C\.rms_norm\.out was called"):
        op.out()
    assert fakes.called == ["vllm._C.rms_norm", "vllm._C.rms_norm.out"]


def test_a_stub_that_nobody_declared_is_no_stub(fakes: ModuleType) -> None:
    finder = fakes.StubFinder()
    assert finder.find_spec("vllm._C_stable_libtorch") is not None
    assert finder.find_spec("vllm._new_C") is None
    assert not fakes.is_known("vllm._new_C")
    assert not fakes.is_known("torch.ops._new_C")


def test_what_a_card_can_do_follows_from_its_capability(fakes: ModuleType) -> None:
    can = {
        capability: fakes.Stub("torch.ops._C.cutlass_scaled_mm_supports_fp8", capability)(capability)
        for capability in (75, 90)
    }
    assert can == {75: False, 90: True}


def test_the_tool_starts_without_vllm() -> None:
    """Its help is readable where nothing is installed."""
    for module in ("ask.py", "default_configs.py", "fakes.py"):
        compile((TOOL / module).read_text("utf-8"), module, "exec")
    help_text = subprocess.run(
        [sys.executable, "-m", "tools.oracle", "--help"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert "--platform" in help_text
    assert (ORACLE / "configs").is_dir()
