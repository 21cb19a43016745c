"""Find changes that a person would make: `nearest_fixes(setup) -> fixes`, each judged by the rules as a whole.

For a deployment that will not start, the changes make it start; those that cost least come first. For one that starts,
they give more KV cache or remove a risk without adding another. What may change is in `moves.py`, its price in
`prices.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from itertools import islice
from shlex import quote
from typing import Any, TypeAlias

from planner.engine import flag, flag_words, words_of
from planner.estimate.answer import Answer, Setup
from planner.estimate.moves import (
    GPU,
    HARDWARE,
    INSTANCES,
    MODEL,
    NUM_GPUS,
    Move,
    Point,
    before,
    changed,
    hardware,
    moves,
    unknown_settings,
)
from planner.estimate.prices import CHEAP_LOSS, DecodeRate, cost_words, loss_of, pace_of
from planner.estimate.risks import TIGHT
from planner.units import format_count, to_gib

MOST_FIXES = 5
LEAST_GAIN = 0.02
"""Smallest gain that is shown, as a fraction of the KV tokens."""
LEAST_PACE = 0.9
"""Least predicted speed of all requests together, over that before, with which a gain is shown."""
PACE_SHOWN = 0.02
"""Smallest change of predicted speed that is shown."""
ENOUGH = 0.75
"""Fraction of a setting's largest gain at which its change stops."""
MOST_STEPS = 3
"""Most changes of kernels, layout or checkpoint that are combined, each with one lighter change on top."""
ENOUGH_SAFE = 3
"""Number of fixes without a danger from which fewer changes are not combined with more."""
WIDTH = 6
"""Number of combinations that are taken further, the nearest to a start."""
FEW_POINTS = 3
"""Number of points up to which all are judged."""
KINDS_OF_HARDWARE = 2
"""More cards, and a larger one."""
MOST_ALIKE = 2
"""Most fixes with the same kernels, layout and checkpoint."""


class Spelling(Enum):
    """How a fix names what changes: for a person who has a study.yaml, options of planner, or a command of vLLM."""

    KEYS = "keys"
    OPTIONS = "options"
    COMMAND = "command"


OWN = {
    Spelling.OPTIONS: {MODEL: "--model {}", GPU: "--gpu {}", NUM_GPUS: "--num-gpus {}", INSTANCES: "instances {}"},
    Spelling.COMMAND: {MODEL: "model {}", GPU: "card {}", NUM_GPUS: "cards {}", INSTANCES: "instances {}"},
}
"""What is no setting of the engine, as each spelling has it."""


