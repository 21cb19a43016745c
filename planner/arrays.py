"""Arithmetic that works for one candidate and for many, and a NumPy that is imported when first used.

A column is a number, or an array with one entry per candidate. Python's operators take both; this module adds what
they lack. NumPy takes a tenth of a second to import: code that makes arrays imports it, a single estimate never does.
"""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


IntColumn: TypeAlias = "int | NDArray[np.int64]"
FloatColumn: TypeAlias = "float | NDArray[Any]"
BoolColumn: TypeAlias = "bool | NDArray[np.bool_]"


_NUMBERS = frozenset({int, float, bool})
"""Types that are told from arrays at once: a simulated engine asks a million times a second."""


def is_array(value: Any) -> bool:
    if type(value) in _NUMBERS:
        return False
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def _numpy(*values: Any) -> Any:
    """NumPy if one of the values is an array, else None."""
    for value in values:
        if type(value) not in _NUMBERS and is_array(value):
            return sys.modules["numpy"]
    return None


def maximum(a: Any, b: Any) -> Any:
    numpy = _numpy(a, b)
    return max(a, b) if numpy is None else numpy.maximum(a, b)


def minimum(a: Any, b: Any) -> Any:
    numpy = _numpy(a, b)
    return min(a, b) if numpy is None else numpy.minimum(a, b)


def clip(value: Any, low: Any, high: Any) -> Any:
    return minimum(maximum(value, low), high)


def where(condition: Any, a: Any, b: Any) -> Any:
    numpy = _numpy(condition)
    return (a if condition else b) if numpy is None else numpy.where(condition, a, b)


def invert(condition: Any) -> Any:
    return ~condition if is_array(condition) else not condition


def any_of(condition: Any) -> bool:
    return bool(condition.any()) if is_array(condition) else bool(condition)


def isin(value: Any, allowed: Sequence[Any]) -> Any:
    numpy = _numpy(value)
    return value in allowed if numpy is None else numpy.isin(value, allowed)


def sqrt(value: Any) -> Any:
    numpy = _numpy(value)
    return math.sqrt(value) if numpy is None else numpy.sqrt(value)


def log2(value: Any) -> Any:
    numpy = _numpy(value)
    return math.log2(value) if numpy is None else numpy.log2(value)


def ceil(value: Any) -> Any:
    numpy = _numpy(value)
    return math.ceil(value) if numpy is None else numpy.ceil(value).astype(numpy.int64)


def floor(value: Any) -> Any:
    numpy = _numpy(value)
    return math.floor(value) if numpy is None else numpy.floor(value).astype(numpy.int64)


def plain(value: Any) -> Any:
    """Convert a NumPy scalar to Python's own; arrays of candidates stay as they are."""
    if type(value) in _NUMBERS:
        return value
    return value.item() if hasattr(value, "item") and not getattr(value, "ndim", 0) else value


class LazyModule:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)
