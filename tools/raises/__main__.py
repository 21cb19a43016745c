"""`python -m tools.raises FOLDER`: write what vLLM raises to tests/golden/logs, for the table of docs/log.md.

FOLDER is the package `vllm` of one release, for example from its unpacked wheel. Only constant messages and f-strings
are read; what is put into an f-string becomes 7.
"""

from __future__ import annotations

import argparse
import ast
import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

PLACED = "7"
PARTS = (
    "config", "engine", "entrypoints/cli", "platforms", "transformers_utils", "model_executor/model_loader",
    "model_executor/models/registry.py", "model_executor/layers/quantization", "model_executor/layers/linear.py",
    "v1/core", "v1/engine", "v1/executor", "v1/worker", "v1/spec_decode", "distributed/parallel_state.py",
    "distributed/device_communicators", "compilation", "lora", "plugins", "tokenizers",
)  # fmt: skip
"""Folders and files whose exceptions people meet in a server's log."""
OUT = Path(__file__).parents[2] / "tests" / "golden" / "logs"


class _Raises(ast.NodeVisitor):
    """Collects (function, exception, message) of every raise and assert."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str, str]] = []
        self._functions = ["<module>"]

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._functions.append(node.name)
        self.generic_visit(node)
        self._functions.pop()

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_Raise(self, node: ast.Raise) -> None:
        call = node.exc
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.args:
            self._take(call.func.id, call.args[0])

    def visit_Assert(self, node: ast.Assert) -> None:
        if node.msg is not None:
            self._take("AssertionError", node.msg)

    def _take(self, name: str, message: ast.expr) -> None:
        words = _text(message)
        if words is not None and re.search(r"[A-Za-z]{3}", words):
            self.found.append((self._functions[-1], name, " ".join(words.split())))


def _text(node: ast.expr) -> str | None:
    """The words of a constant, an f-string or a sum of them; None of anything else."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or PLACED for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text(node.left), _text(node.right)
        return None if left is None or right is None else left + right
    return None


def rows(folder: Path) -> Iterator[tuple[str, str, str, str, str]]:
    """(part, file, function, exception, message) of every exception in PARTS, each once."""
    for part in PARTS:
        path = folder / part
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            reader = _Raises()
            reader.visit(ast.parse(file.read_text("utf-8")))
            for row in dict.fromkeys(reader.found):
                yield (part.removesuffix(".py"), str(file.relative_to(folder)), *row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--release", required=True, help="the release that the folder is of, for example 0.33.0")
    args = parser.parse_args()
    found = list(rows(args.folder))
    if not found:
        parser.error(f"{args.folder}: no exception in it: is it the package vllm?")
    text = b"".join(msgspec.json.encode(row) + b"\n" for row in found)
    with (
        open(OUT / f"raised-{args.release}.jsonl.gz", "wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file,
    ):
        file.write(text)
    print(f"{len(found)} exceptions of {len({row[0] for row in found})} parts")


if __name__ == "__main__":
    main()
