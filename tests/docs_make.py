"""Write what the docs take from the code: `python tests/docs_make.py`. `test_docs.py` fails where that was forgotten.

docs/cli.md is made whole; elsewhere the text between `<!-- made: NAME -->` and `<!-- end -->`, and the output shown
under `$ planner ...` in console blocks: read what changed there, the words around it stay.
"""

from __future__ import annotations

import difflib
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer.main

from planner.cli import app
from planner.engine import (
    ATTENTION_BACKEND_ENV,
    ATTENTION_BACKEND_FLAG_SINCE,
    FIELDS,
    SINCE,
    UNTIL,
    EngineConfig,
    flag,
    lever_of,
)
from planner.log.notes import NOTES, Note
from planner.log.patterns import CAUSES, PHASE_ADVICE
from planner.model import KNOWN_FAMILIES
from planner.service.events import METRICS as GUARD_METRICS
from planner.service.guard import EVENTS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
STARTS = ROOT / "tests" / "golden" / "starts" / "vllm-0.8.5-v0.json"

Row = Iterable[str]


def table(head: Row, rows: Iterable[Row]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


# --- docs/cli.md ---


def cli_page() -> str:
    """One section a command, from the objects that `--help` is printed from."""
    group: Any = typer.main.get_command(app)
    commands = group.commands
    parts = [
        "# Commands",
        "Made from the code by `python tests/docs_make.py`; `planner COMMAND --help` says the same.",
        table(("command", "what it does"), ((f"[`{name}`](#{name})", _text(c)) for name, c in commands.items())),
        *(_section(name, command) for name, command in commands.items()),
        "Exit codes are in [errors.md](errors.md#exit-codes).",
    ]
    return "\n\n".join(parts) + "\n"


def _section(name: str, command: Any) -> str:
    parameters = [p for p in command.params if "--help" not in p.opts]
    words = [p for p in parameters if p.param_type_name == "argument"]
    usage = " ".join([f"planner {name}", *(p.name.upper() if p.required else f"[{p.name.upper()}]" for p in words)])
    usage += " [OPTIONS]" if len(parameters) > len(words) else ""
    rows = [(_names(p), p.help or "", _default(p)) for p in parameters]
    parts = [f"## {name}", f"```\n{usage}\n```", _text(command)]
    if rows:
        parts.append(table(("parameter", "meaning", "default"), rows))
    if command.epilog:
        parts.append(f"{command.epilog.strip()} They are listed in [search-spaces.md](search-spaces.md#settings).")
    return "\n\n".join(parts)


def _text(command: Any) -> str:
    return str(command.help or "").strip().split("\n\n")[0].replace("\n", " ")


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}`"
    return ", ".join(f"`{word}`" for word in sorted(parameter.opts, key=len))


def _default(parameter: Any) -> str:
    default = parameter.default
    if default is None or default is False or callable(default) or "UNSET" in repr(default).upper():
        return "required" if parameter.required else ""
    return f"`{default}`"


# --- settings of EngineConfig, in search-spaces.md ---


def settings_table() -> str:
    hints = get_type_hints(EngineConfig, include_extras=True)
    return table(
        ("setting", "flag", "value", "group", "vLLM"),
        (
            (f"`{field}`", f"`{flag(field)}`", _values(hints[field]), lever_of(field), _versions(field))
            for field in FIELDS
        ),
    )


def _values(kind: Any) -> str:
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return ", ".join(_values(part) for part in get_args(kind) if part is not type(None))
    if origin is Literal:
        return ", ".join(map(str, get_args(kind)))
    if origin is Annotated:
        base, meta = get_args(kind)[0], get_args(kind)[1]
        if meta.pattern:
            return "JSON in quotes"
        limits = [f"{sign} {getattr(meta, name)}" for name, sign in _LIMITS if getattr(meta, name) is not None]
        return f"{_values(base)} {', '.join(limits)}"
    return {bool: "on, off", int: "whole number", float: "number", str: "word"}[kind]


_LIMITS = (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))


def _versions(field: str) -> str:
    parts = []
    if field in SINCE:
        parts.append(f"since {SINCE[field]}")
    if field in UNTIL:
        parts.append(f"before {UNTIL[field]}")
    if field == "attention_backend":
        parts.append(f"before {ATTENTION_BACKEND_FLAG_SINCE} as `{ATTENTION_BACKEND_ENV}`")
    return ", ".join(parts)


# --- models, in model.md ---


def model_types() -> str:
    return f"Known values of `model_type` in config.json: {', '.join(f'`{name}`' for name in sorted(KNOWN_FAMILIES))}."


# --- what a guard tells, in guard.md ---


def guard_events() -> str:
    return table(("event", "meaning"), ((f"`{name}`", words) for name, words in EVENTS.items()))


def guard_metrics() -> str:
    return table(
        ("metric", "labels", "meaning"),
        (
            (f"`{name}`", ", ".join(f"`{label}`" for label in labels), words)
            for name, (words, labels) in GUARD_METRICS.items()
        ),
    )


# --- warnings and causes, in log.md ---

WEIGHTS = {"act": "change something", "know": "good to know", "harmless": "harmless"}


def warnings_table() -> str:
    order = list(WEIGHTS)
    return table(
        ("warning", "", "what it means", "advice", "vLLM"),
        (
            (note.name, WEIGHTS[note.weight], note.meaning, _advice(note), note.versions)
            for note in sorted(NOTES, key=lambda note: order.index(note.weight))
        ),
    )


def _advice(note: Note) -> str:
    return note.advice if note.later is None else f"{note.advice} Since {note.later[0]}: {note.later[1]}"


def causes_table() -> str:
    phases = (
        (f"out of memory, {phase if phase == 'under load' else f'while {phase}'}", "EngineOutOfMemory", advice)
        for phase, advice in PHASE_ADVICE.items()
    )
    named = ((cause.name, cause.kind.__name__, cause.advice) for cause in CAUSES.values())
    return table(("cause", "error", "what to change"), [*named, *phases])


# --- commands shown with their output ---

SHOWN = ("estimate", "candidates", "log", "schema", "gpus", "models")
"""Commands that are cheap and write nothing: what the docs show of them is run."""
_SHELL_LINE = re.compile(r"^\$ (planner (?:" + "|".join(SHOWN) + r")\b.*)\n((?:(?!\$ |```).*\n)*)", re.MULTILINE)
LEFT_OUT = "..."


