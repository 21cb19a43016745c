"""Take off a row what launchers put before it: `Prefixes.strip(row) -> (row, whether the next row goes on)`.

Known are docker compose, docker logs -t, CRI, kubectl --prefix, journald, syslog, ts, pm2 and Docker Desktop. Any other
is learned: what stands before the level in a row of vLLM's logger, and begins LEARN_AFTER rows, is taken off all.
"""

from __future__ import annotations

import re

LEARN_AFTER = 3
"""Number of rows that must begin alike, digits apart, until their beginning counts as a prefix."""
MOST_LEARNED = 8
MOST_CANDIDATES = 8
LONGEST_PREFIX = 120

_STAMP = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?"
_SYSLOG = r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d{1,9})?"
_KNOWN = re.compile(
    r"(?:\[pod/[^\]\s]{1,300}\] )?"  # kubectl logs --prefix
    r"(?:\d{1,5}\|[\w.-]{1,100} +\| )?"  # pm2
    r"(?:[\w.-]{0,100} +\| )?"  # docker compose
    rf"(?:{_STAMP}:? (?:std(?:out|err) (?P<cri>[FP]) |\| )?(?:\S{{1,100}} [\w.@/-]{{1,100}}\[\d{{1,9}}\]: )?)?"
    rf"(?:{_SYSLOG} (?:[^\s:/]{{1,100}} [\w.@/-]{{1,100}}(?:\[\d{{1,9}}\])?: )?)?"
    r"(?:\[rank\d{1,5}\]: ?)?"  # torch
)
_CUSTOM_LEVEL = re.compile(rf"{_STAMP} ?[\[|,:-]|{_STAMP} [\w.-]{{0,100}} ?-? ?(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\b")
"""Rows of a logger with a format of its own: their time stamp is no prefix."""
_LEVEL = re.compile(
    r"(?:\([A-Za-z_][^()\n]{1,100} pid=\d{1,9}[^()\n]{0,60}\)\s*){0,2}"
    r"(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d "
)
_PROGRESS = ("%", "it/s", "s/it")


class Prefixes:
    """Knows the prefixes of one log, and learns others."""

    def __init__(self) -> None:
        self._counts: dict[re.Pattern[str], int] = {}
        self._learned: list[re.Pattern[str]] = []

    def strip(self, row: str) -> tuple[str, bool]:
        is_partial = False
        if not _CUSTOM_LEVEL.match(row) or " | " in row[:60]:
            match = _KNOWN.match(row)
            if match is not None and match.end():
                is_partial, row = match["cri"] == "P", row[match.end() :]
        for learned in self._learned:
            if match := learned.match(row):
                return row[match.end() :], is_partial
        if len(self._learned) < MOST_LEARNED:
            self._learn(row)
        return row, is_partial

    def _learn(self, row: str) -> None:
        for like, count in self._counts.items():
            if like.match(row):
                self._counts[like] = count + 1
                if count + 1 >= LEARN_AFTER:
                    self._learned.append(like)
                    del self._counts[like]
                return
        match = _LEVEL.search(row[: 3 * LONGEST_PREFIX])
        if match is None or not 0 < match.start() <= LONGEST_PREFIX:
            return
        head = row[: match.start()]
        if any(word in head for word in _PROGRESS):
            return  # a progress bar, which ends without a newline
        if len(self._counts) >= MOST_CANDIDATES:
            del self._counts[min(self._counts, key=self._counts.__getitem__)]
        self._counts[re.compile(re.sub(r"\d+", r"\\d+", re.escape(head)))] = 1
