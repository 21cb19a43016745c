"""What a vLLM log says its server was asked for: `read_arguments(log) -> Arguments`.

Up to 0.9 `args: Namespace(...)` has every argument, later `non-default args: {...}` those that are not the default.
Source: vllm@0.8.5 entrypoints/openai/api_server.py:run_server, vllm@0.32
entrypoints/serve/utils/api_utils.py:log_non_default_args.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from typing import Any

_SAID = re.compile(r"(?:non-default args: (?P<unusual>\{.*\})|\bargs: (?P<all>Namespace\(.*\)))\s*$", re.MULTILINE)
_OBJECT = re.compile(r"<\w[^<>]*>")
"""`<function f at 0x7f>`, `<Enum.A: 1>`: no plain value."""


@dataclass(frozen=True, slots=True)
class Arguments:
    values: dict[str, Any] = field(default_factory=dict)
    """By vLLM's names, plain values only; empty where the log does not say."""
    has_all: bool = False
    """Also those that are vLLM's default."""


def read_arguments(log_text: str) -> Arguments:
    """The first line that tells counts."""
    for match in _SAID.finditer(log_text):
        try:
            body = ast.parse(_OBJECT.sub("...", match["unusual"] or match["all"]), mode="eval").body
        except SyntaxError:
            continue
        if isinstance(body, ast.Call):
            pairs = [(keyword.arg, keyword.value) for keyword in body.keywords]
        elif isinstance(body, ast.Dict):
            pairs = [(_plain(key) if key else None, value) for key, value in zip(body.keys, body.values, strict=True)]
        else:
            continue
        plain = {str(name): _plain(node) for name, node in pairs}
        values = {name: value for name, value in plain.items() if value is not ...}
        return Arguments(values, isinstance(body, ast.Call))
    return Arguments()


def _plain(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ...
