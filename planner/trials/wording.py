"""Short words for candidates and outcomes, and the banners of what is simulated or replayed."""

from __future__ import annotations

from planner.engine import words_of
from planner.study import Candidate, Problem
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
    """The searched values of a candidate on one line; values left to the engine's default are omitted."""
    parts = []
    for name in problem.choices.names:
        value = problem.choices.value_of(candidate, name)
        if value is not None:
            parts.append(f"{SHORT_NAMES.get(name, name)}={words_of(value)}")
    return " ".join([problem.default_words, *parts] if candidate == problem.default else parts)


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
    reason = trial.constraints[0].message if trial.constraints else "no value"
    return f"{trial.outcome}: {reason}"
