"""A trial as a script: `run_sh(problem, trial, default) -> str`, one `docker run` an instance, quoted safely."""

from __future__ import annotations

import shlex

from planner.container import ContainerRun, cache_volume, service_runs
from planner.load_shapes import in_words, shape_of
from planner.problem import Problem
from planner.quality import quality_words
from planner.trial import Trial, all_metrics
from planner.units import format_count, format_gib, format_ms

LATENCIES_SHOWN = ("ttft_p50", "ttft_p95", "tpot_p50", "tpot_p95")


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
