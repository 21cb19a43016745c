"""The house rules that no linter knows: sizes, docstrings, names, faces, where tests stand. Imports: `lint-imports`."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.faces import shown, stubs
from tests.places import ROOT

PACKAGE = ROOT / "planner"
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
UNIT = ROOT / "tests" / "unit"
STUBS = stubs()
STORIES = {
    "benchmark/load/test_early_stop.py",
    "cli/test_habits.py",
    "files/test_hostile_names.py",
    "service/proxy/test_hostile.py",
    "test_audit.py",
}
"""Unit tests of what several modules do together; every other one is named after its module."""
DANGEROUS_PACKAGES = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
"""That run what they read; our own processes talk by multiprocessing, over pipes nobody else has."""
DANGEROUS_CALLS = {
    "eval", "exec", "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "torch.load",
    "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "numpy.load", "tempfile.mktemp",
}  # fmt: skip
DANGEROUS_LAST = {name.rpartition(".")[2] for name in DANGEROUS_CALLS}
FORBIDDEN_NAMES = {"utils", "common", "helpers", "misc", "types", "constants", "core", "manager", "registry"}
MAX_LINES = 400
MAX_PARAMETERS, MAX_FUNCTION_LINES = 8, 60
"""Most parameters of a function, `self` not counted, and its most lines."""
WIDE = {"cli", "library"}
"""Commands and planner.tune have one parameter per option, and are left out of these two."""
MAX_PACKAGES, MAX_TOP_MODULES = 17, 10
"""At the top: fifteen nouns, the command line and the files; eight small modules, `__init__` and `__main__`."""


@dataclass(frozen=True, slots=True)
class Source:
    """One Python file, read and parsed once for all rules."""

    path: Path
    text: str
    tree: ast.Module
    nodes: tuple[ast.AST, ...]
    """Every node of the tree."""

    @property
    def package(self) -> str:
        """First name below `planner`, as `cli`."""
        return self.path.relative_to(PACKAGE).with_suffix("").parts[0]

    def imports(self) -> Iterator[tuple[int, str]]:
        """Line and name of each import. A relative one is written with its dots."""
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.lineno, "." * node.level + (node.module or "")


@cache
def source(path: Path) -> Source:
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    return Source(path, text, tree, tuple(ast.walk(tree)))


Rule = Callable[[Source], Iterator[tuple[int, str]]]
"""Gives the line and a description of each breach of a house rule in a file; line 0: the whole file."""


def offenders(rule: Rule, paths: list[Path]) -> list[str]:
    return [f"{path.relative_to(ROOT)}:{line}: {words}" for path in paths for line, words in rule(source(path))]


def small_and_documented(one: Source) -> Iterator[tuple[int, str]]:
    if one.path.stem in FORBIDDEN_NAMES:
        yield 0, "a name that says nothing"
    if not ast.get_docstring(one.tree):
        yield 0, "no docstring"
    if (lines := len(one.text.splitlines())) > MAX_LINES:
        yield 0, f"{lines} lines, at most {MAX_LINES}"
    for node in one.nodes:
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node.lineno, "a bare except"


def narrow_and_short(one: Source) -> Iterator[tuple[int, str]]:
    for node in one.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = len([each for each in parameters if each.arg not in {"self", "cls"}])
            if count > MAX_PARAMETERS:
                yield node.lineno, f"{node.name} has {count} parameters, at most {MAX_PARAMETERS}"
            if (lines := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES:
                yield node.lineno, f"{node.name} has {lines} lines, at most {MAX_FUNCTION_LINES}"


def absolute_imports(one: Source) -> Iterator[tuple[int, str]]:
    yield from ((line, f"relative import: {name}") for line, name in one.imports() if name.startswith("."))


def runs_nothing_it_reads(one: Source) -> Iterator[tuple[int, str]]:
    """No shell, no eval, no file format that is a program."""
    for line, name in one.imports():
        if name.partition(".")[0] in DANGEROUS_PACKAGES:
            yield line, f"import of {name}"
    for node in one.nodes:
        if isinstance(node, ast.Call):
            last = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if last in DANGEROUS_LAST:
                called = ast.unparse(node.func).replace("np.load", "numpy.load")
                if called in DANGEROUS_CALLS:
                    yield node.lineno, called
            if any(keyword.arg == "shell" for keyword in node.keywords):
                yield node.lineno, "a shell"


def excused_with_a_reason(one: Source) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(one.text.splitlines(), 1):
        is_excused = "noqa" in line and re.search(r"# noqa: [^(]*\b(S\d|BLE)", line)
        if is_excused and not re.search(r"# noqa: [A-Z0-9, ]+  \(.+\)$", line):
            yield number, f"an exception from a security rule without its reason: {line.strip()}"


def spells_no_flag(one: Source) -> Iterator[tuple[int, str]]:
    """Flag names are made from EngineConfig's fields; people read them in help texts and docstrings."""
    for node in one.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in flag_names():
            yield node.lineno, f"the flag {node.value}"
    if "max-num-batched-tokens" in one.text:
        yield 0, "max-num-batched-tokens"