@dataclass(frozen=True)
class Fix:
    changes: Mapping[str, Any]
    """New values by setting, or of model, gpu, num_gpus, instances; None: the flag is no longer passed."""
    before: Mapping[str, Any]
    """Current values of the same."""
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

    @cached_property
    def pace(self) -> DecodeRate | None:
        """Predicted speed after the change; None where the speed model cannot say."""
        return pace_of(self.answer)

    @cached_property
    def pace_ratio(self) -> float | None:
        """Predicted speed of all requests together over that before; None without one of them."""
        now = pace_of(self.base)
        return None if now is None or self.pace is None else self.pace.together / now.together

    @property
    def text(self) -> str:
        """`max_num_seqs 256 -> 128: +0.71 GiB, +11 600 tokens; ...`"""
        return self.words(Spelling.KEYS)

    def words(self, spelling: Spelling) -> str:
        """The fix in one line: `--max-num-seqs 128 (now 256): +0.71 GiB, +11 600 tokens; ...` where flags are typed."""
        named = ", ".join(self._change_words(name, value, spelling) for name, value in self.changes.items())
        parts = [f"{named}: {self._buys()}", self._pace_words(), self.cost]
        return "; ".join(part for part in parts if part)

    def _change_words(self, name: str, value: Any, spelling: Spelling) -> str:
        now = self.before[name]
        if value is None:
            return f"without {flag(name)}"
        if spelling is Spelling.KEYS:
            return f"model {value}" if name == MODEL else f"{name} {_shown(now)} -> {_shown(value)}"
        is_own = name in OWN[spelling]
        words = OWN[spelling][name].format(quote(str(value))) if is_own else self._flag_words(name, value)
        is_number = isinstance(now, int | float) and not isinstance(now, bool)
        return f"{words} (now {_shown(now)})" if is_number else words

    def _flag_words(self, name: str, value: Any) -> str:
        return flag_words(name, value, self.base.deployment.engine.version)

    def _buys(self) -> str:
        tokens = f"{_signed(self.gained_tokens)} tokens"
        gib = f"{to_gib(self.gained_bytes):+.2f} GiB"
        gained = tokens if gib[1:] == "0.00 GiB" else f"{gib}, {tokens}"
        if self.makes_it_start:
            names = ", ".join(dict.fromkeys(danger.name for danger in self.answer.dangers))
            starts = f"starts, at risk ({names})" if names else "starts"
            return f"{starts}, {format_count(float(self.answer.deployment.memory.kv_tokens))} tokens"
        if len(self.answer.dangers) < len(self.base.dangers):
            buys = "no risk" if not self.answer.dangers else "a risk less"
            return buys + (f", {gained}" if self.gained_tokens else "")
        return gained

    def _pace_words(self) -> str:
        """Speed in tokens per second where there was none before, else its change if there is one."""
        if self.makes_it_start:
            return self.pace.words if self.pace is not None else ""
        now = pace_of(self.base)
        if now is None or self.pace is None:
            return ""
        together, alone = self.pace.together / now.together - 1, self.pace.alone / now.alone - 1
        words = [f"predicted speed {together:+.0%}"] if abs(together) >= PACE_SHOWN else []
        words += [f"of one request {alone:+.0%}"] if abs(alone) >= PACE_SHOWN else []
        return ", ".join(words)

    def document(self) -> dict[str, Any]:
        """The fix as docs/formats.md describes it."""
        return {
            "changes": dict(self.changes),
            "verdict": self.answer.verdict,
            "dangers": [str(danger) for danger in self.answer.dangers],
            "kv_cache_gib_gained": round(to_gib(self.gained_bytes), 4),
            "kv_tokens_gained": self.gained_tokens,
            "predicted": None if self.pace is None else self.pace.document(),
            "text": self.text,
        }


def _shown(value: Any) -> str:
    return "none" if value is None else words_of(value)


def nearest_fixes(setup: Setup, base: Answer | None = None) -> list[Fix]:
    """At most MOST_FIXES changes, best first; an empty list if no change gains anything or makes it start."""
    base = base or setup.answer()
    if not base.is_likely:
        return _starting(setup, base)
    if base.verdict == "cannot say":
        return []
    found: list[Fix] = []
    if base.dangers:
        found = _sorted(setup, [_fix(setup, base, *pair) for pair in _search(setup, base, is_safe)[0]])
        found = found[: MOST_FIXES - 2]
    known = [fix.changes for fix in found]
    gains = [fix for fix in _gaining(setup, base) if fix.changes not in known]
    return [*found, *sorted(gains, key=lambda fix: -fix.gained_tokens)][:MOST_FIXES]


# --- search ---

Tried: TypeAlias = tuple[Point, Answer]
Good: TypeAlias = Callable[[Answer], bool]


def works(answer: Answer) -> bool:
    """Whether an answer is worth printing: it starts, perhaps at risk."""
    return answer.is_likely and answer.verdict != "cannot say"


def is_safe(answer: Answer) -> bool:
    return answer.verdict == "starts"


