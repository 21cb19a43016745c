"""What can keep a candidate from being used, as a value: `Constraint`, and the kinds there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["refused", "out of memory", "starts anyway", "slo", "quality"]
REFUSED_BY_ENGINE: Final = "refused"
OUT_OF_MEMORY: Final = "out of memory"
STARTS_ANYWAY: Final = "starts anyway"
"""vLLM starts although the rule is broken: no trial is spent on it, but an estimate calls it a risk."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """One rule's judgement: kept when `excess` <= 0. Also what an SLO becomes."""

    name: str
    excess: float
    message: str
    kind: Kind = "slo"
