"""The kinds of export: `exported(kind, ...)` is a trial as text that runs it, quoted for its reader.

The code that builds the trials (`planner.launch`, `planner.engine`) builds all kinds, so what was measured is what
runs. A setting that the study's version does not know is an error and is never written.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from planner.errors import InputError
from planner.service.export.docker_script import compose_yaml, run_sh
from planner.service.export.guarded import ladder_yaml, systemd_unit
from planner.service.export.kubernetes import kubernetes_yaml
from planner.service.export.serve_command import CONFIG_FILE, engine_yaml, serve_sh
from planner.study import LADDER_FILE, Forecast, Problem
from planner.trials import Trial, as_measured

ExportKind = Literal["script", "ladder", "compose", "systemd", "kubernetes", "serve", "config"]
SCRIPTS: tuple[ExportKind, ...] = ("script", "serve")
"""Kinds that are written as executable files."""


def parse_kind(text: str) -> ExportKind:
    """The kind named by a text. Raises InputError."""
    for kind in get_args(ExportKind):
        if text == kind:
            return kind
    raise InputError(f"--kind {text}: allowed: {', '.join(get_args(ExportKind))}")


def file_name(kind: ExportKind, problem: Problem) -> str:
    return {
        "script": "run.sh",
        "ladder": LADDER_FILE,
        "compose": "compose.yaml",
        "systemd": f"planner-guard-{problem.spec.serve.name}.service",
        "kubernetes": "kubernetes.yaml",
        "serve": "serve.sh",
        "config": CONFIG_FILE,
    }[kind]


def exported(kind: ExportKind, forecast: Forecast, trial: Trial, default: Trial | None, ladder: Path) -> str:
    """The text of one kind, with the exact image of the trial. `ladder`: where the systemd unit finds the ladder.

    Raises InputError if the study lacks what the kind needs, or the version cannot express it.
    """
    problem = as_measured(forecast.problem, trial)
    if kind == "ladder":
        return ladder_yaml(replace(forecast, problem=problem), trial, default)
    if kind == "systemd":
        return systemd_unit(problem, trial, default, ladder)
    write = {"script": run_sh, "compose": compose_yaml, "kubernetes": kubernetes_yaml, "serve": serve_sh}
    return write.get(kind, engine_yaml)(problem, trial, default)
