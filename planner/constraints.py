"""`Constraint`: why a candidate must not be used, as a value; and its kinds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["refused", "out of memory", "starts anyway", "slo", "quality"]
REFUSED_BY_ENGINE: Final = "refused"
OUT_OF_MEMORY: Final = "out of memory"
STARTS_ANYWAY: Final = "starts anyway"
"""vLLM starts although the rule is broken. The search spends no trial on it; an estimate calls it a risk."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """Result of one rule or SLO for one candidate: it is kept if `excess` <= 0."""

    name: str
    excess: float
    message: str
    kind: Kind = "slo"
