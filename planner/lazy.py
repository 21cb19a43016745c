"""A module that is imported when it is first used: `np = LazyModule("numpy")`.

For modules that every command loads and that need NumPy in few of their functions: importing it takes 0.1 s.
"""

from __future__ import annotations

import importlib
from typing import Any


class LazyModule:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)
