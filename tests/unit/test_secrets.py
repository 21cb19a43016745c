"""Secrets: their values are refused where they would be written, and passed on by name where something is launched."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from planner.container import service_runs, trial_runs
from planner.errors import InputError
from planner.export.containers import run_sh
from planner.export.kinds import ExportKind, exported
from planner.problem import Problem
from planner.search import Search, definition
from planner.secrets import is_secret

Make = Callable[..., Problem]
VALUE = "hf_0123456789abcdef"


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "VLLM_API_KEY", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "PASSWORD"],
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)
    assert is_secret(name.lower())


@pytest.mark.parametrize(
    "name", ["TOKENIZERS_PARALLELISM", "VLLM_MAX_TOKENS", "HF_HOME", "VLLM_API_KEY_FILE", "NCCL_SECRETARY", "KEY"]
)
def test_names_of_none(name: str) -> None:
    assert not is_secret(name)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"engine__env": {"HF_TOKEN": VALUE}}, r"env.HF_TOKEN: .* name it in pass_env instead: \[HF_TOKEN\]"),
        ({"engine__extra_args": ["--api-key", VALUE]}, r"extra_args: --api-key: .* pass_env: \[VLLM_API_KEY\]"),
        ({"engine__extra_args": [f"--hf_token={VALUE}"]}, r"extra_args: --hf_token: .* pass_env: \[HF_TOKEN\]"),
        ({"search_space": {"search": {"env.HF_TOKEN": [VALUE]}}}, "env.HF_TOKEN"),
        ({"engine__env": {"A": "1"}, "engine__pass_env": ["A"]}, "pass_env: A is under env too"),
        ({"engine__pass_env": ["A=1"]}, "pass_env"),
    ],
)
def test_a_study_with_a_secret_in_it_is_refused(make_problem: Make, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        make_problem(**changes)
    assert VALUE not in str(caught.value)


@pytest.fixture
def problem(make_problem: Make, monkeypatch: pytest.MonkeyPatch) -> Problem:
    monkeypatch.setenv("HF_TOKEN", VALUE)
    return make_problem(engine__pass_env=["HF_TOKEN"])


def test_no_export_and_no_record_has_the_value(problem: Problem, launch: Any, storage: str) -> None:
    trial = launch(problem)[0]
    for kind in get_args(ExportKind):
        text = exported(kind, problem, trial, None, Path("ladder.yaml"))
        assert VALUE not in text, kind
        assert "HF_TOKEN" in text, kind
    search = Search(problem, storage)
    number, _ = search.ask() or (0, None)
    assert number == trial.number
    search.tell(trial)
    assert VALUE not in msgspec.json.encode([definition(problem), search.trials()]).decode()


def test_what_is_launched_has_the_value(problem: Problem) -> None:
    for run in (*trial_runs(problem, problem.default, 0), *service_runs(problem, problem.default)):
        assert run.to_docker_kwargs()["environment"]["HF_TOKEN"] == VALUE
        assert run.argv()[run.argv().index("HF_TOKEN") - 1] == "-e"


def test_a_variable_that_is_not_set_is_named(problem: Problem, launch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match=r"engine\.pass_env: HF_TOKEN is not set here"):
        trial_runs(problem, problem.default, 0)[0].to_docker_kwargs()
    script = run_sh(problem, launch(problem)[0], None)
    ended = subprocess.run(
        ["bash"],
        input=script,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert ended.returncode != 0
    assert "HF_TOKEN: is not set, the engine needs it" in ended.stderr


def test_a_study_goes_on_when_it_passes_a_variable(make_problem: Make) -> None:
    assert definition(make_problem()) == definition(make_problem(engine__pass_env=["HF_TOKEN"]))
