"""Architectures from config.json, safetensors headers and shipped names."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import pytest

from planner.errors import InputError
from planner.estimate.memory.weights import weight_bytes
from planner.model.catalog import load_model, shipped_config, shipped_names, shipped_sources
from planner.model.config_json import spec_from_config
from planner.model.layers import DeltaNet
from tests.places import GOLDEN, ROOT

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "num_hidden_layers": 4,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
}


def _folder(path: Path, config: object = CONFIG, **tensors: int) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config), "utf-8")
    for file, size in tensors.items():
        header = json.dumps(
            {
                "__metadata__": {"format": "pt"},
                "a": {"dtype": "F16", "shape": [size // 4], "data_offsets": [0, size // 2]},
                "b": {"dtype": "F16", "shape": [size // 4], "data_offsets": [size // 2, size]},
            }
        ).encode()
        (path / f"{file}.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    return path


def test_a_directory_gives_the_architecture_and_the_checkpoints_size(tmp_path: Path) -> None:
    spec = load_model(str(_folder(tmp_path / "m y", part1=1000, part2=24)))
    assert (spec.name, spec.checkpoint_bytes, spec.head_dim, spec.torch_dtype) == ("m y", 1024, 8, "bfloat16")
    assert load_model(str(tmp_path / "m y" / "config.json"), "other").name == "other"


def test_every_shipped_name_loads_with_and_without_its_organisation() -> None:
    for name in shipped_names():
        assert load_model(name.rpartition("/")[2]).num_hidden_layers == load_model(name).num_hidden_layers > 0


def test_shipped_models_are_as_large_as_their_names_and_cards_say() -> None:
    """In billions of parameters; names round, and leave out a vision tower, an embedding or a rotary table."""
    said = {"Mixtral-8x7B": 46.7, "gpt-oss-20b": 20.9, "gpt-oss-120b": 116.8, "GLM-4.5-Air": 106, "Large-Instruct": 123,
            "DeepSeek-R1": 671, "DeepSeek-V3": 671, "phi-4": 14.7, "Llama-3.2-1B": 1.24, "Qwen2.5-VL-3B": 3.75,
            "Distill-Qwen-1.5B": 1.78, "Qwen2.5-VL-7B": 8.3, "Qwen2-VL-7B": 8.3,
            "Qwen3-VL-2B": 2.26, "Qwen3-VL-4B": 4.57, "Qwen3-VL-8B": 8.9, "Scout": 109, "Maverick": 400,
            "Kimi-K2": 1026, "GLM-5": 744, "MiniMax-M2": 229, "MiMo-V2-Flash": 309, "DeepSeek-V2-Lite": 15.7,
            "h-small": 32.2, "Hunyuan-A13B": 80.4, "whisper-large": 1.54, "Kimi-K2.5": 0.0,
            "GLM-4.5": 352.8, "GLM-4.6": 352.8, "GLM-4.7": 352.8, "GLM-4.7-Flash": 29.9, "Mistral-Small-3.": 24.0,
            "Devstral-Small": 23.6, "Ministral-8B": 8.02, "Ministral-3-3B": 3.85, "Ministral-3-8B": 8.92,
            "Ministral-3-14B": 13.95, "Codestral-22B": 22.2, "Mixtral-8x22B": 140.6, "gemma-2-2b": 2.61,
            "gemma-2-9b": 9.24, "gemma-2-27b": 27.2, "gemma-3-4b": 4.3, "gemma-3-270m": 0.27,
            "Qwen3-Embedding-0.6B": 0.596, "Qwen3-Embedding-4B": 4.02, "Qwen3-Embedding-8B": 7.57,
            "Qwen3-Reranker-8B": 8.19, "Qwen3-Coder-Next": 79.7, "DeepSeek-V3.1": 671, "R1-0528-Qwen3-8B": 8.2,
            "Phi-4-mini": 3.84,
            "Phi-3.5-mini": 3.82, "SmolLM2-1.7B": 1.71, "Seed-OSS-36B": 36.15, "bge-m3": 0.568, "reranker-v2-m3": 0.568,
            "reranker-large": 0.56, "reranker-base": 0.278, "arctic-embed-l": 0.568, "multilingual-e5-large": 0.56,
            "multilingual-e5-base": 0.278, "bge-large-en": 0.335, "bge-base-en": 0.11, "bge-small-en": 0.0334,
            "e5-large-v2": 0.335, "e5-base-v2": 0.11, "e5-small-v2": 0.0334, "MiniLM-L6": 0.0227, "MiniLM-L12": 0.0334,
            "e5-mistral-7b": 7.11, "Nemotron-70B": 70.6, "safeguard-20b": 20.9, "safeguard-120b": 116.8}  # fmt: skip
    for name in shipped_names():
        config = {**shipped_config(name), "quantization_config": None}
        billions = weight_bytes(spec_from_config(config, name), "float16", 1) / 2e9
        label = re.search(r"-(\d+(?:\.\d+)?)b\b", name, re.IGNORECASE)
        wanted = max(((len(part), size) for part, size in said.items() if part in name), default=(0, 0.0))[1]
        if "Distill" in name and "1.5B" not in name:
            wanted = 0.0
        if wanted or label:
            assert billions == pytest.approx(wanted or float(label[1]), rel=0.03 if wanted else 0.1), name


def test_a_published_config_is_the_one_that_the_engine_was_asked_about() -> None:
    """Those that say so are made from another's by leaving its quantisation out; nobody asked the engine about them."""
    configs = GOLDEN / "oracle" / "configs"
    compared = 0
    for published in sorted((ROOT / "planner" / "data" / "published").glob("*.json")):
        paths = [configs / f"{prefix}{published.name}" for prefix in ("", "case-", "made-")]
        path = next((path for path in paths if path.exists()), None)
        if path is None:
            continue
        shipped, asked = json.loads(published.read_text("utf-8")), json.loads(path.read_text("utf-8"))
        beside = path.with_name(f"{path.stem}.hf_quant_config.json")
        if not asked.get("quantization_config") and beside.exists():
            asked["quantization_config"] = json.loads(beside.read_text("utf-8"))
        assert {key: value for key, value in shipped.items() if key != "_source"} == asked, published.name
        compared += 1
    assert compared > 50


