"""Make words plain before argparse sees them, as the release's own parser does: `max_num_seqs`, `-O3`, `--x.key 1`.

Source: vllm@0.6.6..0.33.0 utils: FlexibleArgumentParser.parse_args.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from planner.engine.flag_table import Release, Rules, short_names
from planner.engine.flags import flag

HUMAN = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)([kmgtKMGT])")
_SCALE = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_LEVEL = flag("optimization_level")
_LEVELS = {"0", "1", "2", "3"}
_GLUED = re.compile(r"(-[a-z]+)(\d+)")


def human_int(text: str) -> int | None:
    """16k is 16 000 and 16K 16 384; None for any other text. 1.5K is none: decimals go with small letters only.

    Source: vllm@0.33.0 utils/argparse_utils.py:human_readable_int.
    """
    match = HUMAN.fullmatch(text.strip())
    if match is None or ("." in match[1] and match[2].isupper()):
        return None
    return int(float(match[1]) * _SCALE[match[2]])


def _glued(word: str) -> tuple[str, str] | None:
    """`-tp4` in two words; None for any other word."""
    match = _GLUED.fullmatch(word)
    return (match[1], match[2]) if match and match[1] in short_names() and len(match[1]) > LETTER else None


LETTER = 2
"""Length of a short flag of one letter, whose value argparse takes without a space."""


def glued_short(word: str) -> Iterator[str]:
    """What to say of `-tp4`, which argparse does not take."""
    if (glued := _glued(word)) is not None:
        yield f"{word} is read as {' '.join(glued)}; vLLM itself takes it only with a space or ="


def plain(words: Iterable[str], release: Release) -> tuple[list[str], list[str]]:
    """The words as the release's argparse gets them, and what is wrong with the others."""
    dashed = list(_dashed(list(words), release.rules))
    return _undotted(dashed, release.rules) if release.rules.dotted else (dashed, [])


def _dashed(words: list[str], rules: Rules) -> Iterator[str]:
    for number, word in enumerate(words):
        after = words[number + 1] if number + 1 < len(words) else ""
        if word.startswith("--"):
            key, equals, value = word.partition("=")
            head, dot, path = key.partition(".") if rules.dotted else (key, "", "")
            yield head.replace("_", "-") + dot + path + equals + value
        elif word.startswith("-O") and rules.level != "word":
            yield from _level(word, after, rules)
        elif rules.level == "word" and re.fullmatch("-O[^.]+", word):
            yield from ("-O", word[2:].removeprefix("="))
        elif (glued := _glued(word)) is not None:
            yield from glued
        else:
            yield word


def _level(word: str, after: str, rules: Rules) -> Iterator[str]:
    """`-O3`, `-O=3` and `-O 3`, of which the value is a word of its own."""
    if word == "-O":
        is_level = after in _LEVELS
        own = _LEVEL if rules.level == "flag" else f"-O.{rules.level}"
        yield own if is_level else word
    elif word[2] == "." and rules.level != "flag":
        yield word
    else:
        value = word[2:].removeprefix("=")
        yield from (_LEVEL, value) if rules.level == "flag" else (f"-O.{rules.level}={value}",)


def _undotted(words: list[str], rules: Rules) -> tuple[list[str], list[str]]:
    """`--x.key value` gathered into the JSON of `--x`, which comes last, as in vLLM."""
    left: list[str] = []
    wrong: list[str] = []
    gathered: dict[str, dict[str, Any]] = {}
    queue = list(words)
    while queue:
        word = queue.pop(0)
        key, equals, value = word.partition("=")
        if not word.startswith("-") or "." not in key or re.fullmatch(r"-[\d.]+", key):
            left.append(word)
            continue
        if not equals:
            if not queue:
                wrong.append(f"argument {key}: expected one argument")
                continue
            value = queue.pop(0)
        if key.endswith("+") and rules.plus:
            key, value = key[:-1], json.dumps(value.split(","))
        name, *path = key.split(".")
        _put(gathered.setdefault(name, {}), path, _value(value, rules))
    for name, found in gathered.items():
        left += [name, json.dumps(found)]
    return left, wrong


def _value(text: str, rules: Rules) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        number = human_int(text) if rules.dotted_human else None
        return text if number is None else number


def _put(found: dict[str, Any], path: list[str], value: Any) -> None:
    """Set the value at a path of keys. Lists are joined, a later value replaces an earlier one."""
    *parents, last = path
    for key in parents:
        inner = found.get(key)
        found[key] = inner if isinstance(inner, dict) else {}
        found = found[key]
    before = found.get(last)
    if isinstance(before, dict) and isinstance(value, dict):
        before |= value
    else:
        found[last] = before + value if isinstance(before, list) and isinstance(value, list) else value
