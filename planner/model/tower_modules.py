"""The modules of a vision tower and of what projects it to the language model: `tower_modules(...)`.

In: the `VisionTower`, config.json's `vision_config`, the family and the language model's width. Out: `Module`s in the
order in which vLLM creates them; none for a family that is not known. Source: vllm@0.32 models/qwen2_vl.py,
qwen2_5_vl.py, exaone4_5.py, glm4_1v.py,
qwen3_vl.py, siglip.py, gemma3_mm.py, gemma4_mm.py, gemma4_unified.py, pixtral.py, mistral3.py, clip.py,
llava.py, intern_vit.py, internvl.py; transformers models/gemma4/modeling_gemma4.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from planner.model.modules import Module, by_inputs, by_outputs, norm, plain, whole
from planner.model.vision import VisionTower


class _Style(msgspec.Struct, frozen=True, kw_only=True):
    """How a family's tower is built."""

    has_bias: bool = True
    has_norm_bias: bool = True
    is_replicated: bool = False
    """Whether every rank holds the whole tower (Gemma 4's is transformers' own)."""
    whole: str = ""
    """Pattern of the modules that every rank holds whole though others are divided (models/interns1_vit.py)."""
    norms: int = 2
    has_class_token: bool = False
    left_out_layers: int = 0
    """Last layers that are not loaded, as their output is not used (LLaVA takes the last but one)."""
    at: str = "vision_tower.encoder.layers"


_QWEN = _Style(at="visual.blocks")
STYLES = {
    "qwen2_vl": _QWEN,
    **dict.fromkeys(("qwen2_5_vl", "exaone4_5"), msgspec.structs.replace(_QWEN, has_norm_bias=False)),
    **dict.fromkeys(("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"), _QWEN),
    "gemma3": _Style(),
    "gemma4": _Style(has_bias=False, has_norm_bias=False, is_replicated=True, norms=4),
    "mistral3": _Style(has_bias=False, has_norm_bias=False),
    "llava": _Style(has_class_token=True, left_out_layers=1),
    "internvl": _Style(has_class_token=True, norms=3, at="vision_model.layers",
                       whole=r"attn|multi_modal_projector"),
    "internvl_chat": _Style(has_class_token=True, norms=3, at="vision_model.layers", whole="multi_modal_projector"),
}  # fmt: skip


GROUPED = {"exaone4_5"}
"""Families whose tower has fewer heads of keys and values than of queries."""


def tower_modules(
    tower: VisionTower | None, family: str, config: Mapping[str, Any], text_hidden_size: int
) -> tuple[Module, ...]:
    """Modules of the tower; empty if its family is not known."""
    if family in OWN:
        return tuple(OWN[family](config, text_hidden_size))
    style = STYLES.get(family)
    tower = tower or _of_config(config, is_gated=True)
    if tower is None or style is None:
        return ()
    modules = [*_embedding(tower, style, family, config)]
    keys = tower.hidden_size * _number(config.get("num_key_value_heads"), 1) // _heads(config)
    for number in range(tower.depth - style.left_out_layers):
        modules += _layer(tower, style, f"{style.at}.{number}", keys if family in GROUPED else 0)
    width = _number(config.get("out_hidden_size"), text_hidden_size)
    modules += _projector(tower, style, family, width)
    if style.is_replicated:
        modules = [msgspec.structs.replace(module, cut="whole") for module in modules]
    if style.whole:
        modules = [msgspec.structs.replace(module, cut="whole") if re.search(style.whole, module.name) else module
                   for module in modules]  # fmt: skip
    return tuple(modules)


def rough_tower(config: Mapping[str, Any], text_hidden_size: int) -> tuple[Module, ...]:
    """Modules of a tower of an unknown family, reckoned from the figures of its layers; empty without figures.

    Counts queries, keys, values, output and a plain MLP of each layer, and a projector of two matrices.
    """
    tower = _of_config(config, is_gated=False)
    if tower is None:
        return ()
    hidden, depth = tower.hidden_size, tower.depth
    modules = [module for number in range(depth) for module in _layer(tower, _Style(), f"tower.layers.{number}")]
    return (*modules, by_outputs("projector.0", text_hidden_size, hidden),
            by_inputs("projector.1", text_hidden_size, text_hidden_size))  # fmt: skip


