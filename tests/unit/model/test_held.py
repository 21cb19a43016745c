"""Weights of directories with safetensors headers: the tensors count, by module, whatever config.json says of them."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from planner.estimate.memory.weights import weight_bytes
from planner.model.catalog import load_model
from planner.model.config_json import spec_from_config

CONFIG: dict[str, Any] = {
    "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 512, "intermediate_size": 1024,
    "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 4096,
    "max_position_embeddings": 256, "torch_dtype": "bfloat16",
}  # fmt: skip
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128}
LINEAR = {"self_attn.q_proj": (512, 512), "self_attn.k_proj": (128, 512), "self_attn.v_proj": (128, 512),
          "self_attn.o_proj": (512, 512), "mlp.gate_proj": (1024, 512), "mlp.up_proj": (1024, 512),
          "mlp.down_proj": (512, 1024)}  # fmt: skip
ITEMSIZE = {"BF16": 2, "I32": 4, "U8": 1, "F32": 4}


def quantised(name: str, outputs: int, inputs: int) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """GPTQ's four tensors of one linear module, of 4 bits."""
    yield f"{name}.qweight", "I32", (inputs // 8, outputs)
    yield f"{name}.qzeros", "I32", (inputs // 128, outputs // 8)
    yield f"{name}.scales", "BF16", (inputs // 128, outputs)
    yield f"{name}.g_idx", "I32", (inputs,)


def tensors(in_16_bits: str = "", prefix: str = "model.") -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Names, types and shapes of a checkpoint in GPTQ of 4 bits, but for the modules whose name holds `in_16_bits`."""
    yield f"{prefix}embed_tokens.weight", "BF16", (4096, 512)
    yield "lm_head.weight", "BF16", (4096, 512)
    yield f"{prefix}norm.weight", "BF16", (512,)
    for layer in range(2):
        at = f"{prefix}layers.{layer}."
        yield from ((f"{at}{norm}.weight", "BF16", (512,)) for norm in ("input_layernorm", "post_attention_layernorm"))
        for name, (outputs, inputs) in LINEAR.items():
            if in_16_bits and in_16_bits in name:
                yield f"{at}{name}.weight", "BF16", (outputs, inputs)
            else:
                yield from quantised(at + name, outputs, inputs)


def folder(path: Path, held: Iterator[tuple[str, str, tuple[int, ...]]], **changes: Any) -> str:
    """A directory with a config.json and one safetensors file whose header names these tensors."""
    (path / "config.json").write_text(json.dumps({**CONFIG, **changes}), "utf-8")
    header, end = {}, 0
    for name, dtype, shape in held:
        size = ITEMSIZE[dtype]
        for width in shape:
            size *= width
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    (path / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    return str(path)


def loaded(source: str, tp: int = 1) -> int:
    return weight_bytes(load_model(source), "bfloat16", tp)


def from_config(tp: int = 1, **changes: Any) -> int:
    return weight_bytes(spec_from_config({**CONFIG, **changes}, "m"), "bfloat16", tp)


@pytest.mark.parametrize("tp", [1, 2, 4])
def test_a_checkpoint_that_is_as_its_config_says_changes_nothing(tmp_path: Path, tp: int) -> None:
    found = loaded(folder(tmp_path, tensors(), quantization_config=GPTQ), tp)
    assert found == pytest.approx(from_config(tp, quantization_config=GPTQ), rel=0.002)


def test_modules_that_the_config_does_not_tell_of_are_seen(tmp_path: Path) -> None:
    """Attention in 16 bits under a config that names no exception: the tensors know better."""
    found = loaded(folder(tmp_path, tensors("self_attn"), quantization_config=GPTQ))
    told = from_config(quantization_config={**GPTQ, "dynamic": {"-:.*self_attn.*": {}}})
    assert found == pytest.approx(told, rel=0.002)
    assert found > 1.15 * from_config(quantization_config=GPTQ)


def test_a_checkpoint_may_be_quantised_without_its_config_saying_so(tmp_path: Path) -> None:
    assert loaded(folder(tmp_path, tensors())) == pytest.approx(from_config(quantization_config=GPTQ), rel=0.002)


def test_what_vllm_does_not_load_does_not_count(tmp_path: Path) -> None:
    """Layers after the last one and those under `mtp` predict several tokens; they stay in the file."""
    more = [*tensors(), ("model.layers.2.mlp.up_proj.weight", "BF16", (1024, 512)),
            ("mtp.fc.weight", "BF16", (512, 1024)),
            ("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", (32,))]  # fmt: skip
    spec = load_model(folder(tmp_path, iter(more), quantization_config=GPTQ))
    assert weight_bytes(spec, "bfloat16", 1) == pytest.approx(from_config(quantization_config=GPTQ), rel=0.002)
    assert spec.checkpoint_bytes is not None
    assert spec.checkpoint_bytes > sum(1024 * 512 * 2 for _ in range(2))


def test_other_names_of_the_same_tensors_are_known(tmp_path: Path) -> None:
    names = {"q_proj": "wq", "k_proj": "wk", "v_proj": "wv", "o_proj": "wo", "gate_proj": "w1", "up_proj": "w3",
             "down_proj": "w2", "self_attn": "attention", "mlp": "feed_forward"}  # fmt: skip

    def renamed() -> Iterator[tuple[str, str, tuple[int, ...]]]:
        for name, dtype, shape in tensors("self_attn"):
            yield ".".join(names.get(word, word) for word in name.split(".")), dtype, shape

    plain = folder(tmp_path, tensors("self_attn"), quantization_config=GPTQ)
    wanted = [loaded(plain, tp) for tp in (1, 2)]
    other = tmp_path / "other"
    other.mkdir()
    assert [loaded(folder(other, renamed(), quantization_config=GPTQ), tp) for tp in (1, 2)] == wanted


def test_an_unknown_type_weighs_what_its_checkpoint_holds(tmp_path: Path) -> None:
    """Whatever the layers are called: all bytes count, and are shared by the ranks."""
    strange = [("model.embed_tokens.weight", "BF16", (4096, 512)), ("lm_head.weight", "BF16", (4096, 512)),
               *((f"model.layers.{n}.warp.core", "BF16", (512, 20000)) for n in range(2))]  # fmt: skip
    spec = load_model(folder(tmp_path, iter(strange), model_type="warp"))
    assert not spec.is_modelled
    held = 2 * (2 * 4096 * 512 + 2 * 512 * 20000)
    assert weight_bytes(spec, "bfloat16", 1) == pytest.approx(held, rel=0.03)
    assert weight_bytes(spec, "bfloat16", 2) == pytest.approx(held / 2, rel=0.05)


def test_an_index_alone_gives_the_size_of_an_unknown_type(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "model_type": "warp"}), "utf-8")
    index = {"metadata": {"total_size": 44_000_000_000}, "weight_map": {}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    assert weight_bytes(load_model(str(tmp_path)), "bfloat16", 2) == 22_000_000_000


def test_modelopt_says_beside_the_config_how_it_quantised(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), "utf-8")
    beside = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(beside), "utf-8")
    spec = load_model(str(tmp_path))
    assert spec.quantization is not None
    assert (spec.quantization.method, spec.quantization.bits) == ("modelopt", 4)
