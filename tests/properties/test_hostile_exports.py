"""Hostile words in paths, flags and variables: whoever reads an export reads exactly them, and nothing of them runs.

Bash, a YAML parser and a reader of systemd's quoting read back what the Docker Engine would have been given.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.errors import InputError
from planner.files.structured import convert, decode
from planner.launch.container import ContainerRun
from planner.launch.runs import engine_args, service_runs
from planner.service.export.docker_script import compose_yaml, run_sh
from planner.service.export.guarded import ladder_yaml, systemd_unit
from planner.service.export.kubernetes import kubernetes_yaml
from planner.service.export.serve_command import engine_yaml, serve_sh
from planner.service.ladder import Ladder
from planner.study.problem import Problem
from planner.study.spec import StudySpec
from planner.trials.trial import Trial
from tests.forecasts import forecast_of

PIECES = [
    "'", '"', "\\", "$", "`", "$(touch owned)", "`touch owned`", "${HOME}", "$$", "%", "%n", "%%", "{", "}", "{{ x }}",
    "[", "]", "(", ")", "<", ">", "|", "&", ";", "*", "?", "~", "#", " #", "!", "!!", "=", "-", "--x", ": ", "- ", "@",
    "\n", "\r", "\t", " ", "  ", "\n---\n", "\nEOF\n", "\nExecStartPre=/bin/touch owned\n", "é", "界",
    "$'\\n'", "\\n", "\\", "a", "0", "null", "true",
]  # fmt: skip
HOSTILE = st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join)
PATHS = HOSTILE.filter(lambda text: ":" not in text).map(lambda text: f"/data/{text.strip('/') or 'x'}/m")
WORDS = HOSTILE.map(lambda text: "x" + text)
"""Values of a flag; one that begins with dashes would be a flag itself."""

PURE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
"""The fixtures make things and keep nothing."""


@st.composite
def hostile_changes(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "models": {"small": {"path": draw(PATHS), "architecture": "Qwen/Qwen3-8B"}},
        "engine__env": {"GREETING": draw(HOSTILE), "OTHER": draw(HOSTILE)},
        "engine__extra_args": ["--chat-template", draw(WORDS), "--own-flag", draw(WORDS)],
        "container": {"image": f"x{''.join(draw(WORDS).split())}", "model_mount": "/models"},
        "search_space": {"search": {"layout": [draw(st.sampled_from(["1xtp2", "2xtp1"]))]}},
    }


@pytest.fixture
def hostile(study_data: Callable[..., dict[str, Any]], launch: Any) -> Callable[..., tuple[Problem, Trial]]:
    """A problem of hostile words, and its trial: the numbers are another study's."""
    trial: Trial = launch(Problem.of(convert(study_data(), StudySpec, "study.yaml")))[0]

    def make(changes: dict[str, Any]) -> tuple[Problem, Trial]:
        problem = Problem.of(convert(study_data(**changes), StudySpec, "study.yaml"))
        return problem, replace(trial, candidate=problem.default)

    return make


def started(script: str, program: str, folder: Path, count: int) -> list[list[str]]:
    """Argument lists with which bash starts `program`, each after the variables it sees. Nothing else may happen."""
    (folder / "bin").mkdir()
    stub, path, record = folder / "bin" / program, folder / "script.sh", folder / "words"
    stub.write_text(
        f'#!/bin/bash\nprintf \'%s\\0\' "$GREETING" "$OTHER" "$@" END >> {shlex.quote(str(record))}\n', "utf-8"
    )
    stub.chmod(0o755)
    path.write_text(script, "utf-8")
    env = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin", "HOME": "/wrong", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["bash", str(path)], env=env, cwd=folder, capture_output=True, check=False, timeout=300)
    assert done.stderr == b""
    assert sorted(entry.name for entry in folder.iterdir()) == ["bin", "script.sh", "words"]
    text = record.read_bytes().decode()
    found = [words.split("\0") for words in text.split("\0END\0") if words]
    assert len(found) == count
    return found


@settings(max_examples=100, suppress_health_check=PURE)
@given(changes=hostile_changes())
def test_bash_starts_containers_with_the_very_words(hostile: Any, changes: dict[str, Any]) -> None:
    problem, trial = hostile(changes)
    runs = service_runs(problem, problem.default)
    with tempfile.TemporaryDirectory() as folder:
        found = started(run_sh(problem, trial, None), "docker", Path(folder), len(runs))
    assert [["docker", *words[2:]] for words in found] == [run.argv() for run in runs]


