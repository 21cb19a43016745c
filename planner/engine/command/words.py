"""Read words by one release's argparse: `read_words(words, release)` -> each flag with its values, and what is wrong.

The parser is Python's own, with the release's flags, so that prefixes, `--no-x`, `-tp=4` and lists are read as vLLM
reads them. All that is wrong is collected, where argparse would end at the first.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NoReturn

from planner.engine.command.spelling import human_int, plain
from planner.engine.flag_table import (
    BOOLEAN,
    NO_WORD,
    Kind,
    Release,
    VllmFlag,
    every_flag,
    lifespan_words,
    short_names,
)
from planner.engine.flags import refused_value
from planner.files import half_width, near_names

UNRESOLVED = re.compile(r"\$(\w|\{[^}]{0,500}\}|\()")
"""A variable or a command of a shell whose value is not known here."""
IGNORED = re.compile(r"ignored explicit argument '(.*)'", re.DOTALL)
AMBIGUOUS = re.compile(r"ambiguous option: (\S+?)(?:=.*)? could match (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class GivenFlag:
    """One flag of a line."""

    flag: VllmFlag
    values: tuple[str, ...]
    """The words that follow it."""
    is_off: bool
    """Whether it was turned off: `--no-x`, `--disable-x` for the flag --enable-x, or false for a StoreBoolean."""

    @property
    def words(self) -> list[str]:
        """The flag written again, in a form that the release reads alike."""
        if self.flag.kind == "store_boolean":
            return [f"{self.flag.name}={'False' if self.is_off else 'True'}"]
        if self.is_off:
            return ["--no-" + self.flag.name[2:]]
        if len(self.values) == 1 and self.values[0].startswith("-"):
            return [f"{self.flag.name}={self.values[0]}"]
        return [self.flag.name, *self.values]


@dataclass(slots=True)
class Reading:
    """A line as a release reads it."""

    given: list[GivenFlag] = field(default_factory=list)
    """In the order of the line; a flag that is repeated stands there each time."""
    unknown: list[str] = field(default_factory=list)
    """Words that vLLM would name as unrecognized arguments."""
    wrong: list[str] = field(default_factory=list)
    """Further errors in argparse's words."""

    def last(self) -> dict[str, GivenFlag]:
        """Each flag as it counts: the last one wins. By name."""
        return {given.flag.name: given for given in self.given}


class _RefusedError(Exception):
    """What argparse would print before it ends the program."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _RefusedError(message)


class _Note(argparse.Action):
    """Keep the flag with its words, in the order of the line."""

    def __init__(self, option_strings: Sequence[str], dest: str, *, flag: VllmFlag, off: frozenset[str], nargs: Any):
        super().__init__(option_strings, dest, nargs=nargs, default=argparse.SUPPRESS)
        self.flag, self.off = flag, off

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:  # noqa: ARG002
        words = () if values is None else (values,) if isinstance(values, str) else tuple(values)
        namespace.given.append((self.flag, words, option_string in self.off))


def _nargs(kind: Kind) -> int | str:
    """`?` also where one word is needed: that it is missing is then said together with all else that is wrong."""
    if kind in NO_WORD:
        return 0
    return "*" if kind == "list" else "?"


@lru_cache(maxsize=8)
def _parser(release: Release) -> _Parser:
    parser = _Parser(prog="vllm serve", add_help=False)
    taken: set[str] = set()
    for found in release.flags.values():
        off = found.negatives(release.rules)
        names = [
            name for name in (found.name, *found.also, *off) if name not in taken | (set(off) & set(release.flags))
        ]
        taken |= set(names)
        parser.add_argument(
            *names, action=_Note, dest=found.field, flag=found, off=frozenset(off), nargs=_nargs(found.kind)
        )
    return parser


def read_words(words: Iterable[str], release: Release) -> Reading:
    """Read vLLM's words by the rules of a release. Raises nothing: what is wrong is in the answer."""
    spelled, wrong = plain(words, release)
    reading = Reading(wrong=wrong)
    namespace, rest = _parsed(spelled, release, reading)
    reading.unknown = _with_values(rest, spelled)
    for found, values, is_off in namespace.given:
        _take(found, values, is_off, reading)
    return reading


def _parsed(spelled: list[str], release: Release, reading: Reading) -> tuple[argparse.Namespace, list[str]]:
    """What argparse finds. A word that ends it is noted and left out, and the rest is read again."""
    parser = _parser(release)
    while True:
        namespace = argparse.Namespace(given=[])
        try:
            return parser.parse_known_args(spelled, namespace)
        except _RefusedError as refused:
            reading.wrong.append(str(refused))
            fewer = _without_cause(spelled, str(refused))
            if len(fewer) == len(spelled):
                return argparse.Namespace(given=[]), []
            spelled = fewer


