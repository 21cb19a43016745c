"""What a checkpoint holds, by layer and module: `held_weights(tensors, layers, hidden_size) -> Held`.

In: the tensors of safetensors headers and the layers of config.json. Out: bytes by module, so that weights follow from
the checkpoint whatever its quantisation says. A tensor is given to the module that its name names; what no module is
named after goes to the modules of its layer that nothing was given to. Left out: what vLLM does not load.
Source: vllm@0.32 models/utils.py:AutoWeightsLoader, and the `load_weights` of models/*.py for the names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from planner.model.checkpoint import StoredTensor
from planner.model.layer_modules import modules_of
from planner.model.layers import LayerStack
from planner.model.modules import Module

IN_LAYER = re.compile(r"^(.*?)(?:^|\.)(?:layers|h|blocks|block|layer)\.(\d+)\.(.+)$")
SKIPPED = re.compile(r"(^|\.)(mtp|nextn|rotary_emb|draft)(\.|$)|_predictor")
"""Tensors that vLLM does not load with the model: those of multi-token prediction, tables that it makes itself."""
TOWER = re.compile(r"visual|vision|audio|image|multi_modal|mm_|merger|connector|aligner|projector|sound|speech")
"""Words in names of tensors beside the language model."""
HEAD = re.compile(r"(^|\.)(lm_head|output|embed_out)\.")
EMBEDDING = re.compile(r"(^|\.)(embed_tokens|wte|word_embeddings|embed_in|tok_embeddings|embeddings)\.")
LEAVES = {
    "w1": "gate_proj", "w3": "up_proj", "w2": "down_proj", "qkv_proj": "q_proj", "query_key_value": "q_proj",
    "Wqkv": "q_proj", "W_pack": "q_proj", "gate_up_proj": "gate_proj", "input_linear": "gate_proj",
    "output_linear": "down_proj", "dense": "o_proj", "out_proj": "o_proj", "Wo": "o_proj", "wo": "o_proj",
    "fc1": "up_proj", "fc2": "down_proj", "fc_in": "up_proj", "fc_out": "down_proj", "c_fc": "up_proj",
    "c_proj": "down_proj", "dense_h_to_4h": "up_proj", "dense_4h_to_h": "down_proj", "linear_fc1": "gate_proj",
    "linear_fc2": "down_proj", "wq": "q_proj", "wk": "k_proj", "wv": "v_proj", "in_proj_qkvz": "in_proj_qkv",
    "in_proj_ba": "in_proj_b", "gate_proj_blocks": "gate_proj", "query": "q_proj", "key": "k_proj", "value": "v_proj",
}  # fmt: skip
"""Other names of the same tensors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Bytes of a checkpoint's tensors as they are loaded, on one rank that holds everything."""

    layers: tuple[tuple[int, ...], ...]
    """For each layer the bytes of each of its modules; 0: the checkpoint does not say, the shape decides."""
    beside: int
    """Bytes of the tower and its projector."""
    head: int
    other: int
    """Bytes that are in no layer and neither embedding, head nor tower."""
    total: int
    """Bytes of all tensors in the files, also of those that are not loaded."""


def held_weights(tensors: Mapping[str, StoredTensor], layers: LayerStack, hidden_size: int) -> Held | None:
    """Bytes by layer and module; None if not one tensor stands in a layer."""
    by_layer: dict[int, list[tuple[str, int]]] = {}
    beside = head = other = total = 0
    for name, tensor in tensors.items():
        total += tensor.num_bytes
        size = _loaded_bytes(name, tensor)
        found = IN_LAYER.match(name)
        if SKIPPED.search(name):
            continue
        if TOWER.search(found[1] if found else name):
            beside += size
        elif found:
            by_layer.setdefault(int(found[2]), []).append((found[3], size))
        elif HEAD.search(name):
            head += size
        elif not EMBEDDING.search(name):
            other += size
    if not by_layer:
        return None
    made = tuple(
        _by_module(by_layer.get(number, []), modules_of(layer, hidden_size)) for number, layer in enumerate(layers)
    )
    return Held(layers=made, beside=beside, head=head, other=other, total=total)


