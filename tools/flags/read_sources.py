"""Read the flags of one release of vLLM from its syntax trees: `flags_of(sources)`, `rules_of(sources)`.

vLLM writes a flag in one of three ways: `add_argument("--x", type=int)`; `add_argument("--x", **kwargs["x"])`, where
kwargs come from the annotations of a dataclass of its configuration; or as a field of FrontendArgs, a flag each.
"""

from __future__ import annotations

import ast
import re
from typing import Any

ENGINE = "engine/arg_utils.py"
Fields = dict[str, str]


def flags_of(sources: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Every flag: kind, choices (empty if open or not known), also (other names), human (16k), auto."""
    trees = {path: ast.parse(text) for path, text in sources.items() if _matters(path, text)}
    types = _Types(trees)
    found: dict[str, dict[str, Any]] = {}
    for path, tree in trees.items():
        if path == ENGINE or _is_frontend(path, sources[path]):
            for name, flag in _flags_in(tree, types).items():
                found.setdefault(name, flag)
    for name in _human(sources[ENGINE]):
        found[name]["human"] = True
    if "human_readable_int_or_auto" in sources[ENGINE]:
        found["--max-model-len"]["auto"] = True
    return found


def rules_of(sources: dict[str, str]) -> dict[str, Any]:
    """How this release's parser reads its words, told by what its source has.

    dotted: `--x.key value` is JSON; plus: `--x.key+ value` appends to a list; pairs: `--disable-x` is the reverse of
    `--enable-x`; level: what `-O3` is (word: `-O 3`; level, mode: a key of the compilation config; flag: a flag of its
    own); config_lists, config_mappings: what a --config file may hold beside plain values; config_no: whether false in
    it becomes `--no-x`; dotted_human: whether `--x.key 1k` is 1000.
    """
    text = next(text for path, text in sources.items() if path.startswith("utils") and PARSER in text)
    text = text.replace('"', "'")
    parser = text[text.index(PARSER) :]
    levels = {"'--optimization-level'": "flag", "-O.mode": "mode", "-O.level": "level"}
    return {
        "dotted": "recursive_dict_update" in parser,
        "plus": "endswith('+')" in parser,
        "dotted_human": "= human_readable_int(value_str)" in parser,
        "pairs": "_inverse_prefixes" in text,
        "level": next((meant for word, meant in levels.items() if word in parser), "word"),
        "config_lists": "isinstance(value, list)" in parser[parser.index("load_config_file") :],
        "config_mappings": "isinstance(value, dict)" in parser[parser.index("load_config_file") :],
        "config_no": "--no-{key}" in parser,
    }


PARSER = "class FlexibleArgumentParser"


def _matters(path: str, text: str) -> bool:
    named = path.startswith(("config", "engine/", "platforms/")) or path.endswith("layers/quantization/__init__.py")
    return named or "Literal[" in text or _is_frontend(path, text)


def _is_frontend(path: str, text: str) -> bool:
    """Whether the file has the server's own flags; it moved between releases. The benchmarks have others."""
    if "bench" in path:
        return False
    if path in {"scripts.py", "entrypoints/cli/serve.py"}:
        return True
    return path.endswith("cli_args.py") and bool(re.search(r"class (Base)?FrontendArgs|def make_arg_parser", text))


class _Types:
    """Dataclasses, and what names a list of values: Literals, lists of text, enumerations."""

    def __init__(self, trees: dict[str, ast.Module]) -> None:
        self.classes: dict[str, tuple[Fields, list[str]]] = {}
        self.values: dict[str, ast.expr] = {}
        self.enums: dict[str, list[str]] = {}
        for tree in trees.values():
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    fields = {
                        part.target.id: ast.unparse(part.annotation)
                        for part in node.body
                        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
                    }
                    bases = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
                    self.classes.setdefault(node.name, (fields, bases))
                    if "Enum" in bases:
                        self.enums[node.name] = [
                            str(part.value.value)
                            for part in node.body
                            if isinstance(part, ast.Assign) and isinstance(part.value, ast.Constant)
                        ]
            for node in tree.body:
                target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
                value = getattr(node, "value", None)
                if isinstance(target, ast.Name) and isinstance(value, ast.Subscript | ast.List | ast.Dict | ast.Call):
                    self.values.setdefault(target.id, value)

    def fields(self, name: str) -> Fields:
        fields, bases = self.classes.get(name, ({}, []))
        inherited: Fields = {}
        for base in bases:
            inherited |= self.fields(base)
        return inherited | fields

    def choices(self, annotation: str) -> list[str]:
        """Values of a field that takes no other; empty if it takes any text, or if they are not known."""
        if _parts(annotation) & {"str", "int", "float", "bool", "Any"}:
            return []
        return self.listed(ast.parse(annotation.strip("'\""), mode="eval").body)

    def listed(self, node: ast.expr) -> list[str]:
        return self._listed(node) or []

    def _listed(self, node: ast.expr) -> list[str] | None:
        """The text values that an expression lists; None if it is no such list. None within it is left out."""
        if isinstance(node, ast.Constant):
            return [] if node.value is None else [str(node.value)]
        if isinstance(node, ast.Name):
            return self._listed(self.values[node.id]) if node.id in self.values else None
        if isinstance(node, ast.BinOp):
            return self._any_of([node.left, node.right])
        if isinstance(node, ast.Subscript):
            if ast.unparse(node.value) in {"Optional", "Union"}:
                return self._any_of(node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice])
            return self._listed(node.slice) if ast.unparse(node.value) == "Literal" else None
        if isinstance(node, ast.List | ast.Tuple):
            return self._joined(node.elts)
        if isinstance(node, ast.Dict):
            return self._joined([key for key in node.keys if key is not None])
        if isinstance(node, ast.Starred):
            return self._listed(node.value)
        if isinstance(node, ast.ListComp):
            return self.enums.get(ast.unparse(node.generators[0].iter))
        if isinstance(node, ast.Call) and node.args and ast.unparse(node.func) in {"list", "get_args"}:
            return self._listed(node.args[0])
        return None

    def _any_of(self, nodes: list[ast.expr]) -> list[str] | None:
        """The values of a union's Literal: vLLM offers those where no part of the union is plain text."""
        return next((found for node in nodes if (found := self._listed(node))), None)

    def _joined(self, nodes: list[ast.expr]) -> list[str] | None:
        found = [self._listed(node) for node in nodes]
        return None if None in found else [value for part in found if part is not None for value in part]


