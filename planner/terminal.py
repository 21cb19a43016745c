"""The terminal that commands print to: its console, its width, a bar while something takes long. Light: rich only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

LOG_WIDTH = 132
NARROW = 72
"""Columns below which a table of figures is told in blocks of lines."""


def make_console(stderr: bool = False, quiet: bool = False) -> Console:
    """Wide where nothing says how wide: a log file has no 80 columns. A quiet one prints nothing."""
    console = Console(highlight=False, stderr=stderr, quiet=quiet)
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return Console(highlight=False, stderr=stderr, quiet=quiet, width=LOG_WIDTH)


@contextmanager
def progress(first: str, quiet: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr, told (stage, done, total); nothing where stderr is no terminal."""
    console = make_console(stderr=True)
    with Progress(console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task(first, total=None)
        yield lambda stage, done, total: bar.update(task, description=stage, completed=done, total=total or None)


@contextmanager
def working(words: str) -> Iterator[None]:
    """Words on a terminal while something takes a while whose end is not known."""
    with progress(words):
        yield


def print_listing(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """What ships, a row each: the name, figures, and in the last column words."""
    if console.width < NARROW:
        for name, *cells in rows:
            console.print(Text(name, "bold"))
            for column, cell in zip(columns[1:], cells, strict=True):
                console.print(Text(f"  {column} {cell}"), overflow="fold")
        return
    table = Table(columns[0])
    for column in columns[1:-1]:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column(columns[-1], overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)
