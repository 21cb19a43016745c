"""Where an instance's figures come from: a study's trials, a bench's JSON, or levels and plain numbers written down.

In: a `LayoutSpec`. Out: `MeasuredLayout`s: a `MeasuredInstance` with its cards and the source of its figures. A study
gives one layout for each way its trials share out the cards, from the trial that serves the most within the limits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from planner.benchmark import Metric, read_metrics
from planner.errors import InputError
from planner.files import read_text
from planner.fleet.instance import MeasuredInstance, MeasuredLevel, fitted, given
from planner.fleet.spec import MAX_IN_FLIGHT, HostSpec, LayoutSpec
from planner.study import Problem, load
from planner.trials import Trial
from planner.tuning import stored_trials

P90_SIGMAS = 1.2816
"""Position of the 90th percentile of a normal distribution, in standard deviations."""
DEFAULT_CV = 1.0
"""Coefficient of variation of request sizes (exponential), used if nothing says how much they differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredLayout:
    name: str
    cards: int
    instance: MeasuredInstance
    host: HostSpec
    source: str
    is_simulated: bool = False


def layouts_of(
    specs: Sequence[LayoutSpec], host: HostSpec, limits: Mapping[str, float], folder: Path, storage: str | None = None
) -> list[MeasuredLayout]:
    """All layouts. Raises InputError if one lacks the figures for a limit, or does not fit its host."""
    found: list[MeasuredLayout] = []
    for number, spec in enumerate(specs, 1):
        found += _layouts(spec, spec.host or host, limits, folder, storage, number)
    for layout in found:
        instance, where = layout.instance, f"layout {layout.name}: {layout.source}"
        if layout.cards > layout.host.cards:
            raise InputError(
                f"layout {layout.name}: an instance needs {layout.cards} cards and a host has {layout.host.cards}; "
                "say host.cards (--host-cards)"
            )
        absent = {"ttft": instance.ttft_s is None, "tpot": instance.tpot_s is None}
        for name in limits:
            if absent.get(family := Metric.parse(name).family, False):
                raise InputError(f"{where} says nothing of {family}, and slo has {name}")
    return found


def _layouts(
    spec: LayoutSpec, host: HostSpec, limits: Mapping[str, float], folder: Path, storage: str | None, number: int
) -> list[MeasuredLayout]:
    if spec.study is not None:
        return _of_study(spec, host, limits, folder / spec.study, storage)
    if spec.bench is not None:
        return [_of_bench(spec, host, folder / spec.bench)]
    name, cv = (
        spec.name or (f"layout {number}" if number > 1 else "instance"),
        DEFAULT_CV if spec.variation is None else spec.variation,
    )
    if spec.levels:
        levels = [
            MeasuredLevel(in_flight=one.in_flight, e2el_s=one.e2el, ttft_s=one.ttft, tpot_s=one.tpot)
            for one in spec.levels
        ]
        instance = fitted(levels, spec.max_num_seqs or _most(levels), cv, output_tokens=spec.output_tokens)
        source = "the levels given"
    else:
        assert spec.capacity is not None
        assert spec.service_time is not None
        instance = given(spec.capacity, spec.service_time, spec.max_num_seqs, cv, spec.ttft, spec.output_tokens)
        source = "the capacity given"
    return [MeasuredLayout(name=name, cards=spec.cards, instance=_queued(instance, spec), host=host, source=source)]


def _queued(instance: MeasuredInstance, spec: LayoutSpec) -> MeasuredInstance:
    return replace(instance, max_queue=spec.max_queue)


def _most(levels: Sequence[MeasuredLevel]) -> int:
    return max(1, round(max(level.in_flight for level in levels)))


