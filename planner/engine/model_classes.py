"""The releases that have a class for a model type: `without_class(model_type, version) -> MissingClass | None`.

In: data/model-types.json, which tools/flags/make_model_types.py reads from vLLM's model_executor/models/registry.py.
Out: the last release read without one and the first with one. Says nothing of releases between those two, nor of older
ones than the first that was read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import msgspec
from packaging.version import Version


@dataclass(frozen=True, slots=True)
class MissingClass:
    """A model type that a release has no class for."""

    last_without: str
    """Last release that was read and has none."""
    first_with: str
    """First release that was read and has one."""


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """data/model-types.json."""

    releases: list[str]
    first: dict[str, str]


def without_class(model_type: str, version: Version) -> MissingClass | None:
    """What is known of a model type that this release has no class for; None if it has one, or if that is not known."""
    table = _table()
    first = table.first.get(model_type)
    if first is None:
        return None
    last = table.releases[table.releases.index(first) - 1]
    return MissingClass(last, first) if version <= Version(last) else None


@cache
def _table() -> _Table:
    path = resources.files("planner").joinpath("data/model-types.json")
    return msgspec.json.decode(path.read_bytes(), type=_Table)
