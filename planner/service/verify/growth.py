"""Whether memory grows: `growth_of(readings) -> Growth`, a trend with its interval and a verdict.

In: readings over time. Out: values. The trend is Theil and Sen's slope, the median of those between all pairs, with
Sen's 95 % interval (Sen 1968, J. Am. Stat. Assoc. 63:1379): it is above zero where Mann and Kendall's test of trend
finds a rise. Growth goes on, so both halves must rise; an allocator that took its next block did it once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from planner.units import MIB

GrowthVerdict = Literal["grows", "grows slowly", "rose once", "steady", "cannot tell"]
SETTLING = 1 / 3
"""First part of the readings that is left out: engines compile, capture and fill caches in it."""
LEAST_READINGS, MOST_BLOCKS = 8, 40
"""Fewest readings for a trend, and the number of blocks that more of them are joined to: neighbours resemble each
other, and a test that took each for news would be too sure."""
Z = 1.959964
"""Quantile of the normal distribution at 97.5 %."""
MATERIAL, MATERIAL_BYTES = 0.002, 8 * MIB
"""Share of what is in use, and bytes, that must have been added for a certain rise to be worth a word."""
GOES_ON = 0.25
"""Share of the whole slope that each half of the time must have, or the memory rose once."""
HORIZON_S = 30 * 86_400.0
"""A month between restarts: growth that would not use up the free memory within it is called slow."""


@dataclass(frozen=True, slots=True)
class MemoryReading:
    at_s: float
    used_bytes: float
    free_bytes: float
    """What may still be taken before the card, the container or the host is full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Trend of one memory, in bytes and seconds."""

    first_bytes: float
    last_bytes: float
    peak_bytes: float
    least_free_bytes: float
    slope: float
    """Bytes per second; with `low` and `high` its 95 % interval."""
    low: float
    high: float
    seconds: float
    """Time that the trend is of, without the settling."""
    verdict: GrowthVerdict

    @property
    def full_in_s(self) -> float | None:
        """Seconds until nothing is free at this pace; None where it does not grow."""
        return self.least_free_bytes / self.slope if self.verdict.startswith("grows") and self.slope > 0 else None


def growth_of(readings: Sequence[MemoryReading]) -> Growth:
    """The trend of the readings, in the order of time. There must be one at least."""
    first_s = readings[0].at_s + SETTLING * (readings[-1].at_s - readings[0].at_s)
    settled = [one for one in readings if one.at_s >= first_s]
    free = min(one.free_bytes for one in readings)
    blocks = _blocks(settled)
    slope, low, high = sen_slope(blocks) if len(settled) >= LEAST_READINGS else (0.0, -np.inf, np.inf)
    seconds = settled[-1].at_s - settled[0].at_s
    used = settled[0].used_bytes
    verdict: GrowthVerdict = "steady"
    if len(settled) < LEAST_READINGS:
        verdict = "cannot tell"
    elif low > 0 and low * seconds >= max(MATERIAL_BYTES, MATERIAL * used):
        middle = len(blocks) // 2
        goes_on = all(sen_slope(half)[0] >= GOES_ON * slope for half in (blocks[:middle], blocks[middle:]))
        verdict = "rose once" if not goes_on else "grows" if slope * HORIZON_S > free else "grows slowly"
    return Growth(
        first_bytes=readings[0].used_bytes,
        last_bytes=readings[-1].used_bytes,
        peak_bytes=max(one.used_bytes for one in readings),
        least_free_bytes=free,
        slope=float(slope),
        low=float(low),
        high=float(high),
        seconds=seconds,
        verdict=verdict,
    )


def _blocks(readings: Sequence[MemoryReading]) -> list[tuple[float, float]]:
    """Median time and bytes of at most MOST_BLOCKS neighbours of equal number."""
    count = min(MOST_BLOCKS, len(readings))
    parts = np.array_split(np.array([(one.at_s, one.used_bytes) for one in readings]), count)
    return [tuple(np.median(part, axis=0)) for part in parts]


def sen_slope(points: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Theil and Sen's slope of points in the order of time, and its 95 % interval."""
    at, values = np.array(points).T
    later, earlier = np.triu_indices(len(at), 1)[::-1]
    slopes = np.sort((values[later] - values[earlier]) / (at[later] - at[earlier]))
    n = len(at)
    ties = sum(t * (t - 1) * (2 * t + 5) for t in Counter(values.tolist()).values())
    spread = Z * np.sqrt(max(0.0, (n * (n - 1) * (2 * n + 5) - ties) / 18))
    low = int(np.clip(np.floor((len(slopes) - spread) / 2), 0, len(slopes) - 1))
    high = int(np.clip(np.ceil((len(slopes) + spread) / 2), 0, len(slopes) - 1))
    return float(np.median(slopes)), float(slopes[low]), float(slopes[high])
