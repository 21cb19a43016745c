"""`planner doctor URL`: watch a running server, say what bounds it, and ask the models what would change that."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from planner.benchmark import seen_in, workload_like
from planner.doctor.server.bound import OFTEN_IDLE, Bound, judged
from planner.doctor.server.changes import Weighed, weighed
from planner.doctor.server.window import Window, watch_engines
from planner.engine import ANSWERS, LATENCY, PROMPTS, Histogram, ServedMeanwhile, flag
from planner.study import Problem, cut_to_context
from planner.workload import Workload

LITTLE_GAIN = 0.1
"""Predicted gain of twice as many requests up to which the card, and not the clients, bounds the server."""
SLOW = 0.5
"""Share of the predicted rate below which something that the models do not know slows the server down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    windows: tuple[Window, ...]
    bound: Bound
    load: Workload | None
    """The load that the models were asked about."""
    weighed: Weighed | None
    silence: str
    """Why the models were not asked; empty where they were."""


def diagnose(
    urls: Sequence[str],
    seconds: float,
    problem: Problem | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Diagnosis:
    """Watch and judge. `problem`: the server's own settings, on its cards. Raises BenchmarkError."""
    windows = watch_engines(urls, seconds, sleep)
    bound = judged(windows)
    if problem is None:
        silence = "name the cards with --gpu, and --model where the server's path is not here, to learn what to change"
        return Diagnosis(windows=windows, bound=bound, load=None, weighed=None, silence=silence)
    busiest = max(windows, key=lambda one: (one.waiting or 0.0) + (one.running or 0.0))
    of_one = [one for one in windows if one.url == busiest.url]  # which is what `problem` describes
    served = served_by(of_one)
    if served is None:
        silence = f"no request ended in {seconds:g} s, so lengths are not known; watch it for longer with --for"
        return Diagnosis(windows=windows, bound=bound, load=None, weighed=None, silence=silence)
    load = load_of(of_one, served, problem)
    found = weighed(problem, load)
    silence = (
        "" if found else "the models expect that these settings do not start on these cards: are they the server's?"
    )
    surer = _surer(bound, of_one, found)
    return Diagnosis(windows=windows, bound=surer, load=load, weighed=found, silence=silence)


def served_by(windows: Sequence[Window]) -> ServedMeanwhile | None:
    """What all engines have served together; None if no request ended."""
    prompts, answers, latency = (_together(windows, name) for name in (PROMPTS, ANSWERS, LATENCY))
    if prompts is None or answers is None or prompts.count < 1 or answers.count < 1:
        return None
    hits = [one.hit_rate for one in windows if one.hit_rate is not None]
    seconds = max(one.seconds for one in windows)
    return ServedMeanwhile(
        seconds=seconds,
        prompts=prompts,
        answers=answers,
        in_flight=None if latency is None else latency.total / seconds,
        hit_rate=sum(hits) / len(hits) if hits else None,
    )


def _together(windows: Sequence[Window], name: str) -> Histogram | None:
    found = [one.histograms[name] for one in windows if name in one.histograms]
    if not found:
        return None
    buckets: dict[float, float] = {}
    for one in found:
        for bound, count in one.buckets.items():
            buckets[bound] = buckets.get(bound, 0.0) + count
    return Histogram(buckets, sum(one.total for one in found), sum(one.count for one in found))


def load_of(windows: Sequence[Window], served: ServedMeanwhile, problem: Problem) -> Workload:
    """The load as a closed loop: the requests that were in the servers, with the lengths of those that ended."""
    there = sum((one.running or 0.0) + (one.waiting or 0.0) for one in windows)
    concurrency = max(1, round(there))
    like = msgspec.structs.replace(
        workload_like(seen_in(served)),
        concurrency=concurrency,
        num_requests=max(64, 4 * concurrency),
        request_rate=None,
    )
    context = problem.deployment(problem.choices.default_candidate()).engine.max_model_len
    return cut_to_context(like, int(context))


def _surer(bound: Bound, windows: Sequence[Window], found: Weighed | None) -> Bound:
    """The judgement with what the models expect: they tell the card from the clients where no queue does."""
    made = [one.generation_tokens for one in windows if one.generation_tokens is not None]
    is_idle = max(one.idle_share or 0.0 for one in windows) >= OFTEN_IDLE
    if found is None or not made or not bound.can_take_more or is_idle:
        return bound
    rate = sum(made) / max(one.seconds for one in windows)
    measured = f"measured {rate:.0f} output tokens/s, the models expect {found.rate:.0f} at this load"
    if rate < SLOW * found.rate:
        return replace(
            bound,
            kind="host",
            sentence="the host, or what the models do not know of this server: steps take longer than the card needs",
            evidence=(measured, *bound.evidence),
            can_take_more=False,
        )
    if found.more_load < LITTLE_GAIN:
        return replace(
            bound,
            kind="card",
            sentence=f"the card: twice as many requests at once would bring {found.more_load:+.0%} output tokens/s",
            evidence=(measured, *bound.evidence),
            can_take_more=False,
        )
    more = f"twice as many requests at once would bring {found.more_load:+.0%} output tokens/s (predicted)"
    return replace(bound, evidence=(measured, more, *bound.evidence))


def diagnosis_document(found: Diagnosis) -> dict[str, Any]:
    """The document that `--json` prints."""
    bound, weighed_ = found.bound, found.weighed
    return {
        "seconds": max(one.seconds for one in found.windows),
        "engines": [
            {"name": one.name, "running": one.running, "waiting": one.waiting, "kv_usage": one.kv_usage}
            for one in found.windows
        ],
        "bound": bound.kind,
        "sentence": bound.sentence,
        "evidence": list(bound.evidence),
        "missing": list(bound.missing),
        "levers": [flag(name) for name in bound.levers],
        "predicted": None
        if weighed_ is None
        else {
            "output_throughput": weighed_.rate,
            "gain_of_twice_the_load": weighed_.more_load,
            "worth_a_trial": [{"change": one.flags, "gain": one.gain} for one in weighed_.worth],
            "no_help": list(weighed_.useless),
        },
        "not_predicted_because": found.silence or None,
    }
