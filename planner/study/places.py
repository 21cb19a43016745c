"""Where a person changes what a study says: a key of its study.yaml, or an option where no file was named.

In: a key, and whether there is a file. Out: the name that this person can use.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from planner.estimate import Spelling

OPTIONS = {
    "models.model.path": "--model",
    "hardware.gpu": "--gpu",
    "hardware.num_gpus": "--num-gpus",
    "hardware.interconnect": "--interconnect",
    "engine.version": "--vllm-version",
}
"""Key of a study.yaml -> the option that says the same (`source.StudySource`)."""


@dataclass(frozen=True, slots=True)
class Places:
    """Names of a study's places. `has_file`: whether a person has its study.yaml before them."""

    has_file: bool = True

    def name(self, key: str) -> str:
        """`models.model.path` of a file, `--model` without one; the key itself if it has no option."""
        return key if self.has_file else OPTIONS.get(key, key)

    @property
    def spelling(self) -> Spelling:
        """How a fix of the estimate names what changes."""
        from planner.estimate import Spelling

        return Spelling.KEYS if self.has_file else Spelling.OPTIONS

    def setting(self, field: str) -> str:
        """A setting of the engine: `max_num_seqs` in a file, vLLM's flag without one."""
        from planner.engine import flag

        return field if self.has_file else flag(field)

    def change(self, key: str, value: object) -> str:
        """What to do so that the key has this value: `write hardware.gpu: L4`, or `pass --gpu L4`."""
        if self.has_file:
            return f"write {key}: {value}"
        if key in OPTIONS:
            return f"pass {OPTIONS[key]} {shlex.quote(str(value))}"
        return f"write {key}: {value} in a study.yaml, which planner init makes from the same options"


IN_FILE = Places()
"""Names of a study whose study.yaml a person has."""
