"""What a second study gains from a first one is told in pairs, in worlds whose cards are wrong alike."""

from __future__ import annotations

import numpy as np

from tests.race.second import FIRST_SEEDS, SECOND_SEEDS, forecasts, table, truth

RATE = "output_throughput"


def test_differences_are_paired_by_seed() -> None:
    runs = {
        seed: {"none": [0.1 + seed / 100] * 4, "as the second": [0.05 + seed / 100] * 4, "misleading": [0.1] * 4}
        for seed in range(3)
    }
    lines = table(runs).splitlines()
    assert lines[2].startswith("| none | 11.0 % |")
    assert lines[3].startswith("| as the second | 6.0 % (-5.0 ± 0.0) |")
    assert lines[4].startswith("| misleading | 10.0 % (-1.0 ± 1.2) |")


def test_the_model_is_wrong_alike_in_both_studies_and_the_other_way_in_a_misleading_one() -> None:
    first, second = forecasts()
    made = truth(second, 1, 1.0, 1 + SECOND_SEEDS)
    likes = []
    for sign in (1.0, -1.0):
        before = truth(first, 1, sign, 1 + FIRST_SEEDS)
        rows = np.intersect1d(*(one.classes.nearest(one.grid.feasible_rows) for one in (first, second)))
        errors = [one.values[rows] - np.log(one.forecast.grid.predicted()[RATE][rows]) for one in (made, before)]
        likes.append(np.corrcoef(*errors)[0, 1])
    assert likes[0] > 0.2
    assert likes[1] < 0
