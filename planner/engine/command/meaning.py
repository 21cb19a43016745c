"""What vLLM's words say: `read_flags(words, version)` -> settings, words to pass on, and what the estimate is without.

In: the words after `vllm serve MODEL`, and the version. Out: `VllmFlags`. Raises InputError that names all that the
version does not know.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, TypeVar

import msgspec
from packaging.version import Version

from planner.engine.adapters import Lora
from planner.engine.command.arity import full_name, is_flag
from planner.engine.command.compiling import compilation
from planner.engine.command.config_file import with_config_file
from planner.engine.command.effects import EFFECTS, MOST, FlagEffect, effect_of, pools
from planner.engine.command.inputs import image_size, left_out
from planner.engine.command.spelling import glued_short, human_int
from planner.engine.command.words import UNRESOLVED, GivenFlag, is_invalid_choice, read_words, unknown_words
from planner.engine.config import FIELDS, EngineConfig, convert_settings, settings
from planner.engine.flag_table import BOOLEAN, Release, release_of
from planner.engine.flags import flag
from planner.engine.traits import NO_TRAITS, EngineTraits
from planner.errors import InputError
from planner.files import half_width

T = TypeVar("T")

REPLACED = ("model", "served_model_name", "host", "port", "uds", "config")
"""Flags that planner writes itself when it starts an engine; `config` is read, and its flags are passed instead."""
SECRETS = ("api_key", "hf_token")
"""Flags whose value is a secret: not passed on and not written; name their variable under pass_env."""
SECRET_FLAGS = frozenset(map(flag, SECRETS))
DRAFT = "speculative_config"
DRAFT_PARTS = {
    "spec_method": "method",
    "spec_model": "model",
    "spec_tokens": "num_speculative_tokens",
    "speculative_model": "model",
    "num_speculative_tokens": "num_speculative_tokens",
    "ngram_prompt_lookup_max": "prompt_lookup_max",
    "ngram_prompt_lookup_min": "prompt_lookup_min",
    "speculative_model_quantization": "quantization",
    "speculative_draft_tensor_parallel_size": "draft_tensor_parallel_size",
    "speculative_max_model_len": "max_model_len",
    "speculative_disable_by_batch_size": "disable_by_batch_size",
}
"""Flags that are keys of the speculative config (vllm@0.8.5, 0.27.0 engine/arg_utils.py:create_speculative_config)."""
NO_SETTINGS = EngineConfig()
NGRAM = "[ngram]"
"""Draft model that stands for n-gram lookup (vllm@0.8.1 config.py:SpeculativeConfig.maybe_create_spec_config)."""


@dataclass(frozen=True, slots=True)
class Unmodelled:
    """Flags that move memory in a way that is not modelled."""

    flags: tuple[str, ...]
    reason: str
    share: float
    """Most of a card's memory that they may take, as a share; a guess. 0 if they take none."""
    images_only: bool
    """Whether they matter only to a model that reads images."""

    @property
    def words(self) -> str:
        return f"{', '.join(self.flags)}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmFlags:
    """vLLM's words as one release reads them."""

    settings: EngineConfig = NO_SETTINGS
    extra_args: tuple[str, ...] = ()
    """The flags that are no settings, as they are passed to the engine."""
    set_aside: tuple[str, ...] = ()
    """Names of flags without an effect on GPU memory."""
    replaced: tuple[str, ...] = ()
    """Names of flags that planner writes itself when it starts an engine, or does not pass on as they are secrets."""
    doubts: tuple[Unmodelled, ...] = ()
    refused: tuple[str, ...] = ()
    """Values that this release refuses, in argparse's words."""
    notes: tuple[str, ...] = ()
    is_context_auto: bool = False
    """Whether max_model_len is to be as large as memory allows."""
    traits: EngineTraits = NO_TRAITS
    """What the flags that are no settings leave of the engine and of what it loads."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables that a pasted line sets for the engine."""


NO_FLAGS = VllmFlags()
OF_ANOTHER_BUILD = "no release of vLLM has it, and what a build that has it does with memory is not known"


def read_flags(
    words: Iterable[str], version: Version, where: str = "command line", own: Sequence[str] = ()
) -> VllmFlags:
    """Read vLLM's words by the rules of its version. `own`: options of planner that a misspelt word may mean.

    Raises InputError, beginning with `where`, that names every word that this version refuses.
    """
    release = release_of(version)
    words = list(words)
    if not words:
        return NO_FLAGS
    reading = read_words(with_config_file(words, release, where), release)
    wrong = [unknown_words(reading.unknown, release, own)] if reading.unknown else []
    if wrong or reading.wrong:
        raise InputError(f"{where}: {'; '.join([*wrong, *reading.wrong])} (vLLM {version}{_by(release)})")
    return _meant(reading.last(), reading.given, release, where, [note for word in words for note in glued_short(word)])