@cache
def flag_names() -> frozenset[str]:
    from planner.engine import FIELDS

    return frozenset(f"--{field.replace('_', '-')}" for field in FIELDS)


@pytest.mark.parametrize(
    ("rule", "paths"),
    [
        (small_and_documented, MODULES),
        (narrow_and_short, [path for path in MODULES if source(path).package not in WIDE]),
        (spells_no_flag, MODULES),
        (absolute_imports, [*MODULES, *TESTS]),
        (runs_nothing_it_reads, [*MODULES, *TESTS]),
        (excused_with_a_reason, [*MODULES, *TESTS]),
    ],
    ids=lambda one: one.__name__ if callable(one) else "",
)
def test_every_file_keeps_the_rule(rule: Rule, paths: list[Path]) -> None:
    found = offenders(rule, paths)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("rule", "code", "words"),
    [
        (small_and_documented, "x = 1\n", "no docstring"),
        (small_and_documented, '"""It."""\ntry:\n    pass\nexcept:\n    pass\n', "a bare except"),
        (small_and_documented, '"""It."""\n' + "\n" * MAX_LINES, f"{MAX_LINES + 1} lines, at most {MAX_LINES}"),
        (narrow_and_short, "def f(a, b, c, d, *, e, f, g, h, i): ...\n", "f has 9 parameters, at most 8"),
        (narrow_and_short, "async def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES, "f has 61 lines, at most 60"),
        (spells_no_flag, 'words = ["--max-num-seqs"]\n', "the flag --max-num-seqs"),
        (absolute_imports, "from . import loop\n", "relative import: ."),
        (runs_nothing_it_reads, "import pickle\n", "import of pickle"),
        (runs_nothing_it_reads, "import numpy as np\nnp.load(path)\n", "numpy.load"),
        (runs_nothing_it_reads, "run(words, shell=True)\n", "a shell"),
        (excused_with_a_reason, "run(words)  # noqa" + ": S603\n", "an exception from a security rule without"),
    ],
    ids=lambda one: one.__name__ if callable(one) else "",
)
def test_a_breach_of_each_rule_is_found(rule: Rule, code: str, words: str) -> None:
    tree = ast.parse(code)
    one = Source(PACKAGE / "made_up.py", code, tree, tuple(ast.walk(tree)))
    (found,) = rule(one)
    assert found[1].startswith(words)


def test_the_top_is_seen_at_a_glance() -> None:
    packages = [path for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()]
    assert len(packages) <= MAX_PACKAGES
    assert len(list(PACKAGE.glob("*.py"))) <= MAX_TOP_MODULES


@pytest.mark.parametrize("path", STUBS, ids=lambda path: path.parent.name)
def test_a_face_shows_what_it_says(path: Path) -> None:
    """`python -m tests.faces` writes the stubs. A name like a module's would hide the one or the other."""
    assert path.read_text("utf-8") == STUBS[path]
    package = importlib.import_module(f"planner.{path.parent.name}")
    modules = {module.stem for module in path.parent.iterdir()}
    for names in (shown(path.with_suffix(".py")) or {}).values():
        assert not set(names) & modules
        for name in names:
            assert getattr(package, name) is not None
            assert not name.startswith("_")


def test_unit_tests_stand_where_their_module_stands() -> None:
    for path in sorted(UNIT.rglob("test_*.py")):
        place = path.relative_to(UNIT)
        module = PACKAGE / place.with_name(place.name.removeprefix("test_"))
        assert module.is_file() or place.as_posix() in STORIES, place


def test_no_two_classes_share_a_name() -> None:
    places: dict[str, list[str]] = {}
    for path in MODULES:
        for node in source(path).tree.body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert not {name: found for name, found in places.items() if len(found) > 1}
