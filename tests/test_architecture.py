"""The house rules that no linter knows: sizes, docstrings, names, faces, where tests stand. Imports: `lint-imports`."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faces import shown, stubs
from tests.places import ROOT

PACKAGE = ROOT / "planner"
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
UNIT = ROOT / "tests" / "unit"
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
FORBIDDEN_NAMES = {"utils", "common", "helpers", "misc", "types", "constants", "core", "manager", "registry"}
MAX_LINES = 400
MAX_PARAMETERS, MAX_FUNCTION_LINES = 8, 60
"""Most parameters of a function, `self` not counted, and its most lines."""
WIDE = {"cli", "library"}
"""Commands and planner.tune have one parameter per option, and are left out of these two."""
MAX_PACKAGES, MAX_TOP_MODULES = 17, 10
"""At the top: fifteen nouns, the command line and the files; eight small modules, `__init__` and `__main__`."""


def _name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def test_the_top_is_seen_at_a_glance() -> None:
    packages = [path for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()]
    assert len(packages) <= MAX_PACKAGES
    assert len(list(PACKAGE.glob("*.py"))) <= MAX_TOP_MODULES


@pytest.mark.parametrize("path", stubs(), ids=lambda path: path.parent.name)
def test_a_face_shows_what_it_says(path: Path) -> None:
    """`python -m tests.faces` writes the stubs. A name like a module's would hide the one or the other."""
    assert path.read_text("utf-8") == stubs()[path]
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


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_modules_are_named_documented_and_small(path: Path) -> None:
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    assert path.stem not in FORBIDDEN_NAMES
    assert ast.get_docstring(tree)
    assert len(text.splitlines()) <= MAX_LINES
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.type is None]


@pytest.mark.parametrize("path", [path for path in MODULES if _name(path).partition(".")[0] not in WIDE], ids=_name)
def test_functions_are_narrow_and_short(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = len([one for one in parameters if one.arg not in {"self", "cls"}])
            assert count <= MAX_PARAMETERS, f"{path}:{node.lineno} {node.name}"
            assert (node.end_lineno or 0) - node.lineno < MAX_FUNCTION_LINES, f"{path}:{node.lineno} {node.name}"


def test_no_two_classes_share_a_name() -> None:
    places: dict[str, Path] = {}
    for path in MODULES:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef):
                assert node.name not in places, f"{node.name}: {path} and {places[node.name]}"
                places[node.name] = path


def test_flags_are_spelled_by_engine_only() -> None:
    """Flag names are made from EngineConfig's fields; people read them in help texts and docstrings."""
    from planner.engine import FIELDS

    flags = re.compile("|".join(rf"--{field.replace('_', '-')}\b" for field in FIELDS))
    for path in MODULES:
        code = path.read_text("utf-8")
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and flags.fullmatch(node.value):
                pytest.fail(f"{path}:{node.lineno}: {node.value}")
        assert "max-num-batched-tokens" not in code, path


@pytest.mark.parametrize("path", [*MODULES, *TESTS], ids=lambda path: str(path.relative_to(PACKAGE.parent)))
def test_nothing_runs_what_it_reads(path: Path) -> None:
    """No shell, no eval, no file format that is a program."""
    assert not DANGEROUS_PACKAGES & {name.partition(".")[0] for name in _imports(path)}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func).replace("np.load", "numpy.load")
            assert called not in DANGEROUS_CALLS, f"{path}:{node.lineno}: {called}"
            assert not [k for k in node.keywords if k.arg == "shell"], f"{path}:{node.lineno}: a shell"


@pytest.mark.parametrize("path", [*MODULES, *TESTS], ids=lambda path: str(path.relative_to(PACKAGE.parent)))
def test_an_exception_from_the_security_rules_says_why(path: Path) -> None:
    for line in path.read_text("utf-8").splitlines():
        if re.search(r"# noqa: [^(]*\b(S\d|BLE)", line):
            assert re.search(r"# noqa: [A-Z0-9, ]+  \(.+\)$", line), line
