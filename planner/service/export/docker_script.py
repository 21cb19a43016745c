"""A trial for Docker: `run_sh`, a script of `docker run`s, and `compose_yaml`, the same as services of a compose file.

Both are built from the same `ContainerRun`s as the trials. Instances side by side have their own cards, and one port
each, counted up from `serve.host_port`.
"""

from __future__ import annotations

import shlex

from planner.files import encode
from planner.launch import ContainerRun, cache_volume, service_runs
from planner.service.export.header import header, port_plan
from planner.study import Problem
from planner.trials import Trial


def run_sh(problem: Problem, trial: Trial, default: Trial | None) -> str:
    """A bash script that starts the service of this trial."""
    runs = service_runs(problem, trial.candidate)
    head = header(problem, trial, default, cache_words(problem), port_plan(problem, trial.candidate))
    commands = "\n\n".join(docker_command(run) for run in runs)
    return f"#!/usr/bin/env bash\n{head}\nset -euo pipefail\n{demanded(problem)}\n{commands}\n"


def compose_yaml(problem: Problem, trial: Trial, default: Trial | None) -> str:
    """A compose file for hosts without a guard: Docker's own restart policy; unhealthy containers are only marked."""
    runs = service_runs(problem, trial.candidate)
    services = {run.name: {**run.to_compose(), "healthcheck": _healthcheck(run)} for run in runs}
    volumes = {source: {"name": source} for run in runs for source in run.volumes if not source.startswith("/")}
    head = header(problem, trial, default, cache_words(problem), port_plan(problem, trial.candidate))
    return f"{head}\n{encode({'services': services, 'volumes': volumes})}"


def _healthcheck(run: ContainerRun) -> dict[str, object]:
    """A health check by Python, which every image of vLLM has; its API answers `/health` only when the engine is up."""
    ask = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{run.container_port}/health', timeout=5)"
    return {"test": ["CMD", "python3", "-c", ask], "interval": "15s", "timeout": "10s", "start_period": "20m"}


def cache_words(problem: Problem) -> str:
    """A line of the header about the volume of compiled code; empty if nothing is kept."""
    if not problem.spec.engine.compile_cache:
        return ""
    return f"compiled code is kept in the volume {cache_volume(problem)}; the first start without it is slower"


def demanded(problem: Problem) -> str:
    """Script lines that end the script if a variable passed on by name is not set."""
    return "".join(f': "${{{name}:?is not set, the engine needs it}}"\n' for name in problem.spec.engine.pass_env)


def docker_command(run: ContainerRun) -> str:
    """The container's `docker run` over several lines, to be pasted into a shell."""
    lines = ["docker run " + " ".join(map(shlex.quote, run.options()[0]))]
    lines += [" ".join(map(shlex.quote, option)) for option in run.options()[1:]]
    return broken([*lines, shlex.quote(run.image)], run.command)


def broken(lines: list[str], args: tuple[str, ...]) -> str:
    """A command over several lines, to be pasted into a shell: the given `lines`, then one for each flag."""
    lines = list(lines)
    for word in args:
        if word.startswith("--"):
            lines.append(shlex.quote(word))
        else:
            lines[-1] += f" {shlex.quote(word)}"
    return " \\\n  ".join(lines)
