"""How far the hosts of a study agree: `speeds_by_host`, `neighbours`, and trials that compare, `on_par`.

In: trials. The default is launched alone on every host, once more where hosts seem to differ, then on all places of one
host at once (`run_checks` in `tuning/loop.py`); those launches are stored beside the finals. Host speeds are random
effects: only the part of a difference that noise does not explain counts, so hosts that are alike stay alike. Stored
values stay raw.

Source: DerSimonian & Laird 1986, Meta-Analysis in Clinical Trials (between-host variance by moments); Robinson 1991,
That BLUP Is a Good Thing (the shrunken effects).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist, fmean

import numpy as np
from numpy.typing import NDArray

from planner.statistics import CONFIDENCE, Difference
from planner.study import Problem
from planner.trials.finals import CLOSE
from planner.trials.noise import launch_noise, pooled
from planner.trials.trial import ALONE, TOGETHER, Trial, default_trial

MOST_SLOWED = CLOSE
"""Share by which neighbours may slow a trial. A trial that is behind by this little is measured again in the finals,
where nothing has neighbours.
"""
HOST_STD = 0.05
"""Standard deviation of the log of a host's effect that remains once its speed is known from a launch or two."""
_CROWD = re.compile(f"{TOGETHER} ([1-9][0-9]{{0,3}})")
RATE = "output_throughput"
"""Metric that compares hosts where the objective's value is known before a launch."""


@dataclass(frozen=True, slots=True)
class HostSpeed:
    host: str
    measured: Difference
    """The default's speed on this host relative to its own host, as a share, with the 95 % interval."""
    speed: float
    """Factor by which values of this host are divided: the measured ratio, shrunk by what noise explains."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The default on all places of a host at once, against the default alone there."""

    host: str
    count: int
    change: Difference | None
    """Change of the default's speed as a share; None if one of these launches did not serve."""

    @property
    def disturb(self) -> bool:
        """Whether neighbours surely slow a trial, and by more than a trial may be behind."""
        return self.change is None or (self.change.high < 0 and self.change.value < -MOST_SLOWED)


def unmeasured(problem: Problem, trials: Sequence[Trial], hosts: Iterable[str]) -> list[str]:
    """The hosts on which the default was not launched alone yet, whatever the outcome."""
    done = {_host(trial) for trial in _alone(problem, trials)}
    return [host for host in hosts if host not in done]


def doubtful(problem: Problem, trials: Sequence[Trial], hosts: Iterable[str]) -> list[str]:
    """The hosts to launch the default alone once more: hosts differ, and one launch each cannot say how surely."""
    if not any(one.measured.is_significant for one in speeds_by_host(problem, trials)):
        return []
    logs = _logs_alone(problem, trials)
    return [host for host in hosts if len(logs.get(host, ())) == 1]


def speeds_by_host(problem: Problem, trials: Sequence[Trial]) -> list[HostSpeed]:
    """One speed per host that served the default, the default's own host first; empty for fewer than two hosts."""
    logs = _logs_alone(problem, trials)
    if len(logs) < 2:
        return []
    means = {host: fmean(values) for host, values in logs.items()}
    noise = _noise(problem, trials, logs)
    variances = {host: noise**2 / len(values) for host, values in logs.items()}
    effects = _shrunk(means, variances)
    first = next(iter(logs))
    return [
        HostSpeed(host, _change(means[host] - means[first], doubt), math.exp(effects[host] - effects[first]))
        for host in logs
        for doubt in [0.0 if host == first else math.sqrt(variances[host] + variances[first])]
    ]


def _shrunk(means: Mapping[str, float], variances: Mapping[str, float]) -> dict[str, float]:
    """Each host's effect, as the best linear prediction under the variance between hosts."""
    weights = {host: 1 / variance for host, variance in variances.items()}
    total = sum(weights.values())
    middle = sum(weights[host] * mean for host, mean in means.items()) / total
    spread = sum(weights[host] * (mean - middle) ** 2 for host, mean in means.items())
    between = max(0.0, (spread - len(means) + 1) / (total - sum(w**2 for w in weights.values()) / total))
    return {host: between / (between + variances[host]) * (mean - middle) for host, mean in means.items()}


def neighbours(problem: Problem, trials: Sequence[Trial]) -> Neighbours | None:
    """The verdict on the largest number of trials ever run at once.

    None if none ran at once, or if their host has no value of the default alone.
    """
    groups: dict[tuple[int, str], list[Trial]] = {}
    for trial in trials:
        found = None if trial.rerun is None else _CROWD.fullmatch(trial.rerun.series)
        if found is not None:
            groups.setdefault((int(found[1]), _host(trial)), []).append(trial)
    whole = [key for key, group in groups.items() if len(group) >= key[0]]
    if not whole:
        return None
    count, host = max(whole)
    logs = _logs_alone(problem, trials)
    if host not in logs:
        return None
    together = [_log_speed(problem, trial) for trial in groups[count, host]]
    served = [log for log in together if log is not None]
    if len(served) < len(together):
        return Neighbours(host, count, None)
    doubt = _noise(problem, trials, logs) * math.sqrt(1 / len(logs[host]) + 1 / len(served))
    return Neighbours(host, count, _change(fmean(served) - fmean(logs[host]), doubt))


