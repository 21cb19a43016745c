"""The YAML file of vLLM's own `--config`, as words: what stands in it comes before the words of the line.

Source: vllm@0.33.0 utils/argparse_utils.py:_pull_args_from_config, load_config_file; what a file may hold has releases.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from planner.engine.flag_table import Release
from planner.errors import InputError
from planner.files import YAML_BYTES, decode, read_text

CONFIG = "--config"
_SUFFIXES = {".yaml", ".yml"}


def with_config_file(words: Sequence[str], release: Release, where: str) -> list[str]:
    """The words with the flags of a --config file before them, so that the line wins. Raises InputError."""
    places = [number for number, word in enumerate(words) if word == CONFIG]
    if not places:
        return list(words)
    at = places[0]
    if len(places) > 1:
        raise InputError(f"{where}: {CONFIG}: more than one config file")
    if at + 1 == len(words):
        raise InputError(f"{where}: {CONFIG}: needs a file")
    path = Path(words[at + 1])
    if path.suffix not in _SUFFIXES:
        raise InputError(f"{where}: {CONFIG} {path}: vLLM takes .yaml and .yml only")
    read = decode(read_text(path, YAML_BYTES), dict[str, Any], str(path))
    found = [word for key, value in read.items() for word in _words(key, value, release, str(path))]
    return [*found, *words[:at], *words[at + 2 :]]


def _words(key: str, value: Any, release: Release, where: str) -> Iterator[str]:
    name = "--" + key.replace("_", "-")
    if isinstance(value, bool):
        found = release.flag(name)
        if found is not None and found.kind == "store_boolean":
            yield f"{name}={value}"
        elif value:
            yield name
        elif release.rules.config_no and found is not None and found.kind == "bool_optional":
            yield "--no-" + name[2:]
    elif isinstance(value, list):
        if not release.rules.config_lists:
            raise InputError(f"{where}: {key}: vLLM {release.version} takes no list from a config file")
        if value:
            yield from (name, *map(str, value))
    elif isinstance(value, dict):
        if not release.rules.config_mappings:
            raise InputError(f"{where}: {key}: vLLM {release.version} takes no mapping from a config file; write JSON")
        yield from (name, json.dumps(value))
    else:
        yield from (name, str(value))
