"""What a study found, as values: how the best was reached, what differs from the default, predictions against reality.

In: a problem and its trials. Out: frozen values; `view.py` shows them in the terminal, `html/` as a page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from planner.benchmark import LATENCIES
from planner.engine import FIELDS, words_of
from planner.report.verdict import judged
from planner.study import Candidate, Forecast, Problem, Value
from planner.trials import Trial, all_metrics, best_trial, default_trial, judge_finals, leveled, searched
from planner.trials import engine_s as seconds_of
from planner.units import format_count, format_duration
from planner.workload import in_words, shape_of

PERCENTILES = ("p50", "p90", "p95", "p99")
"""Percentiles that records keep."""
LAUNCHERS = {"docker", "process"}
"""Backends that launch engines."""
UNSAID = ("nothing was launched", "not recorded")
DEFAULT = " (default)"
"""Mark of a value that the engine chose."""
KEY_METRICS = (
    "output_throughput", "request_throughput", "ttft_p50", "ttft_p95", "tpot_p50", "tpot_p95", "itl_p95", "e2el_p95",
)  # fmt: skip


# --- how the best was reached ---


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch of the search, in order of time."""

    count: int
    """Number of the launch, from 1."""
    engine_s: float
    """Seconds of starting and measuring, summed over all launches up to this one."""
    trial: Trial
    value: float | None
    """Value of the objective; None without one, or if the trial was given up."""
    best: float | None
    """Best value of the acceptable trials so far; None without one."""


def launches(problem: Problem, trials: Sequence[Trial]) -> list[Launch]:
    found: list[Launch] = []
    engine_s, best = 0.0, None
    for trial in searched(trials):
        if not trial.was_launched:
            continue
        engine_s += seconds_of(trial)
        value = leveled(problem, trial) if trial.stopped_at is None else None
        if value is not None and trial.is_acceptable and (best is None or problem.objective.better(value, best)):
            best = value
        found.append(Launch(len(found) + 1, engine_s, trial, value, best))
    return found


def progress_words(problem: Problem, found: Sequence[Launch]) -> str:
    """One sentence on when the best trial was found."""
    total = format_duration(found[-1].engine_s)
    first = next((launch for launch in found if launch.best is not None and launch.best == found[-1].best), None)
    if first is None or first.best is None:
        return f"{len(found)} launches, {total} of engine time, none with a value that kept every limit"
    return (
        f"the best of the search, {problem.objective.format(first.best)}, came at launch {first.count} of "
        f"{len(found)}, after {format_duration(first.engine_s)} of {total} of engine time"
    )


# --- what was never launched ---


def feasible_words(forecast: Forecast) -> str:
    total, feasible = len(forecast.grid.indices), len(forecast.grid.feasible_rows)
    return (
        f"{format_count(total)} combinations of the search space: {format_count(feasible)} feasible, "
        f"{format_count(total - feasible)} infeasible by rules before any launch"
    )


def left_out_words(problem: Problem) -> str:
    """The searched settings that this version does not know; empty if it knows all."""
    names = ", ".join(problem.left_out)
    return f"left out: {names}: vLLM {problem.version} does not know them" if names else ""


# --- the default against the best ---


@dataclass(frozen=True, slots=True)
class Setting:
    name: str
    default: str
    best: str

    @property
    def differs(self) -> bool:
        return self.default.removesuffix(DEFAULT) != self.best.removesuffix(DEFAULT)


@dataclass(frozen=True, slots=True)
class PredictedAgainstMeasured:
    best: Trial
    default: Trial | None
    """The default's trial; None if it is the best itself, or was never measured."""
    settings: tuple[Setting, ...]
    """All searched settings."""
    metrics: tuple[tuple[str, float | None, float], ...]
    """Name of a metric, the default's value (None without one), the best trial's value."""
    from_finals: bool


def compared(forecast: Forecast, trials: Sequence[Trial]) -> PredictedAgainstMeasured | None:
    """The best trial beside the default; None if no trial kept every limit."""
    problem = forecast.problem
    finals, best = judge_finals(problem, trials), judged(forecast, trials).trial
    if best is None:
        return None
    default = default_trial(problem, trials)
    again = {} if finals is None else {f.trial.number: f.metrics for f in finals.finalists if f.metrics}

    def metrics_of(trial: Trial) -> dict[str, float]:
        seen = again.get(trial.number, all_metrics(problem, trial))
        return {**seen, **problem.known(trial.candidate)}

    if default is not None and (default.number == best.number or default.outcome != "measured"):
        default = None
    shown = metrics_of(best)
    before = {} if default is None else metrics_of(default)
    objective = problem.objective
    names = [n for n in dict.fromkeys((*objective.powers, *objective.limits, *KEY_METRICS)) if n in shown]
    return PredictedAgainstMeasured(
        best,
        default,
        tuple(
            Setting(name, setting_words(problem, problem.default, name), setting_words(problem, best.candidate, name))
            for name in problem.choices.names
        ),
        tuple((name, before.get(name), shown[name]) for name in names),
        from_finals=best.number in again and (default is None or default.number in again),
    )


def setting_words(problem: Problem, candidate: Candidate, name: str) -> str:
    """A searched setting's value in words; if left to the engine, the value that the engine chooses, if known."""
    value = problem.choices.value_of(candidate, name)
    if value is not None:
        return words_of(value)
    engine = problem.deployment(candidate).engine
    resolved: Value = getattr(engine, name, None) if name in FIELDS else None
    return "default" if resolved is None else f"{words_of(_plain(resolved))}{DEFAULT}"


