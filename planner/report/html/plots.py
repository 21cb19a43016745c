"""Plots as SVG inside the page: points, steps, lines and bars -> text. Only this module uses pygal.

pygal computes scales, ticks and marks. Its styles and script are removed, so that `style.css` of the page colours a
plot (light, dark, print) and nothing in the file can run. The text shown under the pointer is the `<title>` of a mark.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, SubElement

import pygal
from markupsafe import Markup
from pygal.etree import etree
from pygal.style import Style

WIDTH, HEIGHT = 480, 310
"""Size of a drawing in its own units. It is scaled to its place: at 360 pixels the labels are still readable."""
LABEL_SIZE = 13
BAR_HEIGHT, BAR_MARGIN = 44, 90
SHARED = {
    "css": (), "js": (), "no_prefix": True, "disable_xml_declaration": True, "pretty_print": False,
    "width": WIDTH, "height": HEIGHT, "margin": 12, "spacing": 8, "dots_size": 4, "legend_at_bottom": True,
    "legend_box_size": 11, "truncate_legend": -1, "truncate_label": -1, "max_scale": 7, "min_scale": 4,
    "style": Style(label_font_size=LABEL_SIZE, major_label_font_size=LABEL_SIZE, legend_font_size=LABEL_SIZE,
                   title_font_size=LABEL_SIZE),
}  # fmt: skip
Format = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class PlotPoint:
    x: float
    y: float
    title: str = ""
    """What the point is, in words."""


@dataclass(frozen=True, slots=True)
class Series:
    name: str
    points: Sequence[PlotPoint]
    has_line: bool = False
    has_dots: bool = True


@dataclass(frozen=True, slots=True)
class Axis:
    title: str
    format: Format


def scatter(label: str, series: Sequence[Series], x: Axis, y: Axis) -> Markup:
    """Series of points, joined or not. `label` tells a screen reader what is drawn."""
    chart = pygal.XY(
        **SHARED, x_title=x.title, y_title=y.title, x_value_formatter=x.format, value_formatter=y.format, stroke=False
    )
    for one in series:
        values = [{"value": (point.x, point.y), "label": point.title} for point in one.points]
        chart.add(one.name, values, stroke=one.has_line, show_dots=one.has_dots)
    return _drawn(chart, label)


def lines(label: str, names: Sequence[str], series: Sequence[tuple[str, Sequence[float]]], y: Axis) -> Markup:
    """One line per series, over the same names."""
    chart = pygal.Line(**SHARED, y_title=y.title, value_formatter=y.format, include_x_axis=True)
    chart.x_labels = names
    for name, values in series:
        titles = [f"{name}, {at}: {y.format(value)}" for at, value in zip(names, values, strict=True)]
        chart.add(name, [{"value": v, "label": t} for v, t in zip(values, titles, strict=True)])
    return _drawn(chart, label)


def bars(label: str, values: Sequence[tuple[str, float, str]], x: Axis) -> Markup:
    """One bar per value, the first on top. `values`: name, value, text under the pointer."""
    height = BAR_MARGIN + BAR_HEIGHT * len(values)
    chart = pygal.HorizontalBar(
        **{**SHARED, "height": height}, x_title=x.title, value_formatter=x.format, show_legend=False
    )
    chart.x_labels = [name for name, _, _ in reversed(values)]
    chart.add("", [{"value": value, "label": title} for _, value, title in reversed(values)])
    return _drawn(chart, label)


def intervals(label: str, values: Sequence[tuple[str, float, float, float]], x: Axis) -> Markup:
    """One row per value with its low, middle and high end, beside zero."""
    height = BAR_MARGIN + BAR_HEIGHT * len(values)
    chart = pygal.XY(
        **{**SHARED, "height": height},
        x_title=x.title,
        x_value_formatter=x.format,
        show_legend=False,
        range=(0.5, len(values) + 0.5),
        classes=("pygal-chart", "intervals"),
    )
    chart.add("zero", [(0, 0.5), (0, len(values) + 0.5)], show_dots=False)
    chart.y_labels = [{"label": name, "value": len(values) - i} for i, (name, *_) in enumerate(values)]
    for i, (name, low, middle, high) in enumerate(values):
        at = len(values) - i
        title = f"{name}: {x.format(middle)}, {x.format(low)} to {x.format(high)}"
        chart.add(name, [{"value": (value, at), "label": title} for value in (low, middle, high)])
    return _drawn(chart, label)


def _drawn(chart: Any, label: str) -> Markup:
    def clean(root: Element) -> Element:
        root.attrib.update({"role": "img", "aria-label": label})
        root.attrib.pop("id", None)
        for parent in list(root.iter()):
            _clean(parent)
        return root

    etree.to_etree()  # pygal uses lxml if installed, whose elements differ
    chart.add_xml_filter(clean)
    text = chart.render(is_unicode=True)
    return Markup(_rounded(text))  # noqa: S704  (made of elements, whose texts are escaped)


def _clean(parent: Element) -> None:
    """Remove what needs pygal's script or style, and comments; labels become titles."""
    title = next((child.text for child in parent if child.tag == "desc" and child.get("class") == "label"), None)
    for child in list(parent):
        classes = child.get("class", "").split()
        kept = child.tag not in {"defs", "desc", "title"} and not {"text-overlay", "tooltip-overlay"} & set(classes)
        if not kept or callable(child.tag):  # a comment's tag is a function
            parent.remove(child)
        else:
            child.attrib.pop("id", None)
    if title:
        titled = SubElement(parent, "title")
        titled.text = title


def _rounded(svg: str) -> str:
    """The SVG with coordinates rounded to a tenth, which makes it a third of the size."""
    return re.sub(r'(?<=[\s"(,MLHVhv])-?\d+\.\d{2,}(?=[\s")lLhHvV,])', lambda match: f"{float(match[0]):.1f}", svg)
