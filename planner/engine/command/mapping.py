"""vLLM's flags as a mapping of names to values, as a JSON request has them: `read_mapping(given, version)`.

The same rules as for words: what a release does not have is refused in its words, and the rest has its effect.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from packaging.version import Version

from planner.engine.command.arity import full_name
from planner.engine.command.effects import EFFECTS, MOST
from planner.engine.command.meaning import DRAFT, OF_ANOTHER_BUILD, Unmodelled, VllmFlags, flags_with_effects
from planner.engine.command.spelling import human_int
from planner.engine.command.words import GivenFlag, is_invalid_choice
from planner.engine.config import FIELDS, EngineConfig
from planner.engine.flag_table import BOOLEAN, Release, lifespan_words, release_of, short_names
from planner.engine.flags import ATTENTION_BACKEND_ENV, flag
from planner.errors import InputError
from planner.files import near_names

_RANGES = ("Expected `int` >", "Expected `int` <", "Expected `float` >", "Expected `float` <", "Invalid enum value")
"""How messages begin about values of the right type that vLLM refuses."""


@dataclass(slots=True)
class MappedFlags:
    """A mapping as one release reads it."""

    settings: dict[str, Any] = field(default_factory=dict)
    """By EngineConfig's names; also those that the release does not have."""
    given: list[GivenFlag] = field(default_factory=list)
    """Flags that are no settings."""
    own: list[str] = field(default_factory=list)
    """Flags that no release of vLLM has."""
    refused: list[str] = field(default_factory=list)
    """What the release's command line refuses, in argparse's words."""
    is_context_auto: bool = False

    @property
    def flags(self) -> VllmFlags:
        found = flags_with_effects(self.given, [EFFECTS[DRAFT]] if DRAFT in self.settings else [])
        own = [Unmodelled(tuple(self.own), OF_ANOTHER_BUILD, MOST, images_only=False)] if self.own else []
        return VllmFlags(
            set_aside=found.set_aside,
            doubts=(*found.doubts, *own),
            refused=tuple(self.refused),
            is_context_auto=self.is_context_auto,
            traits=found.traits,
        )


def read_mapping(given: Mapping[str, Any], version: Version) -> MappedFlags:
    """Read flags by name, with underscores or hyphens. A value of None is as if the flag were not there.

    Raises InputError for a misspelt name, a flag that is there twice, and a value of the wrong type.
    """
    release, found, seen = release_of(version), MappedFlags(), dict[str, str]()
    for key, value in given.items():
        name = _name(key)
        if name in seen:
            raise InputError(f"engine: {seen[name]} and {key} are one flag; leave one")
        seen[name] = key
        if value is None:
            continue
        is_no = name.startswith("no_") and isinstance(value, bool) and name[3:] in {*FIELDS, *EFFECTS}
        _add(name[3:] if is_no else name, not value if is_no else value, key, release, found)
    return found


def _name(key: str) -> str:
    """The flag's field: of a short name without its hyphen, and of the variable that was the attention backend, too."""
    bare = key.lstrip("-").replace("-", "_")
    if not bare:
        raise InputError(f"engine: {key!r} is no name of a flag")
    if key == ATTENTION_BACKEND_ENV:
        return "attention_backend"
    if (short := short_names().get(f"-{bare}") or short_names().get(f"--{bare.replace('_', '-')}")) is not None:
        return short[2:].replace("-", "_")
    whole = full_name(flag(bare))
    is_prefix = whole is not None and whole.startswith(flag(bare))
    return whole[2:].replace("-", "_") if whole is not None and is_prefix else bare


def _add(name: str, value: Any, key: str, release: Release, found: MappedFlags) -> None:
    if name in FIELDS:
        _add_setting(name, value, key, release, found)
        return
    known = release.flag(flag(name))
    if known is not None:
        one = GivenFlag(known, () if known.kind in BOOLEAN else (_text(value),), is_off=value is False)
        found.given.append(one)
        if (problem := is_invalid_choice(one)) is not None:
            found.refused.append(f"argument {known.name}: {problem}")
    elif name in EFFECTS:
        found.refused.append(f"unrecognized arguments: {flag(name)} ({lifespan_words(flag(name))})")
    elif near := near_names(name, FIELDS, most=1, cutoff=0.9):
        raise InputError(f"engine.{key}: unknown; {near[0]} is meant?")
    else:
        found.own.append(flag(name))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _add_setting(name: str, value: Any, key: str, release: Release, found: MappedFlags) -> None:
    known = release.flag(flag(name))
    if known is not None and known.is_auto and value in {"auto", -1, "-1"}:
        found.is_context_auto = True
        return
    if name == DRAFT:
        text = _text(value)
        try:
            is_object = isinstance(json.loads(text), dict)
        except ValueError:
            is_object = False
        if not is_object:
            found.refused.append(f"argument {flag(name)}: invalid loads value: {text!r}")
            return
        value = json.dumps(json.loads(text))
    if isinstance(value, list | dict):
        raise InputError(f"engine.{name}: a list or mapping is not a value of this setting")
    if isinstance(value, str) and (number := human_int(value)) is not None:
        if known is not None and not known.is_human:
            found.refused.append(f"argument {flag(name)}: invalid int value: {value!r}")
            return
        value = number
    try:
        found.settings[name] = getattr(msgspec.convert({name: value}, EngineConfig, strict=False), name)
    except msgspec.ValidationError as error:
        message = str(error).partition(" - at")[0]
        if not message.startswith(_RANGES):
            raise InputError(f"engine.{key}: {message}") from None
        found.refused.append(f"{name}: {value!r}: {message}")
