"""What other programs show of a study: names with units, and a trial's figures as short attributes.

In: a problem and a trial. Out: plain numbers and words for Optuna's storage, which optuna-dashboard and a pandas frame
show as columns. The whole trial is stored beside them, as one attribute (`record`). Knows nothing of optuna.
"""

from __future__ import annotations

from planner.benchmark import GOALS, Metric
from planner.study import Candidate, Problem
from planner.trials import Trial

SHOWN = ("output_throughput", "request_throughput", "ttft_p50", "ttft_p95", "tpot_p50", "tpot_p95")
"""Metrics that are always shown; those of a study's objective and limits are added."""
UNITS = {"s": "s", "req/s": "per_s", "tok/s": "tokens_per_s", "tokens": "tokens", "in flight": "in_flight"}
DIGITS = 6
"""Significant digits of an attribute; the record has full precision."""


def with_unit(metric: str) -> str:
    """Name with unit: `output_throughput_tokens_per_s`, `ttft_p95_s`, `max_model_len_tokens`. A score has no unit."""
    return f"{metric}_{UNITS[Metric.parse(metric).unit]}" if metric in GOALS else metric


def study_words(problem: Problem) -> str:
    """One line on the study, such as `Qwen3-8B on 2 x RTX 4090, vLLM 0.8.5, load chat`."""
    models = " or ".join(dict.fromkeys(model.name for model in problem.models.values()))
    cards = f"{problem.spec.hardware.num_gpus} x {problem.gpu.name}"
    return f"{models} on {cards}, vLLM {problem.version}, load {problem.workload.name}"


def trial_attributes(problem: Problem, trial: Trial) -> dict[str, str | float | int]:
    """Short attributes of a trial by name; figures that it does not have are left out."""
    memory = trial.predicted_memory if trial.real_memory is None else trial.real_memory
    names = dict.fromkeys([*problem.objective.powers, *problem.objective.limits, *SHOWN])
    found: dict[str, str | float | int | None] = {
        "settings": settings_words(problem, trial.candidate),
        "outcome": trial.outcome,
        "why": "; ".join(_reasons(trial)) or None,
        "backend": "SIMULATED" if trial.provenance.simulated else trial.provenance.backend,
        **{with_unit(name): _rounded(trial.metrics[name]) for name in names if name in trial.metrics},
        f"predicted_{with_unit(problem.objective.name)}": _rounded(trial.predicted_value),
        "kv_cache_tokens": None if memory.kv_tokens is None else int(memory.kv_tokens),
        "start_s": _rounded(trial.start_s),
        "benchmark_s": _rounded(trial.benchmark_s),
        "given_up_at": trial.stopped_at,
        "final_of": trial.rerun.of if trial.rerun is not None and trial.rerun.is_final else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def settings_words(problem: Problem, candidate: Candidate) -> str:
    """The searched values that differ from the engine's own: `layout=2xtp1 max_num_seqs=64`."""
    values = {name: problem.choices.value_of(candidate, name) for name in problem.choices.names}
    words = [f"{name}={value}" for name, value in values.items() if value is not None]
    return " ".join([problem.default_words, *words] if candidate == problem.default else words)


def _reasons(trial: Trial) -> list[str]:
    """Reasons why the trial has no value or cannot win."""
    if trial.failure is not None:
        return [f"{trial.failure.kind}: {trial.failure.message}"]
    return [constraint.message for constraint in trial.constraints if constraint.excess > 0]


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")
