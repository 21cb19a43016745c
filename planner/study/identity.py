"""What a study is, apart from what it is called: the parts on which its answer depends, a name for them, differences.

A study that was described without a file gets a name from them, so that another question never finds its results.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from planner.engine import settings
from planner.files import PROMPTS_BYTES, read_bytes
from planner.study.spec import StudySpec

ASKED = ("models", "hardware", "engine", "container", "baseline", "search_space", "workload", "objective", "repeats")
"""Parts of a study on which its answer depends. How it is searched (`sampler`) and served is not in them."""
OBJECTIVE = "objective"
"""The one part of these that says what one wants of the trials, and not what they measure."""
WAITING = ("start_timeout", "command", "compile_cache", "pass_env")
"""Keys of `engine` that change no result: time limits, the start command, the compile cache and passed variables."""
LATER = {"window": "start", "replay": None}
"""Keys of `workload` that older studies were stored without, and their defaults: such studies must continue."""
LONGEST_NAME = 63
"""Most characters of a study's name (`spec.Name`)."""
DIGEST = 6
"""Characters of the digest in a name: two of a thousand unusual studies of one model and card share it once in 30."""
MOST_CHANGES = 3
"""Most differences that one line names."""
MOST_WORDS = 60
"""Most characters of a value that is named."""


def readable_name(parts: Sequence[str], unusual: Mapping[str, Any]) -> str:
    """A name of a study that people can read; what is `unusual`, or does not fit, is in a short digest at its end."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", "-".join(parts)).strip("-._").lower()
    if not unusual and len(plain) <= LONGEST_NAME:
        return plain
    told = msgspec.json.encode([plain, {**unusual}], order="sorted")
    digest = hashlib.sha256(told).hexdigest()[:DIGEST]
    return f"{plain[: LONGEST_NAME - DIGEST - 1].rstrip('-._')}-{digest}"


def measured_of(spec: StudySpec) -> dict[str, Any]:
    """What a study measures: engine, cards and load, as plain values. Its trials compare while these stay equal.

    The objective and its limits are not in it: every trial holds its percentiles, so the same trials answer others.
    """
    return {key: value for key, value in asked_of(spec).items() if key != OBJECTIVE}


def asked_of(spec: StudySpec) -> dict[str, Any]:
    """The parts of a study on which its answer depends, as plain values: what it measures, and its objective."""
    asked = {key: msgspec.to_builtins(getattr(spec, key), enc_hook=float) for key in ASKED}
    for key in WAITING:
        asked["engine"].pop(key)
    asked["hardware"].pop("gpu_ids")  # all cards of a study are alike
    for key, default in LATER.items():
        if asked["workload"].get(key) == default:
            asked["workload"].pop(key)
    if (prompts := asked["workload"].get("prompts")) is not None:
        asked["workload"]["prompts"] = _content(prompts)  # the file may move, and its content may not change
    if not settings(spec.baseline):  # older studies, stored without a baseline, must continue
        asked.pop("baseline")
    if not spec.objective.weights:  # older studies, stored without weights, must continue
        asked["objective"].pop("weights")
    for name, variant in spec.models.items():
        asked["models"][name]["path"] = variant.basename  # a folder may move
    return asked


def _content(path: str) -> str:
    """A file of prompts by its name and a digest of what is in it. Raises InputError."""
    digest = hashlib.sha256(read_bytes(Path(path), PROMPTS_BYTES)).hexdigest()
    return f"{Path(path).name} {digest[:DIGEST]}"


def changes_between(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Differences of two nested mappings, as `hardware.num_gpus: 4 -> 2`; empty if they are equal."""
    return [f"{path}: {_words(then)} -> {_words(new)}" for path, then, new in _leaves("", before, now)]


def in_one_line(changes: Sequence[str]) -> str:
    """Several differences in one line; of many only the first."""
    more = f" and {len(changes) - MOST_CHANGES} more" if len(changes) > MOST_CHANGES else ""
    return f"{', '.join(changes[:MOST_CHANGES])}{more}"


def _leaves(path: str, before: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    if not isinstance(before, Mapping) or not isinstance(now, Mapping):
        if before != now:
            yield path, before, now
        return
    for key in [*before, *(key for key in now if key not in before)]:
        yield from _leaves(f"{path}.{key}".lstrip("."), before.get(key), now.get(key))


def _words(value: Any) -> str:
    words = "not set" if value is None else value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return words if len(words) <= MOST_WORDS else f"{words[: MOST_WORDS - 3]}..."