def _parts(annotation: str) -> set[str]:
    plain = re.sub(r"^(?:Optional|Union)\[(.*)\]$", r"\1", re.sub(r"Literal\[[^\]]*\]", "Literal", annotation))
    return {part.strip().strip("'\"") for part in re.split(r"[|,]", plain)} - {"None", ""}


def _kind(annotation: str, types: _Types) -> str:
    """How many words follow a flag that is made from a field's annotation, and what they must be."""
    plain = re.sub(r"Literal\[[^\]]*\]", "Literal", annotation).replace('"', "").replace("'", "")
    parts = _parts(annotation)
    holds = bool(re.search(r"\b(dict|list|tuple|set|sequence)\[", plain, re.IGNORECASE))
    if parts == {"bool", "str"}:
        return "optional_value"
    if re.search(r"\bbool\b", plain) and not holds:
        return "bool_optional"
    if re.search(r"\b(list|tuple|set|sequence)\[", plain, re.IGNORECASE):
        return "list"
    if re.search(r"\bdict\b", plain, re.IGNORECASE) or any(
        part in types.classes and part.endswith("Config") for part in parts
    ):
        return "json"
    if re.search(r"\bint\b", plain):
        return "int"
    return "float" if re.search(r"\bfloat\b", plain) else "value"


