"""A Docker Engine that is away for a while: restarted, upgraded, or on a machine too busy to answer.

Knows since when it has not answered and how often that happened. What may be asked twice is asked again with growing
pauses, for `BACK_WITHIN_S`; an Engine that is away for longer ends the run, and then nothing is asked any more, so that
the end does not wait for each answer in turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import requests.exceptions

from planner.errors import BackendError
from planner.units import format_duration

BACK_WITHIN_S = 120.0
"""Longest outage in seconds. An Engine restarts within seconds, with many containers to stop in half a minute."""
AWAY = (
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    requests.exceptions.ChunkedEncodingError,
)
"""Errors that mean no answer, or a partial one.

docker-py's own errors are answers, though they derive from one of requests' errors.
"""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 5.0

T = TypeVar("T")


class Outages:
    """What a run has seen of outages of its Docker Engine."""

    def __init__(self) -> None:
        self.count = 0
        """Number of times it went away."""
        self._since_s: float | None = None
        self._end: BackendError | None = None

    def note(self) -> None:
        """Record that it did not answer now. Raises BackendError if that has lasted too long."""
        now_s = time.monotonic()
        if self._since_s is None:
            self._since_s = now_s
            self.count += 1
        away_s = now_s - self._since_s
        if self._end is None and away_s > BACK_WITHIN_S:
            self._end = BackendError(
                f"Docker Engine does not answer, for {format_duration(away_s)} now: start it, then the same command "
                "continues and removes what is left"
            )
        self._raise_at_end()

    def _raise_at_end(self) -> None:
        if self._end is not None:
            raise self._end from None

    def answered(self) -> None:
        self._since_s = None

    def ask(self, call: Callable[[], T]) -> T:
        """The answer to a call that may be made twice. Raises BackendError if the Engine stays away."""
        pause_s = FIRST_PAUSE_S
        while True:
            self._raise_at_end()
            try:
                answer = call()
            except AWAY:
                self.note()
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                self.answered()
                return answer
