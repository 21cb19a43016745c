"""`ModelSpec`: a model's architecture, read from a Hugging Face directory, a bare config.json or a shipped name.

In: a path or name. Out: a frozen value with the names of config.json. Knows nothing of GPUs, sharding or vLLM.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from typing import Any

from planner.errors import InputError
from planner.model.class_defaults import with_defaults
from planner.model.families import FAMILIES, Family
from planner.model.keys import WIDTHS, Keys, whole
from planner.model.modules import Module
from planner.model.quantization import read_quantization
from planner.model.spec import DTYPE_BYTES, ModelSpec
from planner.model.stack import read_layers
from planner.model.vision import ENLARGED_ROPE_FACTOR, VisionTower, vision_tower
from planner.model.vision import FAMILIES as TOWERS
from planner.model.words import doubtful_words, dtype_of, refuse_other_words

UNKNOWN_POSITIONS = 131072
"""Context length in tokens, assumed where config.json gives none."""
POSITIONS = ("max_position_embeddings", "max_target_positions", "n_positions", "seq_length", "max_sequence_length")
"""Keys of the context length (vllm@0.32 config/model.py:_get_and_verify_max_len)."""
UNSAID_MTP_LAYERS = {"qwen3_next": 1}
"""Layers for multi-token prediction of a family whose config.json does not count them (vllm@0.24.0
models/qwen3_next_mtp.py: Qwen3NextMultiTokenPredictor)."""

UNKNOWN = Family(is_known=False)
"""Figures of an ordinary decoder, for a model_type that is not known."""


def spec_from_config(config: Mapping[str, Any], name: str) -> ModelSpec:
    """A spec from the mapping of a config.json. Raises InputError for a key that is missing or not understood."""
    try:
        return _spec(config, name)
    except InputError as error:
        said = language_model(config)[1] if isinstance(config.get("model_type"), str) else ""
        if not said or FAMILIES.get(said.removesuffix("_text"), UNKNOWN).is_known:
            raise
        raise InputError(f"{error}; this architecture is not modelled (model_type {said})") from None
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise InputError(f"{name}: config.json: a value has the wrong form: {error}") from None


def _spec(config: Mapping[str, Any], name: str) -> ModelSpec:
    refuse_other_words(config, name)
    outer, (config, model_type) = config, language_model(config)
    refuse_other_words(config, name)
    outer_type, family_name = str(outer.get("model_type", "")), model_type.removesuffix("_text")
    tower_family = SAME_TOWER.get(outer_type, outer_type.removesuffix("_text") or family_name)
    has_vision_tower = _has_tower(config, tower_family, outer.get("architectures"))
    config = with_defaults(config, model_type)
    keys, family = Keys({**config, "model_type": family_name}, name), FAMILIES.get(family_name, UNKNOWN)
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    rope_type = scaling.get("rope_type", scaling.get("type", "default"))
    positions = keys.number(*POSITIONS, default=UNKNOWN_POSITIONS)
    if rope_type == "yarn":
        positions = whole(
            scaling.get("original_max_position_embeddings", positions), f"{name}: config.json: original positions"
        )
    stretches = rope_type in {"yarn", "linear", "dynamic"} and family_name != "gemma3"
    layers = read_layers(keys, family)
    vision = vision_tower(config, tower_family) if has_vision_tower else None
    families = (tower_family, outer_type)
    tower, is_tower_rough, lacks_tower = (
        _tower(vision, families, config, keys) if has_vision_tower else ((), False, False)
    )
    return ModelSpec(
        name=name,
        model_type=family_name,
        is_known=family.is_known and outer_type not in OWN_CLASSES and keys.value(*POSITIONS) is not None,
        layers=layers,
        beside=_beside(keys, family, len(layers)),
        num_mtp_layers=keys.number(
            "mtp_num_hidden_layers", "num_nextn_predict_layers", default=UNSAID_MTP_LAYERS.get(family_name, 0), least=0
        ),
        draft_vocab_size=keys.number("draft_vocab_size", default=0, least=0),
        num_draft_states=_draft_states(config),
        has_head=family.shape != "bert" and not _pools(outer.get("architectures")),
        hidden_size=keys.number(*WIDTHS),
        vocab_size=keys.number("vocab_size"),
        max_position_embeddings=positions,
        tie_word_embeddings=_ties(outer, keys, family),
        torch_dtype=dtype_of(
            config.get("torch_dtype") or config.get("dtype") or outer.get("torch_dtype"), DTYPE_BYTES, name
        ),
        quantization=read_quantization(config.get("quantization_config"), name),
        rope_factor=_factor(scaling.get("factor", 1.0), name) if stretches else 1.0,
        rope_table_factor=ENLARGED_ROPE_FACTOR if vision is not None and vision.video_frames else 1,
        has_vision_tower=has_vision_tower,
        vision=vision,
        tower=tower,
        is_tower_rough=is_tower_rough,
        lacks_tower=lacks_tower or _has_other_parts(outer),
        checkpoint_bytes=None,
        doubtful=doubtful_words(config, scaling),
    )


def _ties(outer: Mapping[str, Any], keys: Keys, family: Family) -> bool:
    """Whether head and embedding are one; the outer config decides over that of its language model.

    Source: vllm@0.32 config/vllm.py:with_hf_config, so since 0.16.0, which takes transformers 5.
    """
    is_nested = any(isinstance(outer.get(key), Mapping) for key in NESTED)
    if is_nested and outer.get("tie_word_embeddings") is not None:
        return bool(outer["tie_word_embeddings"])
    return keys.flag("tie_word_embeddings", default=family.ties)


def _beside(keys: Keys, family: Family, num_layers: int) -> tuple[Module, ...]:
    if family.shape in {"decoder", "nemotron"} and not family.has_learned_positions:
        return ()
    from planner.model.special_stacks import embedding_modules

    return embedding_modules(keys, family, num_layers)


def _has_tower(config: Mapping[str, Any], family: str, named: Any) -> bool:
    """Whether vLLM loads more than a language model; some families have a class for the language model alone."""
    is_alone = family in TOWERS and isinstance(named, list) and str([*named, ""][0]).endswith("ForCausalLM")
    return not is_alone and any(config.get(key) not in (None, False) for key in TOWER_KEYS)


SAME_TOWER = {"gemma4_unified": "gemma4_unified", "qwen2_5_omni": "qwen2_5_vl", "qwen3_omni_moe": "qwen3_vl_moe",
              "qwen2_5_omni_thinker": "qwen2_5_vl", "qwen3_omni_moe_thinker": "qwen3_vl_moe",
              "shieldgemma2": "gemma3"}  # fmt: skip
"""Family of the vision tower of classes that have another's."""