def uncrowded(problem: Problem, trials: Sequence[Trial], places: Mapping[str, int]) -> tuple[str, int] | None:
    """A host with the most places, where the default has still to run on all at once; None if the result is known."""
    most, known = max(places.values()), neighbours(problem, trials)
    if most < 2 or (known is not None and known.count >= most):
        return None
    served = _logs_alone(problem, trials)
    return next(((host, count) for host, count in places.items() if count == most and host in served), None)


def on_par(problem: Problem, trials: Sequence[Trial]) -> list[Trial]:
    """The trials, each with the speed of its host set."""
    speeds = speeds_of(problem, trials)

    def one(trial: Trial) -> Trial:
        speed = speeds.get(_host(trial), 1.0)
        return trial if trial.host_speed == speed else replace(trial, host_speed=speed)

    return [one(trial) for trial in trials]


def shared_effects(measured: Sequence[Trial]) -> NDArray[np.float64] | float:
    """Covariance that trials of one host share if hosts differ: a random effect, absent at the points to come.

    # (num_measured, num_measured)
    """
    if all(trial.host_speed == 1 for trial in measured):
        return 0.0
    hosts = [trial.provenance.machine.host for trial in measured]
    return np.array([[HOST_STD**2 if a is not None and a == b else 0.0 for b in hosts] for a in hosts])


def speeds_of(problem: Problem, trials: Sequence[Trial]) -> dict[str, float]:
    """Speed of each host that differs from the default's, by name."""
    return {one.host: one.speed for one in speeds_by_host(problem, trials) if one.speed != 1}


def _alone(problem: Problem, trials: Sequence[Trial]) -> list[Trial]:
    """The default's launches that had a host to themselves, the search's own first."""
    default = default_trial(problem, trials)
    again = [trial for trial in trials if trial.rerun is not None and trial.rerun.series == ALONE]
    return again if default is None else [default, *again]


def _logs_alone(problem: Problem, trials: Sequence[Trial]) -> dict[str, list[float]]:
    """Log speeds of those launches that have a value, by host."""
    logs: dict[str, list[float]] = {}
    for trial in _alone(problem, trials):
        if (log := _log_speed(problem, trial)) is not None:
            logs.setdefault(_host(trial), []).append(log)
    return logs


def _noise(problem: Problem, trials: Sequence[Trial], logs: Mapping[str, Sequence[float]]) -> float:
    """Standard deviation of the logarithm of one launch, from the differences between launches on one host."""
    prior = launch_noise(trials, problem.spec.repeats)
    return pooled(prior, [[math.exp(log - values[0]) for log in values] for values in logs.values()])


def _host(trial: Trial) -> str:
    return trial.provenance.machine.host or "the first host"


def _log_speed(problem: Problem, trial: Trial) -> float | None:
    """Logarithm of a trial's speed, up to a constant; None without a value."""
    power = problem.objective.speed_power
    value = trial.value if power else trial.metrics.get(RATE)
    if trial.outcome != "measured" or not value or value <= 0:
        return None
    return math.log(value) / (power or 1.0)


def _change(log: float, std: float) -> Difference:
    """A difference of logarithms with known noise, as a share."""
    half = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * std
    return Difference(math.expm1(log), math.expm1(log - half), math.expm1(log + half), "noise of launches")


# --- in words ---


def hosts_words(problem: Problem, trials: Sequence[Trial]) -> list[str]:
    """How far hosts agree, and what neighbours do; one line each, for what was measured."""
    lines = []
    if speeds := speeds_by_host(problem, trials):
        first, *others = speeds
        logs = [math.log1p(one.measured.value) for one in speeds]
        each = "; ".join(f"{one.host} {_words(one.measured)}" for one in others)
        found = f"the default's speed against {first.host}: {each}"
        if not any(one.measured.is_significant for one in others):
            found = f"{len(speeds)} agree within {math.expm1(max(logs) - min(logs)):.1%}, which noise explains"
        is_leveled = any(one.speed != 1 for one in speeds)
        lines.append(f"hosts: {found}{f'; trials are compared as on {first.host}' if is_leveled else ''}")
    elif len({_host(trial) for trial in _alone(problem, trials)}) > 1:
        lines.append("hosts: not compared, for the defaults have no value on two of them")
    if (beside := neighbours(problem, trials)) is not None:
        lines.append(f"neighbours: {_neighbours_words(beside)}")
    return lines


def _words(change: Difference) -> str:
    return f"{change.value:+.1%} ({change.low:+.1%} to {change.high:+.1%})"


def _neighbours_words(found: Neighbours) -> str:
    what = f"{found.count} trials at once on {found.host}"
    did = "did not all serve" if found.change is None else f"change the default's speed by {_words(found.change)}"
    return f"{what} {did}{': one trial a host at a time' if found.disturb else ''}"
