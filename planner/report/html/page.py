"""The parts of a page (`Page`, `Section` and others), and `rendered(page) -> str`, which escapes all text in it.

A section is words, figures and tables; each figure carries its numbers as a table. The template knows only these, so a
new section is a function in `sections.py`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Row:
    cells: tuple[str, ...]
    """Text of the cells; the first names the row."""
    kind: str = ""
    """How the row stands out: `best`, `weak`, or empty for neither."""


@dataclass(frozen=True, slots=True)
class Table:
    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    words: frozenset[str] = frozenset()
    """Columns that hold words; the others hold numbers and are aligned right."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class PageFigure:
    caption: str
    svg: Markup
    numbers: Table


@dataclass(frozen=True, slots=True)
class Log:
    title: str
    text: str
    is_open: bool = False
    """Whether it is shown before anyone asks."""
    is_copied: bool = False
    """Whether the page's script puts a button beside it that copies it."""


@dataclass(frozen=True, slots=True)
class Section:
    key: str
    """Anchor of the section."""
    title: str
    lead: str = ""
    """The section's main sentence."""
    is_bad: bool = False
    """Whether that sentence says that nothing was found."""
    words: tuple[str, ...] = ()
    figures: tuple[PageFigure, ...] = ()
    tables: tuple[Table, ...] = ()
    logs: tuple[Log, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    title: str
    subtitle: str
    banners: tuple[str, ...]
    """Why the numbers are not measurements; empty if they are."""
    sections: tuple[Section, ...]
    footer: str


def environment() -> Environment:
    """Jinja's templates of this folder, in which all text is escaped."""
    return Environment(
        loader=PackageLoader("planner.report.html", "templates"),
        autoescape=True,  # whatever the template's file name
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def rendered(page: Page, *, has_script: bool = True) -> str:
    """The page as one file. Its policy lets its own script run and nothing else; without one it lets nothing run."""
    script, digest = "", ""
    if has_script:
        script = (files("planner.report.html") / "templates" / "report.js").read_text("utf-8")
        digest = b64encode(sha256(script.encode()).digest()).decode()
    template = environment().get_template("page.html.jinja")
    return template.render(page=page, script=Markup(script), digest=digest)  # noqa: S704  (our own file)


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[str] = ()) -> Table:
    """A table without highlighted rows."""
    return Table(caption, tuple(columns), tuple(Row(tuple(cells)) for cells in rows), frozenset(words))
