"""All YAML and JSON on disk: strict decoding into the types of `spec.py`, with file and key in every error.

Also the JSON Schemas that editors use, generated from the same types.
"""

from __future__ import annotations

import os
import re
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from planner.documents import YAML_BYTES, read_text
from planner.errors import InputError
from planner.fleet.spec import FleetSpec
from planner.near import explained
from planner.service.ladder import Ladder
from planner.space import SearchSpace
from planner.spec import HardwareSpec, ModelVariant, StudySpec
from planner.units import Bytes, Seconds, parse_bytes, parse_seconds
from planner.workload.workload import Workload
from planner.workspace import LADDER_FILE

T = TypeVar("T")

SCHEMAS: dict[str, type] = {
    "study": StudySpec, "search-space": SearchSpace, "workload": Workload, "hardware": HardwareSpec,
    "ladder": Ladder, "fleet": FleetSpec,
}  # fmt: skip
_SUFFIXES = {".yaml", ".yml"}


MOST_DEPTH, MOST_VALUES, MOST_DIGITS = 30, 20_000, 40
"""Of a YAML file: nested values, values when every alias is written out, characters of a number."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with an end: nesting, aliases and numbers are bounded. A key may stand once."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._count = 0
        self._counts: dict[str, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event, before = self.peek_event(), self._count  # type: ignore[no-untyped-call]
        is_alias, anchor = isinstance(event, yaml.AliasEvent), getattr(event, "anchor", None)
        if is_alias and anchor in self.anchors and anchor not in self._counts:
            raise ComposerError(None, None, f"alias {anchor} stands within what it names", event.start_mark)
        self._depth += 1
        self._count += self._counts.get(str(anchor), 1) if is_alias else 1
        if self._depth > MOST_DEPTH:
            raise ComposerError(None, None, f"nested more than {MOST_DEPTH} deep", event.start_mark)
        if self._count > MOST_VALUES:
            raise ComposerError(None, None, f"more than {MOST_VALUES} values, aliases written out", event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if anchor is not None and not is_alias:
            self._counts[anchor] = self._count - before
        return node

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        seen: set[str] = set()
        for key in keys:
            if key.value in seen and key.value != "<<":
                raise ConstructorError(None, None, f"key {key.value[:100]} stands there twice", key.start_mark)
            seen.add(key.value)
        return node

    def construct_number(self, node: yaml.ScalarNode) -> Any:
        if len(node.value) > MOST_DIGITS:
            raise ConstructorError(None, None, f"a number of {len(node.value)} characters", node.start_mark)
        is_whole = node.tag.endswith(":int")
        return self.construct_yaml_int(node) if is_whole else self.construct_yaml_float(node)


for _tag in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.construct_number)


def decode(text: str, kind: type[T], where: str) -> T:
    """YAML text to a value of `kind`. Raises InputError: `file: key.path: what is wrong`."""
    try:
        data = _Loader(text).get_single_data()
    except yaml.YAMLError as error:
        raise InputError(f"{where}: is not YAML: {error}") from None
    except (
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
        RecursionError,
    ) as error:  # a value that its tag refuses
        raise InputError(f"{where}: is not YAML: a value has the wrong form: {error}") from None
    return convert(data, kind, where)


_CONTROL = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What YAML can hold as an escape only (YAML 1.2.2, 5.1), as no path, flag or terminal can do with NUL and its like;
and the line ends that YAML 1.1 and 1.2 read differently."""


def _refuse_controls(value: Any, where: str, seen: set[int]) -> None:
    """Each list and mapping once, as aliases may repeat and contain them. Raises InputError."""
    if isinstance(value, str) and (found := _CONTROL.search(value)):
        raise InputError(
            f"{where}: {value[:40]!a}: has the control character {found[0]!a}, which no value here can have"
        )
    if isinstance(value, dict | list) and id(value) not in seen:
        seen.add(id(value))
        for part in [*value, *value.values()] if isinstance(value, dict) else value:
            _refuse_controls(part, where, seen)


def convert(data: Any, kind: type[T], where: str) -> T:
    _refuse_controls(data, where, set())
    try:
        return msgspec.convert(data, kind, dec_hook=_decode_unit)
    except msgspec.ValidationError as error:
        path, message = explained(error, kind)
        raise InputError(f"{where}: {path + ': ' if path else ''}{message}") from None
    except (ArithmeticError, ValueError, RecursionError) as error:  # of integers too large to print, and the like
        raise InputError(f"{where}: {error}") from None


