"""Find the smallest useful changes: `nearest_fixes(setup) -> fixes`, each a change and its gain by the memory model.

For a deployment that will not start, the changes make it start; those that cost least come first. For one that starts,
they give more KV cache or remove a risk. A change touches one setting, or two if one alone breaks a rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, log2
from typing import Any

from planner.engine import FP8_KV_ON_ADA_SINCE, ResolvedEngine, flag, knows, refused_choice, words_of
from planner.estimate.answer import COLUMNS, FEW_POINTS, Answer, Setup, answer_of, one_of, unknown_flags
from planner.estimate.rules import violations
from planner.units import format_count, format_gib, to_gib

MOST_FIXES = 5
LEAST_GAIN = 0.02
"""Smallest gain that is shown, as a fraction of the KV tokens."""
ENOUGH = 0.75
"""Fraction of a setting's largest gain at which its change stops."""
MOST_NEEDED = 3
"""Most changes that are combined to make a deployment start; beyond it no fix is offered."""

Point = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Fix:
    changes: Mapping[str, Any]
    """New values by setting; None: the flag is no longer passed."""
    before: Mapping[str, Any]
    """Current values of the same settings."""
    base: Answer
    answer: Answer
    cost: str = ""
    """What the change costs, in words; empty if nothing."""
    makes_it_start: bool = False

    @property
    def gained_bytes(self) -> float:
        return float(self.answer.deployment.memory.kv_cache_bytes) - float(self.base.deployment.memory.kv_cache_bytes)

    @property
    def gained_tokens(self) -> int:
        return int(self.answer.deployment.memory.kv_tokens) - int(self.base.deployment.memory.kv_tokens)

    @property
    def text(self) -> str:
        """`max_num_seqs 256 -> 128: +0.71 GiB, +11 600 tokens; ...`"""
        changes = ", ".join(
            f"without {flag(name)}" if value is None else f"{name} {words_of(self.before[name])} -> {words_of(value)}"
            for name, value in self.changes.items()
        )
        tokens = f"{_signed(self.gained_tokens)} tokens"
        gib = f"{to_gib(self.gained_bytes):+.2f} GiB"
        gained = tokens if gib[1:] == "0.00 GiB" else f"{gib}, {tokens}"
        if self.makes_it_start:
            starts = "starts" if self.answer.verdict == "starts" else "starts, at risk"
            buys = f"{starts}, {format_count(float(self.answer.deployment.memory.kv_tokens))} tokens"
            buys += f" ({gained})" if self.gained_tokens and "tensor_parallel_size" not in self.changes else ""
        elif len(self.answer.dangers) < len(self.base.dangers):
            buys = "no risk" if not self.answer.dangers else "a risk less"
            buys += f", {gained}" if self.gained_tokens else ""
        else:
            buys = gained
        return f"{changes}: {buys}{'; ' if self.cost else ''}{self.cost}"

    def document(self) -> dict[str, Any]:
        """The fix as docs/formats.md describes it."""
        return {
            "changes": dict(self.changes),
            "verdict": self.answer.verdict,
            "kv_cache_gib_gained": round(to_gib(self.gained_bytes), 4),
            "kv_tokens_gained": self.gained_tokens,
            "text": self.text,
        }


def nearest_fixes(setup: Setup, base: Answer | None = None) -> list[Fix]:
    """At most MOST_FIXES changes, best first; an empty list if no change gains anything or makes it start."""
    base = base or setup.answer()
    if base.violated:
        return _starting(setup, base)[:MOST_FIXES]
    found: list[Fix] = []
    if base.dangers:
        safer = [fix for fix in _first_working(setup, base, safer_only=True) if not fix.answer.dangers]
        found = sorted(safer, key=_loss)[: MOST_FIXES - 2]
    known = [fix.changes for fix in found]
    gains = [fix for fix in _gaining(setup, base) if fix.changes not in known]
    return [*found, *sorted(gains, key=lambda fix: -fix.gained_tokens)][:MOST_FIXES]


# --- when it does not start ---


