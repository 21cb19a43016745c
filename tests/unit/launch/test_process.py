"""What an engine's process is given: an engine that says what it sees and ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner.errors import EngineError
from planner.launch.process import STUDY_ENV, ProcessBackend

TELLS = "import json, os; print(json.dumps(dict(os.environ)))"
Seen = Callable[..., dict[str, str]]


@pytest.fixture
def seen(make_problem: Callable[..., Any], tmp_path: Path) -> Seen:
    """The environment that an engine of a study sees."""

    def run(**changes: Any) -> dict[str, str]:
        problem = make_problem(engine__command=[sys.executable, "-c", TELLS], **changes)
        backend = ProcessBackend(problem, tmp_path / "logs", tmp_path / "cache")
        with pytest.raises(EngineError), backend.serve(problem.default, 3):
            pass
        return dict(json.loads((tmp_path / "logs" / "trial-3-0.log").read_text("utf-8").splitlines()[0]))

    return run


def test_compiled_code_stays_in_the_studys_folder(seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_CACHE_ROOT", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", "/of/the/shell")
    env = seen(engine__env={"CUDA_CACHE_PATH": "/of/the/study"})
    assert env[STUDY_ENV] == "tiny"
    assert env["VLLM_CACHE_ROOT"] == str(tmp_path / "cache" / "vllm")
    assert env["TRITON_CACHE_DIR"] == "/of/the/shell"
    assert env["CUDA_CACHE_PATH"] == "/of/the/study"


def test_switched_off_the_engine_has_its_own_places(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_CACHE_ROOT", raising=False)
    assert "VLLM_CACHE_ROOT" not in seen(engine__compile_cache=False)
