"""What vLLM's words say: `read_flags(words, version)` -> settings, words to pass on, and what the estimate is without.

In: the words after `vllm serve MODEL`, and the version. Out: `VllmFlags`. Raises InputError that names all that the
version does not know.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from packaging.version import Version

from planner.engine.command.config_file import with_config_file
from planner.engine.command.effects import EFFECTS, NOT_KNOWN, Effect, effect_of
from planner.engine.command.spelling import glued_short, human_int
from planner.engine.command.words import UNRESOLVED, GivenFlag, is_invalid_choice, read_words, unknown_words
from planner.engine.config import FIELDS, EngineConfig, convert_settings, settings
from planner.engine.flag_table import BOOLEAN, Release, release_of
from planner.engine.flags import flag
from planner.errors import InputError
from planner.files import half_width

REPLACED = ("model", "served_model_name", "host", "port", "uds", "config")
"""Flags that planner writes itself when it starts an engine; `config` is read, and its flags are passed instead."""
SECRETS = ("api_key", "hf_token")
"""Flags whose value is a secret: not passed on and not written; name their variable under pass_env."""
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
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables that a pasted line sets for the engine."""


def read_flags(
    words: Iterable[str], version: Version, where: str = "command line", own: Sequence[str] = ()
) -> VllmFlags:
    """Read vLLM's words by the rules of its version. `own`: options of planner that a misspelt word may mean.

    Raises InputError, beginning with `where`, that names every word that this version refuses.
    """
    release = release_of(version)
    words = list(words)
    if not words:
        return VllmFlags()
    reading = read_words(with_config_file(words, release, where), release)
    wrong = [unknown_words(reading.unknown, release, own)] if reading.unknown else []
    if wrong or reading.wrong:
        raise InputError(f"{where}: {'; '.join([*wrong, *reading.wrong])} (vLLM {version}{_by(release)})")
    return _meant(reading.last(), reading.given, release, where, [note for word in words for note in glued_short(word)])


def _by(release: Release) -> str:
    return "" if release.is_exact else f", by the rules of {release.version}"


def _meant(
    last: Mapping[str, GivenFlag], given: Sequence[GivenFlag], release: Release, where: str, notes: list[str]
) -> VllmFlags:
    values: dict[str, Any] = {}
    draft: dict[str, Any] = {}
    others: list[GivenFlag] = []
    passed: list[str] = []
    is_auto = False
    for one in last.values():
        name = one.flag.field
        if one.flag.is_auto and _is_auto(one):
            is_auto = True
            passed.append(one.flag.name)
        elif name in FIELDS:
            values[name] = _value(one, where)
        elif name in DRAFT_PARTS and release.knows(flag(DRAFT)):
            draft[DRAFT_PARTS[name]] = _scalar(one.values[0])
        else:
            others.append(one)
            passed.append(one.flag.name)
    if draft:
        values.setdefault(DRAFT, json.dumps(_drafts(draft)))
    refused = [
        f"argument {one.flag.name}: {problem}" for one in others if (problem := is_invalid_choice(one)) is not None
    ]
    if DRAFT in values and (drafts := _object(values.pop(DRAFT))) is not None:
        values[DRAFT] = drafts
    elif flag(DRAFT) in last:
        refused.append(f"argument {flag(DRAFT)}: invalid loads value: {last[flag(DRAFT)].values[0]!r}")
    config = convert_settings(values, where)
    kept = [one for one in given if one.flag.name in passed]
    effects = [(one, effect_of(one)) for one in others]
    if DRAFT in values:
        effects.append((GivenFlag(last.get(flag(DRAFT), next(iter(last.values()))).flag, (), False), EFFECTS[DRAFT]))
    return VllmFlags(
        settings=config,
        extra_args=tuple(word for one in _passed(kept) for word in one.words),
        set_aside=tuple(one.flag.name for one, effect in effects if not effect.is_doubt),
        replaced=tuple(one.flag.name for one in others if one.flag.field in (*REPLACED, *SECRETS)),
        doubts=_doubts([(_draft_name(one, effect), effect) for one, effect in effects if effect.is_doubt]),
        refused=tuple(refused),
        notes=tuple(notes),
        is_context_auto=is_auto,
    )


def _draft_name(one: GivenFlag, effect: Effect) -> str:
    return flag(DRAFT) if effect is EFFECTS[DRAFT] and not one.values else one.flag.name


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


def _doubts(found: Iterable[tuple[str, Effect]]) -> tuple[Unmodelled, ...]:
    """One doubt for each reason."""
    by_effect: dict[Effect, list[str]] = {}
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
    """Both readings together; where both give a setting, `then` wins."""
    return VllmFlags(
        settings=msgspec.structs.replace(first.settings, **settings(then.settings)),
        extra_args=first.extra_args + then.extra_args,
        set_aside=first.set_aside + then.set_aside,
        replaced=first.replaced + then.replaced,
        doubts=first.doubts + then.doubts,
        refused=first.refused + then.refused,
        notes=first.notes + then.notes,
        env={**first.env, **then.env},
        is_context_auto=then.is_context_auto or (first.is_context_auto and then.settings.max_model_len is None),
    )


def not_classified(name: str) -> bool:
    """Whether nothing is known of what a flag does to memory."""
    return EFFECTS.get(name, Effect(NOT_KNOWN)).reason == NOT_KNOWN
