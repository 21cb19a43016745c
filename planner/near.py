"""What a misspelt word may have meant: `near_names("Qwen3-9B", known)`, and what a refused YAML value may be."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec


def near_names(word: str, known: Iterable[str], most: int = 3, cutoff: float = 0.6) -> list[str]:
    """The known words most like this one, the likest first; case and width do not matter."""
    spelled: dict[str, str] = {}
    for name in known:
        spelled.setdefault(name.lower(), name)
    return [spelled[near] for near in difflib.get_close_matches(half_width(word).lower(), spelled, most, cutoff)]


def half_width(word: str) -> str:
    """`ＲＴＸ　４０９０`, as a Chinese keyboard may write it, in plain letters."""
    return unicodedata.normalize("NFKC", word)


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """`; did you mean max_num_seqs?`, or nothing where nothing is near."""
    near = near_names(word, known, cutoff=cutoff)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def explained(error: msgspec.ValidationError, kind: type) -> tuple[str, str]:
    """Where a value of `kind` is wrong, as `key.path`, and why, with what is allowed there or near."""
    message, _, path = str(error).partition(" - at `")
    path = path.rstrip("`").removeprefix("$").replace("[...]", "").lstrip(".")
    there = list(_kinds_at(kind, re.sub(r"\[\d+\]", "", path)))
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", message):
        keys = [field.encode_name for one in there if _is_struct(one) for field in msgspec.structs.fields(one)]
        message = f"unknown key `{unknown[1]}`{did_you_mean(unknown[1], keys)}"
    elif message.startswith("Invalid enum value"):
        allowed = [str(value) for one in there if get_origin(one) is Literal for value in get_args(one)]
        message += f"; allowed: {', '.join(allowed)}" if allowed else ""
    message = message.replace("Object missing required field", "missing key")
    return path, re.sub(r"\bObject\b", "mapping", message)


def _kinds_at(kind: Any, path: str) -> Iterator[Any]:
    """The types that a key path may have a value of."""
    name, _, rest = path.partition(".")
    if not name:
        yield from _parts(kind)
        return
    for part in _parts(kind):
        if _is_struct(part) and name in part.__struct_fields__:
            yield from _kinds_at(get_type_hints(part, include_extras=True)[name], rest)


def _parts(kind: Any) -> Iterator[Any]:
    """The types that a union, a list or the values of a mapping are made of."""
    if get_origin(kind) in (None, Literal):
        yield kind
    else:
        for part in get_args(kind):
            yield from _parts(part)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
