"""When a search may end before its last trial: the best of all that is left is expected to give too little.

In: a forecast, the open rows, the finished trials. Out: whether to stop, with the figures that say why. Values of
switches that were never launched are checked first: a model that is wrong about one of them expects nothing there.
How many launches that takes depends on how well the model predicts them: launches that end otherwise than predicted
widen the doubt about all others, and the best of many candidates in doubt is expected to give more (`left.py`).

Source: Scott 2015, Multi-Armed Bandit Experiments in the Online Service Economy (value remaining in the experiment).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.errors import InputError
from planner.study import Forecast, Problem, StudySpec
from planner.trials import Trial, launch_noise, leveled
from planner.tuning.search.outlooks import Outlooks

UNTIL = 0.005
"""Expected gain of the best of all that is left, as a share, below which a search ends by itself."""
LEAST_MEASURED = 6
"""Fewest measured trials of a search that ends by itself."""
LEAST_ALIKE = 3
"""Fewest trials as good as the best that are called a plateau."""
LOOKS = 2
"""Launches in a row after which so little must be expected: the last one has confirmed what was believed before it."""


def until_of(spec: StudySpec, asked: str | None) -> float | None:
    """The gain to stop at: as asked, else UNTIL with our own sampler, and None with those that look elsewhere."""
    if asked is not None:
        return parse_until(asked)
    return UNTIL if spec.sampler.name == "planner" else None


@dataclass(frozen=True, slots=True)
class Plateau:
    """How many trials cannot be told from the best by one launch each."""

    alike: int
    """Trials within `noise` of the best, itself included."""
    measured: int
    """Trials that kept the limits and ran to their end."""
    noise: float
    """Standard deviation of the logarithm of one launch's value."""

    @classmethod
    def of(cls, problem: Problem, past: Sequence[Trial]) -> Plateau:
        whole = [trial for trial in past if trial.is_acceptable and trial.stopped_at is None and trial.value]
        logs = [problem.objective.sign * math.log(leveled(problem, trial) or 1.0) for trial in whole]
        noise = launch_noise(past, problem.spec.repeats)
        bar = max(logs, default=0.0) - noise
        return cls(sum(log >= bar for log in logs), len(whole), noise)

    @property
    def is_one(self) -> bool:
        """Whether half of the trials are as good as the best, and at least LEAST_ALIKE."""
        return self.alike >= max(LEAST_ALIKE, self.measured / 2)

    @property
    def words(self) -> str:
        return (
            f"a plateau: {self.alike} of {self.measured} launches lie within {self.noise:.1%} of the best, "
            "the noise of a launch"
        )


@dataclass(frozen=True, slots=True)
class Enough:
    """Why a search ended before its last trial."""

    gain: float
    """Expected gain of the best of all that is left, as a share."""
    launched: int
    plateau: Plateau

    def words(self, target: int, until: float) -> str:
        """`stopped after 11 of 30 launches: ...`."""
        plateau = f"; {self.plateau.words}" if self.plateau.is_one else ""
        return (
            f"stopped after {self.launched} of {target} launches: the best of all that is left is expected to give "
            f"{self.gain:+.1%}, less than {until * 100:g} % (--until); --keep-going searches on{plateau}"
        )


def parse_until(text: str) -> float:
    """Parse `0.5%` into a share. Raises InputError."""
    try:
        share = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        share = math.nan
    if not text.strip().endswith("%") or not 0 < share <= 0.5:
        raise InputError(f"--until {text}: allowed is a percentage above 0 and up to 50, for example 0.5%")
    return share


def enough(
    forecast: Forecast,
    rows: NDArray[np.int64],
    past: Sequence[Trial],
    until: float,
    outlooks: Outlooks | None = None,
) -> Enough | None:
    """The reason to stop; None if the search should go on. `past`: the finished trials of the search.

    An earlier look is at what was open then. `outlooks` that the sampler has too are not computed again.
    """
    measured = [trial for trial in past if trial.outcome == "measured"]
    if len(measured) < LEAST_MEASURED or rows.size == 0:
        return None
    gains, outlooks, problem = [], outlooks or Outlooks(), forecast.problem
    for look in range(LOOKS):
        before, since = past[: len(past) - look], past[len(past) - look :]
        since_rows = [row for trial in since if (row := problem.row_of(trial.candidate)) is not None]
        tried = [problem.row_of(trial.candidate) for trial in before]
        opened = np.array([row for row in since_rows if row not in tried], dtype=np.int64)
        gain = outlooks.of(forecast, np.union1d(rows, opened), before).left
        if gain is None or gain >= until:
            return None
        gains.append(gain)
    launched = len([trial for trial in past if trial.was_launched])
    return Enough(gains[0], launched, Plateau.of(problem, past))
