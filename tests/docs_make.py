"""Write what the docs take from the code: `python tests/docs_make.py`. `test_docs.py` fails where that was forgotten.

docs/cli.md is made whole; elsewhere the text between `<!-- made: NAME -->` and `<!-- end -->`, and the output shown
under `$ planner ...` in console blocks: read what changed there, the words around it stay.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from itertools import count, pairwise
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer.main

from planner.cli.examples import EXAMPLES, FLAGS
from planner.cli.main import app
from planner.engine.config import FIELDS, EngineConfig
from planner.engine.flag_table import lifespan
from planner.engine.flags import ATTENTION_BACKEND_ENV, flag
from planner.engine.levers import lever_of
from planner.engine.log.cause import Cause
from planner.engine.log.causes import CAUSES
from planner.engine.log.known_warnings import NOTES, Note
from planner.engine.log.patterns import PHASE_ADVICE
from planner.engine.log.verdict import UNKNOWN
from planner.estimate.speed.coefficients import CPU, V0, V1, Coefficients
from planner.model.families import FAMILIES
from planner.service.guard.decisions import EVENTS
from planner.service.guard.events import METRICS as GUARD_METRICS
from tests.raised import classified

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
        HABITS,
        table(("code", "meaning"), EXIT_CODES),
        "More on each: [errors.md](errors.md#exit-codes).",
    ]
    return "\n\n".join(parts) + "\n"


HABITS = """## Habits

