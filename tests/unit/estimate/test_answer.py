"""One deployment judged: the verdict's four words, and the document."""

from __future__ import annotations

import json
from typing import Any

import pytest
from packaging.version import Version

from planner.engine.command.meaning import read_flags
from planner.estimate.answer import Answer, Setup, unknown_flags
from planner.hardware.by_name import find_gpu
from planner.hardware.placement import Placement
from planner.model.catalog import load_model
from planner.model.config_json import spec_from_config
from planner.units import GIB

TARGET = {
    "tensor_parallel_size": 4,
    "dtype": "half",
    "max_model_len": 32768,
    "max_num_seqs": 64,
    "gpu_memory_utilization": 0.90,
}


def judged(model: str = "Qwen/Qwen3-32B-AWQ", version: str = "0.8.5", **changes: Any) -> Answer:
    host = changes.pop("host_memory_bytes", None)
    settings = {**TARGET, **changes}
    return Setup(
        model=load_model(model),
        placement=Placement(find_gpu("RTX 2080 Ti 22GB"), 4, "pcie", host),
        version=Version(version),
        settings=settings,
        refused=tuple(unknown_flags(settings, Version(version))),
    ).answer()


def test_a_start_with_room_everywhere_starts() -> None:
    answer = judged(gpu_memory_utilization=0.85)
    assert (answer.verdict, answer.violated, answer.dangers) == ("starts", (), ())


def test_weights_that_do_not_fit_do_not_start() -> None:
    answer = judged(model="Qwen/Qwen2.5-72B")
    assert answer.verdict == "will not start"
    assert "out of memory while loading the weights" in answer.reasons[0]


def test_little_memory_outside_the_budget_is_a_risk() -> None:
    answer = judged(gpu_memory_utilization=0.96)
    assert answer.verdict == "at risk"
    assert "outside the budget" in answer.dangers[0]


def test_a_prompt_that_v0_never_admits_is_a_risk_not_a_refusal() -> None:
    """V0 checks that 32768 tokens (2048 blocks) fit, but keeps 1 % of the blocks free when it admits a prompt."""
    answers = [judged(gpu_memory_utilization=0.4 + step / 2000) for step in range(200)]
    tight = [answer for answer in answers if 2048 <= answer.deployment.memory.num_blocks < 2068]
    assert tight
    assert {answer.verdict for answer in tight} == {"at risk"}
    assert all("no prompt of 32768 tokens is ever admitted" in answer.dangers[0] for answer in tight)


def test_a_flag_the_version_does_not_take_is_said_in_argparses_words() -> None:
    answer = judged(version="0.20.2", swap_space=4.0)
    assert answer.verdict == "will not start"
    assert answer.reasons[0].startswith("vllm: error: unrecognized arguments: --swap-space")


def test_swap_space_is_held_against_the_hosts_memory() -> None:
    answer = judged(swap_space=64.0, host_memory_bytes=256 * GIB)
    assert any("Too large swap space" in reason for reason in answer.reasons)
    assert judged(swap_space=64.0, host_memory_bytes=512 * GIB).verdict != "will not start"


def test_the_document_has_the_keys_of_the_format_and_round_trips() -> None:
    answer = judged()
    document = json.loads(answer.to_json("here"))
    assert document == answer.document("here")
    components = ("weights_gib", "non_torch_gib", "activation_peak_gib", "cudagraph_gib", "kv_cache_gib")
    assert list(document) == [
        "id", "verdict", "reasons", *(key for name in components for key in (name, f"{name}_interval")),
        "kv_blocks", "kv_tokens", "max_concurrency", "ranks",
    ]  # fmt: skip
    for name in components:
        low, high = document[f"{name}_interval"]
        assert low <= document[name] <= high


def test_the_real_start_of_the_target_is_met() -> None:
    """docs/accuracy.md: 13.10 GiB of KV cache on four RTX 2080 Ti, 13414 blocks."""
    answer = judged(
        max_num_batched_tokens=32768, gpu_memory_utilization=0.96, enable_chunked_prefill=False, swap_space=64.0
    )
    assert answer.document(1)["kv_blocks"] == pytest.approx(13414, rel=0.01)


