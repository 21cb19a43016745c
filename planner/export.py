"""A trial as text that runs it: `exported(kind, ...)`, a script, a compose file, a guard's ladder or its systemd unit.

All of them are made of the same `ContainerRun`s as the trials, quoted safely.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Literal, get_args

from planner.container import ContainerRun, cache_volume, service_runs
from planner.errors import InputError
from planner.files import encode
from planner.load_shapes import in_words, shape_of
from planner.problem import Problem
from planner.quality import quality_words
from planner.service.ladder import make_ladder
from planner.trial import Trial, all_metrics
from planner.units import format_count, format_gib, format_ms
from planner.workspace import LADDER_FILE

ExportKind = Literal["script", "ladder", "compose", "systemd"]
LATENCIES_SHOWN = ("ttft_p50", "ttft_p95", "tpot_p50", "tpot_p95")


def parse_kind(text: str) -> ExportKind:
    """Raises InputError."""
    for kind in get_args(ExportKind):
        if text == kind:
            return kind
    raise InputError(f"--kind {text}: allowed: {', '.join(get_args(ExportKind))}")


def file_name(kind: ExportKind, problem: Problem) -> str:
    unit = f"planner-guard-{problem.spec.serve.name}.service"
    return {"script": "run.sh", "ladder": LADDER_FILE, "compose": "compose.yaml", "systemd": unit}[kind]


def exported(kind: ExportKind, problem: Problem, trial: Trial, default: Trial | None, ladder: Path) -> str:
    """The text of one kind; `ladder` is where the unit finds the ladder. Raises InputError without a container."""
    match kind:
        case "script":
            return run_sh(problem, trial, default)
        case "ladder":
            return ladder_yaml(problem, trial, default)
        case "compose":
            return compose_yaml(problem, trial, default)
        case "systemd":
            return systemd_unit(problem.spec.serve.name, ladder)


def ladder_yaml(problem: Problem, trial: Trial, default: Trial | None) -> str:
    """What `planner guard` runs; the header is the script's."""
    return f"{_header(problem, trial, default)}\n{encode(make_ladder(problem, trial))}"


def compose_yaml(problem: Problem, trial: Trial, default: Trial | None) -> str:
    """The service under Docker's own restart policy, for where no guard runs; unhealthy ones are only marked."""
    runs = service_runs(problem, trial.candidate)
    services = {run.name: {**run.to_compose(), "healthcheck": _healthcheck(run)} for run in runs}
    volumes = {source: {"name": source} for run in runs for source in run.volumes if not source.startswith("/")}
    return f"{_header(problem, trial, default)}\n{encode({'services': services, 'volumes': volumes})}"


def _healthcheck(run: ContainerRun) -> dict[str, object]:
    """By Python, which every image of vLLM has; its API answers `/health` only when the engine is up."""
    ask = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{run.container_port}/health', timeout=5)"
    return {"test": ["CMD", "python3", "-c", ask], "interval": "15s", "timeout": "10s", "start_period": "20m"}


def systemd_unit(name: str, ladder: Path) -> str:
    """A unit that keeps the guard up. Stopping it leaves the service as it is."""
    program = Path(sys.executable).with_name("planner")
    return f"""\
[Unit]
Description=planner guard of {name}
After=docker.service network-online.target
Wants=docker.service network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart={_unit_word(program)} guard {_unit_word(ladder.absolute())}
Restart=always
RestartSec=5

[Install]
WantedBy=multi-user.target
"""


def _unit_word(path: Path) -> str:
    """A word of a command in a unit: `%` and `$` are special there, quotes and backslashes within quotes."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"'


def run_sh(problem: Problem, trial: Trial, default: Trial | None) -> str:
    """A bash script that starts the service of this trial; the header says where its numbers come from."""
    runs = service_runs(problem, trial.candidate)
    commands = "\n\n".join(_command(run) for run in runs)
    return f"#!/usr/bin/env bash\n{_header(problem, trial, default)}\nset -euo pipefail\n\n{commands}\n"


def _header(problem: Problem, trial: Trial, default: Trial | None) -> str:
    figures, provenance = problem.objective.figures(trial.value or 0.0, all_metrics(problem, trial)), trial.provenance
    mark = "SIMULATED, not measured: " if provenance.simulated else "measured: "
    lines = [
        f"vLLM {provenance.vllm_version}, {problem.spec.hardware.num_gpus} x {problem.gpu.name}: "
        f"{problem.models[trial.candidate.model].name}",
        f"study {problem.spec.name}, trial {trial.number}, layout {trial.candidate.layout}",
        f"{mark}{figures}{_gain(problem, trial, default)}",
        f"latencies: {', '.join(f'{n} {format_ms(trial.metrics[n])}' for n in LATENCIES_SHOWN if n in trial.metrics)}",
        f"load: {_load(problem)}",
        f"memory per GPU: {_memory(trial)}",
        f"{provenance.finished_at}, planner {provenance.planner_version}, backend {provenance.backend}",
    ]
    if (answers := quality_words(problem, trial)) is not None:
        lines.append(answers)
    if problem.spec.engine.compile_cache:
        lines.append(
            f"compiled code is kept in the volume {cache_volume(problem)}; the first start without it is slower"
        )
    if provenance.simulated:
        lines.insert(0, "SIMULATED: these numbers come from a model of the engine. Measure before you rely on them.")
    return "\n".join(f"# {' '.join(line.split())}" for line in lines)


def _gain(problem: Problem, trial: Trial, default: Trial | None) -> str:
    if default is None or default.value is None or trial.value is None or default.number == trial.number:
        return ""
    words = problem.objective.format(default.value)
    return f" (engine defaults: {words}, {trial.value / default.value - 1:+.1%})"


def _load(problem: Problem) -> str:
    w = problem.workload
    return f"{w.name}, {w.num_requests} requests, {in_words(shape_of(w))}, longest {w.max_total_tokens} tokens"


def _memory(trial: Trial) -> str:
    real, predicted = trial.real_memory, trial.predicted_memory
    figures, word = (predicted, "expected") if real is None or real.kv_tokens is None else (real, "as started")
    parts = [
        f"weights {format_gib(figures.weight_bytes)}" if figures.weight_bytes else "",
        f"activations {format_gib(figures.activation_bytes)}" if figures.activation_bytes else "",
        f"KV cache {format_gib(figures.kv_cache_bytes)}" if figures.kv_cache_bytes else "",
        f"{format_count(figures.kv_tokens)} KV tokens" if figures.kv_tokens else "",
    ]
    return f"{', '.join(part for part in parts if part)} ({word})"


def _command(run: ContainerRun) -> str:
    lines = ["docker run " + " ".join(_quoted(word) for option in run.options()[:1] for word in option)]
    lines += [" ".join(_quoted(word) for word in option) for option in run.options()[1:]]
    lines.append(_quoted(run.image))
    for word in run.command:
        if word.startswith("--"):
            lines.append(_quoted(word))
        else:
            lines[-1] += f" {_quoted(word)}"
    return " \\\n  ".join(lines)


def _quoted(word: str) -> str:
    return shlex.quote(word)