def _starting(setup: Setup, base: Answer) -> list[Fix]:
    """Changes that make it start. If no single one does, each is combined with the changes needed in any case."""
    needed: dict[str, Any] = {}
    unknown = [
        name
        for name, value in setup.settings.items()
        if not knows(setup.version, name) or refused_choice(setup.version, name, value) is not None
    ]
    if unknown and any(constraint in unknown_flags(setup.settings, setup.version) for constraint in base.violated):
        needed = dict.fromkeys(unknown)
    for _ in range(MOST_NEEDED):
        changed = _changed(setup, needed)
        now = changed.answer()
        if not now.violated:
            return [_fix(setup, base, needed, now, makes_it_start=True)]
        working = _first_working(changed, now)
        if working:
            fixes = [_fix(setup, base, {**needed, **fix.changes}, fix.answer, True) for fix in working]
            return [fix for fix in sorted(fixes, key=_loss) if not any(_does_more(fix, other) for other in fixes)]
        step = _needed_step(changed, now)
        if step is None:
            return []
        needed |= step
    return []


def _does_more(fix: Fix, other: Fix) -> bool:
    """Whether `fix` changes all settings of `other` and more, and has no fewer dangers."""
    return other.changes.keys() < fix.changes.keys() and len(fix.answer.dangers) >= len(other.answer.dangers)


def _changed(setup: Setup, changes: Mapping[str, Any]) -> Setup:
    settings = {**setup.settings, **changes}
    settings = {name: value for name, value in settings.items() if value is not None}
    gone = {constraint.message for constraint in unknown_flags(setup.settings, setup.version)}
    kept = tuple(constraint for constraint in setup.refused if constraint.message not in gone)
    return replace(setup, settings=settings, refused=(*kept, *unknown_flags(settings, setup.version)))


def _first_working(setup: Setup, base: Answer, safer_only: bool = False) -> list[Fix]:
    """Per move the nearest point without a danger, or if there is none, the nearest point at which it starts."""
    found = []
    if setup.refused:
        return []
    for names, points in _moves(setup, base, for_starting=True):
        answers = _feasible(setup, names, points, first_safe=True)
        if not answers:
            continue
        safe = [row for row, answer in answers.items() if not answer.dangers]
        if safer_only and not safe:
            continue
        row = safe[0] if safe else next(iter(answers))
        changes = dict(zip(names, points[row], strict=True))
        found.append(_fix(setup, base, changes, answers[row], bool(base.violated)))
    return found


def _needed_step(setup: Setup, base: Answer) -> dict[str, Any] | None:
    """The change that leaves the fewest broken rules; None if no change leaves fewer than now."""
    best: tuple[tuple[int, int], dict[str, Any]] | None = None
    for names, points in _moves(setup, base, for_starting=True):
        ends = [points[0], points[-1]] if len(points) > 1 else list(points)
        for point, answer in zip(ends, setup.answers(names, ends), strict=True):
            left = (len(answer.violated), len(names))
            if left[0] < len(base.violated) and (best is None or left < best[0]):
                best = (left, dict(zip(names, point, strict=True)))
    return best[1] if best else None


# --- when it starts ---


def _gaining(setup: Setup, base: Answer) -> Iterator[Fix]:
    """Per move the first point with the share ENOUGH of its gain; for max_num_seqs also the nearest if much smaller."""
    now = float(base.deployment.memory.kv_tokens)
    if not now:  # an encoder keeps no KV cache
        return
    for names, points in _moves(setup, base, for_starting=False):
        answers = {
            row: answer
            for row, answer in _feasible(setup, names, points).items()
            if len(answer.dangers) <= len(base.dangers) and answer.deployment.memory.kv_tokens >= now * (1 + LEAST_GAIN)
        }
        if not answers:
            continue
        gains = {row: float(answer.deployment.memory.kv_tokens) - now for row, answer in answers.items()}
        most = max(gains.values())
        enough = next(row for row, gain in gains.items() if gain >= ENOUGH * most)
        first = next(iter(gains))
        is_halfway_worth_it = names == ("max_num_seqs",) and gains[enough] > 1.25 * gains[first]
        for row in sorted({first, enough} if is_halfway_worth_it else {enough}):
            yield _fix(setup, base, dict(zip(names, points[row], strict=True)), answers[row])


def _feasible(
    setup: Setup, names: Sequence[str], points: Sequence[Point], first_safe: bool = False
) -> dict[int, Answer]:
    """Answers, by row, of the points that break no rule; `first_safe` stops at the first without a danger."""
    found = {}
    for row, answer in _answers_in_order(setup, names, points):
        if not answer.violated:
            found[row] = answer
            if first_safe and not answer.dangers:
                break
    return found


