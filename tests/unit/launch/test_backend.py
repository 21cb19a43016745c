"""Whose fault it is that an engine ended: its settings', or what no settings would avoid."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner.errors import Disturbed, EngineRejected, PlannerError
from planner.launch.process import ProcessBackend

DRIVER = "RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 803: system has unsupported display driver"
PORT = "OSError: [Errno 98] Address already in use"
HEADS = "ValueError: Total number of attention heads (40) must be divisible by tensor parallel size (3)."


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (DRIVER, Disturbed, "driver does not fit: "),
        (PORT, Disturbed, "another process took its port: "),
        (HEADS, EngineRejected, "Total number of attention heads"),
    ],
)
def test_an_engine_that_no_settings_would_start_is_launched_again(
    make_problem: Callable[..., Any], tmp_path: Path, said: str, kind: type[PlannerError], words: str
) -> None:
    """A process that says why and ends, as vLLM does."""
    problem = make_problem(engine__command=[sys.executable, "-c", f"import sys; print({said!r}); sys.exit(1)"])
    backend = ProcessBackend(problem, tmp_path / "logs", tmp_path / "cache")
    with pytest.raises(kind) as raised, backend.serve(problem.default, 0):
        pass
    assert type(raised.value) is kind
    assert str(raised.value).startswith(words)
