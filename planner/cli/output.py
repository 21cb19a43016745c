"""Where a command's answer goes: `-o FILE` writes to a file what would be printed; `-`, or no -o, is stdout.

In: a command, or the option's value. Out: the same command with the option, or a context in which stdout is kept.
"""

from __future__ import annotations

import inspect
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import wraps
from pathlib import Path
from typing import Any

import typer

from planner.cli.options import KEPT_IN, OutputOption
from planner.errors import InputError

STDOUT = Path("-")


class _Kept(io.StringIO):
    """A command's printed text, kept in memory until it is written to a file."""


def is_kept() -> bool:
    """Whether what is printed now goes to a file when the command ends: progress then belongs on stderr."""
    return isinstance(sys.stdout, _Kept)


@contextmanager
def kept(output: Path | None, quiet: bool = False) -> Iterator[None]:
    """Keep what is printed and write it to `output`, whole, when the command ends well or with an exit code.

    Nothing is kept for None and `-`. Which file was written is said on stderr, unless `quiet`. Raises InputError if the
    file cannot be written, where possible before anything is done: hours of launches may come before the answer.
    """
    if output is None or output == STDOUT:
        yield
        return
    from planner.files import try_writing

    if not output.absolute().parent.is_dir():
        raise InputError(f"--output {output}: no such folder: {output.absolute().parent}")
    if output.is_dir():
        raise InputError(f"--output {output}: is a folder; name a file in it")
    _written(output, lambda: try_writing(output))
    printed, ended = _Kept(), None
    with redirect_stdout(printed):
        try:
            yield
        except typer.Exit as code:  # an answer with an exit code is an answer
            ended = code
    write_output(output, printed.getvalue())
    if not quiet:
        typer.echo(f"wrote {output}", err=True)
    if ended is not None:
        raise ended


def write_output(output: Path, text: str) -> None:
    """Write the text to a file, whole. Raises InputError, or OSError for a full disk."""
    from planner.files import write_whole

    _written(output, lambda: write_whole(output, text))


def _written(output: Path, write: Callable[[], None]) -> None:
    from planner.files import NO_ROOM

    try:
        write()
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        raise InputError(f"--output {output}: cannot be written: {error.strerror}") from None


def keeps_output(command: Callable[..., None]) -> Callable[..., None]:
    """The command with `-o FILE`. One that has an option of this name does by itself what it means."""
    signature = inspect.signature(command, eval_str=True)
    if KEPT_IN in signature.parameters:
        return command

    @wraps(command)
    def with_output(*words: Any, **options: Any) -> None:
        with kept(options.pop(KEPT_IN), bool(options.get("quiet"))):
            command(*words, **options)

    parameter = inspect.Parameter(KEPT_IN, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=OutputOption)
    with_output.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), parameter]
    )
    with_output.__annotations__ = {**command.__annotations__, KEPT_IN: OutputOption}
    return with_output
