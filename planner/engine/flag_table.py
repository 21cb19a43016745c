"""Every flag of `vllm serve` by release, the only home of which release knows what: `release_of(version)`, `lifespan`.

In: data/vllm-flags.json, which tools/flags/make_table.py reads from vLLM's sources. Out: `Release`, the flags and
parser rules of one release. It knows neither settings nor what a flag does.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from typing import Any, Literal

import msgspec
from packaging.version import Version

Kind = Literal[
    "value", "int", "float", "json", "list", "append", "optional_value", "store_true", "store_boolean", "bool_optional"
]
"""What follows a flag: one word (any, a whole number, a number, JSON), several, one or none, none; `store_boolean`
takes true or false or nothing; `bool_optional` takes nothing and has `--no-x`."""
NO_WORD: frozenset[Kind] = frozenset({"store_true", "bool_optional"})
"""Kinds that no value follows."""
BOOLEAN: frozenset[Kind] = NO_WORD | {"store_boolean"}


class Rules(msgspec.Struct, frozen=True):
    """How the parser of a release reads its words (vllm utils: FlexibleArgumentParser)."""

    dotted: bool
    """`--x.key value` is the JSON `{"key": value}` of `--x`."""
    plus: bool
    """`--x.key+ value` appends to a list."""
    dotted_human: bool
    """`--x.key 1k` is 1000."""
    pairs: bool
    """`--disable-x` is the reverse of the boolean `--enable-x`, and the other way round."""
    level: Literal["word", "level", "mode", "flag"]
    """What `-O3` is: `-O 3`, the key level or mode of the compilation config, or a flag of its own."""
    config_lists: bool
    """A file for --config may hold lists."""
    config_mappings: bool
    """A file for --config may hold mappings."""
    config_no: bool
    """False in a file for --config becomes `--no-x`."""


class _FlagRow(msgspec.Struct, frozen=True):
    """One flag of data/vllm-flags.json. Lists hold (release, value from it on)."""

    since: str
    until: str | None
    kinds: list[tuple[str, Kind]]
    choices: list[tuple[str, list[str]]] = []
    also: list[tuple[str, list[str]]] = []
    human: str | None = None
    auto: str | None = None


class _FlagTable(msgspec.Struct, frozen=True):
    versions: list[str]
    rules: list[tuple[str, Rules]]
    flags: dict[str, _FlagRow]


@dataclass(frozen=True, slots=True)
class VllmFlag:
    """One flag as one release takes it."""

    name: str
    """With hyphens: `--max-model-len`."""
    kind: Kind
    choices: tuple[str, ...]
    """Every value it takes; empty if it takes others too, or if they are not known."""
    also: tuple[str, ...]
    """Its other names, such as `-tp`."""
    is_human: bool
    """Whether 16k is 16 000 and 16K 16 384."""
    is_auto: bool
    """Whether auto and -1 mean: what fits."""

    @property
    def field(self) -> str:
        """The name as settings are written: `max_model_len`."""
        return field_of(self.name)

    def negatives(self, rules: Rules) -> tuple[str, ...]:
        """The flags that turn it off."""
        if self.kind != "bool_optional":
            return ()
        names = [name for name in (self.name, *self.also) if name.startswith("--")]
        off = ["--no-" + name[2:] for name in names]
        for before, after in (("--enable-", "--disable-"), ("--disable-", "--enable-")):
            off += [after + name.removeprefix(before) for name in names if rules.pairs and name.startswith(before)]
        return tuple(off)


@dataclass(frozen=True)
class Release:
    """The flags and parser rules of one release."""

    version: str
    is_exact: bool
    """Whether the release that was asked for is in the table; else this is the nearest earlier one, or the oldest."""
    is_newest: bool
    _number: int

    @cached_property
    def rules(self) -> Rules:
        return _at(_table().rules, self._number)

    @cached_property
    def flags(self) -> dict[str, VllmFlag]:
        """By name, in alphabetical order."""
        return {name: self._flag(name, row) for name, row in _table().flags.items() if self.knows(name)}

    @cached_property
    def names(self) -> frozenset[str]:
        """Every long name that the release's help shows, `--no-x` among them."""
        every = (name for flag in self.flags.values() for name in (flag.name, *flag.also, *flag.negatives(self.rules)))
        return frozenset(name for name in every if name.startswith("--"))

    def knows(self, name: str) -> bool:
        """Whether the release has a flag of this full name."""
        row = _table().flags.get(name)
        if row is None or self._number < _number(row.since):
            return False
        return row.until is None or self._number < _number(row.until)

    def flag(self, name: str) -> VllmFlag | None:
        """The flag of this full name; None if the release does not have it."""
        return self._flag(name, _table().flags[name]) if self.knows(name) else None

    def _flag(self, name: str, row: _FlagRow) -> VllmFlag:
        return VllmFlag(
            name,
            _at(row.kinds, self._number),
            tuple(_at(row.choices, self._number, [])),
            tuple(_at(row.also, self._number, [])),
            row.human is not None and self._number >= _number(row.human),
            row.auto is not None and self._number >= _number(row.auto),
        )


def field_of(name: str) -> str:
    return name.lstrip("-").replace("-", "_")


def release_of(version: Version) -> Release:
    """The release whose rules hold for this version: itself, else the nearest earlier one, else the oldest."""
    return _release(str(version))


@cache
def _release(text: str) -> Release:
    known = _releases()
    number = max(bisect_right(known, Version(text)) - 1, 0)
    return Release(_table().versions[number], known[number] == Version(text), number == len(known) - 1, number)


def releases() -> tuple[str, ...]:
    """Every release in the table, oldest first."""
    return tuple(_table().versions)


def every_flag() -> Collection[str]:
    """The full names of the flags of all releases."""
    return _table().flags.keys()


def lifespan(name: str) -> tuple[str | None, str | None]:
    """The first release that has this flag (None: the oldest in the table does), and the first that no longer does."""
    row = _table().flags[name]
    return None if row.since == _table().versions[0] else row.since, row.until


def lifespan_words(name: str) -> str:
    """`since 0.12.0`, `until 0.10.2`: which releases have the flag, the last one named; empty if all do."""
    since, until = lifespan(name)
    last = None if until is None else _table().versions[_number(until) - 1]
    return ", ".join([f"since {since}"] * (since is not None) + [f"until {last}"] * (last is not None))


def newest_kind(name: str) -> Kind:
    """The flag's kind in the newest release that has it."""
    return _table().flags[name].kinds[-1][1]


@cache
def short_names() -> dict[str, str]:
    """Every other name of a flag, such as -tp, in any release -> its full name."""
    return {short: name for name, row in _table().flags.items() for _, names in row.also for short in names}


def every_choice(name: str) -> set[str]:
    """The values that any release takes for a flag, where they are known."""
    return {value for _, values in _table().flags[name].choices for value in values}


@cache
def _table() -> _FlagTable:
    path = resources.files("planner").joinpath("data/vllm-flags.json")
    return msgspec.json.decode(path.read_bytes(), type=_FlagTable)


@cache
def _releases() -> list[Version]:
    return [Version(text) for text in _table().versions]


@cache
def _number(version: str) -> int:
    return _table().versions.index(version)


def _at(told: list[tuple[str, Any]], number: int, default: Any = None) -> Any:
    """The value that holds in the release of this number."""
    found = default
    for since, value in told:
        if _number(since) > number:
            break
        found = value
    return found
