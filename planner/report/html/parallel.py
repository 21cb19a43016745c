"""Parallel coordinates of a study's trials as SVG: one axis per setting that differs, the objective last.

In: axes with their labels, lines with a place on each axis. Out: markup with all text escaped. pygal draws no such
plot. The axes lie one below the other, so that it fits a telephone; the text of a line is its `<title>`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, MARGIN, ROW, TOP, BOTTOM = 480, 28, 58, 24, 22
"""Sizes in the drawing's own units: its width, the room beside the axes, between two, above and below them."""
MOST_LABELS, LABEL_CHARACTERS = 9, 11
"""Most labels of an axis, and characters of one, that do not run into each other."""


@dataclass(frozen=True, slots=True)
class ParallelAxis:
    name: str
    labels: Sequence[tuple[float, str]]
    """Places between 0 and 1 with what stands there."""


@dataclass(frozen=True, slots=True)
class ParallelLine:
    title: str
    places: Sequence[float]
    """Its place on each axis, between 0 and 1."""
    kind: str = ""
    """`best`, `weak` or empty, as of a table's row."""


def parallel(label: str, axes: Sequence[ParallelAxis], lines: Sequence[ParallelLine]) -> Markup:
    """The drawing. `label` tells a screen reader what is drawn."""
    height = TOP + ROW * (len(axes) - 1) + BOTTOM
    parts = [
        Markup('<svg xmlns="http://www.w3.org/2000/svg" class="parallel" viewBox="0 0 {} {}" role="img" '
               'aria-label="{}">').format(WIDTH, height, label)
    ]  # fmt: skip
    rows = [TOP + ROW * at for at in range(len(axes))]
    parts += [Markup('<path class="axis" d="M{} {}H{}"/>').format(MARGIN, y, WIDTH - MARGIN) for y in rows]
    for line in sorted(lines, key=lambda one: one.kind == "best"):
        points = " ".join(f"{_x(place):.1f},{TOP + ROW * at}" for at, place in enumerate(line.places))
        parts.append(Markup('<polyline class="mark {}" points="{}"><title>{}</title></polyline>').format(
            line.kind, points, line.title))  # fmt: skip
    for axis, y in zip(axes, rows, strict=True):
        parts.append(Markup('<text class="name" x="{}" y="{}">{}</text>').format(MARGIN, y - 9, axis.name))
        for place, words in _spread(axis.labels):
            anchor = "start" if place < 0.05 else "end" if place > 0.95 else "middle"
            shown = Markup('<text x="{:.1f}" y="{}" text-anchor="{}">{}</text>')
            parts.append(shown.format(_x(place), y + 15, anchor, _cut(words)))
    return Markup("").join([*parts, Markup("</svg>")])


def _x(place: float) -> float:
    return MARGIN + place * (WIDTH - 2 * MARGIN)


def _spread(labels: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """At most MOST_LABELS of them, the first and the last included."""
    count, last = min(len(labels), MOST_LABELS), len(labels) - 1
    return [labels[round(i * last / max(1, count - 1))] for i in range(count)]


def _cut(words: str) -> str:
    return words if len(words) <= LABEL_CHARACTERS else f"{words[: LABEL_CHARACTERS - 1]}…"
