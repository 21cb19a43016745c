"""The terminal that commands print to: console, width, progress bar, tables. Quick to import: needs only rich."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

LOG_WIDTH = 132
NARROW = 72
"""Terminal width, in characters, below which a table of more than FEW_COLUMNS becomes blocks instead of wrapping."""
FEW_COLUMNS = 3
LONG_NAME = 30
"""Longest column name, in characters, that is repeated in each block; a longer one is printed once, above all."""
_UNBOUNDED = 1000
"""Width, in characters, in which a table is measured; Rich cuts the measured width to the width it is given."""


def make_console(stderr: bool = False, quiet: bool = False) -> Console:
    """A console, LOG_WIDTH wide if no terminal or COLUMNS sets a width (for a log file). `quiet`: it prints nothing."""
    console = Console(highlight=False, stderr=stderr, quiet=quiet)
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return Console(highlight=False, stderr=stderr, quiet=quiet, width=LOG_WIDTH)


@contextmanager
def progress(first: str, quiet: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on stderr; yields update(stage, done, total). Shows nothing if stderr is not a terminal."""
    console = make_console(stderr=True)
    if quiet or not console.is_terminal:  # a disabled bar of an older Rich would still print an empty line at its end
        yield lambda stage, done, total: None  # noqa: ARG005
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(first, total=None)
        yield lambda stage, done, total: bar.update(task, description=stage, completed=done, total=total or None)


@contextmanager
def working(words: str) -> Iterator[None]:
    """Show words on a terminal while something of unknown duration runs."""
    with progress(words):
        yield


@dataclass(frozen=True, slots=True)
class Fitted:
    """A table that falls back to one block per row where its words would be cut: first cell, below it the others."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        needed = Measurement.get(console, options.update(max_width=_UNBOUNDED), self.table)
        wraps_well = options.max_width >= NARROW or len(self.table.columns) <= FEW_COLUMNS
        if (needed.minimum if wraps_well else needed.maximum) <= options.max_width:
            yield self.table
            return
        if self.table.title:
            yield Text(str(self.table.title), "italic")
        names = [" ".join(str(column.header).split()) for column in self.table.columns]
        yield from (Text(f"  {name}:", "dim") for name in names if len(name) > LONG_NAME)
        names = ["" if len(name) > LONG_NAME else name for name in names]
        cells = [list(column.cells) for column in self.table.columns]
        for row, (first, *others) in zip(self.table.rows, zip(*cells, strict=True), strict=True):
            style = row.style or ""
            yield Text.assemble((f"{names[0]} {first}".lstrip(), "bold"), style=style, overflow="fold")
            for name, cell in zip(names[1:], others, strict=True):
                if words := str(cell):
                    told = f"{name}: {words}" if name else words
                    yield Padding(Text(told, style, overflow="fold"), (0, 0, 0, 2))
        if self.table.caption:
            yield Text(str(self.table.caption), "dim")


def print_listing(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a listing, one row per item: its name, its figures, and text in the last column."""
    table = Table(columns[0])
    for column in columns[1:-1]:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column(columns[-1], overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(Fitted(table))


@dataclass(frozen=True, slots=True)
class BenchTable:
    """Content of a table of `planner bench`, before Rich draws it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def print_table(console: Console, one: BenchTable) -> None:
    """Print a table as `Fitted`, with its notes below."""
    table = Table(*one.columns, title=one.title, title_justify="left")
    for row in one.rows:
        table.add_row(*row)
    console.print(Fitted(table), *one.notes, sep="\n", markup=False)
