"""The house rules that a reader relies on: packages have homes, imports have a direction, modules stay small."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "planner"
MODULES = sorted(PACKAGE.rglob("*.py"))
HOMES = {
    "optuna": {"search", "samplers"},
    "sqlalchemy": {"search", "claims"},
    "docker": {"backends.docker", "backends.named", "container"},
    "yaml": {"files"},
    "rich": {
        "report",
        "terminal",
        "estimate_view",
        "log_view",
        "live",
        "tune_command",
        "crews",
        "service.doctor_view",
        "fleet.view",
    },
    "httpx": {
        "hub",
        "quality_gate",
        "loadgen",
        "wire",
        "telemetry",
        "backends.base",
        "service.watch",
        "service.events",
    },
    "prometheus_client": {"telemetry", "simulated.server", "service.events"},
    "filelock": {"workspace"},
    "ray": {"ray_hosts", "ray_tasks"},
    "huggingface_hub": {"hub"},
    "pynvml": {"nvml"},
    "jinja2": {"html.page"},
    "markupsafe": {"html.page", "html.plots"},
    "pygal": {"html.plots"},
    "typer": {"cli", "service_cli", "shipped_cli", "fleet_cli", "options"},
}
TESTS = sorted(Path(__file__).parent.rglob("*.py"))
DANGEROUS_PACKAGES = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
"""That run what they read; our own processes talk by multiprocessing, over pipes nobody else has."""
DANGEROUS_CALLS = {
    "eval", "exec", "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "torch.load",
    "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "numpy.load", "tempfile.mktemp",
}  # fmt: skip
FORBIDDEN_NAMES = {"utils", "common", "helpers", "misc", "types", "constants", "core", "manager", "registry"}
MAX_LINES = 420


def _name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def _imports(path: Path, only_top_level: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text("utf-8"))
    for node in tree.body if only_top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


@pytest.mark.parametrize("package", HOMES)
def test_packages_are_imported_at_home_only(package: str) -> None:
    users = {_name(path) for path in MODULES if package in {name.partition(".")[0] for name in _imports(path)}}
    assert users <= HOMES[package]


def test_imports_have_a_direction() -> None:
    """No cycles; and the functional core never reaches for what launches, stores or shows."""
    graph = {
        _name(path): {name.removeprefix("planner.") for name in _imports(path) if name.startswith("planner.")}
        for path in MODULES
        if path.name != "__init__.py"
    }
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    reached = {name: set(graph.get(name, ())) for name in order}
    for name in order:
        reached[name] |= {further for near in graph.get(name, ()) for further in reached[near]}
    outer = {
        "search",
        "tune_command",
        "crews",
        "cli",
        "report",
        "live",
        "files",
        "loadgen",
        "backends.docker",
        "backends.process",
    }
    for core in ("engine", "model", "hardware", "memory", "roofline", "feasibility", "space", "metrics", "problem"):
        assert not reached[core] & outer, core


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_modules_are_named_documented_and_small(path: Path) -> None:
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    assert path.stem not in FORBIDDEN_NAMES
    assert ast.get_docstring(tree)
    assert len(text.splitlines()) <= MAX_LINES
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.type is None]


def test_flags_are_spelled_by_engine_only() -> None:
    """Flag names are made from EngineConfig's fields; people read them in help texts and docstrings."""
    from planner.engine.config import FIELDS

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
