"""The command line: thin commands over the library. Heavy imports happen inside the commands."""

from __future__ import annotations

import errno
import io
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from typing import Any

import typer

from planner.cli.bench import bench
from planner.cli.candidates import candidates
from planner.cli.doctor import doctor
from planner.cli.estimate import estimate
from planner.cli.examples import FLAGS, epilog
from planner.cli.export import export
from planner.cli.fleet import fleet
from planner.cli.gpus import gpus
from planner.cli.guard import guard
from planner.cli.init import init
from planner.cli.log import log
from planner.cli.models import models
from planner.cli.options import TakesFlags
from planner.cli.output import keeps_output
from planner.cli.report import report
from planner.cli.schema import schema
from planner.cli.simulate import simulate
from planner.cli.surroundings import mend_width, open_streams, refuse_empty
from planner.cli.tune import tune
from planner.cli.usage import USAGE_ERROR
from planner.cli.verify import verify
from planner.cli.version import top
from planner.cli.watch import watch
from planner.cli.workload import workload
from planner.errors import InputError, PlannerError
from planner.files import NO_ROOM

NARROW_HELP = 72
"""Columns below which help has no boxes: they would cut the options' names."""

TAKE_FLAGS = {"estimate", "init", "tune", "doctor", "simulate"}
"""Commands after which vLLM's own flags may follow."""
LASTING = {"guard", "simulate", "init", "watch"}
"""Commands that serve until they are stopped, or write a file of their own: they have no answer for -o."""


COMMANDS = (
    estimate,
    init,
    tune,
    doctor,
    candidates,
    bench,
    watch,
    report,
    export,
    guard,
    log,
    verify,
    fleet,
    workload,
    simulate,
    schema,
    gpus,
    models,
)
"""All of them, in the order of the help."""


def _with(commands: Iterable[Callable[..., Any]]) -> typer.Typer:
    """The command line that has these commands and no other."""
    line = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich" if shutil.get_terminal_size().columns >= NARROW_HELP else None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    line.callback()(top)
    for command in commands:
        name = command.__name__
        answers = command if name in LASTING else keeps_output(command)
        if name in TAKE_FLAGS:
            line.command(cls=TakesFlags, epilog=epilog(name, FLAGS))(answers)
        else:
            line.command(epilog=epilog(name))(answers)
    return line


app = _with(COMMANDS)


@cache
def _reader(name: str) -> Any:
    """The reader of `planner NAME ...`. It knows that command alone where there is one: reading the signatures of all
    commands takes a tenth of a second."""
    named = [command for command in COMMANDS if command.__name__ == name]
    return typer.main.get_command(_with(named) if named else app)


def main(argv: list[str] | None = None) -> None:
    """Run the command line; an error that is expected is one line on stderr and its exit code."""
    words = sys.argv[1:] if argv is None else argv
    code: object = 0
    try:
        mend_width(os.environ)
        open_streams(words)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal without Unicode shows ? and does not end the program
        refuse_empty(words)
        name = next((word for word in words if not word.startswith("-")), "")
        code = _reader(name)(words, standalone_mode=False)
        sys.stdout.flush()
    except PlannerError as error:
        typer.echo(f"planner: {error}", err=True)
        code = error.exit_code
    except USAGE_ERROR as error:
        if usage := _usage_words(error):
            typer.echo(f"planner: {usage}", err=True)
        code = InputError.exit_code
    except BrokenPipeError:  # whoever reads, such as head, has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = PlannerError.exit_code  # as typer does where it notices first
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # which any word may be that could name a file
            typer.echo(f"planner: {str(error.filename)[:60]}...: {error.strerror}", err=True)
            code = InputError.exit_code
        elif error.errno in NO_ROOM:
            _tell_no_room(error)
            code = PlannerError.exit_code
        else:
            raise
    sys.exit(code if isinstance(code, int) else 0)


def _tell_no_room(error: OSError) -> None:
    """In one line; the output itself may be what has no room."""
    where = error.filename or "the output"
    with suppress(OSError):
        words = f"{where}: {error.strerror}; what a study has finished is kept: mend that, then run it again"
        typer.echo(f"planner: {words}", err=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # or the interpreter would fail on it again
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _usage_words(error: Any) -> str:
    """One line on a word that the command line does not know, with what may be meant; empty where help was printed."""
    from planner.engine import is_flag_name
    from planner.files import did_you_mean

    context, option = getattr(error, "ctx", None), getattr(error, "option_name", None)
    if context is None or option is None or not hasattr(error, "possibilities"):
        return " ".join(error.format_message().split())
    known = [word for parameter in context.command.params for word in parameter.opts]
    hint = did_you_mean(str(option), known)
    if not hint and is_flag_name(str(option).partition("=")[0]):
        hint = f"; only {', '.join(sorted(TAKE_FLAGS))} take vLLM's flags"
    return f"{context.info_name}: no such option: {option}{hint}"
