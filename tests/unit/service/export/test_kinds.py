"""Exports for Docker and the guard: bash, compose and systemd read the very words that the Docker Engine was given."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner.errors import InputError
from planner.launch.runs import service_runs
from planner.service.export.docker_script import compose_yaml, run_sh
from planner.service.export.guarded import systemd_unit
from planner.service.export.header import with_result
from planner.service.export.kinds import parse_kind
from planner.study.problem import Problem

Make = Callable[..., Problem]
ODD_PATH = '/data/my models/it\'s $HOME `id` "x"/Qwen3'


@pytest.fixture
def odd(make_problem: Make) -> Problem:
    return make_problem(
        models={"small": {"path": ODD_PATH, "architecture": "Qwen/Qwen3-8B"}},
        engine__env={"GREETING": "a 'b' \"c\" $d \\ `e`; f && #g"},
        engine__extra_args=["--chat-template", "{{ $x }}\n'", "--disable-log-stats"],
    )


def test_bash_reads_the_script_as_the_argv(odd: Problem, launch: Any, tmp_path: Path) -> None:
    """Bash itself splits the words: `docker` is a program here that writes down its arguments."""
    trial = launch(odd)[0]
    script, record = tmp_path / "run.sh", tmp_path / "words"
    script.write_text(run_sh(odd, trial, None), "utf-8")
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(f"#!/bin/bash\nprintf '%s\\0' docker \"$@\" END >> {shlex.quote(str(record))}\n", "utf-8")
    docker.chmod(0o755)
    path = f"{docker.parent}:/usr/bin:/bin"
    subprocess.run(["bash", str(script)], env={"PATH": path, "d": "wrong", "HOME": "wrong"}, check=True, timeout=300)
    launched = [words.split("\0") for words in record.read_text("utf-8").split("\0END\0") if words]
    assert launched == [run.argv() for run in service_runs(odd, trial.candidate)]
    assert len(launched) == 2


def test_the_header_names_flags_that_are_not_modelled(make_problem: Make, launch: Any) -> None:
    problem = make_problem(engine__extra_args=["--kv-transfer-config", "{}"])
    line = "# in doubt: --kv-transfer-config: the transfer of the KV cache may keep buffers on the card, which are not "
    assert line in run_sh(problem, launch(problem)[0], None)
    assert "in doubt" not in run_sh(make_problem(), launch(make_problem())[0], None)


def test_a_generated_script_is_valid_and_clean(make_problem: Make, launch: Any, tmp_path: Path) -> None:
    problem = make_problem(models={"small": {"path": "/my models/Qwen3", "architecture": "Qwen/Qwen3-8B"}})
    script = tmp_path / "run.sh"
    trial = launch(problem)[0]
    script.write_text(run_sh(problem, trial, None), "utf-8")
    subprocess.run(["bash", "-n", str(script)], check=True)
    shellcheck = Path(sys.executable).with_name("shellcheck")
    found = subprocess.run([shellcheck, str(script)], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")
    text = script.read_text("utf-8")
    words = [shlex.split(part.replace("\\\n", " "), comments=True) for part in text.split("\n\n")[1:]]
    assert words == [run.argv() for run in service_runs(problem, trial.candidate)]


def test_the_header_says_where_the_numbers_come_from(make_problem: Make, launch: Any) -> None:
    problem = make_problem()
    default, other, *_ = launch(problem, 3)
    header = run_sh(problem, other, default).split("\nset -euo pipefail\n")[0].splitlines()
    assert header[0] == "#!/usr/bin/env bash"
    assert all(line.startswith("# ") for line in header[1:])
    text = "\n".join(header)
    assert "SIMULATED, not measured" in text
    assert "vLLM 0.8.5, 2 x RTX 2080 Ti 22GB" in text
    assert f"trial {other.number}, layout {other.candidate.layout}" in text
    assert f"{other.value:.1f} tok/s (engine defaults: {default.value:.1f} tok/s, " in text
    assert f"{other.value / default.value - 1:+.1%})" in text
    assert "6 requests, closed loop, 4 in flight, longest 80 tokens" in text
    assert "(expected)" in text


def test_the_result_stands_on_top_of_the_header_and_nothing_twice(make_problem: Make, launch: Any) -> None:
    problem = make_problem()
    default, other = launch(problem, 2)
    script = run_sh(problem, other, default)
    price = next(line for line in script.splitlines() if line.startswith("# price: "))
    told = with_result(script, ["deploy trial 1:\nrm -rf /", price.removeprefix("# "), "run: bash run.sh"])
    lines = told.splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert lines[1].startswith("# SIMULATED: ")
    assert lines[2:5] == ["# deploy trial 1: rm -rf /", price, "# run: bash run.sh"]
    assert lines.count(price) == 1
    assert [line for line in lines if line not in lines[2:5]] == [x for x in script.splitlines() if x != price]
    real = script.replace(lines[1] + "\n", "")
    assert with_result(real, ["deploy"]).splitlines()[1] == "# deploy"


def test_a_measured_trial_is_not_called_simulated(make_problem: Make, launch: Any) -> None:
    problem = make_problem()
    trial = launch(problem)[0]
    measured = replace(trial, provenance=replace(trial.provenance, simulated=False, backend="docker"))
    assert "SIMULATED" not in run_sh(problem, measured, measured)
    assert "engine defaults" not in run_sh(problem, measured, measured)  # nothing to compare it with


def test_no_name_can_leave_the_comment(make_problem: Make, launch: Any) -> None:
    problem = make_problem(workload__name="x\nrm -rf /\n", models={"m": {"path": "/a/M\nrm -rf ~", "architecture":
                           "Qwen/Qwen3-8B"}})  # fmt: skip
    header = run_sh(problem, launch(problem)[0], None).split("\nset -euo pipefail\n")[0]
    assert all(line.startswith("#") for line in header.splitlines())
    assert "# load: x rm -rf / ," in header


def test_the_compose_file_says_what_the_script_says(odd: Problem, launch: Any) -> None:
    """Compose reads `$$` as `$`; so does this test."""
    text = compose_yaml(odd, launch(odd)[0], None)
    services = yaml.safe_load(text.replace("$$", "$"))["services"]
    runs = service_runs(odd, odd.default)
    assert list(services) == [run.name for run in runs]
    for run in runs:
        service = services[run.name]
        assert (service["image"], service["command"]) == (run.image, list(run.command))
        assert service["environment"] == run.env
        assert {mount["source"]: mount["target"] for mount in service["volumes"]} == run.volumes
        assert service["ports"] == [f"{run.host_port}:{run.container_port}"]
        assert (service["restart"], service["ipc"], service["ulimits"]) == (run.restart, run.ipc, run.ulimits)
        (devices,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert devices["device_ids"] == [str(number) for number in run.gpu_ids or ()]
        assert "/health" in service["healthcheck"]["test"][-1]


@pytest.fixture(scope="module")
def compose() -> list[str]:
    """Compose itself, as Docker's plugin or as the program; CI has it."""
    for words in (["docker", "compose"], ["docker-compose"]):
        if (
            shutil.which(words[0])
            and subprocess.run([*words, "version"], capture_output=True, check=False).returncode == 0
        ):
            return words
    if os.environ.get("PLANNER_REQUIRE_CONTAINERS"):
        pytest.fail("no docker compose, and PLANNER_REQUIRE_CONTAINERS is set")
    pytest.skip("no docker compose")