def _plain(value: Value) -> Value:
    """The value without NumPy's types, which `words_of` takes for neither bool nor float."""
    return value.item() if isinstance(value, np.generic) else value


# --- predictions ---


@dataclass(frozen=True, slots=True)
class MemoryFit:
    """KV cache of one start, predicted and real. It is what all other components leave, so it has all their errors."""

    trial: Trial
    predicted_tokens: int
    real_tokens: int

    @property
    def error(self) -> float:
        return self.predicted_tokens / self.real_tokens - 1


def memory_fits(trials: Sequence[Trial]) -> list[MemoryFit]:
    """The fit of each start of the search that logged its KV cache; the embedded simulated engine has no such log."""
    pairs = [(trial, trial.predicted_memory.kv_tokens, _real_tokens(trial)) for trial in searched(trials)]
    return [MemoryFit(trial, predicted, real) for trial, predicted, real in pairs if predicted and real]


def _real_tokens(trial: Trial) -> int | None:
    """Tokens of the KV cache, from the number of blocks if a log gives only that, as V0's do."""
    real, predicted = trial.real_memory, trial.predicted_memory
    if real is None or real.kv_tokens or not (real.num_blocks and predicted.num_blocks and predicted.kv_tokens):
        return None if real is None else real.kv_tokens
    return round(real.num_blocks * predicted.kv_tokens / predicted.num_blocks)


def memory_words(fits: Sequence[MemoryFit]) -> str:
    error = median(abs(fit.error) for fit in fits)
    return f"KV cache: {error:.1%} off before its launch (median of {len(fits)} starts)"


def value_fits(trials: Sequence[Trial]) -> list[tuple[Trial, float, float]]:
    """Trials with the objective's predicted and measured value."""
    return [
        (t, t.predicted_value, t.value)
        for t in searched(trials)
        if t.outcome == "measured" and t.value is not None and t.predicted_value and math.isfinite(t.predicted_value)
    ]


# --- latencies ---


@dataclass(frozen=True, slots=True)
class Distribution:
    """Latency percentiles of a finalist, as far as records keep them."""

    trial: Trial
    is_default: bool
    percentiles: dict[str, tuple[float, ...]]
    """Seconds at PERCENTILES, by latency."""


def distributions(problem: Problem, trials: Sequence[Trial]) -> list[Distribution]:
    """Latencies of the finalists as measured again; of the default and the best before the finals are over."""
    finals = judge_finals(problem, trials)
    if finals is not None:
        shown = [(finalist.trial, finalist.metrics) for finalist in finals.finalists]
    else:
        both = {t.number: t for t in (default_trial(problem, trials), best_trial(problem, trials)) if t is not None}
        shown = [(trial, trial.metrics) for trial in both.values()]
    found = []
    for trial, metrics in shown:
        kept = {
            latency: tuple(metrics[f"{latency}_{p}"] for p in PERCENTILES)
            for latency in LATENCIES
            if all(f"{latency}_{p}" in metrics for p in PERCENTILES)
        }
        if kept:
            found.append(Distribution(trial, trial.candidate == problem.default, kept))
    return found


# --- where the numbers come from ---


def origins(problem: Problem, trials: Sequence[Trial]) -> list[tuple[str, str]]:
    """Names and words of everything the numbers depend on; several words if trials differ."""
    spec, workload = problem.spec, problem.workload
    records = [trial.provenance for trial in trials]

    def all_of(words: Sequence[str | None]) -> str:
        return ", ".join(dict.fromkeys(text for text in words if text))

    times = sorted(record.finished_at for record in records if record.finished_at)
    rows = [
        ("planner", all_of([record.planner_version for record in records])),
        ("backend", all_of([record.backend for record in records])),
        ("vLLM", all_of([record.vllm_version for record in records])),
        ("image", all_of([record.image for record in records])),
        ("image digest", all_of([record.machine.image_digest for record in records])),
        ("GPU", f"{spec.hardware.num_gpus} x {all_of([r.gpu for r in records]) or problem.gpu.name}"),
        ("interconnect", spec.hardware.interconnect),
        *([("hosts", hosts)] if (hosts := all_of([record.machine.host for record in records])) else []),
        ("driver", all_of([record.machine.driver for record in records])),
        ("models", ", ".join(f"{name}: {variant.path}" for name, variant in spec.models.items())),
        ("workload", f"{workload.name}, {workload.num_requests} requests, {in_words(shape_of(workload))}"),
        ("lengths", f"input {_length(workload.input_tokens)}, output {_length(workload.output_tokens)} tokens"),
        ("repeats", f"{spec.repeats} a launch at most{', racing' if spec.racing else ''}"),
        ("seed of the workload", all_of([str(record.workload_seed) for record in records])),
        ("sampler", f"{spec.sampler.name}, seed {spec.sampler.seed}"),
        ("objective", f"{problem.objective.words}, {problem.objective.direction}"),
        ("limits", problem.objective.limits_words or "none"),
        ("finished", f"{times[0]} to {times[-1]}" if times else ""),
    ]
    unsaid = UNSAID[any(record.backend in LAUNCHERS for record in records)]
    return [(name, words or unsaid) for name, words in rows]


def _length(length: object) -> str:
    low, high = getattr(length, "low", None), getattr(length, "high", None)
    return str(length) if low is None else f"{low} to {high}"
