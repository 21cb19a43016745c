"""One combination of settings, `Candidate`, and the values each searched setting may take, `Choices`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec

from planner.arrays import LazyModule
from planner.engine import FIELDS, EngineConfig, convert_settings, settings
from planner.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = LazyModule("numpy")


Value: TypeAlias = "str | int | float | bool | None"

LAYOUT, MODEL, ENV_PREFIX = "layout", "model", "env."
PARALLEL_SIZES = ("tensor_parallel_size", "pipeline_parallel_size")
_LAYOUT = re.compile(r"([1-9]\d{0,3})xtp([1-9]\d{0,3})(?:pp([1-9]\d{0,3}))?", re.ASCII)
MOST_VALUES, MOST_COMBINATIONS = 1000, 1_000_000
"""Most values of one searched key, and most combinations of all keys: all are judged at once, in memory."""


def _normal(name: str, values: list[Value]) -> list[Value]:
    """The values in the form that a candidate holds (`"8"` is 8, `1xtp2pp1` is 1xtp2), without duplicates."""

    def one(value: Value) -> Value:
        if name == LAYOUT:
            return str(parse_layout(str(value)))
        if value is None or name == MODEL:
            return value
        return str(value) if name.startswith(ENV_PREFIX) else getattr(convert_settings({name: value}, name), name)

    return list({repr(normal): normal for normal in map(one, values)}.values())


Few = Annotated[int, msgspec.Meta(ge=1, le=9999)]


class Layout(msgspec.Struct, frozen=True):
    """How the cards are divided: a number of instances, each on tp x pp cards. Written `2xtp2` or `1xtp2pp2`."""

    instances: Few
    tensor_parallel_size: Few
    pipeline_parallel_size: Few = 1

    @property
    def gpus_per_instance(self) -> int:
        return self.tensor_parallel_size * self.pipeline_parallel_size

    def __str__(self) -> str:
        pp = f"pp{self.pipeline_parallel_size}" if self.pipeline_parallel_size > 1 else ""
        return f"{self.instances}xtp{self.tensor_parallel_size}{pp}"


def parse_layout(text: str) -> Layout:
    """Parse a layout such as `2xtp2`. Raises ValueError if the text is no layout."""
    match = _LAYOUT.fullmatch(text)
    if not match:
        raise ValueError(f"layout {text!r}: write INSTANCESxtpN or INSTANCESxtpNppM, for example 1xtp4 or 2xtp2")
    return Layout(int(match[1]), int(match[2]), int(match[3] or 1))


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One combination of settings, not yet judged. It holds exactly what is launched, and is compared by value."""

    model: str
    layout: Layout
    engine: EngineConfig
    """Settings of each instance, including the parallel sizes."""
    env: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """One line of sorted JSON; two keys are equal exactly if the candidates are."""
        return json.dumps(msgspec.to_builtins(self), sort_keys=True)


class Choices:
    """The grid of a study: every searched key with its values. Turns any point of it into a `Candidate`."""

    def __init__(
        self,
        searched: Mapping[str, list[Value]],
        fixed: EngineConfig,
        model: str,
        layout: Layout,
        variant_settings: Mapping[str, EngineConfig],
        env: Mapping[str, str],
        baseline: Mapping[str, Value] | None = None,
    ) -> None:
        """`baseline`: values of searched names that the default has, in place of the engine's own."""
        self.searched = {name: _normal(name, values) for name, values in searched.items()}
        if (size := self.size) > MOST_COMBINATIONS:
            raise InputError(
                f"the search space has {size} combinations, at most {MOST_COMBINATIONS}: name fewer values"
            )
        self._fixed = fixed
        self._model = model
        self._layout = layout
        self._variants = variant_settings
        self._env = dict(env)
        self._baseline = dict(baseline or {})
        self._rows: dict[Candidate, int | None] = {}

    @property
    def names(self) -> list[str]:
        return list(self.searched)

    @property
    def size(self) -> int:
        return math.prod(len(values) for values in self.searched.values())

    def index_matrix(self) -> NDArray[np.int32]:
        """Every point of the grid as indices into the values.  # (size, num_names)"""
        counts = [len(values) for values in self.searched.values()]
        if not counts:
            return np.zeros((1, 0), dtype=np.int32)
        return np.indices(counts, dtype=np.int32).reshape(len(counts), -1).T

    def params(self, indices: NDArray[np.int32]) -> dict[str, Value]:
        return {name: self.searched[name][int(i)] for name, i in zip(self.names, indices, strict=True)}

    def candidate(self, params: Mapping[str, Value]) -> Candidate:
        """The candidate with these values. Later ones win: fixed settings, the variant's, the layout's, searched."""
        model = str(params.get(MODEL) or self._model)
        layout = parse_layout(str(params[LAYOUT])) if LAYOUT in params else self._layout
        values: dict[str, Any] = {**settings(self._fixed), **settings(self._variants[model])}
        values["tensor_parallel_size"] = layout.tensor_parallel_size
        if layout.pipeline_parallel_size > 1:
            values["pipeline_parallel_size"] = layout.pipeline_parallel_size
        env: dict[str, Value] = dict(self._env)
        for name, value in params.items():
            if name in FIELDS:
                values[name] = value
            elif name.startswith(ENV_PREFIX):
                env[name.removeprefix(ENV_PREFIX)] = value
        values = {name: value for name, value in values.items() if value is not None}  # null: the engine's default
        set_env = tuple(sorted((name, str(value)) for name, value in env.items() if value is not None))
        engine = convert_settings(values, "candidate")
        return Candidate(model=model, layout=layout, engine=engine, env=set_env)

    def value_of(self, candidate: Candidate, name: str) -> Value:
        """The candidate's value of a searched name; None if it is left to the engine's default."""
        if name == LAYOUT:
            return str(candidate.layout)
        if name == MODEL:
            return candidate.model
        if name.startswith(ENV_PREFIX):
            return dict(candidate.env).get(name.removeprefix(ENV_PREFIX))
        value: Value = getattr(candidate.engine, name)
        return value

    def row_of(self, candidate: Candidate) -> int | None:
        """The candidate's row in `index_matrix`; None if it is not on the grid or differs in a setting not searched.

        Rows are cached, because a search asks for those of all its trials repeatedly.
        """
        if candidate not in self._rows:
            self._rows[candidate] = self._row_of(candidate)
        return self._rows[candidate]

    def _row_of(self, candidate: Candidate) -> int | None:
        row = 0
        params = {name: self.value_of(candidate, name) for name in self.searched}
        for name, values in self.searched.items():
            if params[name] not in values:
                return None
            row = row * len(values) + values.index(params[name])
        return row if self.candidate(params) == candidate else None

    def default_candidate(self) -> Candidate:
        """The candidate with the baseline's value, else the engine's default, for each searched setting.

        Layout and model are the first named unless the baseline says otherwise. It may be off the grid.
        """
        first = {name: values[0] for name, values in self.searched.items() if name in {LAYOUT, MODEL}}
        return self.candidate({**first, **self._baseline})
