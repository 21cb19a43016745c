"""Parallel coordinates: each trial is a line through its values, and words stay words."""

from __future__ import annotations

from xml.etree import ElementTree

from planner.report.html.parallel import MARGIN, MOST_LABELS, WIDTH, ParallelAxis, ParallelLine, parallel

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</title><script>alert(1)</script> \"'&"


def test_lines_cross_each_axis_at_their_place_and_the_best_is_on_top() -> None:
    axes = [ParallelAxis("seqs", [(0.0, "8"), (1.0, "64")]), ParallelAxis("tok/s", [(0.0, "1"), (1.0, "2")])]
    lines = [ParallelLine("trial 1", (0.0, 1.0), "best"), ParallelLine("trial 0", (1.0, 0.0))]
    drawing = ElementTree.fromstring(parallel("trials", axes, lines))  # noqa: S314  (made here)
    drawn = drawing.findall(f"{SVG}polyline")
    assert [line.findtext(f"{SVG}title") for line in drawn] == ["trial 0", "trial 1"]
    assert drawn[1].attrib["class"] == "mark best"
    (first, last) = drawn[1].attrib["points"].split()
    assert (float(first.split(",")[0]), float(last.split(",")[0])) == (MARGIN, WIDTH - MARGIN)
    assert len(drawing.findall(f"{SVG}path")) == 2


def test_words_are_escaped_and_labels_do_not_crowd() -> None:
    axes = [ParallelAxis(HOSTILE, [(n / 40, f"{HOSTILE}{n}") for n in range(41)])]
    drawing = ElementTree.fromstring(parallel(HOSTILE, axes, [ParallelLine(HOSTILE, (0.5,))]))  # noqa: S314  (made here)
    assert drawing.attrib["aria-label"] == HOSTILE
    assert drawing.find(f".//{SVG}script") is None
    texts = drawing.findall(f"{SVG}text")
    assert len(texts) == 1 + MOST_LABELS
    assert texts[0].text == HOSTILE