def _decode_unit(kind: type, value: Any) -> Any:
    if kind is Bytes:
        return parse_bytes(value)
    if kind is Seconds:
        return parse_seconds(value)
    raise NotImplementedError(f"no YAML form for {kind}")


def encode(value: Any) -> str:
    """A value as YAML text that `decode` reads back."""
    builtins = msgspec.to_builtins(value, enc_hook=_encode_unit)
    return yaml.safe_dump(builtins, sort_keys=False, allow_unicode=True)


def _encode_unit(value: Any) -> Any:
    if isinstance(value, Bytes):
        return int(value)
    if isinstance(value, Seconds):
        return float(value)
    raise NotImplementedError(f"no YAML form for {type(value)}")


def load_study(path: Path) -> StudySpec:
    """Read a study and whatever files it names. Raises InputError."""
    if os.path.isdir(path):
        path = path / "study.yaml"
    if not os.path.exists(path):
        raise InputError(f"{path}: no such study; write one, or describe it with --model and --gpu")
    spec = decode(read_text(path, YAML_BYTES), StudySpec, str(path))
    space, workload = spec.search_space, spec.workload
    if isinstance(space, str):
        space = load_named(space, SearchSpace, path.parent, "search_spaces")
    if isinstance(workload, str):
        workload = load_named(workload, Workload, path.parent, "workloads")
    if workload.prompts is not None:
        raise InputError(f"{path}: workload.prompts: recorded prompts cannot be predicted; planner bench sends them")
    models = {name: _from(path.parent, variant) for name, variant in spec.models.items()}
    quality = spec.quality
    if quality is not None and quality.prompts is not None:
        quality = msgspec.structs.replace(quality, prompts=str(path.parent / quality.prompts))
    return msgspec.structs.replace(spec, search_space=space, workload=workload, models=models, quality=quality)


def load_ladder(path: Path) -> tuple[Ladder, Path]:
    """A ladder and its folder; the path is its own, or that of the study beside it. Raises InputError."""
    text = read_text(path, YAML_BYTES) if os.path.exists(path) else ""
    if not re.search(r"^rungs:", text, re.MULTILINE):
        path = path.parent / LADDER_FILE
        if not os.path.exists(path):
            raise InputError(f"{path}: no such ladder; planner tune writes it, and planner export --kind ladder")
        text = read_text(path, YAML_BYTES)
    return decode(text, Ladder, str(path)), path.parent


def _from(folder: Path, variant: ModelVariant) -> ModelVariant:
    """Relative model directories are relative to the study's file."""
    if not variant.path.startswith(("./", "../")):
        return variant
    return msgspec.structs.replace(variant, path=os.path.realpath(folder / variant.path))


def load_named(name: str, kind: type[T], folder: Path, shipped: str) -> T:
    """A file relative to `folder`, or a shipped one by name."""
    path = folder / name
    if path.suffix in _SUFFIXES and os.path.isfile(path):  # unlike Path's, without an error for a name too long
        return decode(read_text(path, YAML_BYTES), kind, str(path))
    known = shipped_files(shipped)
    stem = path.stem if path.suffix in _SUFFIXES else path.name
    is_shipped_name = path.parent == folder or path.parent.name == shipped
    if stem in known and is_shipped_name:
        return decode(known[stem].read_text("utf-8"), kind, str(known[stem]))
    raise InputError(f"{name}: no such file in {folder}, nor a shipped name; shipped: {', '.join(sorted(known))}")


def shipped_files(kind: str) -> dict[str, Path]:
    """The YAML files shipped under `search_spaces` or `workloads`, by name."""
    folders = [Path(str(resources.files("planner"))) / "data" / kind, Path(__file__).resolve().parent.parent / kind]
    return {path.stem: path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.yaml"))}


def json_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a kind of file. Raises InputError for an unknown kind."""
    if name not in SCHEMAS:
        raise InputError(f"schema {name!r}: allowed: {', '.join(SCHEMAS)}")
    schema = msgspec.json.schema(SCHEMAS[name], schema_hook=_unit_schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _unit_schema(kind: type) -> dict[str, Any]:
    if kind is Bytes:
        return {"type": ["string", "integer"], "description": "A size: 21.48GiB, 512GB (1e9) or bytes"}
    if kind is Seconds:
        return {"type": ["string", "number"], "description": "A duration: 200ms, 30s, 5min or seconds"}
    raise NotImplementedError(f"no schema for {kind}")