@pytest.fixture(scope="module")
def analyze() -> str:
    """`systemd-analyze`; CI has it."""
    if program := shutil.which("systemd-analyze"):
        return program
    if os.environ.get("PLANNER_REQUIRE_CONTAINERS"):
        pytest.fail("no systemd-analyze, and PLANNER_REQUIRE_CONTAINERS is set")
    pytest.skip("no systemd-analyze")


def test_compose_reads_two_instances_with_a_port_and_a_card_each(
    odd: Problem, launch: Any, tmp_path: Path, compose: list[str]
) -> None:
    (tmp_path / "compose.yaml").write_text(compose_yaml(odd, launch(odd)[0], None), "utf-8")
    done = subprocess.run([*compose, "config"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "variable is not set" not in done.stderr  # every $ is doubled
    services = yaml.safe_load(done.stdout.replace("$$", "$"))["services"]
    runs = service_runs(odd, odd.default)
    assert [services[run.name]["command"] for run in runs] == [list(run.command) for run in runs]
    assert [services[run.name]["environment"] for run in runs] == [run.env for run in runs]
    ports = [str(services[run.name]["ports"][0]) for run in runs]
    assert ["8000" in ports[0], "8001" in ports[1]] == [True, True]
    cards = [services[run.name]["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] for run in runs]
    assert cards == [["0"], ["1"]]


def test_compose_wants_what_is_passed_by_name(
    make_problem: Make, launch: Any, tmp_path: Path, compose: list[str]
) -> None:
    problem = make_problem(engine__pass_env=["HF_TOKEN"])
    (tmp_path / "compose.yaml").write_text(compose_yaml(problem, launch(problem)[0], None), "utf-8")

    def config(**env: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": os.environ["PATH"], **env}
        return subprocess.run(
            [*compose, "config"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=300
        )

    without = config()
    assert without.returncode != 0
    assert "HF_TOKEN" in without.stderr
    given = yaml.safe_load(config(HF_TOKEN="hf_given").stdout)  # noqa: S106  (made up)
    assert [service["environment"]["HF_TOKEN"] for service in given["services"].values()] == ["hf_given"] * 2


def test_the_unit_is_valid_and_starts_the_guard(make_problem: Make, launch: Any, tmp_path: Path, analyze: str) -> None:
    ladder = tmp_path / "my models" / "100% $HOME" / "ladder.yaml"
    unit = tmp_path / "planner-guard-x.service"
    problem = make_problem(serve={"name": "x"}, engine__pass_env=["HF_TOKEN"])
    unit.write_text(systemd_unit(problem, launch(problem)[0], None, ladder), "utf-8")
    (line,) = [line for line in unit.read_text("utf-8").splitlines() if line.startswith("ExecStart=")]
    words = shlex.split(line.removeprefix("ExecStart=").replace("%%", "%").replace("$$", "$"))
    assert words == [str(Path(sys.executable).with_name("planner")), "guard", str(ladder)]
    assert "\nEnvironmentFile=/etc/planner/x.env\n" in unit.read_text("utf-8")
    done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_script_says_where_each_of_two_instances_answers(make_problem: Make, launch: Any) -> None:
    problem = make_problem(serve={"name": "coder", "host_port": 8888})
    text = run_sh(problem, launch(problem)[0], None)
    assert "# 2 instances: port 8888 with card 0; port 8889 with card 1; share requests out among them" in text
    one = make_problem(search_space={"search": {"layout": ["1xtp2"]}})
    assert "instances" not in run_sh(one, launch(one)[0], None)


def test_an_unknown_kind_is_named() -> None:
    assert parse_kind("compose") == "compose"
    with pytest.raises(
        InputError, match="--kind helm: allowed: script, ladder, compose, systemd, kubernetes, serve, config"
    ):
        parse_kind("helm")
