"""Questions over many deployments at once: `fit` one setting, `sweep` one or two, `compare` models and layouts.

In: a `Setup` and the settings to vary. Out: `Fit`, `Sweep` or `SideBySide`, each with its answers and a `document`.
Prints nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from planner.arrays import LazyModule
from planner.engine import FIELDS, LONG_CONTEXT, ResolvedEngine, convert_settings, knows
from planner.errors import InputError
from planner.estimate.answer import COLUMNS, Answer, Setup, answer_of, one_of
from planner.estimate.rules import violations
from planner.units import GIB

if TYPE_CHECKING:
    import numpy as np
else:
    np = LazyModule("numpy")


MOST_CELLS = 4096
MOST_LOOKED_AT = 512
"""Most feasible values of a fit that are checked one by one for dangers."""


# --- fit ---


@dataclass(frozen=True, slots=True)
class Fit:
    """The largest feasible value of one setting."""

    field: str
    tried: tuple[Any, Any, int]
    """Smallest value judged, largest value judged, number of values judged."""
    feasible: tuple[tuple[Any, Any], ...]
    """Runs of values that break no rule, both ends included; more than one if values between them break one."""
    value: Any
    """Largest feasible value; None if no value is feasible."""
    answer: Answer
    """Answer at `value`; if no value is feasible, at the one whose broken rule vLLM checks last."""
    beyond: tuple[Any, Answer] | None
    """The next larger value judged and its answer, which says why it fails; None if `value` is the last."""
    safe: tuple[Any, Answer] | None
    """If `value` is at risk: the largest value checked that is not, and its answer."""

    @property
    def exit_code(self) -> int:
        return 3 if self.value is None else 0

    @property
    def note(self) -> str:
        """Why the feasible values are not one interval."""
        engine = self.answer.deployment.engine
        ends = [high for _, high in self.feasible[:-1]]
        if self.field == "max_model_len" and engine.generation == "V0" and any(end <= LONG_CONTEXT for end in ends):
            return f"V0 turns chunked prefill on by itself above {LONG_CONTEXT}, which needs less memory"
        return ""

    def document(self, name: str | int) -> dict[str, Any]:
        return {
            **self.answer.document(name),
            "fit": {
                "field": self.field,
                "value": self.value,
                "feasible": [list(run) for run in self.feasible],
                "tried": list(self.tried),
                "largest_without_risk": self.safe[0] if self.safe else None,
                "beyond": {"value": self.beyond[0], "reasons": self.beyond[1].reasons} if self.beyond else None,
            },
        }


def fit(setup: Setup, field: str) -> Fit:
    """Judge every value of one setting together and take the largest feasible one. Raises InputError."""
    name = field_name(field, "--fit", setup)
    if name not in FITS:
        raise InputError(f"--fit {field}: has no largest value to look for; allowed: {', '.join(FITS)}")
    values = FITS[name](setup)
    if not values:
        raise InputError(f"--fit {field}: there is no value to try")
    rule, answer_at = _judge_values(setup, name, values)
    good = np.flatnonzero(rule < 0)
    tried = (values[0], values[-1], len(values))
    if not len(good):
        furthest = int(np.argmax(rule))
        return Fit(name, tried, (), None, answer_at(furthest), None, None)
    best = int(good[-1])
    answer = answer_at(best)
    safe = _safe(good[:-1][::-1][:MOST_LOOKED_AT].tolist(), values, answer_at) if answer.dangers else None
    beyond = (values[best + 1], answer_at(best + 1)) if best + 1 < len(values) else None
    runs = tuple((values[run[0]], values[run[-1]]) for run in np.split(good, np.flatnonzero(np.diff(good) > 1) + 1))
    return Fit(name, tried, runs, values[best], answer, beyond, safe)


def _judge_values(setup: Setup, name: str, values: Sequence[Any]) -> tuple[Any, Callable[[int], Answer]]:
    """Per value the index of the first rule it breaks (-1: none), and a function that gives its answer."""
    if name in COLUMNS:
        deployment = setup.deployment({name: np.asarray(values)})
        rule = violations(deployment, len(values))
        if setup.refused:
            rule = np.maximum(rule, 0)
        return rule, lambda row: answer_of(one_of(deployment, row), setup.refused, setup.flags)
    answers = setup.answers([name], [(value,) for value in values])
    rule = np.asarray([0 if answer.violated else -1 for answer in answers])
    return rule, lambda row: answers[row]


def _safe(rows: Sequence[int], values: Sequence[Any], answer_at: Callable[[int], Answer]) -> tuple[Any, Answer] | None:
    for row in rows:
        answer = answer_at(row)
        if answer.verdict == "starts":
            return values[row], answer
    return None


def _steps(low: int, high: int, step: int) -> list[int]:
    return list(range(low, max(high, low) + 1, step))


def _lengths(setup: Setup) -> list[int]:
    """Multiples of the block size, because a request takes whole blocks."""
    block = int(setup.deployment().engine.block_size)
    return _steps(block, setup.model.max_context_tokens, block)


def _swap_gib(setup: Setup) -> list[float]:
    return [float(gib) for gib in range((setup.placement.host_memory_bytes or 256 * GIB) // GIB + 1)]


FITS: dict[str, Callable[[Setup], list[Any]]] = {
    "max_model_len": _lengths,
    "max_num_seqs": lambda _: _steps(1, 8192, 1),
    "max_num_batched_tokens": lambda _: _steps(16, 1 << 18, 16),
    "gpu_memory_utilization": lambda _: [round(percent / 100, 2) for percent in range(1, 101)],
    "max_seq_len_to_capture": lambda setup: _steps(512, setup.model.max_context_tokens, 512),
    "block_size": lambda _: [1 << power for power in range(9)],
    "swap_space": _swap_gib,
    "tensor_parallel_size": lambda setup: _steps(1, setup.placement.num_gpus, 1),
    "pipeline_parallel_size": lambda setup: _steps(1, setup.placement.num_gpus, 1),
    "data_parallel_size": lambda setup: _steps(1, setup.placement.num_gpus, 1),
}
"""Function that gives the values to judge in ascending order, by setting."""


# --- sweep ---


@dataclass(frozen=True, slots=True)
class Sweep:
    """One or two settings over their values; `cells` yields each combination with its answer."""

    names: tuple[str, ...]
    values: tuple[tuple[Any, ...], ...]
    answers: tuple[Answer, ...]
    """Answers in the order of the product of the values; the last setting varies fastest."""

    @property
    def exit_code(self) -> int:
        return 3 if all(answer.violated for answer in self.answers) else 0

    def cells(self) -> Iterator[tuple[tuple[Any, ...], Answer]]:
        return zip(itertools.product(*self.values), self.answers, strict=True)

    def document(self, name: str | int) -> dict[str, Any]:
        cells = []
        for point, answer in self.cells():
            cell = answer.document(name)
            del cell["id"]
            cells.append({"settings": dict(zip(self.names, point, strict=True)), **cell})
        return {"id": name, "sweep": dict(zip(self.names, map(list, self.values), strict=True)), "cells": cells}


def sweep(setup: Setup, texts: Sequence[str]) -> Sweep:
    """Judge all combinations of one or two settings, each written FIELD=LOW..HIGH or FIELD=a,b,c. Raises InputError."""
    if len(texts) > 2:
        raise InputError(f"--sweep: {len(texts)} settings are more than a table shows; give one or two")
    swept = [_swept(text, setup) for text in texts]
    names, values = tuple(name for name, _ in swept), tuple(tuple(values) for _, values in swept)
    if len(set(names)) < len(names):
        raise InputError(f"--sweep {names[0]}: given twice")
    points = list(itertools.product(*values))
    if len(points) > MOST_CELLS:
        raise InputError(f"--sweep: {len(points)} combinations; at most {MOST_CELLS} are shown")
    return Sweep(names, values, tuple(setup.answers(names, points)))


def _swept(text: str, setup: Setup) -> tuple[str, list[Any]]:
    key, equals, written = text.partition("=")
    if not equals or not written:
        raise InputError(f"--sweep {text}: write FIELD=LOW..HIGH or FIELD=a,b,c, for example max_num_seqs=16..512")
    name = field_name(key, "--sweep", setup)
    low, dots, high = written.partition("..")
    if dots:
        values = _doublings(_value(name, low), _value(name, high), text)
    else:
        values = [_value(name, word.strip()) for word in written.split(",")]
    if len(set(map(repr, values))) < len(values):
        raise InputError(f"--sweep {text}: names a value twice")
    return name, values


def _doublings(low: Any, high: Any, text: str) -> list[Any]:
    """Values from low to high: integers double, others grow in steps of 0.01; high is always the last."""
    if isinstance(low, bool) or not isinstance(low, int | float) or not isinstance(high, int | float):
        raise InputError(f"--sweep {text}: a range needs numbers; write the values, separated by commas")
    if low > high:
        raise InputError(f"--sweep {text}: {low:g} is above {high:g}")
    values: list[Any] = []
    while low < high and len(values) < MOST_CELLS:
        values.append(low)
        low = max(2 * low, 1) if isinstance(low, int) else round(low + 0.01, 4)
    return [*values, high]


def _value(name: str, text: str) -> Any:
    return getattr(convert_settings({name: text}, "--sweep"), name)


_MODELLED = {column.name for column in fields(ResolvedEngine)}


def field_name(text: str, option: str, setup: Setup) -> str:
    """The name of a setting that this version knows and that affects an estimate. Raises InputError for any other."""
    name = text.strip().lstrip("-").replace("-", "_")
    if name not in FIELDS:
        import difflib

        near = difflib.get_close_matches(name, FIELDS, n=3, cutoff=0.5)
        raise InputError(f"{option} {text}: is not a setting{'; near: ' + ', '.join(near) if near else ''}")
    if name not in _MODELLED:
        raise InputError(f"{option} {text}: changes neither memory nor a rule")
    if not knows(setup.version, name):
        raise InputError(f"{option} {text}: is not a setting of vLLM {setup.version}")
    return name


# --- compare ---


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Answers for several models, layouts or both."""

    rows: tuple[tuple[str, str, Answer], ...]
    """One (model, layout, answer) per row."""

    @property
    def exit_code(self) -> int:
        return 3 if all(answer.violated for _, _, answer in self.rows) else 0

    def document(self, name: str | int) -> dict[str, Any]:
        rows = []
        for model, layout, answer in self.rows:
            row = answer.document(name)
            del row["id"]
            instances = answer.deployment.instances
            rows.append(
                {
                    "model": model,
                    "layout": layout,
                    "instances": instances,
                    **row,
                    "kv_tokens_total": answer.kv_tokens_total,
                    "max_concurrency_total": round(float(answer.deployment.memory.max_concurrency) * instances, 2),
                }
            )
        return {"id": name, "rows": rows}


def layouts_of(setup: Setup) -> list[Setup]:
    """One instance on all cards, two on half of them each, and so on, if the tensor parallel size divides the heads."""
    heads = setup.model.num_attention_heads if setup.model.attends else 0
    cards = setup.placement.num_gpus
    shared = [(count, cards // count) for count in range(1, cards + 1) if cards % count == 0]
    alone = {name: value for name, value in setup.settings.items() if name != "pipeline_parallel_size"}
    return [
        replace(setup, instances=count, settings={**alone, "tensor_parallel_size": size})
        for count, size in shared
        if heads % size == 0
    ]
