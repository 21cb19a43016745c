"""`SearchSpace`: what is fixed and what is searched; and the `Candidate` that one choice of values makes.

A searched key is a field of `EngineConfig`, or `layout` (how cards are divided), `model` (a variant of the study) or
`env.NAME` (an environment variable of the engine). Knows nothing of optuna, memory or backends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import msgspec

from planner.engine import FIELDS, LEVERS, EngineConfig, Lever, convert_settings, lever_of, settings
from planner.errors import InputError
from planner.files import did_you_mean, refuse_secrets
from planner.study.candidate import ENV_PREFIX, LAYOUT, MODEL, MOST_VALUES, PARALLEL_SIZES, Value, parse_layout


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
        for section, choices in (("search", self.search), ("levers", self.levers)):
            if both := sorted(settings(self.fixed).keys() & choices.keys()):
                raise ValueError(f"fixed.{both[0]}: is under {section} too; name it once")

    def values(self, key: str) -> list[Value]:
        return values_of(self.search[key])


def values_of(choice: list[Value] | Range) -> list[Value]:
    """The values of a searched key, in their order."""
    return choice.values() if isinstance(choice, Range) else list(choice)


def _check_choice(where: str, key: str, choice: list[Value] | Range) -> None:
    if key in PARALLEL_SIZES:
        raise ValueError(f"{where}: search {LAYOUT} instead, for example {LAYOUT}: [1xtp4, 2xtp2]")
    if key not in FIELDS and key not in {LAYOUT, MODEL} and not key.startswith(ENV_PREFIX):
        allowed = f"a vLLM setting such as {FIELDS[7]}, {LAYOUT}, {MODEL} or {ENV_PREFIX}NAME"
        raise ValueError(f"{where}: unknown; allowed: {allowed}{did_you_mean(key, (*FIELDS, LAYOUT, MODEL))}")
    values = values_of(choice)
    if key.startswith(ENV_PREFIX):
        for value in values[:MOST_VALUES]:
            refuse_secrets({key.removeprefix(ENV_PREFIX): str(value)}, [])
    if not values:
        raise ValueError(f"{where}: has no values")
    if len(values) > MOST_VALUES:
        raise ValueError(f"{where}: more than {MOST_VALUES} values")
    if len(set(map(repr, values))) < len(values):
        raise ValueError(f"{where}: names a value twice")
    for value in values:
        _check_value(key, value)


def lever_of_key(key: str) -> Lever:
    """The lever that a searched key belongs to. A model variant belongs to the one that can change answers."""
    if key in FIELDS:
        return lever_of(key)
    return "layout" if key == LAYOUT else "numerics" if key == MODEL else "engine"


def with_levers(space: SearchSpace, levers: Sequence[str], models: Sequence[str], num_gpus: int) -> SearchSpace:
    """The space with the settings of these levers searched, and the others left to the engine.

    Only the layouts that leave the fewest cards idle are kept. Raises InputError if nothing is left to search.
    """
    pool: dict[str, list[Value] | Range] = {**space.search, **space.levers}
    chosen = {key: choice for key, choice in pool.items() if lever_of_key(key) in levers}
    if LAYOUT in chosen and LAYOUT in space.levers:
        chosen[LAYOUT] = _fullest(values_of(chosen[LAYOUT]), num_gpus)
    if not chosen and not ("numerics" in levers and len(models) > 1):
        groups = {lever_of_key(key) for key in pool}
        has = [lever for lever in LEVERS if lever in groups]
        raise InputError(f"--levers {','.join(levers)}: {space.name} has no such setting; it has: {', '.join(has)}")
    if len(models) > 1:
        chosen.setdefault(MODEL, list(models) if "numerics" in levers else [models[0]])
    rest = {key: choice for key, choice in pool.items() if key not in chosen}
    return msgspec.structs.replace(space, search=chosen, levers=rest)


def _fullest(layouts: list[Value], num_gpus: int) -> list[Value]:
    """The fitting layouts that use the most cards; all layouts if none fits."""
    most = max((_cards(text) for text in layouts if _cards(text) <= num_gpus), default=0)
    return [text for text in layouts if _cards(text) == most] or layouts


def layouts_left_out(space: SearchSpace, num_gpus: int) -> list[str]:
    """The searched layouts that need more than `num_gpus` cards, so that no candidate has them."""
    layouts = [str(value) for value in values_of(space.search[LAYOUT])] if LAYOUT in space.search else []
    return [text for text in layouts if _cards(text) > num_gpus]


def _cards(text: Value) -> int:
    """Number of cards that a layout takes."""
    layout = parse_layout(str(text))
    return layout.instances * layout.gpus_per_instance


def _check_value(key: str, value: Value) -> None:
    if key == LAYOUT:
        parse_layout(str(value))
    elif key in FIELDS and value is not None:
        try:
            convert_settings({key: value}, "search")
        except InputError as error:
            raise ValueError(str(error)) from None
