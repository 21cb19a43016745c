"""What runs on a card in a release: refused in vLLM's words, or left alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from packaging.version import Version

from planner.estimate.answer import Answer
from planner.estimate.kernel_rules import LEAST_CAPABILITY, SCHEMES, capability_of, least_of
from planner.hardware.gpus import GPUS
from planner.model.config_json import spec_from_config
from planner.model.quantization import read_quantization
from tests.unit.estimate.test_fixes import setup_for

INTS = {"num_bits": 4, "group_size": 128, "type": "int", "symmetric": True}
EIGHTS = {"num_bits": 8, "type": "int"}
FLOATS = {"num_bits": 8, "type": "float"}
FP4 = {"num_bits": 4, "type": "float", "group_size": 16}


def asked(gpu: str, version: str, quantized: dict[str, Any] | None = None, **settings: Any) -> Answer:
    setup = setup_for("Qwen/Qwen3-8B", gpu, 1, version, max_model_len=4096, **settings)
    if quantized is not None:
        setup = replace(setup, model=replace(setup.model, quantization=read_quantization(quantized, "made")))
    return setup.answer()


def tensors(weights: dict[str, Any], inputs: dict[str, Any] | None = None) -> dict[str, Any]:
    group = {"weights": weights, "input_activations": inputs, "targets": ["Linear"]}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}, "ignore": ["lm_head"]}


@pytest.mark.parametrize(
    ("gpu", "version", "weights", "inputs", "least"),
    [
        ("V100 32GB", "0.10.0", INTS, None, 80),  # vllm's issue 22800
        ("V100 32GB", "0.20.0", INTS, None, 75),
        ("RTX 2080 Ti 22GB", "0.11.2", INTS, None, 80),
        ("RTX 2080 Ti 22GB", "0.12.0", INTS, None, None),
        ("RTX 2080 Ti 22GB", "0.8.5", EIGHTS, EIGHTS, None),
        ("RTX 2080 Ti 22GB", "0.11.2", FLOATS, FLOATS, 80),
        ("RTX 2080 Ti 22GB", "0.20.0", FLOATS, FLOATS, None),
        ("RTX 3090", "0.8.5", FLOATS, FLOATS, None),
        ("RTX 2080 Ti 22GB", "0.14.1", FP4, FP4, 80),
        ("RTX 3090", "0.20.0", INTS, FLOATS, 90),
        ("RTX 3090", "0.20.0", FP4, FP4, None),
    ],
)
def test_a_scheme_of_compressed_tensors(
    gpu: str, version: str, weights: dict[str, Any], inputs: dict[str, Any] | None, least: int | None
) -> None:
    answer = asked(gpu, version, tensors(weights, inputs), dtype="half")
    found = [one.message for one in answer.violated if one.name == "quantization scheme on this card"]
    card = next(card for card in GPUS if card.name == gpu)
    assert found == ([] if least is None else [
        f"Quantization scheme is not supported for the current GPU. Min capability: {least}. Current capability: "
        f"{capability_of(card)}."
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("gpu", "version", "quantized", "least"),
    [
        ("RTX 3090", "0.20.0", {"quant_method": "modelopt", "quant_algo": "FP8"}, 89),
        ("RTX 3090", "0.27.1", {"quant_method": "modelopt", "quant_algo": "FP8"}, None),
        ("RTX 3090", "0.8.5", {"quant_method": "modelopt", "quant_algo": "NVFP4"}, 100),
        ("RTX 3090", "0.20.0", {"quant_method": "modelopt", "quant_algo": "NVFP4"}, None),
        ("T4", "0.10.2", {"quant_method": "fp8"}, 80),
        ("T4", "0.20.0", {"quant_method": "fp8"}, None),
    ],
)
def test_a_method_needs_a_card(gpu: str, version: str, quantized: dict[str, Any], least: int | None) -> None:
    answer = asked(gpu, version, quantized, dtype="half")
    found = [one.message for one in answer.violated if one.name == "quantization on this card"]
    assert [f"Minimum capability: {least}." in message for message in found] == ([] if least is None else [True])


@pytest.mark.parametrize(
    ("version", "settings", "words"),
    [
        ("0.8.5", {"quantization": "awq"}, "Cannot find the config file for awq"),
        ("0.32.0", {"quantization": "modelopt"}, "Cannot find the config file for modelopt"),
        ("0.20.0", {"quantization": "hocus"}, "Unknown quantization method: hocus"),
        ("0.20.0", {"load_format": "hocus"}, "Load format `hocus` is not supported"),
        ("0.20.0", {"block_size": 7}, "Block size must be a multiple of 16."),
        ("0.8.5", {"block_size": 1}, "Block size must be a multiple of 16."),
        ("0.14.0", {"attention_backend": "NOPE"}, "Unknown attention backend: 'NOPE'. Valid options are: FLASH_ATTN,"),
        ("0.24.0", {"kv_cache_dtype": "nvfp4"}, "--kv-cache-dtype nvfp4 requires sm100f"),
    ],
)
def test_values_that_the_engine_refuses(version: str, settings: dict[str, Any], words: str) -> None:
    answer = asked("RTX 4090", version, **settings)
    assert words in answer.violated[0].message


@pytest.mark.parametrize("settings", [{"quantization": "fp8"}, {"quantization": "bitsandbytes"}, {"block_size": 32},
                                      {"attention_backend": "FLASHINFER"}, {"load_format": "dummy"}])  # fmt: skip
def test_values_that_it_takes(settings: dict[str, Any]) -> None:
    assert asked("RTX 4090", "0.20.0", **settings).violated == ()


def test_a_quantised_checkpoint_computes_in_its_kernels_dtypes() -> None:
    setup = setup_for("Qwen/Qwen3-8B-AWQ", "RTX 4090", 1, "0.20.0", max_model_len=4096, dtype="float32")
    assert setup.answer().violated[0].message == (
        "torch.float32 is not supported for quantization method awq_marlin. Supported dtypes: "
        "[torch.float16, torch.bfloat16]"
    )
    gpt = setup_for("openai/gpt-oss-20b", "RTX 2080 Ti 22GB", 2, "0.26.0", tensor_parallel_size=2)
    assert [one.name for one in gpt.answer().violated][:2] == ["dtype of quantization", "quantization on this card"]


def test_capabilities_only_fall_with_the_releases() -> None:
    for by in (*LEAST_CAPABILITY.values(), *SCHEMES.values()):
        releases = [Version("0.6.0"), *(since for since, _ in by[1:] if since is not None), Version("0.33.0")]
        found = [least_of(by, version) for version in releases]
        assert releases == sorted(releases)
        assert found == sorted(found, reverse=True)


def test_a_checkpoint_without_groups_has_no_scheme() -> None:
    config = {"model_type": "qwen3", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
              "intermediate_size": 128, "vocab_size": 1000, "max_position_embeddings": 512,
              "quantization_config": {"quant_method": "compressed-tensors", "config_groups": {}}}  # fmt: skip
    quantization = spec_from_config(config, "empty").quantization
    assert quantization is not None
    assert quantization.activation_scheme == ""
