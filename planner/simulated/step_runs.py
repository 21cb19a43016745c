"""The durations of a run of decode steps, all at once: `StepRun`; and the noise of steps, `StepNoise`.

In: what decoding costs (`DecodeCost`) and the tokens in the KV cache. Out: the end of each step, the same to the last
bit as if each had been timed alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from planner.estimate import DecodeCost

NOISE = 0.01
"""Relative spread of step durations, and of the pace of launches of the same configuration."""
FRONTEND_QUEUE_S = 0.1
"""Lag of the API server, in seconds, beyond which the closed loop waits for it."""
DRAWS = 1024
"""Number of step noises that are drawn at once."""


class StepNoise:
    """Factors on the durations of steps, in their order; drawn many at a time, as NumPy draws them singly."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._drawn: list[float] = []
        self._next = 0

    def take(self) -> float:
        """The factor of the next step."""
        (factor,) = self.coming(1)
        self._next += 1
        return factor

    def coming(self, count: int) -> list[float]:
        """The factors of the next `count` steps; they stay the next ones until `skip`."""
        if self._next + count > len(self._drawn):
            drawn = self._rng.lognormal(0.0, NOISE, max(DRAWS, count)).tolist()
            self._drawn, self._next = self._drawn[self._next :] + drawn, 0
        return self._drawn[self._next : self._next + count]

    def skip(self, count: int) -> None:
        self._next += count


@dataclass(slots=True)
class StepRun:
    """Planned steps in which every running sequence decodes and nothing else happens."""

    ends_s: list[float] = field(default_factory=list)
    """End of each step on the asker's clock, in seconds."""
    behind_s: list[float] | None = None
    """After each step, how far the API server is behind, in seconds; None: not at all."""
    done: int = 0
    """Number of these steps that the engine has done."""


def decode_run(
    cost: DecodeCost, steps: Iterable[tuple[int, float]], pace: float, frontend_s: float, behind_s: float, now_s: float
) -> StepRun:
    """The run of steps that begins at `now_s`.

    `steps`: tokens in the KV cache and noise of each; `pace`: a factor on all durations. The API server needs
    `frontend_s` for the tokens of a step and is `behind_s` behind: it runs beside the engine, which waits for it only
    when it has fallen far behind.
    """
    fixed_s, token_s, reduces_s, floor_s, after_s, _ = cost
    elapsed_s = [
        ((floor_s if (step_s := fixed_s + tokens * token_s + reduces_s) < floor_s else step_s) + after_s) * pace * noise
        for tokens, noise in steps
    ]
    behinds_s = None
    if behind_s or min(elapsed_s) < frontend_s:
        behinds_s = []
        for i, alone_s in enumerate(elapsed_s):
            behind_s = behind_s + frontend_s - alone_s
            wait_s = max(0.0, behind_s - FRONTEND_QUEUE_S)
            behind_s = max(0.0, behind_s - wait_s)
            elapsed_s[i] = alone_s + wait_s
            behinds_s.append(behind_s)
    elapsed_s[0] += now_s
    return StepRun(list(accumulate(elapsed_s)), behinds_s)
