"""Progress on a stream that is no terminal prints nothing, with the oldest Rich that is allowed too."""

from __future__ import annotations

import pytest

from planner.terminal import progress


@pytest.mark.parametrize("quiet", [True, False])
def test_without_a_terminal_nothing_is_printed(capsys: pytest.CaptureFixture[str], quiet: bool) -> None:
    with progress("starting", quiet) as update:
        update("half", 1, 2)
    assert capsys.readouterr() == ("", "")
