"""`SearchSpace`: what is fixed and what is searched; and the `Candidate` that one choice of values makes.

A searched key is a field of `EngineConfig`, or `layout` (how cards are shared out), `model` (a variant of the study) or
`env.NAME` (an environment variable of the engine). Knows nothing of optuna, memory or backends.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec

from planner.arrays import LazyModule
from planner.engine.config import FIELDS, EngineConfig, convert_settings, settings
from planner.engine.levers import LEVERS, Lever, lever_of
from planner.errors import InputError
from planner.near import did_you_mean
from planner.secrets import refuse_secrets

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
"""Of one searched key, and of all together: all are judged at once, in memory."""


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Numbers from low to high in steps, both ends included."""

    low: float
    high: float
    step: Annotated[float, msgspec.Meta(gt=0)]

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.low, self.high, self.step))):
            raise ValueError("low, high and step must be finite")
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        if (self.high - self.low) / self.step >= MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES} values from low to high; take a larger step")

    def values(self) -> list[Value]:
        count = int((self.high - self.low) / self.step + 1e-9) + 1
        numbers = [round(self.low + i * self.step, 10) for i in range(count)]
        whole = all(float(x).is_integer() for x in (self.low, self.step))
        return [int(x) for x in numbers] if whole else list(numbers)


