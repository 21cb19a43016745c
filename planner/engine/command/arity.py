"""Which words are a flag's value when the version is not known yet: `positionals(words)`.

A flag takes as many words as in the newest release that has it; that changed for few flags.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from planner.engine.flag_table import NO_WORD, Kind, every_flag, newest_kind, short_names

TRUTHS = frozenset({"true", "false"})
"""Values that people give to a flag that takes none: no positional words, and vLLM refuses them by its rules."""


def full_name(word: str) -> str | None:
    """The flag that a word means in any release, by its own name, a prefix or a short name; None if none does."""
    name = word.partition("=")[0].partition(".")[0]
    if not name.startswith("--"):
        short = short_names()
        return next((short[name[:length]] for length in (len(name), 4, 3, 2) if name[:length] in short), None)
    name = name.replace("_", "-")
    known = _known()
    candidates = [name]
    for prefix in ("--no-", "--disable-", "--enable-"):
        if name.startswith(prefix):
            bare = name.removeprefix(prefix)
            candidates += ["--" + bare, "--enable-" + bare, "--disable-" + bare]
    exact = next((other for other in candidates if other in known), None)
    return exact or next((other for one in candidates for other in sorted(known) if other.startswith(one)), None)


@cache
def _known() -> frozenset[str]:
    return frozenset(every_flag()) | {"--help"}


def takes(word: str) -> Kind | None:
    """What follows the flag that a word is: None for a word that no release knows."""
    if word.startswith("-O"):
        return "value" if word == "-O" or word.startswith("-O.") else "store_true"
    name = full_name(word)
    if name is None or name == "--help":
        return None
    if not word.startswith("--") and word.partition(".")[0] not in short_names():
        return "store_true"  # -tp4: its value is in the word
    return "value" if "." in word.partition("=")[0] else newest_kind(name)


def is_flag_name(name: str) -> bool:
    """Whether some release has a flag of exactly this name."""
    return name.replace("_", "-") in _known() or name in short_names()


def unknown_anywhere(words: Sequence[str]) -> list[str]:
    """The flags among the words that no release has, not even as a prefix."""
    found: list[str] = []
    at = 0
    while at < len(words):
        if is_flag(words[at]):
            if not words[at].startswith("-O") and full_name(words[at]) is None:
                found.append(words[at])
            at += value_count(words, at)
        at += 1
    return found


def is_flag(word: str) -> bool:
    """Whether a word begins a flag and is no negative number."""
    return word.startswith("-") and len(word) > 1 and not re.fullmatch(r"-\d+(\.\d+)?", word) and " " not in word


def value_count(words: Sequence[str], at: int) -> int:
    """How many of the words after the flag at a place belong to it."""
    word = words[at]
    after = 0
    while at + after + 1 < len(words) and not is_flag(words[at + after + 1]):
        after += 1
    kind = takes(word)
    if "=" in word:
        return 0
    if kind in NO_WORD:
        return 1 if after and words[at + 1].lower() in TRUTHS else 0
    if kind == "list":
        return after
    if kind is None or kind in {"store_boolean", "optional_value"}:
        is_truth = after > 0 and words[at + 1].lower() in TRUTHS
        return min(after, 1) if kind != "store_boolean" or is_truth else 0
    return min(after, 1)


def positionals(words: Sequence[str]) -> list[int]:
    """The places of words that are neither flags nor values of flags."""
    found: list[int] = []
    at = 0
    while at < len(words):
        if is_flag(words[at]):
            at += value_count(words, at)
        else:
            found.append(at)
        at += 1
    return found
