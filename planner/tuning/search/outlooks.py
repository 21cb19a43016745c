"""`Outlooks`: what the surrogate expects, computed once for the sampler that chooses and the rule that stops.

In: a forecast, open rows, finished trials. Out: an `Outlook`. The latest ones are kept.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from planner.study import Candidate, Forecast
from planner.trials import Trial
from planner.tuning.search.lessons import Taught
from planner.tuning.search.surrogate import Outlook, Surrogate

KEPT = 4
"""Outlooks that are kept: the rule that stops looks at the last two launches."""


class Outlooks:
    def __init__(self, taught: Taught | None = None) -> None:
        """`taught`: what earlier studies on the same cards showed (`lessons.py`)."""
        self._taught = taught
        self._surrogate: Surrogate | None = None
        self._forecast: Forecast | None = None
        self._known: dict[Hashable, Outlook] = {}

    def of(
        self, forecast: Forecast, rows: NDArray[np.int64], past: Sequence[Trial], pending: Sequence[Candidate] = ()
    ) -> Outlook:
        """The surrogate's outlook on these rows (`Surrogate.outlook`)."""
        surrogate = self.surrogate(forecast)
        trials = tuple((t.number, t.outcome, t.value, t.is_acceptable, t.host_speed, len(t.live.points)) for t in past)
        key = (rows.tobytes(), trials, tuple(candidate.key for candidate in pending))
        if key not in self._known:
            latest = list(self._known.items())[1 - KEPT :]
            self._known = dict([*latest, (key, surrogate.outlook(rows, past, pending))])
        return self._known[key]

    def surrogate(self, forecast: Forecast) -> Surrogate:
        if self._surrogate is None or forecast is not self._forecast:  # a start has taught something of memory
            self._surrogate, self._forecast, self._known = Surrogate(forecast, self._taught), forecast, {}
        return self._surrogate
