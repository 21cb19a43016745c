"""Named YAML files, shipped with planner or given by path: search spaces, workloads, ladders."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from planner.errors import InputError
from planner.files.reading import YAML_BYTES, read_text
from planner.files.structured import T, decode

_SUFFIXES = {".yaml", ".yml"}


def load_named(name: str, kind: type[T], folder: Path, shipped: str) -> T:
    """Decode a YAML file relative to `folder`, or a shipped one by name. Raises InputError listing shipped names."""
    path = folder / name
    if path.suffix in _SUFFIXES and os.path.isfile(path):  # Path.is_file() raises for a name that is too long
        return decode(read_text(path, YAML_BYTES), kind, str(path))
    known = shipped_files(shipped)
    stem = path.stem if path.suffix in _SUFFIXES else path.name
    is_shipped_name = path.parent == folder or path.parent.name == shipped
    if stem in known and is_shipped_name:
        return decode(known[stem].read_text("utf-8"), kind, str(known[stem]))
    raise InputError(f"{name}: no such file in {folder}, nor a shipped name; shipped: {', '.join(sorted(known))}")


def shipped_files(kind: str) -> dict[str, Path]:
    """The YAML files shipped under a kind such as `search_spaces` or `workloads`: name without suffix -> path."""
    folders = [Path(str(resources.files("planner"))) / "data" / kind, Path(__file__).resolve().parents[2] / kind]
    return {path.stem: path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.yaml"))}