def _of_config(config: Mapping[str, Any], is_gated: bool) -> VisionTower | None:
    """A tower by the figures of its layers alone; None without them."""
    depth = _first(
        config, "depth", "num_hidden_layers", "encoder_layers", "num_layers", "layers", "vt_num_hidden_layers"
    )
    hidden = _first(config, "hidden_size", "d_model", "embed_dim", "hidden_dim", "width", "vt_hidden_size")
    if not depth or not hidden:
        return None
    inner = _first(config, "intermediate_size", "encoder_ffn_dim", "feed_forward_dim", "vt_intermediate_size")
    return VisionTower(
        hidden_size=hidden, depth=depth, intermediate_size=inner or 4 * hidden, is_gated=is_gated,
        item_patches=1024, video_frames=2,
        patch_size=_first(config, "patch_size") or 14, merged_patches=_first(config, "spatial_merge_size") ** 2 or 4,
    )  # fmt: skip


def _heads(config: Mapping[str, Any]) -> int:
    return _first(config, "num_heads", "num_attention_heads") or 1


MOST_FIGURE = 1 << 20


def _first(config: Mapping[str, Any], *keys: str) -> int:
    """The first of these keys that holds a plausible whole number; 0 without one."""
    return next((value for key in keys if 0 < (value := _number(config.get(key), 0)) <= MOST_FIGURE), 0)