def fences(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def shown_runs(text: str) -> list[tuple[str, str]]:
    """(command, shown output) of every cheap command in a console block of the page."""
    return [found for block in fences(text, "console") for found in _SHELL_LINE.findall(block)]


@cache
def run(command: str) -> tuple[int, tuple[str, ...]]:
    """Exit code and printed lines of a shown command."""
    argv = [sys.executable, "-c", "from planner.cli import main; main()", *shlex.split(command)[1:]]
    result = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    return result.returncode, tuple(line.rstrip() for line in (result.stdout + result.stderr).splitlines())


def with_output(page: str) -> str:
    """The page with each shown line that is no longer printed replaced by the printed line most like it."""
    for command, shown in shown_runs(page):
        _, printed = run(command)
        lines = [
            line if line.strip() == LEFT_OUT else (difflib.get_close_matches(line, printed, 1, 0.0) or [line])[0]
            for line in shown.splitlines()
        ]
        page = page.replace(f"$ {command}\n{shown}", "\n".join([f"$ {command}", *lines, ""]))
    return page


# --- writing ---

BLOCKS: dict[str, tuple[str, Callable[[], str]]] = {
    "settings": ("search-spaces.md", settings_table),
    "models": ("model.md", model_types),
    "events": ("guard.md", guard_events),
    "guard metrics": ("guard.md", guard_metrics),
    "warnings": ("log.md", warnings_table),
    "causes": ("log.md", causes_table),
}
"""Name of a made block -> the page it is in, and what makes it."""


def with_block(page: str, name: str, text: str) -> str:
    """The page with the block's text replaced. Raises ValueError when it has no such block."""
    pattern = re.compile(rf"(<!-- made: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"no block {name!r}")
    return pattern.sub(lambda match: f"{match[1]}\n{text}\n\n{match[2]}", page)


def pages() -> dict[Path, str]:
    """Every page that is made or has made blocks, as it should be now."""
    made = {DOCS / "cli.md": cli_page()}
    for name, (file, make) in BLOCKS.items():
        path = DOCS / file
        made[path] = with_block(made.get(path) or path.read_text("utf-8"), name, make())
    return made


def main() -> None:
    made = pages()
    for path in [*ROOT.glob("*.md"), *DOCS.glob("*.md")]:
        made[path] = with_output(made.get(path) or path.read_text("utf-8"))
    for path, text in made.items():
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
