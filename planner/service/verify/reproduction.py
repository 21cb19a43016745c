"""Whether a service started anew is what a trial measured: settings, memory and numbers, one `ReproductionCheck` each.

In: the `docker run`s that planner exports and those that happened, the engine's log, the metrics of both. Out:
`ReproductionCheck`s. Starts and measures nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

import msgspec

from planner.benchmark import METRICS, RATES, Metric
from planner.engine import BOOLEANS, EngineConfig, SettingsReader, flag, is_same, settings
from planner.estimate import MemoryFigures
from planner.launch import ContainerRun
from planner.study import Objective
from planner.trials import LAUNCH_NOISE, PRIOR_NOISE, PRIOR_WEIGHT, SURE, Trial
from planner.units import format_count, format_gib

Verdict = Literal["same", "differs", "not known"]
LATENCY_NOISE = 0.05
"""Standard deviation of the logarithm of a latency's p95 between repeats: 3 to 10 % in the recorded landscapes."""
SAME_MEMORY = 0.01
"""Largest difference in the KV cache, as a fraction, that counts as none.

Starts of equal settings differ by 0.04 % of it; a cold compile cache takes 11 to 21 % of it.
"""
KV_FIGURES = ("kv_tokens", "num_blocks", "kv_cache_bytes")
"""Figures for the size of the KV cache; the first that both logs contain is compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproductionCheck:
    """One thing compared."""

    kind: Literal["setting", "memory", "metric"]
    name: str
    """A flag as it is written, a figure, or a metric."""
    expected: str
    found: str
    verdict: Verdict
    change: float | None = None
    """Relative change of a number: found over expected, less 1."""
    noise: float | None = None
    """Largest relative change that counts as noise."""


# --- settings ---------------------------------------------------------------------------------------------------------

NOTHING = "nothing"


def compare_runs(expected: ContainerRun, found: ContainerRun) -> list[ReproductionCheck]:
    """The differences between the `docker run` that planner exports and the one that happened.

    Name, port, restart policy, labels and read-only mounts are left out, since they change no number.
    """
    wanted, given = _words(expected), _words(found)
    return [
        _setting(name, wanted.get(name, NOTHING), given.get(name, NOTHING))
        for name in dict.fromkeys([*wanted, *given])
        if not _same(wanted.get(name), given.get(name))
    ]


def compare_arguments(expected: EngineConfig, log: SettingsReader) -> list[ReproductionCheck]:
    """The differences between the settings that were exported and those that the engine's log reports."""
    wanted = settings(expected)
    names = [name for name in log.asked if name in wanted or not log.has_all]
    return [
        _setting(flag(name), str(wanted.get(name, NOTHING)), str(log.asked[name]))
        for name in names
        if name not in wanted or not is_same(name, wanted[name], log.asked[name])
    ]


def _setting(name: str, expected: str, found: str) -> ReproductionCheck:
    return ReproductionCheck(kind="setting", name=name, expected=expected, found=found, verdict="differs")


def _words(run: ContainerRun) -> dict[str, str]:
    """Every word of a `docker run` that can change a number, by its subject."""
    words = {"image": run.image}
    for option in msgspec.structs.replace(
        run, name="", host_port=None, restart=None, labels={}, read_only=[]
    ).options():
        if option[0] == "-v":
            host, _, inside = option[1].partition(":")
            words[f"-v {inside}"] = host
        elif len(option) == 2 and option[0] not in ("--name", "-p"):
            name, _, value = option[1].partition("=")
            words[f"{option[0]} {name}"] = value
        elif "=" in option[0]:
            name, _, value = option[0].partition("=")
            words[name] = value
    return {**words, **_flags(run.command)}


def _flags(command: Sequence[str]) -> dict[str, str]:
    """Flag -> value of an engine's command line; `--no-x` is `--x` with the value false."""
    found: dict[str, str] = {}
    last = ""
    for word in command:
        if word.startswith("--"):
            last, inline, value = word.partition("=")
            found[last] = value if inline else "true"
            field = last.removeprefix("--no-").replace("-", "_")
            if last.startswith("--no-") and field in BOOLEANS:
                del found[last]
                last = flag(field)
                found[last] = "false"
        elif last:
            found[last] = word if found[last] == "true" else f"{found[last]} {word}"
        else:
            found["command"] = f"{found.get('command', '')} {word}".strip()
    return found


