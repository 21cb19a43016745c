"""Room for LoRA adapters, against three starts of vLLM 0.24.0 and by hand."""

from __future__ import annotations

from typing import Any

import pytest
from packaging.version import Version

from planner.engine.adapters import Lora
from planner.engine.command.meaning import read_flags
from planner.engine.defaults import resolve
from planner.engine.traits import TRAITS, EngineTraits
from planner.estimate.answer import Setup
from planner.estimate.memory.adapters import lora_bytes
from planner.estimate.memory.weights import Rank
from planner.hardware.by_name import find_gpu
from planner.hardware.placement import Placement
from planner.model.catalog import load_model
from planner.units import GIB

NOW = Version("0.24.0")


def room(name: str, lora: Lora | None, **settings: Any) -> int:
    model = load_model(name)
    engine = resolve({TRAITS: EngineTraits(lora=lora), **settings}, model, find_gpu("H200"), NOW)
    pp = engine.pipeline_parallel_size
    return lora_bytes(model, engine, Rank(0, 0, 0, model.num_hidden_layers // pp, True, pp == 1, samples=True))


@pytest.mark.parametrize(("count", "rank", "logged_gib"), [(1, 16, 0.0861), (4, 16, 0.3507), (4, 64, 1.4093)])
def test_the_weights_of_three_starts(count: int, rank: int, logged_gib: float) -> None:
    """Weights of Llama-3.1-8B with adapters less those without, as the logs of 0.24.0 on an H200 have them."""
    assert room("meta-llama/Llama-3.1-8B", Lora(count, rank)) / GIB == pytest.approx(logged_gib, rel=0.03)


def test_one_layer_by_hand() -> None:
    """Llama-3.1-8B on two ranks: inputs are whole before, outputs whole after what is divided."""
    whole, half = (room("meta-llama/Llama-3.1-8B", Lora(1, 8), tensor_parallel_size=tp) for tp in (1, 2))
    replicated = 3 * 4096 + 4096 + 2 * 4096 + 4096  # A of query, key, value; B of o; A of gate, up; B of down
    divided = (4096 + 2 * 1024) + 4096 + 2 * 14336 + 14336
    ends = 2 * (128256 + 4096)
    assert whole == (32 * (replicated + divided) + ends) * 8 * 2
    assert half == (32 * (replicated + divided // 2) + ends) * 8 * 2


def test_every_expert_has_adapters_of_its_own() -> None:
    dense, experts = room("Qwen/Qwen3-8B", Lora(1, 16)), room("Qwen/Qwen3-30B-A3B", Lora(1, 16))
    assert experts > 5 * dense
    assert room("Qwen/Qwen3-8B", None) == 0


def test_flags_that_ask_for_adapters() -> None:
    assert read_flags(["--enable-lora", "--max-loras", "16", "--max-lora-rank=256"], NOW).traits.lora == Lora(16, 256)
    assert read_flags(["--enable-lora", "--fully-sharded-loras"], NOW).traits.lora == Lora(1, 16, is_fully_sharded=True)
    assert read_flags(["--max-lora-rank", "64"], NOW).traits.lora is None


def test_sixteen_adapters_of_rank_256_do_not_start_beside_an_8b_model_on_32_gb() -> None:
    def verdict(words: list[str]) -> str:
        flags = read_flags(words, NOW)
        setup = Setup(model=load_model("Qwen/Qwen3-8B"), placement=Placement(find_gpu("RTX 5090")), version=NOW,
                      settings={"max_model_len": 8192}, flags=flags)  # fmt: skip
        return setup.answer().verdict

    assert verdict([]) == "starts"
    assert verdict(["--enable-lora", "--max-loras", "16", "--max-lora-rank", "256"]) == "will not start"


def test_offloading_is_ignored_asserted_or_subtracted() -> None:
    def asked(version: str, model: str = "Qwen/Qwen3-14B") -> Any:
        setup = Setup(model=load_model(model), placement=Placement(find_gpu("RTX 5090")), version=Version(version),
                      settings={"max_model_len": 4096, "cpu_offload_gb": 8.0})  # fmt: skip
        return setup.answer()

    subtracted, ignored = asked("0.20.0"), asked("0.25.1")
    assert ignored.deployment.memory.weight_bytes - subtracted.deployment.memory.weight_bytes == 8 * GIB
    assert any(note.startswith("cpu_offload_gb is uncertain: model runner V2 of vLLM 0.25.1") for note in ignored.notes)
    assert not any("cpu_offload_gb" in note for note in subtracted.notes)
    hybrid = asked("0.17.0", "google/gemma-3-12b-it")
    assert "Cannot re-initialize the input batch" in hybrid.violated[0].message