def _loaded_bytes(name: str, tensor: StoredTensor) -> int:
    """Bytes after loading: plain weights take the model's dtype, of 16 bits; quantised ones and scales stay."""
    if tensor.dtype == "F32" and not name.endswith(("scale", "scale_inv", "scales", "absmax", "A_log", "dt_bias")):
        return tensor.num_bytes // 2
    return tensor.num_bytes


def _key(path: str) -> tuple[bool, bool, str]:
    """Whether a tensor is an expert's, whether a shared expert's, and the last word of its module, as we spell it."""
    words = path.split(".")
    shared = any("shared" in word for word in words)
    leaf = re.sub(r"_(blocks|scales|bias|packed)$", "", words[-1])
    return "experts" in words and not shared, shared, LEAVES.get(leaf, leaf)


PARAMETERS = {"weight", "bias", "qweight", "qzeros", "scales", "g_idx", "weight_packed", "weight_scale", "weight_shape",
              "weight_zero_point", "weight_scale_inv", "weight_scale_2", "weight_global_scale", "input_scale",
              "input_global_scale", "absmax", "quant_map", "weight_g_idx", "k_scale", "v_scale"}  # fmt: skip


def _module_path(rest: str) -> str:
    """The module of a tensor in a layer: its name without that of the parameter."""
    path, _, parameter = rest.rpartition(".")
    is_parameter = parameter in PARAMETERS or parameter.startswith(("weight", "quant_state"))
    return path if path and is_parameter else rest


def _by_module(held: Sequence[tuple[str, int]], modules: tuple[Module, ...]) -> tuple[int, ...]:
    """Bytes of each module of one layer; 0 for those that no quantisation touches, whose shape decides."""
    numbers, keys = _places(modules)
    sizes = [0] * len(modules)
    parts: list[set[str]] = [set() for _ in modules]
    rest = 0
    for name, size in held:
        path = re.sub(r"\bexperts\.\d+\.", "experts.0.", _module_path(name))
        number = numbers.get(path, keys.get(_key(path)))
        if number is not None:
            sizes[number] += size
            parts[number].add(_key(path)[2])
        elif not re.search(r"norm|bias|A_log|dt_bias|conv|sinks|gate$|router|\bD\b", path):
            rest += size
    sizes = [_whole(size, module, seen) if module.is_quantizable else 0
             for size, module, seen in zip(sizes, modules, parts, strict=True)]  # fmt: skip
    missing = [n for n, module in enumerate(modules) if module.is_quantizable and not sizes[n]]
    weight = sum(_elements(modules[number]) for number in missing)
    for number in missing:
        sizes[number] = rest * _elements(modules[number]) // weight
    return tuple(sizes)


def _places(modules: Iterable[Module]) -> tuple[dict[str, int], dict[tuple[bool, bool, str], int]]:
    """Number of each module by the names of its tensors, and by what those of other checkpoints are called."""
    numbers: dict[str, int] = {}
    keys: dict[tuple[bool, bool, str], int] = {}
    for number, module in enumerate(modules):
        for part in module.parts:
            numbers[part.name] = number
            keys.setdefault(_key(part.name), number)
    return numbers, keys


def _whole(size: int, module: Module, seen: set[str]) -> int:
    """Bytes of a module of which the checkpoint may hold some parts only, and vLLM repeats them (Gemma 4's values)."""
    known = {_key(part.name)[2]: part.pieces * part.width for part in module.parts}
    there = sum(rows for leaf, rows in known.items() if leaf in seen)
    if seen & {"q_proj"} and module.parts[-1].name.endswith("v_proj") and {"k_proj"} <= seen and "v_proj" not in seen:
        return size * sum(known.values()) // there if there else size
    return size


def _elements(module: Module) -> int:
    rows, columns = module.shape(1)
    return rows * columns * max(1, module.copies)