def _draft_states(config: Mapping[str, Any]) -> int:
    """Layers whose states a drafter takes (vllm@0.32 models/llama_eagle3.py, qwen3_dflash.py)."""
    if isinstance(number := config.get("num_aux_hidden_states"), int):
        return number
    for key, ids in (("eagle_config", "eagle_aux_hidden_state_layer_ids"), ("dflash_config", "target_layer_ids")):
        own = config.get(key)
        if isinstance(own, Mapping) and isinstance(own.get(ids), list):
            return len(own[ids])
    return 0


OWN_CLASSES = {"kimi_k3"}
"""Outer types whose class builds another language model than their nested config's type says (vllm@0.32)."""
SPEECH = ("talker_config", "token2wav_config", "code2wav_config")
"""Configs of parts that speak, which vLLM does not load with a model that hears and sees."""


def _has_other_parts(outer: Mapping[str, Any]) -> bool:
    """Whether it names a part with a class of its own that is neither a language model nor a tower known here."""
    parts = (key for key, value in outer.items() if isinstance(value, Mapping) and value.get("model_type"))
    return any(key.endswith("_config") and key not in {*NESTED, *TOWER_KEYS, *SPEECH} for key in parts)


def _tower(
    vision: VisionTower | None, families: tuple[str, str], config: Mapping[str, Any], keys: Keys
) -> tuple[tuple[Module, ...], bool, bool]:
    """Modules of the towers, whether some are only reckoned, as the family is not known, and whether some are missing.

    `families`: whose vision tower it is, and the model_type that has the audio tower.
    """
    from planner.model.audio_modules import audio_modules
    from planner.model.tower_modules import rough_tower, tower_modules

    width = keys.number(*WIDTHS)
    found: list[Module] = []
    is_rough = lacks = False
    for key in TOWER_KEYS:
        if config.get(key) in (None, False) or (key == "vision_tower" and config.get("vision_config")):
            continue
        named = config[key] if isinstance(config[key], Mapping) else {}
        modules: tuple[Module, ...] = ()
        if key in {"vision_config", "vision_tower"}:
            modules = tower_modules(vision, families[0], named, width)
        elif key == "audio_config" and named:
            modules = audio_modules(named, families[1], width)
        if not modules and key in RECKONED:
            modules = rough_tower(named, width)
            is_rough = is_rough or bool(modules)
        lacks = lacks or not modules
        found += modules
    return tuple(found), is_rough, lacks


