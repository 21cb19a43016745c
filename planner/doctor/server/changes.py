"""Which one change of a running server is worth a trial, by the models: `weighed(problem, load)`.

In: the server's settings as a problem, and the load that it has. Out: each change that may start, with the predicted
gain in output tokens. Nothing is launched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec
from packaging.version import Version

from planner.engine import FIELDS, convert_settings, flag_words, settings
from planner.study import LAYOUT, Candidate, Forecast, Problem, Value, parse_layout, values_of
from planner.workload import Workload

WORTH, NOTHING = 0.03, 0.01
"""Predicted gain from which a change is worth a trial, and up to which it is not."""
MOST_SHOWN = 3
NOT_PREDICTED = {"speculative_config", "disable_custom_all_reduce"}
"""Settings whose effect rests on what nobody has counted here: drafts that are taken, kernels of the all-reduce."""
RATE = "output_throughput"


@dataclass(frozen=True, slots=True)
class Change:
    flags: str
    """The change in vLLM's words, or the layout."""
    setting: str
    gain: float
    """Predicted output tokens/s over those of the server's settings, less 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    rate: float
    """Output tokens/s that the models expect of the server's own settings under its load."""
    more_load: float
    """Gain of twice as many requests in flight with the same settings."""
    worth: tuple[Change, ...]
    """The best change of each setting, the largest gain first."""
    useless: tuple[str, ...]
    """Settings of which no value is expected to change anything."""


def weighed(problem: Problem, load: Workload) -> Weighed | None:
    """Judge every single change. None where the server's own settings are not expected to start."""
    asked = replace(problem, workload=load)
    forecast, own = Forecast(asked), problem.choices.default_candidate()
    rate = forecast.predicted(own)[RATE]
    if not rate > 0:
        return None
    doubled = msgspec.structs.replace(
        load, concurrency=2 * load.concurrency, num_requests=max(load.num_requests, 4 * load.concurrency)
    )
    more = Forecast(replace(problem, workload=doubled)).predicted(own)[RATE] / rate - 1
    best: dict[str, Change] = {}
    for name, value in _values(problem):
        if (candidate := _changed(own, name, value)) == own or forecast.check(candidate):
            continue
        gain = forecast.predicted(candidate)[RATE] / rate - 1
        if name not in best or gain > best[name].gain:
            best[name] = Change(_words(name, value, problem.version), name, gain)
    ordered = sorted(best.values(), key=lambda one: -one.gain)
    return Weighed(
        rate=rate,
        more_load=more,
        worth=tuple(one for one in ordered if one.gain >= WORTH)[:MOST_SHOWN],
        useless=tuple(sorted(one.setting for one in ordered if one.gain <= NOTHING)),
    )


def _values(problem: Problem) -> Iterator[tuple[str, Value]]:
    """Every value of the space that is known to the version, of what is searched and of the levers."""
    for pool in (problem.space.search, problem.space.levers):
        for name in pool:
            if name in NOT_PREDICTED or name in problem.left_out or (name not in FIELDS and name != LAYOUT):
                continue
            for value in values_of(pool[name]):
                yield name, value


def _changed(own: Candidate, name: str, value: Value) -> Candidate:
    if name == LAYOUT:
        return msgspec.structs.replace(own, layout=parse_layout(str(value)))
    return msgspec.structs.replace(own, engine=convert_settings({**settings(own.engine), name: value}, name))


def _words(name: str, value: Value, version: Version) -> str:
    return f"{LAYOUT} {value}" if name == LAYOUT else flag_words(name, value, version)
