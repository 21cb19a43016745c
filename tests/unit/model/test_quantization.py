"""Which scheme a module has, by the lists and patterns of each method."""

from __future__ import annotations

from typing import Any

import pytest

from planner.errors import InputError
from planner.model.quantization import Quantization, read_quantization

LAYER = "model.layers.3."
NVFP4 = {"num_bits": 4, "type": "float", "group_size": 16}


def read(**config: Any) -> Quantization:
    found = read_quantization(config, "m")
    assert found is not None
    return found


def bits(config: dict[str, Any], *names: str, **how: bool) -> int:
    scheme = read(**config).scheme_of([LAYER + name for name in names], **how)
    return 16 if scheme is None else scheme.bits


DYNAMIC = {"quant_method": "gptq", "bits": 4, "dynamic": {"-:.*attn.*": {}, "+:.*mlp.*": {"bits": 8}}}
CASES: list[tuple[dict[str, Any], str, int]] = [
    ({"quant_method": "awq", "bits": 4, "modules_to_not_convert": ["self_attn"]}, "self_attn.q_proj", 16),
    ({"quant_method": "awq", "bits": 4, "modules_to_not_convert": ["self_attn"]}, "mlp.up_proj", 4),
    (DYNAMIC, "self_attn.q_proj", 16),
    (DYNAMIC, "mlp.up_proj", 8),
    ({"quant_method": "fp8", "modules_to_not_convert": ["model.layers.3.mlp"]}, "mlp.up_proj", 16),
    ({"quant_method": "fp8", "modules_to_not_convert": ["model.layers.3.mlp.up"]}, "mlp.up_proj", 8),
    ({"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["*.self_attn*"]}, "self_attn.q_proj", 16),
    ({"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["*.self_attn*"]}, "mlp.up_proj", 8),
    ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "mlp.up_proj", 4),
    ({"producer": {"name": "modelopt"}, "quantization": {
        "quant_algo": "FP8", "exclude_modules": ["model.layers.3.mlp*"]}}, "mlp.up_proj", 16),
    ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": {
        LAYER + "mlp.up_proj": {"quant_algo": "W4A16_NVFP4", "group_size": 16},
        LAYER + "self_attn.q_proj": {"quant_algo": "FP8"}}}, "self_attn.q_proj", 8),
    ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": {
        LAYER + "mlp.up_proj": {"quant_algo": "W4A16_NVFP4"}}}, "mlp.down_proj", 16),
    ({"quant_method": "compressed-tensors", "ignore": ["re:.*self_attn.*"],
      "config_groups": {"g": {"targets": ["Linear"], "weights": NVFP4}}}, "self_attn.q_proj", 16),
    ({"quant_method": "compressed-tensors", "ignore": ["lm_head"], "config_groups": {
        "a": {"targets": ["Linear"], "weights": NVFP4},
        "b": {"targets": ["re:.*self_attn.*"], "weights": {"num_bits": 8}}}}, "self_attn.q_proj", 8),
    ({"quant_method": "auto-round", "extra_config": {".*in_proj_a.*": {"bits": 16}}}, "linear_attn.in_proj_a", 16),
    ({"quant_method": "auto-round", "bits": 4, "extra_config": {LAYER + "mlp.up_proj": {"bits": 8}}}, "mlp.up_proj", 8),
    ({"quant_method": "bitsandbytes", "load_in_8bit": True, "llm_int8_skip_modules": ["lm_head"]}, "mlp.up_proj", 8),
    ({"quant_method": "fbgemm_fp8", "modules_to_not_convert": [LAYER + "self_attn.q_proj"]}, "self_attn.q_proj", 16),
]  # fmt: skip


@pytest.mark.parametrize(
    ("config", "module", "expected"), CASES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_module_has_the_bits_that_its_name_gives_it(config: dict[str, Any], module: str, expected: int) -> None:
    assert bits(config, module) == expected


def test_mxfp4_quantises_experts_only_and_a_head_must_be_named() -> None:
    assert bits({"quant_method": "mxfp4"}, "self_attn.q_proj") == 16
    assert bits({"quant_method": "mxfp4"}, "mlp.experts", is_expert=True) == 4
    assert read(quant_method="gptq").scheme_of(["lm_head"], is_listed=True) is None
    assert read(quant_method="gptq", lm_head=True).scheme_of(["lm_head"], is_listed=True) is not None


def test_a_scheme_for_the_kv_cache_turns_auto_into_fp8() -> None:
    scheme = {"num_bits": 8, "type": "float", "strategy": "tensor"}
    groups = {"g": {"targets": ["Linear"], "weights": NVFP4}}
    assert read(quant_method="compressed-tensors", config_groups=groups, kv_cache_scheme=scheme).kv_cache_dtype == "fp8"
    assert read(quant_method="compressed-tensors", config_groups=groups, kv_cache_scheme=None).kv_cache_dtype is None
    beside = {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}
    assert read(producer={"name": "modelopt"}, quantization=beside).kv_cache_dtype == "fp8"
    assert read_quantization({"quant_algo": "NVFP4", "producer": {"name": "modelopt"}}, "m") is None  # no quant_method
    assert read_quantization({"quantization": beside}, "m") is None  # vLLM wants ModelOpt named as its maker


def test_packings_follow_from_type_and_bits() -> None:
    def packing(**weights: Any) -> str | None:
        found = read(
            quant_method="compressed-tensors", config_groups={"g": {"targets": ["Linear"], "weights": weights}}
        )
        return found.scheme and found.scheme.packing

    assert packing(**NVFP4) == "nvfp4"
    assert packing(num_bits=4, type="float", group_size=32) == "mxfp4"
    assert packing(num_bits=4, type="int", group_size=32) == "int"
    assert packing(num_bits=8, type="float", block_structure=[128, 128]) == "fp8"


@pytest.mark.parametrize("method", ["quark", "torchao", "hqq", "aqlm"])
def test_methods_whose_memory_is_not_modelled_say_so(method: str) -> None:
    assert not read(quant_method=method).is_modelled


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"quant_method": "quip"}, "quant_method: 'quip'; known: awq"),
        ({"quant_method": "gptq", "bits": "4"}, "bits: '4' is not a positive whole number"),
        ({"quant_method": "modelopt", "quant_algo": "INT3"}, "quant_algo: 'INT3'; known: FP8"),
        ({"quant_method": "gptq", "dynamic": {"-:(": {}}}, "'(' is not a regular expression"),
    ],
)
def test_what_is_not_understood_names_its_key(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(**config)
    assert message in str(caught.value)