def test_models_that_give_vectors_have_no_head_and_encoders_no_kv_cache() -> None:
    """Qwen3-Embedding-8B loads 0.62e9 parameters less than Qwen3-8B; a reranker of Qwen3 answers with tokens."""
    assert not load_model("Qwen/Qwen3-Embedding-8B").has_head
    assert load_model("Qwen/Qwen3-Reranker-8B").has_head
    assert not load_model("BAAI/bge-m3").has_head
    assert load_model("mistralai/Ministral-3-8B-Instruct-2512-BF16").max_context_tokens == 262144


def test_every_shipped_model_says_where_its_figures_are_from() -> None:
    assert all(source for _, source in shipped_sources())


def test_qwen3_32b_is_what_its_config_says() -> None:
    spec = load_model("Qwen/Qwen3-32B-AWQ")
    assert (spec.num_hidden_layers, spec.hidden_size, spec.intermediate_size) == (64, 5120, 25600)
    assert (spec.num_attention_heads, spec.num_key_value_heads, spec.head_dim) == (64, 8, 128)
    assert (spec.vocab_size, spec.max_context_tokens, spec.qk_norm) == (151936, 40960, True)
    assert spec.quantization is not None
    assert (spec.quantization.method, spec.quantization.bits, spec.quantization.group_size) == ("awq", 4, 128)


@pytest.mark.parametrize(
    ("scaling", "tokens"),
    [
        (None, 4096),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}, 131072),
        ({"type": "linear", "factor": 2.0}, 8192),
        ({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}, 4096),
    ],
)
def test_rope_scaling_stretches_the_context_as_vllm_derives_it(scaling: object, tokens: int) -> None:
    assert spec_from_config({**CONFIG, "rope_scaling": scaling}, "m").max_context_tokens == tokens