def read_extra_args(words: Iterable[str], version: Version, where: str) -> VllmFlags:
    """Read further flags of a study. A flag that no release of vLLM has may be of another build: it is a doubt.

    Raises InputError for what other releases take and this version does not, and for wrong values.
    """
    release = release_of(version)
    words = with_config_file(list(words), release, where)
    if not words:
        return NO_FLAGS
    reading = read_words(words, release)
    unknown = {word: word.partition(" ")[0].partition("=")[0] for word in reading.unknown}
    of_others = [word for word, name in unknown.items() if full_name(name) is not None]
    own = [name for word, name in unknown.items() if word not in of_others and is_flag(name)]
    if of_others or reading.wrong:
        wrong = [unknown_words(of_others, release)] if of_others else []
        raise InputError(f"{where}: {'; '.join([*wrong, *reading.wrong])} (vLLM {version}{_by(release)})")
    found = _meant(reading.last(), reading.given, release, where, [])
    if not own:
        return found
    return replace(found, doubts=(*found.doubts, Unmodelled(tuple(own), OF_ANOTHER_BUILD, MOST, images_only=False)))


def _by(release: Release) -> str:
    return "" if release.is_exact else f", by the rules of {release.version}"


@dataclass(slots=True)
class _Sorted:
    """The flags of a line by what they are."""

    values: dict[str, Any] = field(default_factory=dict)
    """Settings, by field, as `convert_settings` takes them."""
    draft: dict[str, Any] = field(default_factory=dict)
    """Keys of the speculative config that have flags of their own."""
    others: list[GivenFlag] = field(default_factory=list)
    passed: set[str] = field(default_factory=set)
    """Names of the flags that are passed on as they are."""
    is_auto: bool = False


def _sorted(last: Iterable[GivenFlag], release: Release, where: str) -> _Sorted:
    found = _Sorted()
    for one in last:
        name = one.flag.field
        if one.flag.is_auto and _is_auto(one):
            found.is_auto = True
            found.passed.add(one.flag.name)
        elif name in FIELDS:
            found.values[name] = _value(one, where)
        elif name in DRAFT_PARTS and release.knows(flag(DRAFT)):
            found.draft[DRAFT_PARTS[name]] = _scalar(one.values[0])
        else:
            found.others.append(one)
            found.passed.add(one.flag.name)
    return found


def _meant(
    last: Mapping[str, GivenFlag], given: Sequence[GivenFlag], release: Release, where: str, notes: list[str]
) -> VllmFlags:
    found = _sorted(last.values(), release, where)
    values = found.values
    choices = ((one.flag.name, is_invalid_choice(one)) for one in found.others)
    refused = [f"argument {name}: {problem}" for name, problem in choices if problem is not None]
    written = values.pop(DRAFT, json.dumps(_drafts(found.draft)) if found.draft else None)
    if written is not None:
        if (drafts := _object(written)) is not None:
            values[DRAFT] = drafts
        else:
            found.passed.add(flag(DRAFT))
            refused.append(f"argument {flag(DRAFT)}: invalid loads value: {written!r}")
    passed = _passed(one for one in given if one.flag.name in found.passed)
    effects = flags_with_effects(found.others, [] if written is None else [EFFECTS[DRAFT]])
    return VllmFlags(
        settings=convert_settings(values, where),
        extra_args=tuple(word for one in passed for word in one.words),
        set_aside=effects.set_aside,
        replaced=tuple(one.flag.name for one in found.others if one.flag.field in (*REPLACED, *SECRETS)),
        doubts=effects.doubts,
        refused=tuple(refused),
        notes=tuple(notes),
        is_context_auto=found.is_auto,
        traits=effects.traits,
    )


def flags_with_effects(given: Iterable[GivenFlag], further: Iterable[FlagEffect] = ()) -> VllmFlags:
    """What flags that are no settings do to memory. `further`: the effect of the speculative config if there is one."""
    given = list(given)
    effects = [(one.flag.name, effect_of(one)) for one in given] + [(flag(DRAFT), effect) for effect in further]
    return VllmFlags(
        traits=EngineTraits(
            without=left_out(given),
            image_size=image_size(given),
            lora=_lora(given),
            compilation=compilation(given),
            pools=any(map(pools, given)),
        ),
        set_aside=tuple(name for name, effect in effects if not effect.is_doubt),
        doubts=_doubts((name, effect) for name, effect in effects if effect.is_doubt),
    )