def _number(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else default


def _embedding(tower: VisionTower, style: _Style, family: str, config: Mapping[str, Any]) -> Iterator[Module]:
    """Convolution of patches, positions, and the class token."""
    hidden, frames = tower.hidden_size, 2 if tower.video_frames else 1
    convolves = family not in {"qwen2_vl", "qwen2_5_vl", "exaone4_5", "mistral3", "llava", "gemma4"}
    yield whole("visual.patch_embed", hidden, 3 * tower.patch_size**2 * frames, False, has_bias=convolves)
    if family.startswith("qwen3"):
        yield plain("visual.pos_embed", _number(config.get("num_position_embeddings"), 2304), hidden)
    elif family == "gemma4":
        yield plain(
            "visual.position_embedding_table", 2 * _number(config.get("position_embedding_size"), 10240), hidden
        )
    elif family in {"gemma3", "llava", "internvl", "internvl_chat"}:
        yield plain("visual.position_embedding", tower.item_patches + style.has_class_token, hidden)


def _layer(tower: VisionTower, style: _Style, at: str, keys: int = 0) -> Iterator[Module]:
    """One layer; `keys`: width of its keys, and of its values, where it is not that of its queries."""
    hidden, inner, bias = tower.hidden_size, tower.intermediate_size, style.has_bias
    for number in range(style.norms):
        yield from norm(f"{at}.norm{number + 1}", hidden, style.has_norm_bias)
    yield by_outputs(f"{at}.attn.qkv", hidden + 2 * (keys or hidden), hidden, bias)
    yield by_inputs(f"{at}.attn.proj", hidden, hidden, bias)
    yield by_outputs(f"{at}.mlp.fc1", (2 if tower.is_gated else 1) * inner, hidden, bias)
    yield by_inputs(f"{at}.mlp.fc2", hidden, inner, bias)


def _projector(tower: VisionTower, style: _Style, family: str, width: int) -> Iterator[Module]:
    """What merges patches and projects them to the language model."""
    hidden, merged = tower.hidden_size, tower.hidden_size * tower.merged_patches
    if family.startswith("qwen") or family == "exaone4_5":
        for level in range(1 + tower.deepstack_levels):
            at = "visual.merger" if level == 0 else f"visual.deepstack_merger_list.{level - 1}"
            yield from norm(f"{at}.norm", merged if level else hidden, style.has_norm_bias)
            yield by_outputs(f"{at}.linear_fc1", merged, merged, has_bias=True)
            yield by_inputs(f"{at}.linear_fc2", width, merged, has_bias=True)
    elif family == "gemma3":
        yield from (*norm("visual.post_layernorm", hidden, True), plain("multi_modal_projector", width, hidden))
    elif family == "gemma4":
        yield whole("embed_vision.embedding_projection", width, hidden)
    elif family == "mistral3":
        yield from (plain("visual.ln_pre", hidden), plain("multi_modal_projector.norm", hidden))
        yield whole("multi_modal_projector.patch_merger.merging_layer", hidden, merged)
        yield by_outputs("multi_modal_projector.linear_1", width, hidden)
        yield by_inputs("multi_modal_projector.linear_2", width, width)
    else:
        inputs = hidden if family == "llava" else merged
        yield from norm("visual.norms", 2 * hidden, True)
        yield by_outputs("multi_modal_projector.linear_1", width, inputs, has_bias=True)
        yield by_inputs("multi_modal_projector.linear_2", width, width, has_bias=True)


def _unified(config: Mapping[str, Any], text_hidden_size: int) -> Iterator[Module]:
    """Gemma 4 without a tower: patches go through one projection (models/gemma4_unified.py)."""
    width = _number(config.get("mm_embed_dim"), text_hidden_size)
    patch = 3 * _number(config.get("model_patch_size"), 48) ** 2
    yield from norm("embed_vision.patch_ln1", patch, True)
    yield by_outputs("embed_vision.patch_dense", width, patch, has_bias=True)
    yield plain("embed_vision.pos_embedding", 2 * _number(config.get("mm_posemb_size"), 1120), width)
    yield plain("embed_vision.norms", 4 * width)
    yield whole("embed_vision.embedding_projection", text_hidden_size, width)


def _glm4v(config: Mapping[str, Any], _: int) -> Iterator[Module]:
    """GLM-4.1V and 4.5V: gated MLPs as wide as the language model, a merger with a gated MLP (models/glm4_1v.py)."""
    tower = _of_config(config, is_gated=True)
    if tower is None:
        return
    hidden, width = tower.hidden_size, _number(config.get("out_hidden_size"), tower.hidden_size)
    yield whole("visual.patch_embed", hidden, 6 * tower.patch_size**2, False, has_bias=True)
    yield plain("visual.embeddings.position_embedding", (_first(config, "image_size") // tower.patch_size) ** 2, hidden)
    layer = msgspec.structs.replace(_Style(), has_bias=False, has_norm_bias=False)
    for number in range(tower.depth):
        yield from _layer(replace(tower, intermediate_size=width), layer, f"visual.blocks.{number}")
    yield plain("visual.norms", 2 * hidden)
    yield whole("visual.downsample", width, hidden * tower.merged_patches, False, has_bias=True)
    yield by_outputs("visual.merger.proj", width, width)
    yield from norm("visual.merger.post_projection_norm", width, True)
    yield by_outputs("visual.merger.gate_up_proj", 2 * tower.intermediate_size, width)
    yield by_inputs("visual.merger.down_proj", width, tower.intermediate_size)


def _minicpm_v(config: Mapping[str, Any], text_hidden_size: int) -> Iterator[Module]:
    """MiniCPM-V 4.6: SigLIP and two mergers of four patches, of which the first attends (models/minicpmv4_6.py)."""
    tower = _of_config(config, is_gated=False)
    if tower is None:
        return
    hidden, inner = tower.hidden_size, tower.intermediate_size
    positions = (_first(config, "image_size") // tower.patch_size) ** 2
    yield whole("vpm.embeddings.patch_embedding", hidden, 3 * tower.patch_size**2, False, has_bias=True)
    yield plain("vpm.embeddings.position_embedding", positions, hidden)
    for number in range(tower.depth):
        yield from _layer(tower, _Style(), f"vpm.encoder.layers.{number}")
    yield plain("vpm.norms", 4 * hidden)
    yield by_outputs("vit_merger.self_attn.qkv_proj", 3 * hidden, hidden, True)
    yield by_inputs("vit_merger.self_attn.out_proj", hidden, hidden, True)
    yield plain("vit_merger.norms", 12 * hidden)
    yield whole("vit_merger.linear_1", 4 * inner, 4 * hidden, has_bias=True)
    yield whole("vit_merger.linear_2", hidden, 4 * inner, has_bias=True)
    yield whole("merger.mlp.0.linear_1", 4 * hidden, 4 * hidden, has_bias=True)
    yield whole("merger.mlp.0.linear_2", text_hidden_size, 4 * hidden, has_bias=True)


MOBILENET = 294_126_912
"""Parameters of timm 1.0.20's mobilenetv5_300m_enc, counted from the module that vLLM 0.32 makes of it."""


def _mobilenet(config: Mapping[str, Any], text_hidden_size: int) -> Iterator[Module]:
    """Gemma 3n's tower, which every rank holds whole, and what embeds its tokens (models/gemma3n_mm.py)."""
    if config.get("architecture", "mobilenetv5_300m_enc") != "mobilenetv5_300m_enc":
        return
    width = _number(config.get("hidden_size"), 2048)
    yield plain("vision_tower.timm_model", MOBILENET)
    yield plain("embed_vision.embedding", _number(config.get("vocab_size"), 128), width)
    yield by_inputs("embed_vision.embedding_projection", text_hidden_size, width)


OWN: dict[str, Callable[[Mapping[str, Any], int], Iterator[Module]]] = {
    "gemma4_unified": _unified, "glm4v": _glm4v, "glm4v_moe": _glm4v, "gemma3n": _mobilenet,
    **dict.fromkeys(("minicpmv4_6", "minicpmv4_7"), _minicpm_v),
}  # fmt: skip
"""Towers that have nothing in common with the others."""
