"""Windows of recorded traffic: where they begin, and that they begin there each time."""

from __future__ import annotations

import pytest

from planner.errors import InputError
from planner.workload.recorded import GivenPrompt
from planner.workload.windows import parse_window, window_start

QUIET = [GivenPrompt(None, 10, float(i), 100) for i in range(40)]
BUSY = [GivenPrompt(None, 10, 40 + i / 10, 100) for i in range(20)]
LONG = [GivenPrompt(None, 10, 42 + float(i), 4000) for i in range(1, 5)]
DAY = [*QUIET, *BUSY, *LONG]


def test_the_busiest_window_is_where_requests_come_fastest() -> None:
    assert window_start(DAY, 20, "busiest") == 40
    assert window_start(DAY, 20, "start") == 0
    assert window_start(DAY, len(DAY), "busiest") == 0


def test_without_arrivals_the_busiest_window_has_the_most_tokens() -> None:
    plain = [GivenPrompt(None, one.output_tokens, None, one.input_tokens) for one in DAY]
    assert window_start(plain, 4, "busiest") == 60


def test_a_typical_window_is_like_the_whole() -> None:
    mixed = [GivenPrompt(None, 10, float(i), 100 if i < 50 else 300 if i < 70 else 900) for i in range(100)]
    start = window_start(mixed, 10, "typical")
    assert sum(one.input_tokens or 0 for one in mixed[start : start + 10]) / 10 == pytest.approx(380, rel=0.2)
    assert window_start(mixed, 10, "typical") == start


def test_a_window_of_another_name_is_refused() -> None:
    assert parse_window("typical") == "typical"
    with pytest.raises(InputError, match="--window noon: is no window; allowed: start, busiest, typical"):
        parse_window("noon")