class SearchSpace(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`fixed`: settings of every candidate. `search`: values to choose from; null means the engine's default."""

    name: str = "inline"
    description: str = ""
    fixed: EngineConfig = EngineConfig()
    search: dict[str, list[Value] | Range]
    levers: dict[str, list[Value] | Range] = {}
    """Further settings, searched only when `--levers` asks for their group."""

    def __post_init__(self) -> None:
        for section, choices in (("search", self.search), ("levers", self.levers)):
            for key, choice in choices.items():
                _check_choice(f"{section}.{key}", key, choice)
        if both := sorted(self.search.keys() & self.levers.keys()):
            raise ValueError(f"levers.{both[0]}: is under search too; name it once")

    def values(self, key: str) -> list[Value]:
        return _values(self.search[key])


def _values(choice: list[Value] | Range) -> list[Value]:
    return choice.values() if isinstance(choice, Range) else list(choice)


def _check_choice(where: str, key: str, choice: list[Value] | Range) -> None:
    if key in PARALLEL_SIZES:
        raise ValueError(f"{where}: search {LAYOUT} instead, for example {LAYOUT}: [1xtp4, 2xtp2]")
    if key not in FIELDS and key not in {LAYOUT, MODEL} and not key.startswith(ENV_PREFIX):
        allowed = f"a vLLM setting such as {FIELDS[7]}, {LAYOUT}, {MODEL} or {ENV_PREFIX}NAME"
        raise ValueError(f"{where}: unknown; allowed: {allowed}{did_you_mean(key, (*FIELDS, LAYOUT, MODEL))}")
    if key.startswith(ENV_PREFIX):
        refuse_secrets([key.removeprefix(ENV_PREFIX)], [])
    values = _values(choice)
    if not values:
        raise ValueError(f"{where}: has no values")
    if len(values) > MOST_VALUES:
        raise ValueError(f"{where}: more than {MOST_VALUES} values")
    if len(set(map(repr, values))) < len(values):
        raise ValueError(f"{where}: names a value twice")
    for value in values:
        _check_value(key, value)


def lever_of_key(key: str) -> Lever:
    """The group of a searched key: a setting's own; the layout; a model variant can change answers."""
    if key in FIELDS:
        return lever_of(key)
    return "layout" if key == LAYOUT else "numerics" if key == MODEL else "engine"


def with_levers(space: SearchSpace, levers: Sequence[str], models: Sequence[str], num_gpus: int) -> SearchSpace:
    """The space with the settings of these groups searched, and the others left to the engine.

    Of the layouts those are kept that leave the fewest cards idle. Raises InputError when nothing is left to search.
    """
    pool: dict[str, list[Value] | Range] = {**space.search, **space.levers}
    chosen = {key: choice for key, choice in pool.items() if lever_of_key(key) in levers}
    if LAYOUT in chosen and LAYOUT in space.levers:
        chosen[LAYOUT] = _fullest(_values(chosen[LAYOUT]), num_gpus)
    if not chosen and not ("numerics" in levers and len(models) > 1):
        groups = {lever_of_key(key) for key in pool}
        has = [lever for lever in LEVERS if lever in groups]
        raise InputError(f"--levers {','.join(levers)}: {space.name} has no such setting; it has: {', '.join(has)}")
    if len(models) > 1:
        chosen.setdefault(MODEL, list(models) if "numerics" in levers else [models[0]])
    rest = {key: choice for key, choice in pool.items() if key not in chosen}
    return msgspec.structs.replace(space, search=chosen, levers=rest)


def _fullest(layouts: list[Value], num_gpus: int) -> list[Value]:
    """The layouts that use the most cards there are; all of them where none fits."""

    def cards(text: Value) -> int:
        layout = parse_layout(str(text))
        return layout.instances * layout.gpus_per_instance

    most = max((cards(text) for text in layouts if cards(text) <= num_gpus), default=0)
    return [text for text in layouts if cards(text) == most] or layouts


def _check_value(key: str, value: Value) -> None:
    if key == LAYOUT:
        parse_layout(str(value))
    elif key in FIELDS and value is not None:
        try:
            convert_settings({key: value}, "search")
        except InputError as error:
            raise ValueError(str(error)) from None


def _normal(name: str, values: list[Value]) -> list[Value]:
    """The values as a candidate will have them (`"8"` is 8, `1xtp2pp1` is 1xtp2), each once."""

    def one(value: Value) -> Value:
        if name == LAYOUT:
            return str(parse_layout(str(value)))
        if value is None or name == MODEL:
            return value
        return str(value) if name.startswith(ENV_PREFIX) else getattr(convert_settings({name: value}, name), name)

    return list({repr(normal): normal for normal in map(one, values)}.values())


Few = Annotated[int, msgspec.Meta(ge=1, le=9999)]


class Layout(msgspec.Struct, frozen=True):
    """How the cards are shared out: so many instances, each over tp x pp cards. Written `2xtp2` or `1xtp2pp2`."""

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
    """Raises ValueError when the text is no layout."""
    match = _LAYOUT.fullmatch(text)
    if not match:
        raise ValueError(f"layout {text!r}: write INSTANCESxtpN or INSTANCESxtpNppM, for example 1xtp4 or 2xtp2")
    return Layout(int(match[1]), int(match[2]), int(match[3] or 1))


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment not yet judged: what is launched is exactly this, and it is its own identity."""

    model: str
    layout: Layout
    engine: EngineConfig
    """The settings of each instance, parallel sizes included."""
    env: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """One line of sorted JSON: equal exactly for equal candidates."""
        return json.dumps(msgspec.to_builtins(self), sort_keys=True)


class Choices:
    """The grid of a study: every searched key with its values, and any point of it as a `Candidate`."""

    def __init__(
        self,
        searched: Mapping[str, list[Value]],
        fixed: EngineConfig,
        model: str,
        layout: Layout,
        variant_settings: Mapping[str, EngineConfig],
        env: Mapping[str, str],
    ) -> None:
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
        """The candidate of these values: fixed settings, then the variant's, then the layout's and the searched."""
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
        """What the candidate has for a searched name; None where it is the engine's default."""
        if name == LAYOUT:
            return str(candidate.layout)
        if name == MODEL:
            return candidate.model
        if name.startswith(ENV_PREFIX):
            return dict(candidate.env).get(name.removeprefix(ENV_PREFIX))
        value: Value = getattr(candidate.engine, name)
        return value

    def row_of(self, candidate: Candidate) -> int | None:
        """The candidate's row in `index_matrix`; None when it is not on the grid or differs in what is not searched.

        Remembered: a search asks for those of all its trials, again and again.
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
        """The engine's own defaults for all that is searched, on the first layout and model named."""
        first = {name: values[0] for name, values in self.searched.items() if name in {LAYOUT, MODEL}}
        return self.candidate(first)
