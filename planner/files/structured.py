"""YAML and JSON as typed values, strictly: an error names file, key, what is wrong and what is allowed.

In: text and a msgspec type. Out: a value of that type, and text again. It knows no type of any other package."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from planner.errors import InputError
from planner.files.mistakes import explained
from planner.units import Bytes, Seconds, parse_bytes, parse_seconds

T = TypeVar("T")


MOST_DEPTH, MOST_VALUES, MOST_DIGITS = 30, 20_000, 40
"""Limits on a YAML file: nesting depth, number of values with every alias written out, characters of a number."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with limits on nesting, aliases and numbers. A key may occur only once in a mapping."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._count = 0
        self._counts: dict[str, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event, before = self.peek_event(), self._count  # type: ignore[no-untyped-call]
        is_alias, anchor = isinstance(event, yaml.AliasEvent), getattr(event, "anchor", None)
        if is_alias and anchor in self.anchors and anchor not in self._counts:
            raise ComposerError(None, None, f"alias {anchor} stands within what it names", event.start_mark)
        self._depth += 1
        self._count += self._counts.get(str(anchor), 1) if is_alias else 1
        if self._depth > MOST_DEPTH:
            raise ComposerError(None, None, f"nested more than {MOST_DEPTH} deep", event.start_mark)
        if self._count > MOST_VALUES:
            raise ComposerError(None, None, f"more than {MOST_VALUES} values, aliases written out", event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if anchor is not None and not is_alias:
            self._counts[anchor] = self._count - before
        return node

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        seen: set[str] = set()
        for key in keys:
            if key.value in seen and key.value != "<<":
                raise ConstructorError(None, None, f"key {key.value[:100]} stands there twice", key.start_mark)
            seen.add(key.value)
        return node

    def construct_number(self, node: yaml.ScalarNode) -> Any:
        if len(node.value) > MOST_DIGITS:
            raise ConstructorError(None, None, f"a number of {len(node.value)} characters", node.start_mark)
        is_whole = node.tag.endswith(":int")
        return self.construct_yaml_int(node) if is_whole else self.construct_yaml_float(node)


for _tag in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.construct_number)


NONE_TYPED: Mapping[str, str] = MappingProxyType({})


def decode(text: str, kind: type[T], where: str) -> T:
    """YAML text to a value of `kind`. Raises InputError: `file: key.path: what is wrong`."""
    return convert(_read(text, where, lambda loader: loader.get_single_data()), kind, where)


def decode_all(text: str, where: str) -> list[Any]:
    """Every document of a YAML text, as plain values. Raises InputError."""

    def documents(loader: _Loader) -> list[Any]:
        found = []
        while loader.check_data():  # type: ignore[no-untyped-call]
            found.append(loader.get_data())
        return found

    return convert(_read(text, where, documents), list[Any], where)


def _read(text: str, where: str, read: Callable[[_Loader], Any]) -> Any:
    try:
        return read(_Loader(text))
    except yaml.YAMLError as error:
        raise InputError(f"{where}: is not YAML: {error}") from None
    except (
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
        RecursionError,
    ) as error:  # a value that does not fit its tag
        raise InputError(f"{where}: is not YAML: a value has the wrong form: {error}") from None


_CONTROL = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that YAML can hold only as an escape (YAML 1.2.2, 5.1): no path, flag or terminal can use NUL and its
like. Also the line ends that YAML 1.1 and 1.2 read differently."""


def _refuse_controls(value: Any, where: str, seen: set[int]) -> None:
    """Raises InputError for a control character in any text. Visits each container once: aliases can make cycles."""
    if isinstance(value, str) and (found := _CONTROL.search(value)):
        raise InputError(
            f"{where}: {value[:40]!a}: has the control character {found[0]!a}, which no value here can have"
        )
    if isinstance(value, dict | list) and id(value) not in seen:
        seen.add(id(value))
        for part in [*value, *value.values()] if isinstance(value, dict) else value:
            _refuse_controls(part, where, seen)


def convert(data: Any, kind: type[T], where: str, typed: Mapping[str, str] = NONE_TYPED) -> T:
    """A value of `kind`. `typed`: the option that stands for a key, by the key's path.

    Raises InputError: `where: key.path: what is wrong`, or `--option: what is wrong`.
    """
    _refuse_controls(data, where, set())
    try:
        return msgspec.convert(data, kind, dec_hook=_decode_unit)
    except msgspec.ValidationError as error:
        path, message = explained(error, kind)
        hint = _hint_of_exponent(_at(data, path)) if "got `str`" in message else ""
        place = typed.get(path) or f"{where}: {path}".removesuffix(": ")
        raise InputError(f"{place}: {message}{hint}") from None
    except (ArithmeticError, ValueError, RecursionError) as error:  # for example an integer too large to print
        raise InputError(f"{where}: {error}") from None


_EXPONENT = re.compile(r"([+-]?\d{1,40})(\.\d{0,40})?[eE]([+-]?)(\d{1,4})")
"""A number that YAML 1.1 reads as text: its exponent has no sign, or its mantissa no point."""


def _hint_of_exponent(value: Any) -> str:
    """How to write a number that YAML took for text; empty for any other value."""
    match = _EXPONENT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return ""
    return f"; YAML reads {value} as text: write {match[1]}{match[2] or '.0'}e{match[3] or '+'}{match[4]}"


def _at(data: Any, path: str) -> Any:
    """The value at a path of an error, `loads[0].rate`; None if it is not there."""
    for key in re.findall(r"[^.\[\]]+", path):
        if isinstance(data, Mapping):
            data = data.get(key)
        elif isinstance(data, list) and key.isdigit() and int(key) < len(data):
            data = data[int(key)]
        else:
            return None
    return data


def _decode_unit(kind: type, value: Any) -> Any:
    if kind is Bytes:
        return parse_bytes(value)
    if kind is Seconds:
        return parse_seconds(value)
    raise NotImplementedError(f"no YAML form for {kind}")


def encode(value: Any) -> str:
    """A value as YAML text that `decode` reads back."""
    builtins = msgspec.to_builtins(value, enc_hook=_encode_unit)
    return yaml.safe_dump(builtins, sort_keys=False, allow_unicode=True)


def _encode_unit(value: Any) -> Any:
    if isinstance(value, Bytes):
        return int(value)
    if isinstance(value, Seconds):
        return float(value)
    raise NotImplementedError(f"no YAML form for {type(value)}")


def parse_json(text: str | bytes, where: str) -> Any:
    """Parse JSON as Python does: NaN and Infinity are allowed, as config.json files have them. Raises InputError."""
    try:
        return json.loads(text)
    except RecursionError:
        raise InputError(f"{where}: is not JSON that can be read: nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{where}: is not JSON: {error}") from None


def pretty_json(document: Mapping[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(document)).decode()