def instance_of(
    loads: Iterable[tuple[float, Mapping[str, float]]], max_in_flight: int | None, cv: float | None, where: str
) -> MeasuredInstance:
    """Fit an instance to its metrics by requests in flight. Raises InputError if they have no latencies."""
    levels, size_cvs, sigmas, outputs = list[MeasuredLevel](), list[float](), list[float](), list[float]()
    for in_flight, metrics in loads:
        if "e2el_mean" not in metrics:
            raise InputError(f"{where}: has no mean end-to-end latency (mean_e2el_ms)")
        mean, ttft = metrics["e2el_mean"], metrics.get("ttft_p50", metrics.get("ttft_mean"))
        levels.append(MeasuredLevel(in_flight=in_flight, e2el_s=mean, ttft_s=ttft, tpot_s=metrics.get("tpot_mean")))
        if mean > 0 and "e2el_std" in metrics:
            size_cvs.append(metrics["e2el_std"] / mean)
        if (sigma := _ttft_sigma(metrics)) is not None:
            sigmas.append(sigma)
        if metrics.get("request_throughput") and "output_throughput" in metrics:
            outputs.append(metrics["output_throughput"] / metrics["request_throughput"])
    if not all(level.in_flight > 0 and level.e2el_s > 0 for level in levels):
        raise InputError(f"{where}: has a load or a latency of 0")
    if max(level.in_flight for level in levels) > MAX_IN_FLIGHT:
        raise InputError(f"{where}: more than {MAX_IN_FLIGHT} requests in flight in one instance")
    size_cv = cv if cv is not None else median(size_cvs) if size_cvs else DEFAULT_CV
    most = max(_most(levels), max_in_flight or 0)
    tokens = median(outputs) if outputs else None
    return fitted(levels, most, size_cv, median(sigmas) if sigmas else 0.0, tokens)


def _ttft_sigma(metrics: Mapping[str, float]) -> float | None:
    """Sigma from the 90th percentile, which a first wave of a tenth leaves alone; else from the standard deviation."""
    median_s, p90_s = metrics.get("ttft_p50", 0.0), metrics.get("ttft_p90", 0.0)
    if median_s > 0 and p90_s > 0:
        return math.log(p90_s / median_s) / P90_SIGMAS
    mean_s, std_s = metrics.get("ttft_mean", 0.0), metrics.get("ttft_std")
    return math.sqrt(math.log1p((std_s / mean_s) ** 2)) if std_s is not None and mean_s > 0 else None


# --- a bench ----------------------------------------------------------------------------------------------------------


def _of_bench(spec: LayoutSpec, host: HostSpec, path: Path) -> MeasuredLayout:
    try:
        read = msgspec.json.decode(read_text(path))
    except msgspec.DecodeError as error:
        raise InputError(f"{path}: is not JSON: {error}") from None
    documents = read if isinstance(read, list) else [read]
    if not documents or not all(isinstance(one, dict) for one in documents):
        raise InputError(f"{path}: is not the JSON of planner bench --json")
    if "levels" in documents[0]:
        raise InputError(f"{path}: a search for the capacity has no latencies by load; give planner bench --sweep's")
    loads = [(_in_flight(one, path), read_metrics(one)) for one in documents]
    instance = instance_of(loads, spec.max_num_seqs, spec.variation, str(path))
    if spec.max_num_seqs is not None and spec.max_num_seqs < instance.max_in_flight:
        instance = _cut(instance, spec.max_num_seqs)
    if spec.output_tokens is not None:
        instance = replace(instance, output_tokens=spec.output_tokens)
    return MeasuredLayout(
        name=spec.name or str(documents[0].get("model_id") or path.stem),
        cards=spec.cards,
        instance=_queued(instance, spec),
        host=host,
        source=f"{path.name}, {_loads_words([load for load, _ in loads])}",
        is_simulated=any(bool(one.get("simulated")) for one in documents),
    )


def _in_flight(document: Mapping[str, Any], path: Path) -> float:
    """Requests in flight: a closed loop's concurrency; at a rate, by Little's law."""
    rate, most = document.get("request_rate"), document.get("max_concurrency")
    if rate in ("inf", None) and isinstance(most, int):
        return float(most)
    metrics = read_metrics(document)
    if "e2el_mean" in metrics and "request_throughput" in metrics:
        return metrics["e2el_mean"] * metrics["request_throughput"]
    raise InputError(f"{path}: does not say under which load it was measured (max_concurrency, or mean_e2el_ms)")


