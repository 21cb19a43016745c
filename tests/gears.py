"""CI in two gears: what `make test` runs of a table, and what only `make prove` does."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def some_in_ci(names: Iterable[str], representative: Collection[str]) -> list[Any]:
    """All names as parameters of a test; those that do not represent their kind are marked `prove`."""
    unknown = {*representative} - {*names}
    if unknown:
        raise ValueError(f"not in the table: {', '.join(sorted(unknown))}")
    return [name if name in representative else pytest.param(name, marks=pytest.mark.prove) for name in names]
