"""Leave one source out: what the 90 % intervals hold of starts whose source taught nothing.

In: the recorded starts, compared. Out: one row a component. The levels that were fitted, memory outside torch and that
of graphs, are learned anew from the other sources for each source that is left out; so is the factor by which widths
are too small or too large. Sources count alike, whatever number of starts they have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tests.accuracy.starts import BEFORE, COMPONENTS, Comparison, Start

FITTED = ("non-torch", "graphs")
"""Components whose levels are constants set on recorded starts; the others are formulas."""
NINETY = 0.9
Key = Callable[[Start], object]
KEYS: tuple[Key, ...] = (
    lambda start: (start.group, start.cards, start.is_hopper),
    lambda start: (start.group, start.cards > 1),
    lambda start: start.cards > 1,
)
"""What a level may depend on, the closest first: the first that another source shares is used."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Starts of left-out sources in one component."""

    component: str
    sources: int
    count: int
    covered: float
    """Share inside the intervals as they are, around levels that the other sources teach."""
    factor: float
    """Median factor by which the other sources would have the widths be."""
    covered_scaled: float
    """Share inside the intervals with widths by that factor."""


def held_out(starts: Sequence[Start]) -> list[HeldOut]:
    """One row a component. Starts of versions before 0.6.6 are left out, as everywhere."""
    starts = [start for start in starts if start.group != BEFORE]
    return [row for component in COMPONENTS if (row := _row(starts, component)) is not None]


def _row(starts: Sequence[Start], component: str) -> HeldOut | None:
    found = [(start, one) for start in starts if (one := start.of(component)) is not None and one.half_width > 0]
    if not found:
        return None
    by_source = _by_source(found)
    plain, scaled, factors = [], [], []
    for source, own in by_source.items():
        others = {name: pairs for name, pairs in by_source.items() if name != source}
        factor = _quantile([_scores(pairs, _without(others, name), component) for name, pairs in others.items()])
        scores = _scores(own, others, component)
        plain += [score <= 1 for score in scores]
        scaled += [score <= factor for score in scores]
        factors.append(factor)
    return HeldOut(
        component, len(by_source), len(found), float(np.mean(plain)), float(np.median(factors)), float(np.mean(scaled))
    )


Pairs = list[tuple[Start, Comparison]]


def _by_source(found: Pairs) -> dict[str, Pairs]:
    by_source: dict[str, Pairs] = defaultdict(list)
    for start, compared in found:
        by_source[start.source].append((start, compared))
    return dict(by_source)


def _without(by_source: dict[str, Pairs], source: str) -> dict[str, Pairs]:
    return {name: pairs for name, pairs in by_source.items() if name != source}


def _scores(own: Pairs, others: dict[str, Pairs], component: str) -> list[float]:
    """Errors over half widths, once the level that the others teach is taken off."""
    return [abs(compared.error - _level(start, others, component)) / compared.half_width for start, compared in own]


def _level(start: Start, others: dict[str, Pairs], component: str) -> float:
    """Median over sources of the others' median error, of the closest key that they share; 0 for formulas."""
    if component not in FITTED:
        return 0.0
    for key in KEYS:
        alike = [_errors(pairs, key, key(start)) for pairs in others.values()]
        if medians := [float(np.median(errors)) for errors in alike if errors]:
            return float(np.median(medians))
    return 0.0


def _errors(pairs: Pairs, key: Key, wanted: object) -> list[float]:
    return [compared.error for start, compared in pairs if key(start) == wanted]


def _quantile(scores: Sequence[Sequence[float]]) -> float:
    """The score that nine in ten starts do not pass, every source weighing the same."""
    pairs = sorted((score, 1 / len(own)) for own in scores for score in own)
    reached = np.cumsum([weight for _, weight in pairs])
    at = int(np.searchsorted(reached, NINETY * reached[-1]))
    return pairs[min(at, len(pairs) - 1)][0]


def lines(rows: Sequence[HeldOut]) -> Iterator[list[str]]:
    for row in rows:
        yield [row.component, str(row.sources), str(row.count), f"{row.covered:.0%}", f"{row.factor:.2f}",
               f"{row.covered_scaled:.0%}"]  # fmt: skip