def draft_doubts(engine: EngineConfig) -> tuple[Unmodelled, ...]:
    """Doubts about what a draft among the settings takes beside what is modelled; empty without one."""
    return _doubts([(flag(DRAFT), EFFECTS[DRAFT])]) if engine.speculative_config is not None else ()


def _lora(given: Iterable[GivenFlag]) -> Lora | None:
    """Room for LoRA adapters if they are enabled; a flag that is not given has vLLM's default."""
    last = {one.flag.field: one for one in given}
    enabled = last.get("enable_lora")
    if enabled is None or enabled.is_off:
        return None

    def number(name: str, default: int) -> int:
        one = last.get(name)
        return int(one.values[-1]) if one is not None and one.values and one.values[-1].isdigit() else default

    sharded = last.get("fully_sharded_loras")
    return Lora(
        number("max_loras", 1),
        number("max_lora_rank", 16),
        sharded is not None and not sharded.is_off,
    )


def _passed(given: Iterable[GivenFlag]) -> list[GivenFlag]:
    """The flags to pass on. A flag that may stand there once is passed as it counts, the last time."""
    found: dict[str, GivenFlag] = {}
    for number, one in enumerate(given):
        if one.flag.field in (*REPLACED, *SECRETS):
            continue
        key = f"{one.flag.name} {number}" if one.flag.kind == "append" else one.flag.name
        found.pop(key, None)
        found[key] = one
    return list(found.values())


def _doubts(found: Iterable[tuple[str, FlagEffect]]) -> tuple[Unmodelled, ...]:
    """One doubt for each reason."""
    by_effect: dict[FlagEffect, list[str]] = {}
    for name, effect in found:
        by_effect.setdefault(effect, []).append(name)
    return tuple(
        Unmodelled(tuple(names), effect.reason, effect.share, effect.images_only) for effect, names in by_effect.items()
    )


def _is_auto(one: GivenFlag) -> bool:
    return one.flag.is_auto and half_width(one.values[0]).strip().lower() in {"auto", "-1"}


def _value(one: GivenFlag, where: str) -> Any:
    """A setting's value as `convert_settings` takes it. Raises InputError for a shell's variable."""
    if one.flag.kind in BOOLEAN:
        return not one.is_off
    text = half_width(one.values[0]).strip()
    field = one.flag.field
    if UNRESOLVED.search(text):
        raise InputError(
            f"{where}: {field}: {text} is a variable whose value is not known here; write the value itself"
        )
    if one.flag.is_human and (number := human_int(text)) is not None:
        return number
    if one.flag.kind == "float" and isfinite(float(text)):
        return float(text)
    if field == "attention_backend":
        return text.upper()  # vllm@0.13.0 v1/attention/backends/registry.py looks the name up in capitals
    return "float32" if field == "dtype" and text == "float" else text


def _scalar(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _drafts(parts: Mapping[str, Any]) -> dict[str, Any]:
    if parts.get("model") == NGRAM:
        return {"method": "ngram", **{key: value for key, value in parts.items() if key != "model"}}
    return dict(parts)


def _object(text: str) -> str | None:
    """A JSON object in one line; None if the text is none."""
    found = _scalar(text)
    return json.dumps(found) if isinstance(found, dict) else None


def merged(first: VllmFlags, then: VllmFlags) -> VllmFlags:
    """Both readings together, what both say once; where both give a setting, `then` wins."""
    return VllmFlags(
        settings=msgspec.structs.replace(first.settings, **settings(then.settings)),
        extra_args=_once(first.extra_args, then.extra_args),
        traits=first.traits.under(then.traits),
        set_aside=_once(first.set_aside, then.set_aside),
        replaced=_once(first.replaced, then.replaced),
        doubts=_once(first.doubts, then.doubts),
        refused=_once(first.refused, then.refused),
        notes=_once(first.notes, then.notes),
        env={**first.env, **then.env},
        is_context_auto=then.is_context_auto or (first.is_context_auto and then.settings.max_model_len is None),
    )


def _once(first: tuple[T, ...], then: tuple[T, ...]) -> tuple[T, ...]:
    """Both, each value once."""
    return tuple(dict.fromkeys((*first, *then)))
