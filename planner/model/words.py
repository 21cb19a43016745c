"""Words of a config.json that must be one of a few: dtype, classes, rotary scaling, activation, kinds of MLP.

In: the mapping of a config.json. Out: a dtype, or doubts in words. A word that every release refuses is an InputError;
one that only planner does not know is a doubt, since a later release or the model's own code may know it.
"""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Mapping
from typing import Any

from planner.errors import InputError

OTHER_DTYPES = frozenset({
    "double", "float64", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu",
    "int8", "uint8", "int4", "uint4",
})  # fmt: skip
"""Names in torch of dtypes that no model runs in: vLLM takes its first supported one instead, bfloat16.

Source: vllm@0.24 config/model.py:_resolve_auto_dtype. Any other name is an AttributeError of transformers."""
ROTARY = frozenset({
    "default", "llama3", "mllama4", "linear", "ntk", "dynamic", "xdrope", "yarn", "deepseek_yarn",
    "deepseek_llama_scaling", "longrope", "su", "mrope", "proportional", "axial", "openpangu", "telechat3-yarn",
})  # fmt: skip
"""Kinds of rotary scaling that some release takes (vllm@0.8.5..0.33 layers/rotary_embedding:get_rope and
transformers_utils/config.py:patch_rope_scaling, which renames su and mrope)."""
ACTIVATIONS = frozenset({
    "silu", "swish", "gelu", "gelu_fast", "gelu_new", "gelu_pytorch_tanh", "gelu_tanh", "quick_gelu", "relu", "relu2",
    "tanh", "sigmoid", "xielu", "swigluoai", "situ", "geglu", "swiglu",
})  # fmt: skip
"""Activations that some class or vLLM's registry takes (vllm@0.33 layers/activation.py)."""
MLP_KINDS = frozenset({"dense", "sparse", "moe", "hash_moe"})
"""Words of `mlp_layer_types` (transformers configuration_*.py)."""
FP8_ACTIVATIONS = ("static", "dynamic")
"""vllm@0.8.5..0.33 layers/quantization/fp8.py:ACTIVATION_SCHEMES."""
STATE_DTYPES = ("float32", "float16", "bfloat16")
"""dtypes of the states of Mamba's and delta-net layers (vllm@0.24 config/cache.py:MambaDType)."""
TENSOR_TYPES = ("int", "float")
"""compressed_tensors quantization/quant_args.py:QuantizationType."""


def dtype_of(named: Any, known: Collection[str], name: str) -> str:
    """The dtype that weights are held in; bfloat16 where config.json names none, or one that is not among `known`.

    Raises InputError for a name that torch does not have.
    """
    if isinstance(named, Mapping):  # of several parts, the whole or its language model (transformers@4.56)
        named = named.get("") or named.get("text_config")
    if named is None:
        return "bfloat16"
    text = str(named).removeprefix("torch.")
    if text == "float":
        return "float32"
    if text in known:
        return text
    if text not in OTHER_DTYPES or not isinstance(named, str):
        allowed = ", ".join(sorted(known))
        raise InputError(f"{name}: config.json: torch_dtype: {reprlib.repr(named)} is no dtype; allowed: {allowed}")
    return "bfloat16"


def refuse_other_words(config: Mapping[str, Any], name: str) -> None:
    """Raises InputError for classes that are no list of names, and kinds of MLP that no class has."""
    named = config.get("architectures")
    if named is not None and not (isinstance(named, list) and all(isinstance(one, str) for one in named)):
        raise InputError(
            f"{name}: config.json: architectures: {reprlib.repr(named)} is no list of names, as [Qwen3ForCausalLM]"
        )
    kinds = config.get("mlp_layer_types")
    for kind in kinds if isinstance(kinds, list) else ():
        refuse_other(kind, MLP_KINDS, f"{name}: config.json: mlp_layer_types")


def refuse_other(word: Any, allowed: Collection[str], where: str) -> None:
    """Raises InputError unless the word is one of a few."""
    if not isinstance(word, str) or word not in allowed:
        raise InputError(f"{where}: {reprlib.repr(word)}; allowed: {', '.join(sorted(allowed))}")


def doubtful_words(config: Mapping[str, Any], scaling: Any) -> tuple[str, ...]:
    """What a language model's config says in words that planner does not know. `scaling`: its rotary scaling."""
    found = []
    for key, one in _scalings(scaling):
        kind = one.get("rope_type", one.get("type", "default"))
        if kind is not None and (not isinstance(kind, str) or kind not in ROTARY):
            found.append(
                f"config.json: {key}: rope_type {reprlib.repr(kind)} is not known, as yarn and llama3 are: the context "
                "is counted without stretching, and vLLM may refuse it"
            )
    for key in ("hidden_act", "hidden_activation"):
        act = config.get(key)
        if act is not None and (not isinstance(act, str) or act not in ACTIVATIONS):
            found.append(
                f"config.json: {key}: {reprlib.repr(act)} is not known, as silu and gelu are: vLLM may refuse it"
            )
    return tuple(found)


def _scalings(scaling: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """The mapping itself, or one for each kind of layer (Gemma 3 and 4)."""
    if not isinstance(scaling, Mapping):
        return []
    nested = [(f"rope_parameters.{kind}", one) for kind, one in scaling.items() if isinstance(one, Mapping)]
    return nested or [("rope_scaling", scaling)]