@settings(max_examples=100, suppress_health_check=PURE)
@given(changes=hostile_changes())
def test_bash_starts_an_engine_with_the_very_words(hostile: Any, changes: dict[str, Any]) -> None:
    problem, trial = hostile({**changes, "search_space": {"search": {"layout": ["1xtp2"]}}})
    with tempfile.TemporaryDirectory() as folder:
        found = started(serve_sh(problem, trial, None), "vllm", Path(folder), 1)
    env, model = changes["engine__env"], changes["models"]["small"]["path"]
    args = ["serve", model, "--port", "8000", *engine_args(problem, problem.default)]
    assert found == [[env["GREETING"], env["OTHER"], *args]]


def interpolated(value: Any) -> Any:
    """As compose and the kubelet read it: `$$` is `$`, and there is no other."""
    if isinstance(value, dict):
        return {key: interpolated(part) for key, part in value.items()}
    if isinstance(value, list):
        return [interpolated(part) for part in value]
    if isinstance(value, str):
        assert "$" not in value.replace("$$", "")
        return value.replace("$$", "$")
    return value


@settings(max_examples=60, suppress_health_check=PURE)
@given(changes=hostile_changes())
def test_a_parser_reads_the_very_words(hostile: Any, changes: dict[str, Any]) -> None:
    problem, trial = hostile(changes)
    runs: list[ContainerRun] = service_runs(problem, problem.default)
    services = yaml.safe_load(compose_yaml(problem, trial, None))["services"]
    assert list(services) == [run.name for run in runs]
    for run, service in zip(runs, map(interpolated, services.values()), strict=True):
        assert (service["image"], service["command"], service["environment"]) == (
            run.image, list(run.command), run.env,
        )  # fmt: skip
        assert {mount["source"]: mount["target"] for mount in service["volumes"]} == run.volumes

    deployment, _ = yaml.safe_load_all(kubernetes_yaml(problem, trial, None))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == runs[0].image
    assert interpolated(container["args"]) == list(runs[0].command)
    assert {one["name"]: interpolated(one["value"]) for one in container["env"]} == runs[0].env

    ladder = decode(ladder_yaml(forecast_of(problem), trial, None), Ladder, "ladder.yaml")
    for index, run in enumerate(runs):
        launched = ladder.run_of(index, 0)
        assert (launched.image, launched.command, launched.env) == (run.image, run.command, run.env)
        assert launched.volumes == run.volumes

    config = yaml.safe_load(engine_yaml(problem, trial, None))
    assert [config["chat-template"], config["own-flag"]] == changes["engine__extra_args"][1::2]


def unit_words(line: str) -> list[str]:
    """Words of a unit's command as systemd.service(5) tells: quotes, C escapes, `%%` and `$$`."""
    found = re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', line.replace("%%", "%"))
    words = [re.sub(r"\\(x[0-9a-f]{2}|.)", _unescaped, quoted or plain) for quoted, plain in found]
    assert all("$" not in word.replace("$$", "") for word in words)
    return [word.replace("$$", "$") for word in words]


def _unescaped(found: re.Match[str]) -> str:
    return chr(int(found[1][1:], 16)) if found[1].startswith("x") and len(found[1]) == 3 else found[1]


@settings(max_examples=100, suppress_health_check=PURE)
@given(folder=PATHS)
def test_systemd_reads_the_very_words(hostile: Any, folder: str) -> None:
    problem, trial = hostile({})
    ladder = Path(folder) / "ladder.yaml"
    unit = systemd_unit(problem, trial, None, ladder)
    lines = [line for line in unit.split("\n") if line and not line.startswith(("#", "["))]
    keys = [line.partition("=")[0] for line in lines]
    assert keys == ["Description", "After", "Wants", "StartLimitIntervalSec", "ExecStart", "Restart", "RestartSec",
                    "RestartPreventExitStatus", "WantedBy"]  # fmt: skip
    (command,) = [line.partition("=")[2] for line in lines if line.startswith("ExecStart=")]
    assert unit_words(command)[1:] == ["guard", str(ladder)]


@settings(max_examples=100, suppress_health_check=PURE)
@given(text=HOSTILE)
def test_what_names_files_and_containers_is_a_plain_word(study_data: Any, text: str) -> None:
    """No export quotes it: it stands in file names, labels and addresses."""
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text)
    for data in (study_data(name=text), study_data(serve={"name": text})):
        with nullcontext() if plain else pytest.raises(InputError, match="name"):
            convert(data, StudySpec, "study.yaml")
    for variables in ({"engine__env": {text: "1"}}, {"engine__pass_env": [text]}):
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
            with pytest.raises(InputError, match="env"):
                convert(study_data(**variables), StudySpec, "study.yaml")
