"""docs/models.md: every model type, and how what planner says of it was proven: `models_page() -> str`.

In: the golden files of tools/oracle, the recorded starts, planner's families. Out: one table. A type is known and
compared with vLLM's own engine, known and only seen in recorded starts, known from its class alone, or answered
`cannot say`.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from planner.errors import InputError
from planner.model.config_json import spec_from_config
from planner.model.families import FAMILIES
from tests.oracle.compare import CONFIGS, Case, golden_files, loaded_gib, said
from tests.places import GOLDEN, ROOT

PAGE = ROOT / "docs" / "models.md"
STEPS = (0.1, 0.5, 1.0)
"""Per cent that a difference is rounded up to, so that the page does not change with every digit."""
HEAD = """# Models

Which model types planner knows, and how that was proven. Made by `python -m tests.oracle --page` from the answers of
vLLM's own engine (CONTRIBUTING.md, "Ask vLLM itself") and from the logs of recorded starts; a test fails where it is
out of date. The type is `model_type` of a config.json, the outer one.

- **vLLM, n**: planner's answers for n config.json files were compared with what vLLM {releases} builds of them, on one,
  two and four ranks where vLLM takes them. The weights differ by at most the percentage, as torch would count the same
  tensors; the requests that fit a KV cache of a given size are equal to two decimals. It does not cover what vLLM does
  to weights after it has loaded them, activations, or other releases.
- **starts, n**: logs of n starts of this type are on record ([accuracy](accuracy.md)).
- **class**: the formulas follow vLLM's class; no configuration that vLLM {releases} would build was at hand to compare.
- **reckoned**: the tower's weights are taken from its depth and width, as its class is not modelled, and their interval
  is wide.
- **cannot say**: planner answers so, and its figures are those of an ordinary decoder. With the checkpoint's
  safetensors files at hand its weights are those of the files.
- **refused**: one line names the key that is missing or not understood.

For names that need no config.json: `planner models`.
"""


@dataclass
class _Type:
    """What is on record of one model type."""

    compared: int = 0
    standings: set[str] = field(default_factory=set)
    """Of configurations that were not compared: known, cannot say or refused."""
    worst: float = 0.0
    """Largest difference of weights, as a fraction."""
    is_reckoned: bool = False
    starts: int = 0
    releases: set[str] = field(default_factory=set)


def models_page() -> str:
    """The whole page."""
    types = _types()
    releases = sorted({release for found in types.values() for release in found.releases})
    rows = [(name, *_row(found)) for name, found in sorted(types.items())]
    counts = Counter(row[1] for row in rows)
    total = ", ".join(f"{counts[word]} {word}" for word in ("known", "cannot say", "refused") if counts[word])
    lines = [HEAD.format(releases=" and ".join(releases)), f"{len(rows)} types: {total}.\n",
             "| model_type | planner | proven by | weights differ by |", "| --- | --- | --- | --- |",
             *(f"| `{row[0]}` | {row[1]} | {row[2]} | {row[3]} |" for row in rows)]  # fmt: skip
    return "\n".join(lines) + "\n"


def _types() -> dict[str, _Type]:
    types: dict[str, _Type] = {}
    for path in golden_files():
        config = json.loads((CONFIGS / path.name).read_text("utf-8"))
        found = types.setdefault(str(config.get("model_type")), _Type())
        answers = said(path)
        found.releases.add(path.parent.name)
        standing = _standing(config, path.stem)
        found.is_reckoned |= standing == "reckoned"
        if not answers or all(answer["verdict"] == "cannot say" for _, answer in answers):
            found.standings.add("cannot say" if answers else standing.replace("reckoned", "known"))
        else:
            found.compared += 1
            found.worst = max(found.worst, _worst(answers))
    for name, number in _starts().items():
        types.setdefault(name, _Type()).starts += number
    for name in FAMILIES:
        if name not in types and f"{name}_text" not in types:
            types[name] = _Type(standings={"known"})
    return types


def _standing(config: dict[str, Any], name: str) -> str:
    """What planner makes of a config.json: known, reckoned, cannot say or refused."""
    try:
        model = spec_from_config(config, name)
    except InputError:
        return "refused"
    if not model.is_modelled:
        return "cannot say"
    return "reckoned" if model.is_tower_rough else "known"


def _worst(answers: tuple[tuple[Case, dict[str, Any]], ...]) -> float:
    """Largest difference of weights, as a fraction; 0 of models that are too small for one."""
    large = [(case, answer) for case, answer in answers if case.answer["parameter_bytes"] > SMALL]
    return max((abs(answer["weights_gib"] / loaded_gib(case) - 1) for case, answer in large), default=0.0)


SMALL = 1 << 27
"""Bytes of a rank below which torch's blocks and the last printed digit are a per cent of the weights."""


def _row(found: _Type) -> tuple[str, str, str]:
    words = found.standings - {"known"}
    is_known = found.compared > 0 or not words
    proofs = [f"vLLM, {found.compared}"] if found.compared else []
    proofs += [f"starts, {found.starts}"] if found.starts else []
    if is_known and not proofs:
        proofs = ["class"]
    if is_known and found.is_reckoned:
        proofs.append("reckoned")
    worst = next((f"{step} %" for step in STEPS if found.worst * 100 <= step), "") if found.compared else ""
    return "known" if is_known else min(words), ", ".join(proofs), worst


def _starts() -> Counter[str]:
    """Recorded starts by model type."""
    counts: Counter[str] = Counter()
    for file in ("startups.json", "families.json"):
        held = json.loads((GOLDEN / "starts" / file).read_text("utf-8"))
        names = [record["request"]["model"] for record in held["records"]]
        counts.update(_type_of(held["models"].get(name)) for name in names if isinstance(name, str))
    counts.pop("", None)
    return counts


def _type_of(model: dict[str, Any] | None) -> str:
    return str((model or {}).get("model_type") or "").removesuffix("_text")