def _flags_in(tree: ast.Module, types: _Types) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    made_from = {
        node.targets[0].id: ast.unparse(node.value.args[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func).endswith("get_kwargs")
        and node.value.args
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            names = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and str(arg.value).startswith("-")]
            if names:
                long = [name for name in names if name.startswith("--")]
                name = long[0] if long else names[-1]
                found[name] = _argument(node, made_from, types) | {"also": [n for n in names if n != name]}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name in {"FrontendArgs", "BaseFrontendArgs"}:
            for field, annotation in types.fields(node.name).items():
                flag = _flag(_kind(annotation, types), types.choices(annotation))
                found.setdefault("--" + field.replace("_", "-"), _of_frontend(field, flag))
    return found


def _of_frontend(field: str, flag: dict[str, Any]) -> dict[str, Any]:
    """What the frontend changes of a field by hand: CORS lists are JSON in one word, middleware may be repeated."""
    if field in {"allowed_origins", "allowed_methods", "allowed_headers"}:
        return flag | {"kind": "json"}
    return flag | {"kind": "append"} if field == "middleware" else flag


def _flag(kind: str, choices: list[str]) -> dict[str, Any]:
    """`choices` are kept for a flag of one plain value: of a list or of JSON they are those of its parts."""
    choices = sorted(choices) if kind in {"value", "int", "float"} else []
    return {"kind": kind, "choices": choices, "also": [], "human": False, "auto": False}


def _argument(call: ast.Call, made_from: dict[str, str], types: _Types) -> dict[str, Any]:
    written = {word.arg: word.value for word in call.keywords if word.arg}
    spread = [word.value for word in call.keywords if word.arg is None]
    kind, choices = "value", list[str]()
    while spread:
        part = spread.pop()
        if isinstance(part, ast.Dict):
            for key, value in zip(part.keys, part.values, strict=True):
                if key is None:
                    spread.append(value)
                elif isinstance(key, ast.Constant):
                    written[str(key.value)] = value
        elif isinstance(part, ast.Subscript) and isinstance(part.slice, ast.Constant):
            annotation = types.fields(made_from.get(ast.unparse(part.value), "")).get(str(part.slice.value))
            if annotation is not None:
                kind, choices = _kind(annotation, types), types.choices(annotation)
    if "action" in written:
        kind = _action(ast.unparse(written["action"]), kind)
    elif "nargs" in written:
        kind = "optional_value" if "?" in ast.unparse(written["nargs"]) else "list"
    elif "type" in written and kind == "value":
        told = ast.unparse(written["type"])
        kind = {"int": "int", "float": "float"}.get(told, "json" if "json" in told else "value")
    is_human = "type" in written and "human_readable" in ast.unparse(written["type"])
    if "choices" in written:
        choices = types.listed(written["choices"])
    return _flag("int" if is_human else kind, choices) | {"human": is_human}


def _action(told: str, kind: str) -> str:
    for word, meant in (
        ("store_true", "store_true"), ("store_false", "store_true"), ("StoreBoolean", "store_boolean"),
        ("BooleanOptional", "bool_optional"), ("append", "append"), ("LoRAParser", "list"), ("PromptAdapter", "list"),
        ("version", "store_true"),
    ):  # fmt: skip
        if word in told:
            return meant
    return kind


def _human(text: str) -> set[str]:
    """Flags that take 16k and 16K."""
    names: set[str] = set()
    for pattern in (
        r"human_readable_int(?:_arg)?s\s*=\s*\{([^}]*)\}",
        r"name == (\"\w+\"):\s*\n\s*kwargs\[name\]\[\"type\"\] = human_readable",
        r"name in \{?\[?\(?([^:]*?)\)?\]?\}?:\s*\n\s*kwargs\[name\]\[\"type\"\] = human_readable",
    ):
        for match in re.finditer(pattern, text):
            names |= {"--" + name.replace("_", "-") for name in re.findall(r'"(\w+)"', match[1])}
    return names
