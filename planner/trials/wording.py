"""Words for candidates and outcomes, and the banners of what is simulated or replayed."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from planner.engine import FIELDS, EngineConfig, flag, serve_args, serve_env, settings
from planner.errors import InputError
from planner.study import ENV_PREFIX, LAYOUT, MODEL, Candidate, Layout, Problem
from planner.trials.trial import Trial

SIMULATED_BANNER = "SIMULATED: a model of the engine on a model of the card, not a measurement"
REPLAYED_BANNER = "REPLAYED: answered from a file of earlier launches, nothing is launched"
BANNERS = {"simulated": SIMULATED_BANNER, "replay": REPLAYED_BANNER}
"""Banner by backend."""
ABOUT = "~"
ABOUT_NOTE = "~ given up early, when it was sure not to be the best: estimated values"
SHORT_NAMES = {
    "max_num_seqs": "seqs",
    "max_num_batched_tokens": "tokens",
    "gpu_memory_utilization": "memory",
    "enable_chunked_prefill": "chunked",
    "enable_prefix_caching": "prefix",
    "max_seq_len_to_capture": "capture",
    "block_size": "block",
    "swap_space": "swap",
}


# --- candidates and trials ---


def describe(problem: Problem, candidate: Candidate) -> str:
    """The searched values of a candidate as vLLM's command line has them, on one line."""
    text = flags_of(problem, candidate, problem.choices.names)
    return f"{problem.default_words}{f': {text}' if text else ''}" if candidate == problem.default else text


def flags_of(problem: Problem, candidate: Candidate, names: Iterable[str]) -> str:
    """`2 instances, each --tensor-parallel-size 2 --max-num-seqs 64`: the values of these searched settings.

    Model and variables come before the flags; what is left to the engine is omitted.
    """
    searched = {name for name in names if problem.choices.value_of(candidate, name) is not None}
    env = [f"{name}={shlex.quote(value)}" for name, value in candidate.env if f"{ENV_PREFIX}{name}" in searched]
    passed = EngineConfig(**{name: value for name, value in settings(candidate.engine).items() if name in searched})
    words = [*_flags(problem, passed)]
    if LAYOUT in searched:
        words = [layout_words(candidate.layout), *words]
    if MODEL in searched:
        words = [f"{MODEL} {candidate.model},", *words]
    return " ".join([*env, *words])


def _flags(problem: Problem, passed: EngineConfig) -> list[str]:
    """Words of the settings for the study's release; a value that it refuses is shown under its flag all the same."""
    try:
        args, env = serve_args(passed, problem.version), serve_env(passed, problem.version)
    except InputError:
        return [f"{flag(name)} {shlex.quote(str(value))}" for name, value in settings(passed).items()]
    return [*(f"{name}={value}" for name, value in env.items()), *map(shlex.quote, args)]


def flags_words(problem: Problem, passed: Mapping[str, Any]) -> str:
    """`--max-model-len 24576 --dtype half`: settings by name in EngineConfig, as vLLM's command line has them."""
    return " ".join(_flags(problem, EngineConfig(**passed)))


def layout_words(layout: Layout) -> str:
    """`2 instances, each --tensor-parallel-size 2`; of one instance the sizes alone."""
    sizes = f"{flag('tensor_parallel_size')} {layout.tensor_parallel_size}"
    if layout.pipeline_parallel_size > 1:
        sizes += f" {flag('pipeline_parallel_size')} {layout.pipeline_parallel_size}"
    return sizes if layout.instances == 1 else f"{layout.instances} instances, each {sizes}"


def flag_of(name: str) -> str:
    """What a person writes for a searched setting: vLLM's flag, a variable's name, or `layout` and `model`."""
    return flag(name) if name in FIELDS else name.removeprefix(ENV_PREFIX)


def heading(name: str) -> str:
    """A narrow column's heading for a searched setting; `legend` says what it stands for."""
    return SHORT_NAMES.get(name, name.removeprefix(ENV_PREFIX))


def legend(names: Iterable[str]) -> str:
    """`seqs: --max-num-seqs; layout: instances x --tensor-parallel-size`: headings that are no names of vLLM's."""
    told = {LAYOUT: f"instances x {flag('tensor_parallel_size')}", **{name: flag(name) for name in SHORT_NAMES}}
    return "; ".join(f"{heading(name)}: {told[name]}" for name in names if name in told)


def outcome_text(problem: Problem, trial: Trial) -> str:
    """`measured 812.3 tok/s`, or why there is no number."""
    if trial.outcome == "measured" and trial.value is not None:
        text = problem.objective.format(trial.value)
        if trial.stopped_at is not None:
            text = f"{ABOUT}{text}, given up after {trial.stopped_at:.0%} of the load"
        broken = [constraint.message for constraint in trial.constraints if constraint.excess > 0]
        return f"{text}; {broken[0]}" if broken else text
    if trial.failure is not None:
        return f"failed: {trial.failure.message}"
    if trial.levels and (missed := [constraint for constraint in trial.constraints if constraint.excess > 0]):
        return f"no load kept the limits: {max(missed, key=lambda constraint: constraint.excess).message}"
    reason = trial.constraints[0].message if trial.constraints else "no value"
    return f"{trial.outcome}: {reason}"