Results go to stdout; errors, and progress on a terminal, to stderr. `--json` prints one document on stdout
([formats.md](formats.md#answers-of-commands)). `-o FILE` writes what would be printed to FILE instead, be it a table,
JSON, JSON Lines or a page: whole, when the command has ended; `-o -` is stdout. `export -o` and `report --html -o`
write to FILE what they otherwise put into the study's folder. `--quiet` leaves out plan and progress. `NO_COLOR` and
`COLUMNS` are respected. `planner --install-completion` makes the shell complete commands, options and their values:
cards, models, studies, loads, metrics, and the words of every enumeration, vLLM's flags included.

## Exit codes"""
EXIT_CODES = (
    ("0", "done, and the answer is good"),
    ("1", "something else than what was typed: no Docker Engine, no image, a full disk, a server that does not answer"),
    ("2", "what was typed is wrong: one line says what, and what is allowed"),
    (
        "3",
        "done, and the answer is bad: `estimate` it will not start; `tune` nothing to deploy; `doctor` a problem; "
        "`bench` a limit broken, or with `--compare --fail-on` a metric surely worse than allowed; `log` a failure; "
        "`verify` a difference; `fleet` no number of hosts is enough",
    ),
    ("4, 5", "`bench`: out of memory or server dead; the client was the bottleneck"),
    ("130", "interrupted"),
)


def _section(name: str, command: Any) -> str:
    parameters = [p for p in command.params if "--help" not in p.opts]
    words = [p for p in parameters if p.param_type_name == "argument"]
    usage = " ".join([f"planner {name}", *(p.name.upper() if p.required else f"[{p.name.upper()}]" for p in words)])
    usage += " [OPTIONS]" if len(parameters) > len(words) else ""
    rows = [(_names(p), p.help or "", _default(p)) for p in parameters]
    parts = [f"## {name}", f"```\n{usage}\n```", _text(command)]
    if rows:
        parts.append(table(("parameter", "meaning", "default"), rows))
    if FLAGS in (command.epilog or ""):
        parts.append(f"{FLAGS} They are listed in [search-spaces.md](search-spaces.md#settings).")
    width = max(len(line) for line, _ in EXAMPLES[name])
    parts.append("\n".join(["```", *(f"{line:{width}}  # {purpose}" for line, purpose in EXAMPLES[name]), "```"]))
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
    since, until = lifespan(flag(field))
    if field == "attention_backend":
        return f"before {since} as `{ATTENTION_BACKEND_ENV}`"
    if since is not None:
        parts.append(f"since {since}")
    if until is not None:
        parts.append(f"before {until}")
    return ", ".join(parts)


# --- models, in model.md ---


def model_types() -> str:
    return f"Known values of `model_type` in config.json: {', '.join(f'`{name}`' for name in sorted(FAMILIES))}."


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


def _cure(cause: Cause) -> str:
    return cause.advice if cause.later is None else f"{cause.advice} Since {cause.later[0]}: {cause.later[1]}"


def causes_table() -> str:
    phases = ((phase_name(phase), "EngineOutOfMemory", "setting", advice) for phase, advice in PHASE_ADVICE.items())
    named = (
        (cause.name, cause.kind.__name__, f"{cause.fault}{', any settings' if cause.is_outside else ''}", _cure(cause))
        for cause in CAUSES.values()
    )
    return table(("cause", "error", "at fault", "what to change"), [*named, *phases])


def raised_table() -> str:
    """Per part of vLLM: how many of its exceptions have a cause, and the most frequent ones."""
    rows = []
    for part, causes in classified().items():
        known = causes.total() - causes[UNKNOWN]
        most = ", ".join(f"{name} {count}" for name, count in causes.most_common(3) if name != UNKNOWN)
        rows.append((f"`{part}`", f"{known} of {causes.total()}", most))
    return table(("part of vLLM", "with a cause", "most often"), rows)


# --- the speed model's coefficients, in performance-model.md ---


def coefficients_table() -> str:
    """Values of the three sets, and what the field's docstring says of where they are from."""
    tree = ast.parse(inspect.getsource(Coefficients))
    body = tree.body[0].body  # type: ignore[attr-defined]
    words = {
        field.target.id: " ".join(text.value.value.split())
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    }
    sets = (V1, V0, CPU)
    return table(
        ("coefficient", "V1", "V0", "CPU", "what it is, and from where"),
        ((f"`{name}`", *(f"{getattr(each, name):g}" for each in sets), said) for name, said in words.items()),
    )


# --- advice by symptom, in troubleshooting.md ---

ADVICE_BLOCK = re.compile(r"(<!-- advice: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
"""Names of causes, phases of an out of memory and warnings, parted by semicolons: the advice is the log's own."""


def advice_names(page: str) -> list[str]:
    return [name for found in ADVICE_BLOCK.finditer(page) for name in found[2].split("; ")]


def with_advice(page: str) -> str:
    return ADVICE_BLOCK.sub(lambda found: f"{found[1]}\n{advice_table(found[2].split('; '))}\n\n{found[3]}", page)


def advice_table(names: Iterable[str]) -> str:
    """Raises KeyError for a name that `planner log` does not use."""
    known = {cause.name: _cure(cause) for cause in CAUSES.values()}
    known |= {phase_name(phase): advice for phase, advice in PHASE_ADVICE.items()}
    known |= {note.name: f"{note.meaning} {_advice(note)}" for note in NOTES}
    return table(("`planner log` says", "what to change"), ((name, known[name]) for name in names))


def phase_name(phase: str) -> str:
    return f"out of memory, {phase if phase == 'under load' else f'while {phase}'}"


# --- commands shown with their output ---

SHOWN = ("estimate", "candidates", "fleet", "log", "schema", "gpus", "models", "workload")
"""Commands that are cheap and write nothing: what the docs show of them is run."""
TOLD = {"tune": ("simulated", "--dry-run"), "report": ("--simulated",), "export": ("--simulated",),
        "fleet": ("--simulated",)}  # fmt: skip
"""Commands that write, with the words that make them safe and repeatable: a page's are run one after the other in a
copy of the studies, `cat` between them too."""
_SHELL_LINE = re.compile(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
LEFT_OUT = "..."

Run = tuple[str, str, tuple[str, ...]]
"""Command, shown output, and the page's commands before it that write."""


def fences(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def shown_runs(text: str) -> list[Run]:
    """Every command in a console block of the page that is run."""
    found: list[Run] = []
    before: tuple[str, ...] = ()
    for command, shown in (line for block in fences(text, "console") for line in _SHELL_LINE.findall(block)):
        if is_told(command):
            found.append((command, shown, before))
            before = (*before, command)
        elif command.startswith("planner ") and shlex.split(command)[1] in SHOWN:
            found.append((command, shown, ()))
    return found


def is_told(command: str) -> bool:
    program, *words = shlex.split(command)
    return program == "cat" or (program == "planner" and any(word in words for word in TOLD.get(words[0], ())))


def run(command: str, before: tuple[str, ...] = ()) -> tuple[int, tuple[str, ...]]:
    """Exit code and printed lines of a shown command."""
    if is_told(command):
        return _told((*before, command))[1:]
    return _run_in(ROOT, command)


@cache
def _told(commands: tuple[str, ...]) -> tuple[Path, int, tuple[str, ...]]:
    """The last of the commands, in a copy of the folder that those before it left: that folder, code and lines."""
    folder = _scratch() / str(next(_NUMBERS))
    if commands[:-1]:
        shutil.copytree(_told(commands[:-1])[0], folder)
    else:
        shutil.copytree(ROOT / "search_spaces", folder / "search_spaces")
        for study in (ROOT / "studies").glob("*/study.yaml"):
            (folder / study.relative_to(ROOT)).parent.mkdir(parents=True)
            shutil.copy(study, folder / study.relative_to(ROOT))
    return folder, *_run_in(folder, commands[-1])


_NUMBERS = count()


def _scratch() -> Path:
    return Path(_scratch_folder().name)


@cache
def _scratch_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="planner-docs-")


@cache
def _run_in(folder: Path, command: str) -> tuple[int, tuple[str, ...]]:
    program, *words = shlex.split(command)
    argv = [sys.executable, "-c", "from planner.cli.main import main; main()"] if program == "planner" else [program]
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}  # as wide as for a log file
    environment["PYTHONPATH"] = str(ROOT)
    result = subprocess.run([*argv, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return result.returncode, tuple(line.rstrip() for line in (result.stdout + result.stderr).splitlines())


def with_output(page: str) -> str:
    """The page with each shown line that is no longer printed replaced by the printed line most like it."""
    for command, shown, before in shown_runs(page):
        _, printed = run(command, before)
        lines = [
            line if line.strip() == LEFT_OUT else (difflib.get_close_matches(line, printed, 1, 0.0) or [line])[0]
            for line in shown.splitlines()
        ]
        page = page.replace(f"$ {command}\n{shown}", "\n".join([f"$ {command}", *lines, ""]))
    return page


# --- commands that are shown, run or not ---

_SHELLS = ("console", "sh", "bash", "")
_COMMAND = re.compile(r"^\s*(?:\$ )?(?:\w+=\S+ )*(?:[^#\n]*\| )?(planner [a-z][^|>\n]*)", re.MULTILINE)


def commands(text: str) -> list[list[str]]:
    """Words of every `planner ...` in a block of shell lines; usage lines, with their brackets, are none."""
    blocks = "\n".join(block.replace("\\\n", " ") for language in _SHELLS for block in fences(text, language))
    found = (shlex.split(line, comments=True)[1:] for line in _COMMAND.findall(blocks) if "[OPTIONS]" not in line)
    return [words for words in found if words]


def mentioned(text: str) -> list[list[str]]:
    """Words of every `planner ...` between backticks in a sentence; values may be left out there."""
    sentences = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [shlex.split(line)[1:] for line in re.findall(r"`(planner [a-z][^`\n]*)`", sentences)]


# --- writing ---

BLOCKS: dict[str, tuple[str, Callable[[], str]]] = {
    "settings": ("search-spaces.md", settings_table),
    "models": ("model.md", model_types),
    "events": ("guard.md", guard_events),
    "guard metrics": ("guard.md", guard_metrics),
    "warnings": ("log.md", warnings_table),
    "raised": ("log.md", raised_table),
    "causes": ("log.md", causes_table),
    "coefficients": ("performance-model.md", coefficients_table),
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
    advice = DOCS / "troubleshooting.md"
    made[advice] = with_advice(made.get(advice) or advice.read_text("utf-8"))
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
