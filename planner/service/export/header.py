"""`header(...)`: the comment on top of every export, which says what it starts and where its numbers come from.

`with_result` puts a study's result above it.
"""

from __future__ import annotations

from collections.abc import Sequence

from planner.launch import gpu_ids
from planner.study import Candidate, Problem
from planner.trials import Trial, all_metrics, gain, layout_words, price_between, quality_words, risk_words
from planner.units import format_count, format_gib, format_ms
from planner.workload import in_words, shape_of

SIMULATED = "SIMULATED: these numbers come from a model of the engine. Measure before you rely on them."
LATENCIES_SHOWN = ("ttft_p50", "ttft_p95", "tpot_p50", "tpot_p95")


def header(problem: Problem, trial: Trial, default: Trial | None, *further: str) -> str:
    """Comment lines that begin with `#`. `further`: lines of the kind; empty ones are dropped. No name ends a line."""
    figures, provenance = problem.objective.figures(trial.value or 0.0, all_metrics(problem, trial)), trial.provenance
    mark = "SIMULATED, not measured: " if provenance.simulated else "measured: "
    lines = [
        f"vLLM {provenance.vllm_version}, {problem.spec.hardware.num_gpus} x {problem.gpu.name}: "
        f"{problem.models[trial.candidate.model].name}",
        f"study {problem.spec.name}, trial {trial.number}, layout {trial.candidate.layout}: "
        f"{layout_words(trial.candidate.layout)}",
        f"{mark}{figures}{_gain(problem, trial, default)}{', in the finals' if trial.rerun is not None else ''}",
        f"latencies: {', '.join(f'{n} {format_ms(trial.metrics[n])}' for n in LATENCIES_SHOWN if n in trial.metrics)}",
        f"asked: {problem.objective.question}",
        _price(problem, trial, default),
        risk_words(problem, trial) or "",
        f"load: {_load(problem)}",
        f"memory per GPU: {_memory(trial)}",
        *(f"in doubt: {one.words}" for one in problem.doubts(trial.candidate)),
        f"{provenance.finished_at}, planner {provenance.planner_version}, backend {provenance.backend}",
        quality_words(problem, trial) or "",
        _image(trial),
        *further,
    ]
    if provenance.simulated:
        lines.insert(0, SIMULATED)
    return "\n".join(map(comment, filter(None, lines)))


def comment(line: str) -> str:
    """The line as a comment of one line."""
    return f"# {' '.join(line.split())}"


def with_result(script: str, result: Sequence[str]) -> str:
    """The script with the study's result on top of its header, which then does not say the same lines again."""
    said = [comment(line) for line in result]
    lines = [line for line in script.split("\n") if line not in said]
    place = 1 if len(lines) > 1 and lines[1].startswith(comment(SIMULATED)) else 0  # below #! and this line
    return "\n".join([*lines[: place + 1], *said, *lines[place + 1 :]])


def port_plan(problem: Problem, candidate: Candidate) -> str:
    """Port and cards of each of several instances on a host; empty for one instance."""
    count, port = candidate.layout.instances, problem.spec.serve.host_port
    cards = [None if problem.gpu.is_cpu else gpu_ids(problem, candidate, i) for i in range(count)]
    words = ["" if ids is None else f" with card{'s' * (len(ids) > 1)} {','.join(map(str, ids))}" for ids in cards]
    places = "; ".join(f"port {port + i}{on}" for i, on in enumerate(words))
    return f"{count} instances: {places}; share requests out among them" if count > 1 else ""


def _gain(problem: Problem, trial: Trial, default: Trial | None) -> str:
    if default is None or default.value is None or trial.value is None or default.number == trial.number:
        return ""
    words = problem.objective.format(default.value)
    return f" ({problem.default_words}: {words}, {gain(problem, trial, default):+.1%})"


def _price(problem: Problem, trial: Trial, default: Trial | None) -> str:
    if default is None or default.number == trial.number or default.outcome != "measured":
        return ""
    return price_between(problem, default, trial)


def _image(trial: Trial) -> str:
    """The image, and the digest that its name stood for when measured; a name can come to mean another image."""
    image, digest = trial.provenance.image, trial.provenance.machine.image_digest
    return f"measured in {image}, which was {digest}" if image and digest else ""


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