def _pools(named: Any) -> bool:
    """Whether the class gives vectors or labels, so that vLLM loads no head (vllm@0.32 models/adapters.py)."""
    return isinstance(named, list) and POOLS.search(str([*named, ""][0])) is not None


POOLS = re.compile(r"(ForSequenceClassification|ForTokenClassification|ForRewardModel|(?<!LMHead)(?<!Chat)Model)$")
"""Names of classes without a head for tokens."""
TOWER_KEYS = ("vision_config", "vision_tower", "audio_tower", "audio_config", "sound_config", "encoder_config",
              "qformer_config")  # fmt: skip
"""Keys of a config.json whose model has weights beside the language model."""
RECKONED = TOWER_KEYS[:5]
"""Those whose towers are reckoned from their depth and width where the family is not known."""
NESTED = ("text_config", "llm_config", "thinker_config", "language_config", "vlm_config")
"""Keys under which a config.json holds that of its language model; that of Qwen's omni models lies two deep."""
LANGUAGE_MODELS = {
    "mistral3": "mistral", "llava": "llama", "llava_next": "llama", "internvl_chat": "qwen2", "qwen2_5_omni": "qwen2",
    "qwen3_omni_moe": "qwen3_moe", "internvl": "qwen2",
}  # fmt: skip
"""Language model of classes whose nested config may leave out its model_type (transformers configuration_*.py)."""


def language_model(config: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The config of the language model with the outer one below it, and its model_type."""
    merged, own_type = dict(config), str(config.get("model_type") or "")
    named = config.get("architectures")
    while True:
        inner = next((merged.pop(key) for key in NESTED if isinstance(merged.get(key), Mapping)), None)
        if inner is None:
            return merged, own_type or _type_of(named)
        own_type = str(inner.get("model_type") or LANGUAGE_MODELS.get(own_type, own_type))
        named = inner.get("architectures") or named
        merged = {**merged, **inner, "model_type": own_type}


MOST_FACTOR = 1e4


def _factor(value: Any, name: str) -> float:
    if not isinstance(value, int | float) or not 0 < value <= MOST_FACTOR:
        raise InputError(
            f"{name}: config.json: rope_scaling.factor: {reprlib.repr(value)} is not from 0 to {MOST_FACTOR:g}"
        )
    return float(value)


def _type_of(architectures: Any) -> str:
    """`Qwen3MoeForCausalLM` -> `qwen3_moe`; empty if config.json names no architecture."""
    if not isinstance(architectures, list) or not architectures:
        return ""
    stem = re.sub(r"(For[A-Z]\w*|LMHeadModel|Model)$", "", str(architectures[0]))
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", stem).lower()
