"""The recorded starts, answered through `planner.estimate.batch`, next to what their logs said."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.version import Version

from planner.estimate.batch import answer

STARTS = Path(__file__).parents[1] / "golden" / "starts" / "startups.json"
FAMILIES = STARTS.with_name("families.json")
"""Starts of hybrids, mixtures and multimodal models, whose weights are compared."""
BLIND = STARTS.with_name("blind.json")
"""Starts of 0.24 that were predicted before they ran."""
TOKENS_PER_BLOCK = 16
MEMORY_OUTCOMES = {"ok", "kv_too_small", "oom"}

GROUPS = ("V0 0.6.6-0.7", "V0 0.8-0.10", "V1 up to 0.10", "V1 0.11-0.19", "V1 0.20+")
BEFORE, ALL = "before 0.6.6", "0.6.6 and later"
"""Older versions are answered too, by formulas of later ones; they do not count as `ALL`."""
COMPONENTS = ("weights", "non-torch", "activation", "graphs", "KV GiB", "KV tokens")
_KEYS = {
    "weights": "weights_gib",
    "non-torch": "non_torch_gib",
    "activation": "activation_peak_gib",
    "graphs": "cudagraph_gib",
    "KV GiB": "kv_cache_gib",
    "KV tokens": "kv_tokens",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One number of one start."""

    component: str
    predicted: float
    observed: float
    is_covered: bool | None
    """Whether the 90 % interval holds what was observed; None where there is no interval."""
    half_width: float = 0.0
    """Half width of that interval."""

    @property
    def error(self) -> float:
        return self.predicted - self.observed

    @property
    def relative(self) -> float:
        return self.error / self.observed


@dataclass(frozen=True, slots=True)
class Start:
    id: str
    group: str
    version: str
    outcome: str
    """ok, kv_too_small, oom or other_error."""
    assumed: tuple[str, ...]
    answer: dict[str, Any]
    comparisons: tuple[Comparison, ...]
    source: str = ""
    """Where the log is from; all starts of one repository, thread or run of our own are one source."""
    cards: int = 1
    is_hopper: bool = False

    @property
    def has_card(self) -> bool:
        """Whether the source names the card or its memory, so that it was not inferred from the log."""
        return not {"gpu", "any gpu"} & set(self.assumed)

    @property
    def has_verdict(self) -> bool:
        return not {"any gpu", "other process"} & set(self.assumed)

    @property
    def verdict(self) -> str:
        return str(self.answer.get("verdict", "error"))

    def of(self, component: str) -> Comparison | None:
        return next((c for c in self.comparisons if c.component == component), None)


def load_starts(path: Path = STARTS, is_hidden: bool = False) -> list[Start]:
    """The starts of a file, answered. `is_hidden`: as if the models' types were not known."""
    document = json.loads(path.read_text("utf-8"))
    return [_start(record, document["models"], is_hidden) for record in document["records"]]


def _start(record: dict[str, Any], models: dict[str, dict[str, Any]], is_hidden: bool = False) -> Start:
    config = _config(record["request"]["model"], models)
    request = {"id": record["id"], **record["request"], "model": _hidden(config) if is_hidden else config}
    found = answer(request)
    has_card = not {"gpu", "any gpu"} & set(record["assumed"])
    return Start(
        id=record["id"],
        group=_group(record["generation"], request["vllm_version"]),
        version=request["vllm_version"],
        outcome=record["outcome"],
        assumed=tuple(record["assumed"]),
        answer=found,
        comparisons=tuple(_compare(found, record["observed"], has_card)) if "error" not in found else (),
        source=_source(record["source"]),
        cards=record["request"].get("num_gpus") or 1,
        is_hopper=bool(re.search(r"H\d{2,3}", record["request"]["gpu"].get("name") or "")),
    )


def _hidden(config: dict[str, Any]) -> dict[str, Any]:
    """The same config.json under a type that nobody knows."""
    hidden = {**config, "model_type": "unheard_of", "architectures": ["UnheardOfForCausalLM"]}
    parts = {key: part for key, part in config.items() if isinstance(part, dict) and "model_type" in part}
    return hidden | {key: {**part, "model_type": "unheard_of"} for key, part in parts.items() if "vision" not in key}


def _source(text: str) -> str:
    """The repository or thread of a public log; a run of our own, and an unnamed repository, by its whole words."""
    return re.split(r"[@: (]", text)[0] if text.startswith("github.com") else text


def _config(name: str, models: dict[str, dict[str, Any]]) -> dict[str, Any]:
    entry = dict(models[name])
    base = entry.pop("_base", None)
    return {"_name_or_path": name, **(models[base] if base else {}), **entry}


def _group(generation: str, version: str) -> str:
    parsed = Version(version)
    if parsed < Version("0.6.6.dev0"):
        return BEFORE
    if generation == "V0":
        return GROUPS[0] if parsed < Version("0.8.0.dev0") else GROUPS[1]
    return GROUPS[2 if parsed < Version("0.11.0.dev0") else 3 if parsed < Version("0.20.0.dev0") else 4]


def _compare(found: dict[str, Any], observed: dict[str, Any], has_card: bool) -> Iterator[Comparison]:
    """What the log said and can be compared; the KV cache only where the card is known, not inferred from it."""
    observed = dict(observed)
    if "kv_tokens" not in observed and "gpu_blocks" in observed:
        observed["kv_tokens"] = observed["gpu_blocks"] * TOKENS_PER_BLOCK
    for component in COMPONENTS:
        key = _KEYS[component]
        real = observed.get(key)
        if real is None or real <= 0 or (component.startswith("KV") and not has_card):
            continue
        low, high = _interval(found, key)
        is_covered = low <= real <= high if high > low else None
        yield Comparison(component, float(found[key]), float(real), is_covered, max(high - float(found[key]), 0.0))


def _interval(found: dict[str, Any], key: str) -> tuple[float, float]:
    if key == "kv_tokens":  # the interval of the bytes, at the estimate's tokens per byte
        scale = found["kv_tokens"] / found["kv_cache_gib"] if found["kv_cache_gib"] else 0.0
        low, high = found["kv_cache_gib_interval"]
        return low * scale, high * scale
    low, high = found.get(f"{key}_interval") or (0.0, 0.0)
    return low, high
