"""What the intervals of the finals hold, SIMULATED by the product's own rules: `python -m tests.race.coverage`.

Prints the table of docs/studies.md.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import fmean

from planner.trials.blocks import MOST_ROUNDS, Blocks, least_rounds, level_for, undecided

DEFAULT = 0
REPEAT_NOISE = 0.01
NUM_FINALS = 2000
CASES = {
    "three rivals like the default": (0.0, 0.0, 0.0),
    "one rival like the default": (0.0,),
    "two rivals like the default": (0.0, 0.0),
    "+5, +4 and +3 %": (0.05, 0.04, 0.03),
    "+5 and +4 %": (0.05, 0.04),
    "+5 % alone": (0.05,),
    "three rivals 1 % worse": (-0.01, -0.01, -0.01),
}


def finals_by(
    seed: int, gains: Sequence[float], launch: float, repeat: float, repeats: int
) -> dict[int, dict[int, float]]:
    """One series of finals by the product's own rules: the default and rivals with these true gains.

    Standard deviations of the logarithms: 2 % a round, common to all; `launch` a launch; `repeat` a repeat.
    """
    draw = random.Random(seed)
    true = [0.0, *map(math.log1p, gains)]
    logs: dict[int, dict[int, float]] = {number: {} for number in range(len(true))}

    def run(number: int, entrants: Sequence[int]) -> None:
        common = draw.gauss(0, 0.02)
        for i in entrants:
            noise = draw.gauss(0, launch) + fmean(draw.gauss(0, repeat) for _ in range(repeats))
            logs[i][number] = true[i] + common + noise

    for number in range(least_rounds(len(true))):
        run(number, list(logs))
    for number in range(least_rounds(len(true)), MOST_ROUNDS):
        run(number, undecided(logs, 1.0, DEFAULT))
    return {i: values for i, values in logs.items() if values}


def judged(gains: Sequence[float], launch: float, repeats: int, count: int) -> tuple[float, float, float]:
    """Over `count` finals: the share of intervals that hold the true gain, the share that call a rival surely better,
    and the mean number of launches.
    """
    covered, sure, launches = [], [], []
    for seed in range(count):
        logs = finals_by(seed, gains, launch, REPEAT_NOISE, repeats)
        launches.append(sum(map(len, logs.values())))
        blocks, level = Blocks(logs), level_for(len(gains))
        found = [blocks.gain(number, DEFAULT, level) for number in range(1, len(gains) + 1)]
        covered += [gain.low <= true <= gain.high for gain, true in zip(found, gains, strict=True)]
        sure.append(any(gain.low > 0 for gain in found))
    return fmean(covered), fmean(sure), fmean(launches)


def main() -> None:
    columns = ("true gains", "launches differ by", "repeats", "intervals that hold it", "a rival better", "launches")
    print(f"| {' | '.join(columns)} |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, gains in CASES.items():
        for launch in (0.0, 0.01, 0.02, 0.04):
            for repeats in (1, 5):
                covered, sure, launches = judged(gains, launch, repeats, NUM_FINALS)
                print(
                    f"| {name} | {launch:.0%} | {repeats} | {covered:.1%} | {sure:.1%} | {launches:.1f} |", flush=True
                )


if __name__ == "__main__":
    main()
