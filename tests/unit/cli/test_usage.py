"""Usage errors are caught whichever release of typer is installed; `make ranges` runs the oldest and the newest."""

from __future__ import annotations

import pytest
import typer

from planner.cli.main import app
from planner.cli.usage import USAGE_ERROR


@pytest.mark.parametrize(
    "words", [["estimat"], ["candidates", "--trails"], ["tune", "--backend"], ["bench", "a", "--concurrency", "x"]]
)
def test_every_usage_error_is_one(words: list[str]) -> None:
    with pytest.raises(USAGE_ERROR) as caught:
        app(words, standalone_mode=False)
    assert caught.value.format_message()


def test_it_is_no_wider_than_typers_own_errors() -> None:
    assert USAGE_ERROR.__module__.partition(".")[0] in {"typer", "click"}
    assert not issubclass(typer.Exit, USAGE_ERROR)
    assert not issubclass(ValueError, USAGE_ERROR)