_HALF = {"half": "float16"}


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal as vLLM reads them: 0.9 equals 0.90, and JSON text equals the value it encodes."""
    if one is None or other is None:
        return one is other
    return _value(one) == _value(other)


def _value(written: Any) -> Any:
    if not isinstance(written, str):
        return written
    text = _HALF.get(written, written)
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


# --- memory -----------------------------------------------------------------------------------------------------------


def compare_memory(expected: MemoryFigures | None, found: MemoryFigures | None) -> list[ReproductionCheck]:
    """Compare the KV cache of the trial's start with that of this one."""
    for name in KV_FIGURES:
        wanted, given = getattr(expected, name, None), getattr(found, name, None)
        if wanted and given:
            change = given / wanted - 1
            verdict: Verdict = "same" if abs(change) <= SAME_MEMORY else "differs"
            words = (_figure(name, wanted), _figure(name, given))
            return [_number("memory", name, *words, verdict, change, SAME_MEMORY)]
    return [_number("memory", KV_FIGURES[0], "?", "?", "not known", None, None)]


def _figure(name: str, value: float) -> str:
    return format_gib(value) if name.endswith("_bytes") else format_count(int(value))


def _number(
    kind: Literal["memory", "metric"],
    name: str,
    expected: str,
    found: str,
    verdict: Verdict,
    change: float | None,
    noise: float | None,
) -> ReproductionCheck:
    return ReproductionCheck(
        kind=kind, name=name, expected=expected, found=found, verdict=verdict, change=change, noise=noise
    )


# --- numbers ----------------------------------------------------------------------------------------------------------


def launches_of(trial: Trial, trials: Iterable[Trial]) -> list[Trial]:
    """The launches that the trial's numbers come from: those of the finals if there are any, else the search's own."""
    finals = [t for t in trials if t.rerun is not None and t.rerun.is_final and t.rerun.of == trial.number]
    return [t for t in finals if t.outcome == "measured"] or [trial]


def judged_metrics(objective: Objective) -> list[str]:
    """The metrics that are optimised and those that have a limit, if they are measured."""
    return [name for name in dict.fromkeys([*objective.powers, *objective.slo]) if name in METRICS]


def compare_metrics(
    trial: Trial,
    trials: Sequence[Trial],
    objective: Objective,
    repeats: Sequence[Mapping[str, float]],
    tolerance: float,
) -> list[ReproductionCheck]:
    """Compare each judged metric of the trial's launches with this launch's repeats.

    `tolerance`: share that counts as no difference, in addition to the noise.
    """
    found = []
    launches = launches_of(trial, trials)
    for name in judged_metrics(objective):
        before = [launch.metrics[name] for launch in launches if launch.metrics.get(name, 0.0) > 0]
        now = [metrics[name] for metrics in repeats if metrics.get(name, 0.0) > 0]
        if not before or not now:
            found.append(_number("metric", name, "?", "?", "not known", None, None))
            continue
        known = [t.repeat_values for t in trials] if name == objective.metric else []  # kept for the objective only
        spread = math.sqrt(_launch_variance(name, trials, [now, *known]) * (1 / len(before) + 1))
        noise = math.expm1(SURE * spread) + tolerance
        change = fmean(now) / fmean(before) - 1
        is_noise = abs(change) <= noise
        words = (Metric.parse(name).format(fmean(before)), Metric.parse(name).format(fmean(now)))
        found.append(_number("metric", name, *words, "same" if is_noise else "differs", change, noise))
    return found


def _launch_variance(name: str, trials: Sequence[Trial], repeats: Sequence[Sequence[float]]) -> float:
    """Variance of the log of a launch's mean: priors, differences between repeats, and the finals' launches."""
    launches: dict[int, list[float]] = {}
    for trial in trials:
        if trial.rerun is not None and trial.rerun.is_final and trial.metrics.get(name, 0.0) > 0:
            launches.setdefault(trial.rerun.of, []).append(trial.metrics[name])
    noise = PRIOR_NOISE if name in RATES else LATENCY_NOISE
    variance = LAUNCH_NOISE**2 + _pooled(noise**2, repeats) / len(repeats[0])
    return _pooled(variance, list(launches.values()))


def _pooled(prior: float, groups: Sequence[Sequence[float]]) -> float:
    """Variance of logarithms within groups, with a prior of PRIOR_WEIGHT."""
    squares, degrees = PRIOR_WEIGHT * prior, float(PRIOR_WEIGHT)
    for group in groups:
        logs = [math.log(value) for value in group if value > 0]
        if len(logs) > 1:
            squares += sum((value - fmean(logs)) ** 2 for value in logs)
            degrees += len(logs) - 1
    return squares / degrees
