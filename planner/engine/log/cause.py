"""What a class of failures is: `Cause`, with its signs, whose fault it is and the cure. The table is in `causes.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from packaging.version import Version

from planner.errors import EngineError

Kind = type[EngineError]
Fault = Literal["setting", "model", "environment", "kernel", "machine", "request", "engine", "outside"]
"""`setting`: other flags start. `environment`: installation, image, driver or Ray cluster. `kernel`: one that this
card or image cannot build or run, so that other settings may avoid it. `machine`: cards, memory, disks or network.
`outside`: another process or a person. `engine`: vLLM's own or unknown."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A class of failures; `name` is shown to people."""

    name: str
    kind: Kind
    fault: Fault
    advice: str
    """Advice on what to change, in one or two sentences."""
    signs: tuple[str, ...] = ()
    """Regular expressions, searched in every line that may tell of trouble; a group `words` is the message."""
    said: tuple[str, ...] = ()
    """Regular expressions, searched in the exception that ended the engine only: its name and message."""
    is_weak: bool = False
    """Whether an exception of no table says more than the signs: they are consequences of most failures."""
    is_outside: bool = False
    """Whether any settings would have failed: tune launches again and stops if that fails too; guard keeps its rung."""
    later: tuple[Version, str] | None = None
    """A version, and the advice from this version on."""

    def advice_for(self, version: Version | None) -> str:
        """The advice for a version; `advice` if it is None."""
        return self.advice if self.later is None or version is None or version < self.later[0] else self.later[1]
