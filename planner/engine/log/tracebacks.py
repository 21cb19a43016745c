"""Follow Python's tracebacks through a log, each process for itself: `Tracebacks.feed(line) -> Piece`.

Frames and source lines name no cause, so the readers of failures pass them by; the frames say where one was raised.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto

from planner.engine.log.lines import LogLine
from planner.engine.log.patterns import CHAINED, ENDING, EXCEPTION, FRAME, TOLD_NAMES

MOST_FRAMES = 12
MOST_PROCESSES = 64
"""Most processes followed at once; beyond, the one that was followed first is forgotten."""
_MARKS = "^~- |"


class Piece(Enum):
    """What a line is to a traceback."""

    FRAME = auto()
    SOURCE = auto()
    OTHER = auto()


@dataclass(slots=True)
class Traceback:
    """The traceback that a process is writing, or wrote last."""

    frames: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_FRAMES))
    """Last frames, the innermost last: `/x/vllm/worker/worker.py", line 7, in load_model`."""
    source: str = ""
    """Source line of the innermost frame, else the last line without carets."""
    group: int = 0
    """Number of the chain of exceptions; it rises where an unrelated one begins."""
    is_open: bool = False
    """Whether frames came and no exception yet."""
    indent: int = 0
    is_in_frame: bool = False
    is_below_frame: bool = False
    is_chained: bool = False
    ending: re.Match[str] | None = None
    """The exception's own line, if the line before was it."""
    block: tuple[str, str, str] = ("", "", "")


class Tracebacks:
    """Folds lines into the last traceback of each process."""

    def __init__(self) -> None:
        self._traces: dict[str, Traceback] = {}
        self.last: Traceback | None = None
        """The traceback that the line before was part of; None if it was of none."""

    @property
    def is_any_open(self) -> bool:
        """Whether a process may be within a traceback."""
        return any(one.is_open or one.is_in_frame or one.is_chained for one in self._traces.values())

    def of(self, line: LogLine) -> Traceback:
        trace = self._traces.get(line.process)
        if trace is None:
            if len(self._traces) >= MOST_PROCESSES:
                del self._traces[next(iter(self._traces))]
            trace = self._traces[line.process] = Traceback()
        return trace

    def feed(self, line: LogLine) -> Piece:
        """Take a line in that is no warning and no routine."""
        trace, text = self.of(line), line.text
        trace.ending = None
        block = (line.level, line.when, line.where)
        if block != trace.block:
            trace.block, trace.is_in_frame, trace.is_below_frame = block, False, False
            trace.group += not trace.is_chained
        part = self._part(trace, text)
        if text.strip():
            self.last = trace if part is not Piece.OTHER else None
        return part

    def _part(self, trace: Traceback, text: str) -> Piece:
        bare = text.strip()
        if not bare:
            return Piece.OTHER
        if match := FRAME.match(text):
            trace.frames.append(match["frame"])
            trace.indent, trace.is_in_frame, trace.is_below_frame = len(text) - len(text.lstrip()), True, True
            trace.is_open = True
            return Piece.FRAME
        if not bare.strip(_MARKS):
            return Piece.SOURCE
        if bare.startswith("raise "):
            trace.is_below_frame = False
            return Piece.SOURCE
        if trace.is_in_frame:
            indent = len(text) - len(text.lstrip())
            is_first, trace.is_below_frame = trace.is_below_frame, False
            if indent > trace.indent or (is_first and trace.indent == 0 and EXCEPTION.fullmatch(bare) is None):
                trace.source = bare
                return Piece.SOURCE
            trace.is_in_frame = False
        self._between(trace, bare)
        return Piece.OTHER

    def _between(self, trace: Traceback, bare: str) -> None:
        if CHAINED.match(bare):
            trace.is_chained = True
        elif "Traceback (most recent call last)" in bare:
            trace.group += bare.startswith("Traceback") and not trace.is_chained
            trace.is_chained, trace.source = False, ""
            trace.frames.clear()
        elif (found := EXCEPTION.fullmatch(bare) or (ENDING.fullmatch(bare) if trace.is_open else None)) is None:
            trace.source = bare
        else:
            trace.is_open = False
            trace.ending = found if found["name"] not in TOLD_NAMES else None