def _starting(setup: Setup, base: Answer) -> list[Fix]:
    """Changes that make it start, other cards last."""
    if setup.flags.refused:  # no setting mends a flag
        return []
    needed = unknown_settings(setup)
    here = changed(setup, needed)
    now = here.answer()
    if needed and works(now):
        return [_fix(setup, base, needed, now)]
    found, nearer = _search(here, now, works)
    chosen = _sorted(setup, [_fix(setup, base, {**needed, **point}, answer) for point, answer in found])
    if len(chosen) < MOST_FIXES and not any(_is_cheap(setup, fix) for fix in chosen):
        mended: list[Tried] = []
        if _distance(now)[0]:
            mended = [pair for pair in nearer if not _distance(pair[1])[0] and MODEL not in pair[0]]
        starts = [({}, now), *sorted(mended, key=lambda pair: (len(pair[0]), _distance(pair[1])))[:1]]
        others = _on_other_cards(here, starts)
        chosen += [_fix(setup, base, {**needed, **point}, answer) for point, answer in others]
    return chosen[:MOST_FIXES]


def _on_other_cards(setup: Setup, starts: Sequence[Tried]) -> Iterator[Tried]:
    """More cards and a larger card, alone or on top of the changes that the engine's own rules need."""
    for kind in range(KINDS_OF_HARDWARE):
        for changes, answer in starts:
            here = changed(setup, changes)
            good = next((_first(here, move, works) for move in islice(hardware(here, answer), kind, kind + 1)), None)
            if good is not None and not changes.keys() & good[0].keys():
                yield {**changes, **good[0]}, good[1]
                break


def _is_cheap(setup: Setup, fix: Fix) -> bool:
    """Whether a fix costs so little that nobody needs other cards."""
    is_same_model = not {MODEL, "quantization"} & fix.changes.keys()
    return is_same_model and not fix.answer.dangers and _loss(setup, fix) <= CHEAP_LOSS


def _search(setup: Setup, base: Answer, is_good: Good) -> tuple[list[Tried], list[Tried]]:
    """Combinations that are good, of up to MOST_STEPS changes and one on top; and those that are only nearer."""
    found: list[Tried] = []
    nearer: list[Tried] = []
    beam: list[Tried] = [({}, base)]
    seen: list[Point] = [{}]
    for _ in range(MOST_STEPS):
        further: list[Tried] = []
        for changes, answer in beam:
            here = changed(setup, changes)
            for move in moves(here, answer, for_starting=True):
                if any(changes.keys() & point.keys() for point in move.points):  # its bounds are those of the setup
                    continue
                good = _first(here, move, is_good)
                if good is not None:
                    found.append(({**changes, **good[0]}, good[1]))
                if len(move.further) > 1 or good is None or not is_safe(good[1]):
                    further += _steps(here, changes, move, answer, seen)
        if len([pair for pair in found if is_safe(pair[1])]) >= ENOUGH_SAFE or not further:
            break
        nearer += further
        beam = sorted(further, key=lambda pair: _distance(pair[1]))[:WIDTH]
    return found, nearer


def _steps(setup: Setup, changes: Point, move: Move, base: Answer, seen: list[Point]) -> Iterator[Tried]:
    """Points of a move from which a start is nearer than from `base`, though not there yet."""
    for point in move.further:
        together = {**changes, **point}
        if together in seen:
            continue
        seen.append(together)
        answer = changed(setup, point).answer()
        if not is_safe(answer) and _distance(answer) < _distance(base):
            yield together, answer


def _first(setup: Setup, move: Move, is_good: Good) -> Tried | None:
    """The nearest good point without a danger, or if there is none, the nearest good one."""
    nearest: Tried | None = None
    if move.is_ordered and len(move.points) > FEW_POINTS and not is_good(changed(setup, move.points[-1]).answer()):
        return None
    for point in move.points:
        answer = changed(setup, point).answer()
        if is_safe(answer):
            return point, answer
        if nearest is None and is_good(answer):
            nearest = point, answer
    return nearest


def _distance(answer: Answer) -> tuple[int, float, int]:
    """How far an answer is from a start: rules that no memory mends, bytes that are lacking on a card, dangers."""
    memory = answer.deployment.memory
    refused = [constraint for constraint in answer.violated if constraint.kind != "out of memory"]
    rooms = [float(rank.available_bytes) for rank in memory.ranks]
    needed = float(memory.request_blocks) * float(memory.kv_block_bytes)
    lacking = max(needed - min(rooms, default=0.0), 0.0) + max(-float(memory.spare_outside_bytes), 0.0)
    return len(refused), lacking, len(answer.dangers)


