"""The conditions that a command line needs: words that are not empty, open streams, a terminal that has a width.

In: the words typed, this process's streams and environment. Out: nothing, or an InputError of one line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping, Sequence

from planner.errors import InputError

STANDARD = (0, 1, 2)
"""File descriptors of stdin, stdout and stderr."""


def refuse_empty(words: Sequence[str]) -> None:
    """Raise InputError for an empty word: mostly a variable of the shell that is not set."""
    for position, word in enumerate(words):
        name, equals, value = word.partition("=")
        is_option = name.startswith("-")
        if word and not (is_option and equals and not value):
            continue
        if is_option:
            raise InputError(f"command line: {name}: its value is empty; leave the option out, or give it a value")
        before = words[position - 1] if position else ""
        after = f" after {before}" if before else ""
        raise InputError(f"command line: an empty word{after}; is it a variable that is not set?")


def open_streams(words: Sequence[str]) -> None:
    """Make closed streams harmless. Raises InputError where what a closed one is for cannot be done.

    A file that is opened later would otherwise get the number of a closed stream, and with it what others write there.
    """
    has_input, has_output = sys.stdin is not None, sys.stdout is not None
    for number in STANDARD:
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    if not has_output:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (open until the program ends)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (open until the program ends)
    if not has_output:
        raise InputError("standard output is closed: nothing could be shown; send it to /dev/null to have it so")
    if not has_input:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115  (open until the program ends)
        if "-" in words:
            raise InputError("standard input is closed: - has nothing to read")


def mend_width(environment: MutableMapping[str, str]) -> None:
    """Take out a COLUMNS that is no width, as shells and programs without a terminal set it; then a usual one holds."""
    columns = environment.get("COLUMNS")
    if columns is not None and not (
        columns.isdecimal() and int(columns[:MOST_DIGITS]) > 0 and len(columns) <= MOST_DIGITS
    ):
        del environment["COLUMNS"]


MOST_DIGITS = 4
"""Most digits of a width; lines of 10 000 characters fill the memory of what draws tables."""
