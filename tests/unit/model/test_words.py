"""A misspelt word of a config.json is refused in one line, or named as a doubt; it never passes in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from planner.cli.main import main
from planner.errors import InputError
from planner.model.config_json import spec_from_config

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256, "intermediate_size": 512,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000,
    "max_position_embeddings": 4096, "torch_dtype": "float16", "hidden_act": "silu",
}  # fmt: skip
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic"}
GROUP = {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float"}}


def tensors(**weights: Any) -> dict[str, Any]:
    group = {**GROUP, "weights": {**GROUP["weights"], **weights}}  # type: ignore[dict-item]
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}


@pytest.mark.parametrize(
    ("named", "held"),
    [
        ("float16", "float16"), ("torch.bfloat16", "bfloat16"), ("half", "half"), ("float", "float32"),
        ("float8_e4m3fn", "bfloat16"), (None, "bfloat16"), ({"": "float16", "vision_config": "float32"}, "float16"),
        ({"text_config": "float16"}, "float16"),
    ],
)  # fmt: skip
def test_a_dtype_of_torch_is_read(named: Any, held: str) -> None:
    assert spec_from_config({**CONFIG, "torch_dtype": named}, "m").torch_dtype == held


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"torch_dtype": "bfloat17"}, "torch_dtype: 'bfloat17' is no dtype; allowed: bfloat16, float16, float32, half"),
        ({"torch_dtype": "bf16"}, "torch_dtype: 'bf16' is no dtype"),
        ({"torch_dtype": 16}, "torch_dtype: 16 is no dtype"),
        ({"torch_dtype": None, "dtype": "flaot16"}, "torch_dtype: 'flaot16' is no dtype"),
        ({"architectures": "LlamaForCausalLM"}, "architectures: 'LlamaForCausalLM' is no list of names"),
        ({"architectures": [1]}, "architectures: [1] is no list of names"),
        ({"mlp_layer_types": ["sparse", "sprase"]}, "mlp_layer_types: 'sprase'; allowed: dense, hash_moe, moe, sparse"),
        ({"quantization_config": {**FP8, "activation_scheme": "dinamic"}},
         "quantization_config.activation_scheme: 'dinamic'; allowed: dynamic, static"),
        ({"quantization_config": tensors(type="flaot")}, "type: 'flaot'; allowed: float, int"),
        ({"quantization_config": {"quant_method": "fp9"}}, "quant_method: 'fp9'; known: "),
    ],
)  # fmt: skip
def test_a_word_that_every_release_refuses_is_one_line(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        spec_from_config({**CONFIG, **changes}, "m")
    assert f"m: config.json: {words}" in str(caught.value) or words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_dtype_of_states_is_read_or_refused() -> None:
    states = {"model_type": "qwen3_next", "linear_num_value_heads": 2, "linear_num_key_heads": 2, "head_dim": 64,
              "linear_key_head_dim": 64, "linear_value_head_dim": 64, "linear_conv_kernel_dim": 4,
              "layer_types": ["linear_attention", "full_attention"]}  # fmt: skip
    spec_from_config({**CONFIG, **states, "mamba_ssm_dtype": "float32"}, "m")
    with pytest.raises(InputError, match=r"mamba_ssm_dtype: 'float23'; allowed: bfloat16, float16, float32"):
        spec_from_config({**CONFIG, **states, "mamba_ssm_dtype": "float23"}, "m")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rope_scaling": {"rope_type": "yarnn", "factor": 4.0}}, "rope_scaling: rope_type 'yarnn' is not known"),
        ({"rope_scaling": {"type": "linaer", "factor": 4.0}}, "rope_scaling: rope_type 'linaer' is not known"),
        ({"rope_parameters": {"full_attention": {"rope_type": "yran"}}}, "rope_parameters.full_attention: rope_type"),
        ({"hidden_act": "sillu"}, "hidden_act: 'sillu' is not known"),
    ],
)
def test_a_word_that_is_not_known_is_a_doubt(
    changes: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert spec_from_config(CONFIG, "m").doubtful == ()
    (doubt,) = spec_from_config({**CONFIG, **changes}, "m").doubtful
    assert words in doubt
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, **changes}), "utf-8")
    with pytest.raises(SystemExit):
        main(["estimate", "--model", str(tmp_path), "--gpu", "H200"])
    assert words in " ".join(capsys.readouterr().out.split())
