"""CI in two gears: what `make test` runs of a table, what only `make prove` does, and what neither does without."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from typing import Any, NoReturn

import pytest

REQUIRED_ENV = "PLANNER_REQUIRE_CONTAINERS"
"""Set in CI: what is missing there is a failure."""


def some_in_ci(names: Iterable[str], representative: Collection[str]) -> list[Any]:
    """All names as parameters of a test; those that do not represent their kind are marked `prove`."""
    unknown = {*representative} - {*names}
    if unknown:
        raise ValueError(f"not in the table: {', '.join(sorted(unknown))}")
    return [name if name in representative else pytest.param(name, marks=pytest.mark.prove) for name in names]


def is_missing(what: str) -> NoReturn:
    """The test cannot run here: skipped, or failed where all is required."""
    if os.environ.get(REQUIRED_ENV):
        pytest.fail(f"{what}, and {REQUIRED_ENV} is set")
    pytest.skip(what)