def _sorted(setup: Setup, fixes: Iterable[Fix]) -> list[Fix]:
    """Fixes by their cost, without those that change more than another one to no avail, and at most a few alike."""
    found: dict[tuple[tuple[str, str], ...], Fix] = {}
    for fix in fixes:
        found.setdefault(tuple(sorted((name, repr(value)) for name, value in fix.changes.items())), fix)
    useful = [fix for fix in found.values() if not any(_does_more(fix, other) for other in found.values())]
    useful.sort(key=lambda fix: _loss(setup, fix))
    chosen: list[Fix] = []
    for fix in useful:
        alike = [other for other in chosen if _heavy(other) == _heavy(fix)]
        if len(alike) < (MOST_ALIKE if _heavy(fix) else MOST_FIXES):
            chosen.append(fix)
    return chosen


def _loss(setup: Setup, fix: Fix) -> float:
    return loss_of(setup, fix.changes, fix.before, fix.answer)


HEAVY = frozenset({
    "kv_cache_dtype", "tensor_parallel_size", "pipeline_parallel_size", "quantization", "enforce_eager", MODEL,
    INSTANCES, *HARDWARE,
})  # fmt: skip
"""What makes two fixes alike, if they change the same of it."""


def _heavy(fix: Fix) -> dict[str, Any]:
    return {name: value for name, value in fix.changes.items() if name in HEAVY}


def _does_more(fix: Fix, other: Fix) -> bool:
    """Whether `fix` makes all changes of `other` and more, and has no fewer dangers."""
    is_within = other.changes.keys() < fix.changes.keys()
    return is_within and len(fix.answer.dangers) >= len(other.answer.dangers)


# --- when it starts ---


def _gaining(setup: Setup, base: Answer) -> Iterator[Fix]:
    """Per move the first point with the share ENOUGH of its gain; for max_num_seqs also the nearest if much smaller."""
    now = float(base.deployment.memory.kv_tokens)
    if not now:  # an encoder keeps no KV cache
        return
    for move in moves(setup, base, for_starting=False):
        answers = [(point, changed(setup, point).answer()) for point in move.points]
        better = [
            _fix(setup, base, point, answer)
            for point, answer in answers
            if works(answer)
            and _is_no_riskier(answer, base)
            and answer.deployment.memory.kv_tokens >= now * (1 + LEAST_GAIN)
        ]
        better = [fix for fix in better if (fix.pace_ratio or 1.0) >= LEAST_PACE or "enforce_eager" in fix.changes]
        yield from _worth_it(better)


def _is_no_riskier(answer: Answer, base: Answer) -> bool:
    """Whether every danger of an answer is one of the base's, and has not become worse."""
    names = {danger.name for danger in base.dangers}
    is_tighter = answer.deployment.memory.spare_outside_bytes < base.deployment.memory.spare_outside_bytes
    return all(danger.name in names for danger in answer.dangers) and not (
        is_tighter and any(danger.name == TIGHT for danger in answer.dangers)
    )


def _worth_it(better: Sequence[Fix]) -> list[Fix]:
    if not better:
        return []
    most = max(fix.gained_tokens for fix in better)
    enough = next(fix for fix in better if fix.gained_tokens >= ENOUGH * most)
    is_halfway_worth_it = (
        set(enough.changes) == {"max_num_seqs"} and enough.gained_tokens > 1.25 * better[0].gained_tokens
    )
    return [better[0], enough] if is_halfway_worth_it else [enough]


# --- one fix ---


def _fix(setup: Setup, base: Answer, changes: Point, answer: Answer) -> Fix:
    engine = base.deployment.engine
    was = {name: before(setup, engine, name) for name in changes}
    return Fix(changes, was, base, answer, cost_words(setup, changes, was, answer), not base.is_likely)


def _signed(number: int) -> str:
    return ("-" if number < 0 else "+") + format_count(abs(number))
