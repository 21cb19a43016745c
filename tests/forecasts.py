"""A problem's grid as the memory model alone judges it, made once a problem."""

from __future__ import annotations

from functools import lru_cache

from planner.study import Forecast, Grid, Problem


@lru_cache(maxsize=8)
def forecast_of(problem: Problem) -> Forecast:
    return Forecast(problem)


def grid_of(problem: Problem) -> Grid:
    return forecast_of(problem).grid
