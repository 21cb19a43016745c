"""Writes each package's `__init__.pyi` from the names that its `__init__.py` shows: `python -m tests.faces`.

The program reads the one and imports a module when its first name is used; mypy, ruff and editors read the other.
"""

from __future__ import annotations

import ast
from pathlib import Path

from tests.places import ROOT

PACKAGE = ROOT / "planner"


def shown(init: Path) -> dict[str, list[str]] | None:
    """Names that the package of an `__init__.py` shows, by the module they are in; None where it shows none."""
    for node in ast.walk(ast.parse(init.read_text("utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "submod_attrs":
            names: dict[str, list[str]] = ast.literal_eval(node.value)
            return names
    return None


def stub(package: str, names: dict[str, list[str]]) -> str:
    lines = [f"from {package}.{module} import {name} as {name}\n" for module in names for name in names[module]]
    return "".join(lines)


def stubs() -> dict[Path, str]:
    """Every `__init__.pyi` as it should be."""
    found = {}
    for init in sorted(PACKAGE.glob("*/__init__.py")):
        names = shown(init)
        if names is not None:
            found[init.with_suffix(".pyi")] = stub(f"planner.{init.parent.name}", names)
    return found


if __name__ == "__main__":
    for path, text in stubs().items():
        path.write_text(text, "utf-8")
