"""The quality gate's judgement: do two engines answer the same? `compare(...) -> Agreement`, `QualityVerdict`.

Whatever can change answers (the model's variant, dtype, quantization, KV cache dtype: a candidate's `numerics`) is
judged once a study; a verdict is a constraint on every trial with the same numerics, so that a refused one is never the
best. Pure: `quality_gate.py` asks the engines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import fmean, median
from typing import Literal

from planner.constraints import Constraint
from planner.study import MODEL, Candidate, Problem, QualitySpec
from planner.trials.trial import Trial

RULE = "answers as the default's"
"""Name of the constraint that a verdict puts on trials."""

Numerics = tuple[tuple[str, str], ...]
Outcome = Literal["passed", "failed", "not compared"]


@lru_cache(maxsize=1024)
def numerics(problem: Problem, candidate: Candidate) -> Numerics:
    """What can change a candidate's answers, as the engine will resolve it: `auto` equals the value it stands for.

    Each choice of a search compares those of all trials, so the latest are kept.
    """
    engine = problem.deployment(candidate).engine
    resolved = (engine.dtype, str(engine.quantization), engine.kv_cache_dtype)
    return ((MODEL, candidate.model), *zip(("dtype", "quantization", "kv_cache_dtype"), resolved, strict=True))


def differing(problem: Problem, candidate: Candidate) -> tuple[str, ...]:
    """The settings that can change the answers, as `kv_cache_dtype fp8 (auto)`, with the default in brackets."""
    pairs = zip(numerics(problem, candidate), numerics(problem, problem.default), strict=True)
    return tuple(f"{name} {value} ({default})" for (name, value), (_, default) in pairs if value != default)


@dataclass(frozen=True, slots=True)
class PromptAnswer:
    """One prompt answered greedily."""

    tokens: tuple[str, ...]
    logprobs: tuple[float, ...] | None = None
    """Natural logarithm of each token's probability; None where the server gives none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far the answers of one engine agree with those of another."""

    num_prompts: int
    num_same: int
    """Number of answers that are the same to the last token."""
    agreement: float
    """Share of an answer's tokens before the first that differs, mean over the prompts."""
    first_difference: float | None
    """Median position of the first token that differs, counted from 0; None if no answer differs."""
    drift: float | None
    """Mean absolute difference of the log-probabilities before that token, in nats; None without log-probabilities."""

    @property
    def words(self) -> str:
        parts = [f"{self.num_same} of {self.num_prompts} answers the same, {self.agreement:.0%} of the tokens"]
        if self.first_difference is not None:
            parts.append(f"the others differ from token {self.first_difference:g} on")
        if self.drift is not None:
            parts.append(f"log-probabilities differ by {self.drift:.3f}")
        return ", ".join(parts)


def compare(reference: Sequence[PromptAnswer], answers: Sequence[PromptAnswer]) -> Agreement:
    """Compare answers to the same prompts, in the same order; at least one.

    After the first token that differs the two write different texts, so only the tokens before it are compared.
    """
    firsts = [_first_difference(one.tokens, other.tokens) for one, other in zip(reference, answers, strict=True)]
    shares = [
        1.0 if first is None else first / max(len(one.tokens), len(other.tokens))
        for first, one, other in zip(firsts, reference, answers, strict=True)
    ]
    drifts = [
        abs(a - b)
        for first, one, other in zip(firsts, reference, answers, strict=True)
        for a, b in zip((one.logprobs or ())[:first], (other.logprobs or ())[:first], strict=False)
    ]
    differ = [first for first in firsts if first is not None]
    return Agreement(
        num_prompts=len(firsts),
        num_same=firsts.count(None),
        agreement=fmean(shares),
        first_difference=median(differ) if differ else None,
        drift=fmean(drifts) if drifts else None,
    )


def _first_difference(one: Sequence[str], other: Sequence[str]) -> int | None:
    for position, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return position
    return None if len(one) == len(other) else min(len(one), len(other))


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityVerdict:
    """Verdict on one set of numerics in one study; kept in the study's storage."""

    numerics: Numerics
    outcome: Outcome
    message: str
    asked: str = ""
    """The study's `quality` section as JSON; under another one the numerics are judged anew."""
    agreement: Agreement | None = None
    """Agreement of these answers with the default's."""
    repeated: Agreement | None = None
    """Agreement of the default's answers with its own, asked twice: the level that counts as no difference."""


def judge_answers(spec: QualitySpec, key: Numerics, agreement: Agreement, repeated: Agreement) -> QualityVerdict:
    """Refuse answers that leave the default's too early, or whose log-probabilities drift too far."""
    faults = []
    if agreement.agreement < spec.min_agreement:
        faults.append(f"less than {spec.min_agreement:.0%} of the tokens")
    if agreement.drift is not None and agreement.drift > spec.max_drift:
        faults.append(f"drift above {spec.max_drift:g}")
    message = agreement.words + (f" ({', '.join(faults)})" if faults else "")
    outcome: Outcome = "failed" if faults else "passed"
    return QualityVerdict(numerics=key, outcome=outcome, message=message, agreement=agreement, repeated=repeated)


def constraint_of(verdict: QualityVerdict) -> Constraint:
    excess = 1.0 if verdict.outcome == "failed" else 0.0
    return Constraint(RULE, excess, f"answers {verdict.outcome}: {verdict.message}", "quality")


def judged(problem: Problem, trials: Sequence[Trial], verdicts: Sequence[QualityVerdict]) -> list[Trial]:
    """The trials, each with the verdict on its numerics as a constraint."""
    if not verdicts:
        return list(trials)
    by_numerics = {verdict.numerics: constraint_of(verdict) for verdict in verdicts}

    def one(trial: Trial) -> Trial:
        found = by_numerics.get(numerics(problem, trial.candidate)) if trial.outcome == "measured" else None
        others = (constraint for constraint in trial.constraints if constraint.name != RULE)
        return trial if found is None else replace(trial, constraints=(*others, found))

    return [one(trial) for trial in trials]


def refused_numerics(problem: Problem, trials: Sequence[Trial]) -> set[Numerics]:
    """The numerics that the gate refused, by the constraints on judged trials."""
    return {
        numerics(problem, trial.candidate)
        for trial in trials
        if any(constraint.name == RULE and constraint.excess > 0 for constraint in trial.constraints)
    }


def quality_words(problem: Problem, trial: Trial) -> str | None:
    """What is known about a trial's answers; None if no changed setting can change them."""
    known = next((constraint.message for constraint in trial.constraints if constraint.name == RULE), None)
    if known is not None:
        return known
    changed = differing(problem, trial.candidate)
    return f"answers not compared: {', '.join(changed)} can change them" if changed else None