WARP: dict[str, Any] = {
    "model_type": "warp", "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 8192,
}  # fmt: skip


@pytest.mark.parametrize(("version", "verdict"), [("0.14.1", "at risk"), ("0.24.0", "starts")])
def test_a_release_without_a_class_for_the_model_is_a_risk(version: str, verdict: str) -> None:
    placement = Placement(find_gpu("H200"))
    settings = {"max_model_len": 8192, "max_num_seqs": 64}
    model = load_model("Qwen/Qwen3.5-27B")
    found = Setup(model=model, placement=placement, version=Version(version), settings=settings).answer()
    assert found.verdict == verdict
    assert any("no class for model_type qwen3_5, 0.18.0 has one" in reason for reason in found.reasons) == (
        verdict == "at risk"
    )


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        # widths that a guess has, and vLLM's own layers may not: their shards need not align
        ({"intermediate_size": 14337}, {"tensor_parallel_size": 2}),
        # states of a guess on a card that its guessed weights fill
        ({"num_hidden_layers": 4, "layer_types": ["linear_attention"] * 4, "hidden_size": 16384}, {}),
    ],
)
def test_a_guess_refuses_nothing(changes: dict[str, Any], settings: dict[str, Any]) -> None:
    spec = spec_from_config({**WARP, **changes}, "m")
    placement = Placement(find_gpu("RTX 3060"), settings.get("tensor_parallel_size", 1))
    found = Setup(model=spec, placement=placement, version=Version("0.24.0"), settings=settings).answer()
    assert (found.verdict, found.violated) == ("cannot say", ())
    assert found.dangers


@pytest.mark.parametrize(
    ("card", "changes"),
    [
        ("H100 80GB", {}),
        ("RTX 3060", {}),  # by its guessed weights it would not fit; that is no more than a danger
        ("H100 80GB", {"model_type": "llama", "quantization_config": {"quant_method": "quark"}}),
    ],
)
def test_what_is_not_modelled_is_neither_exact_nor_said_to_start(card: str, changes: dict[str, Any]) -> None:
    spec = spec_from_config({**WARP, **changes}, "m")
    setup = Setup(model=spec, placement=Placement(find_gpu(card)), version=Version("0.24.0"), settings={})
    found = setup.answer()
    assert found.verdict == "cannot say"
    assert not found.violated
    assert any("is not modelled" in reason for reason in found.reasons)
    document = found.document("m")
    low, high = document["weights_gib_interval"]
    assert high - low > document["weights_gib"]


def test_a_rule_that_needs_no_memory_refuses_what_is_not_modelled() -> None:
    spec, card = spec_from_config(WARP, "m"), Placement(find_gpu("H100 80GB"))
    setup = Setup(model=spec, placement=card, version=Version("0.24.0"), settings={"max_model_len": 100000})
    assert setup.answer().verdict == "will not start"


def test_a_tower_that_no_prompt_needs_is_not_loaded() -> None:
    """Qwen2.5-VL takes images and videos: it loses its tower only if both are forbidden."""
    model, card = load_model("Qwen/Qwen2.5-VL-7B-Instruct"), Placement(find_gpu("H200"))

    def weights(version: str = "0.24.0", *words: str) -> float:
        flags = read_flags(words, Version(version))
        setup = Setup(model=model, placement=card, version=Version(version), settings={}, flags=flags)
        return float(setup.answer().deployment.memory.weight_bytes) / GIB

    whole = weights()
    assert weights("0.24.0", "--limit-mm-per-prompt", '{"image": 0}') == whole
    assert weights("0.9.0", "--limit-mm-per-prompt", '{"image": 0, "video": 0}') > whole - 0.5
    bare = [weights("0.24.0", "--limit-mm-per-prompt", '{"image": 0, "video": 0}'),
            weights("0.24.0", "--language-model-only")]  # fmt: skip
    assert bare == [pytest.approx(whole - 1.25, abs=0.05)] * 2
