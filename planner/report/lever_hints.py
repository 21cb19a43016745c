"""Which settings of a search space are likely to matter for this card and this load, and why, before any launch.

In: a forecast. Out: `LeverHint`s and lines for the plan. What the speed model knows is judged by its prediction of each
single change of the defaults; drafts and the all-reduce, which it does not, by their part of a step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec

from planner.engine import FIELDS, convert_settings, flag_words, settings, speculation_of
from planner.errors import InputError
from planner.estimate import Deployment, Step, StepModel, most_in_flight, running_seqs
from planner.report.explanation import limit_of
from planner.study import (
    LAYOUT,
    Candidate,
    Forecast,
    Problem,
    Value,
    lever_of_key,
    parse_layout,
    possible_values,
    values_of,
)
from planner.units import format_count

WORTH = 0.03
"""Predicted gain of a single change from which it is called likely to matter; as much as launches differ."""
ACCEPTED = 0.4
"""Share of drafted tokens that is believed to be taken before any launch: a guess, as texts differ from 0.2 to 0.9."""
SHARE = 0.05
"""Share of a step that all-reduce must take to be worth another kernel."""
DRAFTS, ALL_REDUCE, PAIR = "speculative_config", "disable_custom_all_reduce", 2
MOST_NAMED = 8
"""Most settings that one line names."""


@dataclass(frozen=True, slots=True)
class LeverHint:
    name: str
    is_likely: bool
    reason: str
    lever: str
    """The group that `--levers` names, if the setting is not searched; else empty."""

    @property
    def words(self) -> str:
        return f"{self.reason}{f' (--levers {self.lever})' if self.lever else ''}"


def lever_lines(forecast: Forecast) -> list[str]:
    """Lines for the plan; none where the defaults are not expected to start."""
    hints = lever_hints(forecast)
    likely, rest = [hint for hint in hints if hint.is_likely], [hint.name for hint in hints if not hint.is_likely]
    lines = [f"likely to matter: {hint.words}" for hint in likely]
    if rest:
        more = f" and {len(rest) - MOST_NAMED} more" if len(rest) > MOST_NAMED else ""
        lines.append(f"no gain of {WORTH:.0%} predicted of: {', '.join(rest[:MOST_NAMED])}{more}")
    objective = forecast.problem.objective
    if hints and not objective.seeks_load:
        lines.append(f"the defaults: {limit_of(forecast, forecast.problem.default)}")
    return lines


def lever_hints(forecast: Forecast) -> list[LeverHint]:
    """A hint for each setting of the space, searched or not, the largest expected gain first.

    Settings that the speed model does not know, but for drafts and the all-reduce, have no hint.
    """
    problem = forecast.problem
    if forecast.check(problem.default):
        return []
    gains = _gains(forecast)
    hints = [
        LeverHint(name, gain >= WORTH, f"{words}: {gain:+.0%} by the speed model", _lever(problem, name))
        for name, (gain, words) in sorted(gains.items(), key=lambda one: -one[1][0])
    ]
    deployment = forecast.deployment(problem.default)
    pool, _ = possible_values(_pool(problem), problem.models.values(), problem.placement, problem.default.layout)
    if DRAFTS in pool:
        hints += _of_drafts(problem, deployment, pool[DRAFTS])
    if ALL_REDUCE in pool:
        hints += _of_all_reduce(problem, deployment)
    return hints


def _pool(problem: Problem) -> dict[str, list[Value]]:
    """Every value of the space that the version knows, of what is searched and of the levers."""
    both = {**problem.space.search, **problem.space.levers}
    fixed = settings(problem.spec.engine.settings)
    return {
        name: values_of(choice) for name, choice in both.items() if name not in problem.left_out and name not in fixed
    }


def _lever(problem: Problem, name: str) -> str:
    return "" if name in problem.choices.names else lever_of_key(name)


def _gains(forecast: Forecast) -> dict[str, tuple[float, str]]:
    """The best single change of each setting whose effect is predicted: gain of the objective, and its words."""
    problem, own = forecast.problem, forecast.problem.default
    base = _value(forecast, own)
    found: dict[str, tuple[float, str]] = {}
    for name, value, candidate in _changes(problem):
        if candidate == own or base is None or forecast.check(candidate):
            continue
        if (changed := _value(forecast, candidate)) is None:
            continue
        gain = changed / base - 1 if problem.objective.sign > 0 else base / changed - 1
        if name not in found or gain > found[name][0]:
            words = f"{LAYOUT} {value}" if name == LAYOUT else flag_words(name, value, problem.version)
            found[name] = gain, words
    return found


def _value(forecast: Forecast, candidate: Candidate) -> float | None:
    """The predicted objective; None if it is nothing that can be compared."""
    value = forecast.problem.objective.value({**forecast.predicted(candidate), **forecast.problem.known(candidate)})
    return float(value) if value is not None and value > 0 else None


def _changes(problem: Problem) -> Iterator[tuple[str, Value, Candidate]]:
    """Each single change of the defaults that the speed model knows."""
    own = problem.default
    for name, values in _pool(problem).items():
        if name in {DRAFTS, ALL_REDUCE} or (name not in FIELDS and name != LAYOUT):
            continue
        for value in values:
            if value is None:
                continue
            if name == LAYOUT:
                layout = parse_layout(str(value))
                sizes = {
                    "tensor_parallel_size": layout.tensor_parallel_size,
                    "pipeline_parallel_size": layout.pipeline_parallel_size,
                }
                engine = convert_settings({**settings(own.engine), **sizes}, name)
                yield name, value, msgspec.structs.replace(own, layout=layout, engine=engine)
            else:
                engine = convert_settings({**settings(own.engine), name: value}, name)
                yield name, value, msgspec.structs.replace(own, engine=engine)


def _of_drafts(problem: Problem, d: Deployment, values: list[Value]) -> list[LeverHint]:
    """What checking drafts adds to a step of the defaults: from which share of taken drafts they pay."""
    depths: dict[int, str] = {}
    for value in values:
        try:
            speculation = speculation_of(None if value is None else str(value))
        except InputError:
            continue
        if speculation is not None and speculation.num_tokens > 0:
            depths.setdefault(speculation.num_tokens, speculation.method)
    if not depths:
        return []
    one_s, running = _decode_s(problem, d, 1)
    needs = {depth: _decode_s(problem, d, 1 + depth)[0] / one_s - 1 for depth in depths}
    best = max(needs, key=lambda depth: (1 + ACCEPTED * depth) / (1 + needs[depth]))
    reason = (
        f"{DRAFTS}: {best} draft{'s' * (best > 1)} for each of {format_count(round(running))} requests make a step "
        f"{needs[best]:.0%} longer, and the drafter takes its own time: they pay where clearly more than "
        f"{needs[best] / best:.0%} of them are taken"
    )
    return [LeverHint(DRAFTS, needs[best] / best < ACCEPTED, reason, _lever(problem, DRAFTS))]


def _of_all_reduce(problem: Problem, d: Deployment) -> list[LeverHint]:
    """Share of a step of the defaults that is all-reduce between two cards over PCIe.

    None for other groups: over NVLink vLLM's own kernel is the faster one, and larger groups have NCCL anyway.
    """
    if d.engine.tensor_parallel_size != PAIR or d.placement.bridged(PAIR):
        return []
    linked = replace(d, placement=replace(d.placement, interconnect="nvlink"))
    share = 1 - _decode_s(problem, linked, 1)[0] / _decode_s(problem, d, 1)[0]
    reason = f"{ALL_REDUCE}: {share:.0%} of a step is all-reduce over PCIe; the faster kernel is not predicted"
    return [LeverHint(ALL_REDUCE, share >= SHARE, reason, _lever(problem, ALL_REDUCE))]


def _decode_s(problem: Problem, d: Deployment, tokens: int) -> tuple[float, float]:
    """Seconds of a step in which every running request computes so many tokens, and the number of requests."""
    workload = problem.workload
    context = workload.mean_input_tokens + workload.mean_output_tokens / 2
    running = float(running_seqs(d.engine, d.memory, most_in_flight(workload) / d.instances, context))
    step = Step(decode_seqs=running * tokens, context_tokens=running * context, longest_tokens=context)
    return float(StepModel(d.model, d.placement, d.engine).seconds(step)), running