def test_a_multimodal_config_is_read_by_its_text_part() -> None:
    assert spec_from_config({"model_type": "llava", "text_config": CONFIG}, "m").num_hidden_layers == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_hidden_layers": "4"}, "num_hidden_layers: '4' is not a positive whole number"),
        ({"vocab_size": 0}, "vocab_size: 0"),
        ({"hidden_size": None}, "hidden_size: None"),
        ({"quantization_config": {"quant_method": "quip"}}, "quant_method: 'quip'; known: awq, gptq"),
    ],
)
def test_a_config_that_is_not_understood_names_its_key(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        spec_from_config({**CONFIG, **change}, "m")
    assert str(caught.value).startswith("m: config.json: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("change", "family", "is_known"),
    [
        ({"model_type": "yi_next"}, "yi_next", False),
        ({"model_type": "", "architectures": ["Qwen3MoeForCausalLM"], "num_experts": 8, "num_experts_per_tok": 2,
          "moe_intermediate_size": 64}, "qwen3_moe", True),
        ({"model_type": None}, "", False),
        ({"max_position_embeddings": None}, "llama", False),
    ],
)  # fmt: skip
def test_an_architecture_that_is_not_known_is_taken_for_an_ordinary_decoder(
    change: dict[str, object], family: str, is_known: bool
) -> None:
    spec = spec_from_config({**CONFIG, **change}, "m")
    assert (spec.model_type, spec.is_known) == (family, is_known)


def test_hybrid_layers_are_counted() -> None:
    """Qwen3.5 keeps a KV cache in every fourth layer only; the others hold a state."""
    hybrid = {"linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_num_value_heads": 4,
              "linear_value_head_dim": 8, "layer_types": ["linear_attention"] * 3 + ["full_attention"]}  # fmt: skip
    spec = spec_from_config({**CONFIG, "model_type": "qwen3_5_text", **hybrid}, "m")
    assert spec.count(DeltaNet) == 3
    assert spec.model_type == "qwen3_5"


def test_embedding_models_have_no_head(tmp_path: Path) -> None:
    """By their class, or by the file that sentence-transformers puts beside an ordinary one."""
    names = ("LlamaForCausalLM", "LlamaModel", "LlamaForSequenceClassification", "GPT2LMHeadModel")
    heads = [spec_from_config({**CONFIG, "architectures": [name]}, "m").has_head for name in names]
    assert heads == [True, False, False, True]
    whole = weight_bytes(load_model(str(_folder(tmp_path))), "bfloat16", 1)
    (tmp_path / "modules.json").write_text("[]", "utf-8")
    assert whole - weight_bytes(load_model(str(tmp_path)), "bfloat16", 1) == pytest.approx(1024 * 64 * 2, rel=0.1)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"null"])
def test_garbage_instead_of_json_is_one_line_with_the_path(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=r"config\.json: ") as caught:
        load_model(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_truncated_checkpoint_is_named(tmp_path: Path) -> None:
    folder = _folder(tmp_path, part1=64)
    (folder / "part2.safetensors").write_bytes(struct.pack("<Q", 500) + b'{"a"')
    with pytest.raises(InputError, match=r"part2\.safetensors: is not a complete safetensors file"):
        load_model(str(folder))


def test_an_unknown_name_lists_near_ones() -> None:
    with pytest.raises(InputError, match=r"near names: .*Qwen/Qwen3-8B"):
        load_model("Qwen/Qwen3-9B")


def test_the_outer_config_decides_whether_head_and_embedding_are_one() -> None:
    inner = {**CONFIG, "tie_word_embeddings": False}
    for outer, ties in ((True, True), (False, False), (None, False)):
        config = {"model_type": "mistral3", "tie_word_embeddings": outer, "text_config": inner}
        assert spec_from_config(config, "m").tie_word_embeddings is ties, outer


def test_a_tower_of_which_nothing_is_known_leaves_the_answer_open() -> None:
    config = {**CONFIG, "model_type": "granite", "encoder_config": {"num_layers": 10}}
    assert not spec_from_config(config, "m").is_modelled
    reckoned = {**CONFIG, "model_type": "kimi_vl", "vision_config": {"vt_hidden_size": 64, "vt_num_hidden_layers": 2}}
    assert spec_from_config({**reckoned, "text_config": CONFIG}, "m").is_modelled


def test_an_architecture_that_is_not_modelled_is_called_so_where_its_keys_are_missing() -> None:
    """LongCat's widths have names of their own. A known family's missing key is the file's fault."""
    longcat = json.loads((GOLDEN / "oracle" / "configs" / "default-longcat_flash.json").read_text("utf-8"))
    with pytest.raises(InputError, match=r"not modelled \(model_type longcat_flash\)$"):
        spec_from_config(longcat, "m")
    with pytest.raises(InputError) as caught:
        spec_from_config({"model_type": "llama", "num_hidden_layers": 2}, "m")
    assert "not modelled" not in str(caught.value)