def _cut(instance: MeasuredInstance, most: int) -> MeasuredInstance:
    """The instance with fewer requests in flight than were measured."""
    one, ttft, tpot = instance, instance.ttft_s, instance.tpot_s
    return replace(
        one,
        max_in_flight=most,
        latency_s=one.latency_s[: most + 1],
        ttft_s=None if ttft is None else ttft[: most + 1],
        tpot_s=None if tpot is None else tpot[: most + 1],
    )


# --- a study ----------------------------------------------------------------------------------------------------------


def _of_study(
    spec: LayoutSpec, host: HostSpec, limits: Mapping[str, float], path: Path, storage: str | None
) -> list[MeasuredLayout]:
    study, folder = load(path)
    problem, trials = stored_trials(study, folder, spec.simulated, storage)
    best: dict[str, tuple[float, Trial, MeasuredInstance]] = {}
    variants = {trial.candidate.model for trial in trials}
    for trial in trials:
        if trial.outcome != "measured" or trial.stopped_at is not None or trial.rerun is not None:
            continue
        instance = _of_trial(problem, trial, spec, f"{path}: trial {trial.number}")
        name = str(trial.candidate.layout).partition("x")[2]
        if len(variants) > 1:
            name = f"{trial.candidate.model} {name}"
        value = within(instance, limits)
        if name not in best or value > best[name][0]:
            best[name] = value, trial, instance
    if not best:
        raise InputError(f"{path}: no trial was measured to its end, so nothing is known of an instance")
    prefix = f"{spec.name} " if spec.name is not None else ""
    return [
        MeasuredLayout(
            name=prefix + name,
            cards=trial.candidate.layout.gpus_per_instance,
            instance=_queued(instance, spec),
            host=host,
            source=f"trial {trial.number} of {study.name}, {_loads_words([n for n, _ in _loads(problem, trial)])}",
            is_simulated=trial.provenance.simulated,
        )
        for name, (_, trial, instance) in best.items()
    ]


def _of_trial(problem: Problem, trial: Trial, spec: LayoutSpec, where: str) -> MeasuredInstance:
    most = spec.max_num_seqs or int(problem.deployment(trial.candidate).engine.max_num_seqs)
    instance = instance_of(_loads(problem, trial), most, spec.variation, where)
    tokens = spec.output_tokens or instance.output_tokens
    return replace(instance, output_tokens=tokens)


def _loads(problem: Problem, trial: Trial) -> list[tuple[float, Mapping[str, float]]]:
    """Loads of a trial as requests in flight per instance, with the metrics measured there; its own load is first."""
    by_rate, instances = problem.workload.request_rate is not None, trial.candidate.layout.instances
    own = problem.workload.request_rate or problem.workload.concurrency
    loads = [(own, trial.metrics), *((at.load, at.metrics) for at in trial.at_loads)]
    return [
        (max(1.0, load * (metrics.get("e2el_mean", 0.0) if by_rate else 1.0) / instances), metrics)
        for load, metrics in loads  # at less than one request each, the instances that are busy have one
    ]


def within(instance: MeasuredInstance, limits: Mapping[str, float]) -> float:
    """Most requests per second with the mean of each latency within its limit; accurate enough to choose a trial."""
    tables = {"ttft": instance.ttft_s, "tpot": instance.tpot_s, "e2el": instance.latency_s}
    kept = instance.throughput > 0
    for name, limit in limits.items():
        table = tables.get(Metric.parse(name).family)
        if table is not None:
            kept &= table <= limit
    return float(instance.throughput[kept].max(initial=0.0))


def _loads_words(loads: Sequence[float]) -> str:
    shown = ", ".join(f"{load:.3g}" for load in sorted({*loads}))
    return f"measured with {shown} in flight"