def _with_values(rest: list[str], spelled: list[str]) -> list[str]:
    """Each word that is left over; a value stands with its flag, `--task embed`."""
    found: list[str] = []
    at = 0
    for word in rest:
        place = spelled.index(word, at) if word in spelled[at:] else at
        before = spelled[place - 1] if place else ""
        if found and not word.startswith("-") and before == found[-1] and before.startswith("-") and "=" not in before:
            found[-1] = f"{before} {word}"
        else:
            found.append(word)
        at = place + 1
    return found


def _without_cause(spelled: list[str], message: str) -> list[str]:
    """The words without the one that a message of argparse is about."""
    if match := AMBIGUOUS.match(message):
        return _without(match[1], spelled)
    if (about := re.match(r"argument (\S+): ", message)) and IGNORED.search(message):
        names = about[1].split("/")
        return [word for word in spelled if "=" not in word or not _begins(word.partition("=")[0], names)]
    return spelled


def _without(name: str, spelled: list[str]) -> list[str]:
    """The words without a flag and the value after it."""
    left: list[str] = []
    is_value = False
    for word in spelled:
        is_flag = word.partition("=")[0] == name
        if not is_flag and (not is_value or word.startswith("-")):
            left.append(word)
        is_value = is_flag and "=" not in word
    return left


def _begins(key: str, names: Iterable[str]) -> bool:
    return any(name.startswith(key) for name in names)


def _take(found: VllmFlag, values: tuple[str, ...], is_off: bool, reading: Reading) -> None:
    """Add a flag with its values, or say what is wrong with them."""
    if found.kind == "store_boolean" and values:
        if values[0].lower() not in {"true", "false"}:
            reading.wrong.append(f"argument {found.name}: invalid boolean value: {values[0]!r}")
            return
        is_off, values = values[0].lower() == "false", ()
    needs_one = found.kind not in BOOLEAN | {"list", "optional_value"}
    if needs_one and not values:
        reading.wrong.append(f"argument {'/'.join([*found.also, found.name])}: expected one argument")
        return
    if needs_one and (problem := _wrong_value(found, values[0])) is not None:
        reading.wrong.append(f"argument {found.name}: {problem}")
        return
    reading.given.append(GivenFlag(found, values, is_off))


def _wrong_value(found: VllmFlag, value: str) -> str | None:
    """What is wrong with a value's form, in argparse's words. A shell's variable may be any value."""
    text = half_width(value).strip()
    if UNRESOLVED.search(text):
        return None
    if found.kind == "int":
        is_word = (found.is_auto and text.lower() == "auto") or (found.is_human and human_int(text) is not None)
        return None if is_word or re.fullmatch(r"[+-]?\d[\d_]*", text) else f"invalid int value: {value!r}"
    if found.kind == "float":
        try:
            float(text)
        except ValueError:
            return f"invalid float value: {value!r}"
    return None


def unknown_words(unknown: Iterable[str], release: Release, own: Iterable[str] = ()) -> str:
    """vLLM's line on words that it does not know, with the releases that do or the nearest names.

    `own` holds the options of planner's own command, of which one may be meant.
    """
    return f"unrecognized arguments: {', '.join(f'{word}{_hint(word, release, own)}' for word in unknown)}"


def _hint(word: str, release: Release, own: Iterable[str]) -> str:
    name = re.split(r"[=. ]", word)[0].replace("_", "-")
    if not name.startswith("-"):
        return ""
    if name[1:] in short_names():
        return f" (did you mean {name[1:]}?)"
    base = "--" + name.removeprefix("--no-") if name.startswith("--no-") else name
    known = set(every_flag())
    if name in known:
        return f" ({lifespan_words(name)})"
    if base in known:
        found = release.flag(base)
        return f" ({base} {lifespan_words(base) if found is None else 'has no --no- form in this version'})"
    bare = {other.lstrip("-"): other for other in [*release.flags, *own]}
    near = near_names(name.lstrip("-"), bare, most=2, cutoff=0.75)
    return f" (did you mean {' or '.join(bare[word] for word in near)}?)" if near else ""


def is_invalid_choice(given: GivenFlag) -> str | None:
    """What is wrong with the value of a flag that takes some words only; None if nothing is known to be."""
    return refused_value(given.flag, given.values[0]) if given.values else None
