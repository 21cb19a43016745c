"""Write `planner/data/config_defaults.json`: what transformers' classes take for keys that config.json leaves out.

Run as `python -m tests.class_defaults FOLDER`, FOLDER an installed `transformers` package (its source is read, nothing
is imported) and, after it, folders of vLLM's own configuration classes. Only the keys that planner reads are kept.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.places import ROOT

PLACE = ROOT / "planner" / "data" / "config_defaults.json"
READERS = ("config_json", "feeds", "keys", "mixers", "special_stacks", "stack")
"""Modules of planner/model whose string constants are the keys that are read."""
LEFT_OUT = {"num_hidden_layers", "hidden_size", "d_model", "decoder_layers", "encoder_layers", "n_layer", "model_type"}
"""Without its number of layers and its width a config.json is damaged, not brief."""

ALWAYS_WRITTEN = {("mistral", "sliding_window")}
"""Keys of a model type that every saved config.json holds, null included; left out by hand, they mean none."""


class _Class:
    def __init__(self, node: ast.ClassDef) -> None:
        self.bases = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
        self.model_type: str | None = None
        self.values: dict[str, Any] = {}
        for name, value in _assigned(node):
            if name == "model_type":
                self.model_type = value if isinstance(value, str) else None
            else:
                self.values[name] = value


def _assigned(node: ast.ClassDef) -> Iterator[tuple[str, Any]]:
    """Names and literal values of a class's attributes and of its constructor's parameters."""
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value is not None:
            yield from _literal(line.target.id, line.value)
        elif isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            yield from _literal(line.targets[0].id, line.value)
        elif isinstance(line, ast.FunctionDef) and line.name == "__init__":
            named = line.args.args[len(line.args.args) - len(line.args.defaults) :]
            for argument, default in zip(named, line.args.defaults, strict=True):
                yield from _literal(argument.arg, default)


def _literal(name: str, node: ast.expr) -> Iterator[tuple[str, Any]]:
    try:
        yield name, ast.literal_eval(node)
    except ValueError:
        return


def _classes(folders: list[Path]) -> dict[str, _Class]:
    found: dict[str, _Class] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            if path.name.startswith("configuration") or folder.name == "configs":
                for node in ast.parse(path.read_text("utf-8")).body:
                    if isinstance(node, ast.ClassDef):
                        found.setdefault(node.name, _Class(node))
    return found


def _inherited(name: str, classes: dict[str, _Class]) -> dict[str, Any]:
    if name not in classes:
        return {}
    values: dict[str, Any] = {}
    for base in classes[name].bases:
        values |= _inherited(base, classes)
    return values | classes[name].values


def _keys_read() -> set[str]:
    """Every string in the readers that could be a key of config.json."""
    found: set[str] = set()
    for module in READERS:
        tree = ast.parse((ROOT / "planner" / "model" / f"{module}.py").read_text("utf-8"))
        constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
        found |= {value for value in constants if isinstance(value, str) and re.fullmatch(r"[a-z]\w+", value)}
    return found - LEFT_OUT


def main(folders: list[Path]) -> None:
    """Write the file from the classes under `folders`, for the model types that planner knows."""
    from planner.model.families import FAMILIES

    classes, keys = _classes(folders), _keys_read()
    version = re.search(r'__version__ = "([^"]+)"', (folders[0] / "__init__.py").read_text("utf-8"))
    table: dict[str, dict[str, Any]] = {}
    for name, one in sorted(classes.items()):
        family = (one.model_type or "").removesuffix("_text")
        if one.model_type is None or family not in FAMILIES or one.model_type in table:
            continue
        values = {k: v for k, v in _inherited(name, classes).items() if k in keys and isinstance(v, bool | int | str)}
        values = {key: value for key, value in values.items() if (one.model_type, key) not in ALWAYS_WRITTEN}
        if "vocab_size" in values:
            table[one.model_type] = dict(sorted(values.items()))
    source = f"transformers {version[1] if version else ''}, src/transformers/models/*/configuration_*.py"
    lines = [f"{json.dumps(name)}: {json.dumps(values)}" for name, values in sorted(table.items())]
    PLACE.write_text("{" + f'"_source": {json.dumps(source)},\n' + ",\n".join(lines) + "}\n", "utf-8")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