def _answers_in_order(setup: Setup, names: Sequence[str], points: Sequence[Point]) -> Iterator[tuple[int, Answer]]:
    """Yield (row, answer). Of many numeric points only about FEW that break no rule are answered, from the first on."""
    are_words = not COLUMNS.issuperset(names) or any(value is None for point in points for value in point)
    if are_words or len(points) <= FEW_POINTS:
        for row, point in enumerate(points):
            yield row, answer_of(setup.deployment(dict(zip(names, point, strict=True))), setup.refused, setup.flags)
        return
    import numpy as np

    deployment = setup.deployment({name: np.asarray([point[i] for point in points]) for i, name in enumerate(names)})
    rows = np.flatnonzero(violations(deployment, len(points)) < 0).tolist()
    for row in rows[:: max(1, len(rows) // FEW)]:
        yield row, answer_of(one_of(deployment, row), setup.refused, setup.flags)


FEW = 64
MOST_LENGTHS = 8192
"""Most contexts judged together; with tiny blocks or huge contexts some multiples of the block size are skipped."""


# --- moves ---


def _moves(setup: Setup, base: Answer, for_starting: bool) -> Iterator[tuple[tuple[str, ...], list[Point]]]:
    """Yield (names, points): settings that change together, and their other values from the nearest to the furthest."""
    engine = base.deployment.engine
    if setup.placement.gpu.is_cpu:  # the KV cache of the CPU backend is a setting, not the memory left over
        return
    for names, points in _all_moves(setup, base, for_starting):
        fitting = [
            point
            for point in points
            if all(value is None or knows(setup.version, name) for name, value in zip(names, point, strict=True))
            and any(value != _now(engine, name) for name, value in zip(names, point, strict=True))
        ]
        if fitting:
            yield names, fitting


def _all_moves(setup: Setup, base: Answer, for_starting: bool) -> Iterator[tuple[tuple[str, ...], list[Point]]]:
    engine, model, gpu = base.deployment.engine, setup.model, setup.placement.gpu
    batched, length = int(engine.max_num_batched_tokens), int(engine.max_model_len)
    seqs = _halvings(int(engine.max_num_seqs), 1 if for_starting else 8)
    blocks = int(base.deployment.memory.num_blocks)
    if base.deployment.memory.has_states and 0 < blocks < int(engine.max_num_seqs):  # as vLLM's message advises
        seqs = sorted({blocks, *seqs}, reverse=True)
    yield ("max_num_seqs",), _each(seqs)
    smaller = [tokens for tokens in _halvings(batched, 512) if tokens >= int(engine.max_num_seqs)]
    if not engine.enable_chunked_prefill:
        yield ("enable_chunked_prefill", "max_num_batched_tokens"), [(True, n) for n in (*smaller, 2048) if n < length]
        if setup.settings.get("max_num_batched_tokens") is not None:  # otherwise its default changes too
            yield ("enable_chunked_prefill",), [(True,)]
    else:
        yield ("max_num_batched_tokens",), _each(smaller)
    here = float(engine.gpu_memory_utilization)
    steps = [round(here + sign * step / 100, 4) for step in range(1, 60) for sign in (1, -1)]
    wanted = [u for u in steps if 0.3 <= u <= 0.98 and (for_starting or u > here)]
    yield ("gpu_memory_utilization",), _each(wanted)
    yield ("enforce_eager",), [(True,)]
    yield ("kv_cache_dtype",), _each(_fp8_kinds(base))
    yield ("tensor_parallel_size",), _each(_parallel_sizes(setup, engine))
    if "FLASHINFER" in engine.attention_backend and gpu.compute_capability < (8, 0) and engine.generation == "V1":
        yield ("attention_backend",), [("TRITON_ATTN",)]
    if not for_starting:
        return
    most, step = min(length - 1, model.max_context_tokens), int(engine.block_size)
    step *= max(1, ceil(most / step / MOST_LENGTHS))
    yield ("max_model_len",), _each(range(most // step * step, 0, -step))
    yield ("max_num_batched_tokens",), _each([max(length, int(engine.max_num_seqs)), int(engine.max_num_seqs)])
    if engine.dtype == "bfloat16" and gpu.compute_capability < (8, 0):
        yield ("dtype",), [("half",)]
    yield ("swap_space",), [(0.0,)]
    yield ("block_size",), [(16,), (32,)]
    for name in ("attention_backend", "kv_cache_memory_bytes", "num_gpu_blocks_override", "num_scheduler_steps"):
        if setup.settings.get(name) is not None:
            yield (name,), [(None,)]


def _each(values: Sequence[Any]) -> list[Point]:
    return [(value,) for value in values]


def _halvings(number: int, least: int) -> list[int]:
    """The powers of two below a number, down to `least`."""
    top = ceil(log2(max(number, 2))) - 1
    return [1 << power for power in range(top, -1, -1) if 1 << power >= least]


def _fp8_kinds(base: Answer) -> list[str]:
    """Values of kv_cache_dtype with 8 bits that this card, engine and version support."""
    d, engine = base.deployment, base.deployment.engine
    capability = d.gpu.compute_capability
    if engine.generation == "V0":
        if d.model.latent_attention is not None or engine.quantization == "fp8":
            return []
        return ["fp8_e5m2"] if capability < (8, 9) else ["fp8"]
    least = (8, 9) if engine.version >= FP8_KV_ON_ADA_SINCE else (9, 0)
    return ["fp8"] if capability >= least and not engine.kv_cache_dtype.startswith("fp8") else []


def _parallel_sizes(setup: Setup, engine: ResolvedEngine) -> list[int]:
    """Other tensor parallel sizes for which there are enough cards: nearest first, larger before smaller."""
    most = setup.placement.num_gpus // (setup.instances * engine.pipeline_parallel_size * engine.data_parallel_size)
    now = engine.tensor_parallel_size
    return sorted((n for n in range(1, most + 1) if n != now), key=lambda n: (abs(log2(n / now)), -n))


# --- one fix ---


def _fix(setup: Setup, base: Answer, changes: Mapping[str, Any], answer: Answer, makes_it_start: bool = False) -> Fix:
    before = {name: _now(base.deployment.engine, name) for name in changes}
    costs = [_cost(setup, name, value, before[name], answer) for name, value in changes.items()]
    return Fix(changes, before, base, answer, ", ".join(cost for cost in costs if cost), makes_it_start)


def _now(engine: ResolvedEngine, name: str) -> Any:
    return getattr(engine, name, None)


def _cost(setup: Setup, name: str, value: Any, before: Any, answer: Answer) -> str:
    """What the change costs, in words; empty if nothing."""
    if value is None:
        return ""
    engine, memory = answer.deployment.engine, answer.deployment.memory
    match name:
        case "max_num_seqs":
            return f"at most {value} requests run at once, more wait"
        case "max_num_batched_tokens" if engine.enable_chunked_prefill and value < engine.max_model_len:
            return f"a prompt of full length takes {ceil(engine.max_model_len / value)} steps"
        case "max_num_batched_tokens" if value > before:
            return "longer steps, a larger activation peak"
        case "gpu_memory_utilization" if value > before:
            return f"{format_gib(memory.outside_bytes)} stay outside the budget for context and graphs"
        case "max_model_len":
            return "longer requests are refused"
        case "kv_cache_dtype":
            return "keys and values in 8 bits, check the answers"
        case "enforce_eager":
            return "no CUDA graphs, slower decoding"
        case "tensor_parallel_size":
            return f"takes {engine.num_gpus * setup.instances} of {setup.placement.num_gpus} cards"
        case "dtype" if not engine.falls_back_to_half:
            return "16-bit floats of a smaller range"
        case _:
            return ""


def _loss(fix: Fix) -> float:
    """Cost of a fix for the user, to sort by: sum of LOSSES over its changes, plus 3 if a danger remains."""
    return sum(_setting_loss(name, fix.before[name], value) for name, value in fix.changes.items()) + (
        3.0 if fix.answer.dangers else 0.0
    )


def _setting_loss(name: str, before: Any, value: Any) -> float:
    if value is None or name not in LOSSES:
        return 0.0
    weight = LOSSES[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not before:
        return weight
    return weight * abs(log2(value / before)) if value > 0 else 0.0


LOSSES = {
    "gpu_memory_utilization": 1.0, "max_num_seqs": 0.5, "max_num_batched_tokens": 0.3, "enable_chunked_prefill": 0.3,
    "block_size": 0.1, "kv_cache_dtype": 1.5, "enforce_eager": 2.0, "tensor_parallel_size": 1.2, "max_model_len": 2.0,
}  # fmt: skip
"""Cost of a change, by setting; for a number, per halving or doubling. Settings that are not listed cost nothing."""


def _signed(number: int) -> str:
    return ("-" if number < 0 else "+") + format_count(abs(number))
