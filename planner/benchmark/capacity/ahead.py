"""How long a capacity search will still take: the loads that it would try next, and what such loads took so far.

In: each level with its verdict and seconds. Out: words. The loads ahead are those of the search itself, carried on with
a server whose capacity is the likeliest one and that answers without noise; a noisy one may need more.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from planner.benchmark.capacity.search import Belief, lowest_level, search
from planner.units import format_duration


class LoadsAhead:
    """The loads that a search has tried, and those that it would still try. `clock` tells seconds."""

    def __init__(
        self, start: float, maximum: float, by_rate: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._start, self._maximum, self._by_rate, self._clock = start, maximum, by_rate, clock
        self._tried: list[tuple[float, bool]] = []
        self._took_s: list[float] = []
        self._began_s = clock()
        self._ahead_s: float | None = None

    def begins(self) -> None:
        """A load begins now."""
        self._began_s = self._clock()

    def ended(self, level: float, is_kept: bool) -> None:
        """The load that began last is over."""
        self._tried.append((level, is_kept))
        self._took_s.append(self._clock() - self._began_s)
        self._began_s = self._clock()
        self._ahead_s = math.fsum(map(self._seconds, self.levels()))

    def levels(self) -> list[float]:
        """The levels that the search would still try, in their order."""
        belief = Belief(lowest_level(self._start, self._by_rate), self._maximum)
        for level, is_kept in self._tried:
            belief.learn(level, is_kept)
        likeliest, past, ahead = belief.quantile(0.5), iter(self._tried), list[float]()

        def keeps(level: float) -> bool:
            """The verdict of the past while there is one: a search takes the same way with the same verdicts."""
            if (known := next(past, None)) is not None:
                return known[1]
            ahead.append(level)
            return level <= likeliest

        search(keeps, self._start, self._maximum, self._by_rate)
        return ahead

    def _seconds(self, level: float) -> float:
        """Seconds that a load of this level takes, by the load of the nearest level."""
        nearest = min(range(len(self._tried)), key=lambda i: abs(math.log(self._tried[i][0] / level)))
        return self._took_s[nearest]

    @property
    def left_s(self) -> float | None:
        """Expected seconds until the search is over; None before the first load has ended."""
        return None if self._ahead_s is None else max(0.0, self._ahead_s - (self._clock() - self._began_s))

    @property
    def words(self) -> str:
        """`about 3 min 05 s left, some 6 loads`; empty where the search is over."""
        if (left_s := self.left_s) is None:
            return "time left not known yet"
        count = len(self.levels())
        return f"about {format_duration(left_s)} left, some {count} load{'s' * (count > 1)}" if count else ""

    def stage(self, level: float) -> str:
        """Words of the progress bar while a level is loaded."""
        unit = "rate" if self._by_rate else "concurrency"
        left_s = self.left_s
        left = "time left not known yet" if left_s is None else f"about {format_duration(left_s)} left"
        return f"load {len(self._tried) + 1}, {unit} {level:g}, {left}"
