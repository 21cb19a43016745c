"""What is wrong with a decoded value, in words: the key's path, and the message with allowed values or similar keys.

In: msgspec's ValidationError and the type it was decoded as. It reads no file and no YAML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from planner.files.spelling import did_you_mean

_WORDS: dict[str, str] = {}
"""Regular expression of a text -> what it allows, in words."""


def matching(pattern: str, words: str) -> msgspec.Meta:
    """A text that matches `pattern`; `words` say what is allowed: `is no name: allowed are ...`."""
    _WORDS[pattern] = words
    return msgspec.Meta(pattern=pattern)


def explained(error: msgspec.ValidationError, kind: type) -> tuple[str, str]:
    """Where a value of `kind` is wrong, as `key.path`, and the message, with allowed values or similar keys."""
    message, _, path = str(error).partition(" - at `")
    path = path.rstrip("`").removeprefix("$").replace("[...]", "").lstrip(".")
    there = list(_kinds_at(kind, re.sub(r"\[\d+\]", "", path)))
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", message):
        keys = [field.encode_name for one in there if _is_struct(one) for field in msgspec.structs.fields(one)]
        message = f"unknown key `{unknown[1]}`{did_you_mean(unknown[1], keys)}"
    elif message.startswith("Invalid enum value"):
        allowed = [str(value) for one in there if get_origin(one) is Literal for value in get_args(one)]
        message += f"; allowed: {', '.join(allowed)}" if allowed else ""
    elif (refused := re.fullmatch(r"Expected `str` matching regex '(.*)'", message)) is not None:
        words = _WORDS.get(refused[1].replace("\\\\", "\\"))
        message = f"allowed: {words}" if words is not None else message
    message = message.replace("Object missing required field", "missing key")
    return path, re.sub(r"\bObject\b", "mapping", message)


def _kinds_at(kind: Any, path: str) -> Iterator[Any]:
    """The types that the value at a key path may have."""
    name, _, rest = path.partition(".")
    if not name:
        yield from _parts(kind)
        return
    for part in _parts(kind):
        if _is_struct(part) and name in part.__struct_fields__:
            yield from _kinds_at(get_type_hints(part, include_extras=True)[name], rest)


def _parts(kind: Any) -> Iterator[Any]:
    """The types inside a union, a list or a mapping; any other type itself."""
    if get_origin(kind) in (None, Literal):
        yield kind
    else:
        for part in get_args(kind):
            yield from _parts(part)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
