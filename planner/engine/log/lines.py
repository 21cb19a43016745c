"""Cut a log into lines: `Lines.feed(bytes)` and `lines_of(text)` yield `LogLine`s with their process and level.

Removes what surrounds vLLM's own text: colours, progress bars, Docker's JSON format, and with `prefixes.py` what
launchers put before each row. `formats.py` reads other formats of its logger. Knows no message of vLLM.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

import msgspec
from packaging.version import InvalidVersion, Version

from planner.engine.log.formats import records_of
from planner.engine.log.prefixes import Prefixes

MAX_ROW = 1 << 16
"""Most characters kept of a row; the rest is dropped, so that a file without newlines does not fill the memory."""
MAX_VERSION = 100
"""Most characters of a version; Python refuses to convert numbers of thousands of digits."""
HEAD_BYTES = 1 << 16
BINARY_SHARE = 0.1
"""Largest share of non-text bytes among the first HEAD_BYTES; a file with more is not a log."""

_OTHER_FORMATS = frozenset("{[0123456789")
"""First characters of rows that may be JSON or in a format of the user's own."""
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# Control characters that a terminal would act on; tabs and line ends stay.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
# Rows that start with one of these have no prefix; most rows do.
_BARE = ("(", "INFO", "WARNING", "ERROR", "DEBUG")
# `(VllmWorkerProcess pid=12)`, `(Worker rank=1 pid=12)`, `(EngineCore_DP0 pid=1)`, `(RayWorkerWrapper pid=1, ip=x)`.
_PROCESS = re.compile(
    r"\((?:([A-Za-z_][\w.:-]{0,100}(?: [\w=]{1,60}){0,4}?) pid=\d+|(raylet))(?:, ip=[^)\s]{1,60})?\) ?"
)
# `ERROR 11-22 07:10:00 [core.py:12] ` since 0.7.3, `... 07:10:00 worker.py:267] ` before.
_LEVEL = re.compile(
    r"(DEBUG|INFO|WARNING|ERROR|CRITICAL) (\d\d-\d\d \d\d:\d\d:\d\d) "
    r"(\[[^\]\n]{0,200}:\d{1,9}\]|[\w./-]{1,200}:\d{1,9}\]) ?(.*)"
)
# Uvicorn's format, and Python's own where nothing was configured: `ERROR:vllm.engine:...`.
_UVICORN = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL):(?:\s+|[A-Za-z][\w.]{0,100}:)(.*)")
_PLACE = re.compile(r"(?:\[[\w/-]{1,80}\.py:\d{1,6}\]|\[rank\d{1,5}\]:) ?(?!\[?W\d{4} )")
_LOGGED = re.compile(rb"(?:INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d |Traceback \(most recent call last\)")
# Warnings of torch (`[rank0]:[W1122 07:20:56.1 socket.cpp:204]`, `W1122 09:03:18.5 1 triton.py:53]`) and of Python.
_WARNING = re.compile(r"(?:\[rank\d+\]:\s*)?\[?W\d{4} |.*\b[A-Z]\w*Warning: |\s+warnings\.warn")


class LogLine(msgspec.Struct, frozen=True, gc=False):
    process: str
    """Process that wrote it: `VllmWorkerProcess`, `Worker_TP0`; empty for the engine's or server's own process."""
    level: str
    """Level of the logger; empty if no logger wrote the line: tracebacks, argparse, torch, the shell."""
    text: str
    number: int = 0
    """Number of its row, from 1; the steps of a progress bar share one."""
    when: str = ""
    """Time in the log's form, `11-22 07:10:00`; empty if the line is not from vLLM's logger."""
    where: str = ""
    """Source of the line, `[core.py:12]`; empty if it is not from vLLM's logger."""
    is_cut: bool = False
    """Whether the log ended within the row; its last word or number may be incomplete."""

    @property
    def is_trouble(self) -> bool:
        return self.level in ("", "ERROR", "CRITICAL")

    @property
    def is_first_rank(self) -> bool:
        """Whether this is rank 0's copy of a line: V0 logs it without a process, V1 names the ranks."""
        ranks = re.findall(r"(?:rank=|TP|PP|DP|EP|Worker-)(\d+)", self.process)
        return self.process != "VllmWorkerProcess" and all(rank == "0" for rank in ranks)


def plain(text: str) -> str:
    """The text without escape sequences and control characters."""
    if text.isprintable():
        return text
    return _CONTROL.sub("", _ANSI.sub("", text))


def _line(text: str, number: int, is_cut: bool) -> LogLine:
    process = ""
    while match := _PROCESS.match(text):  # a launcher's own prefix may come before the worker's
        process, text = match[1] or match[2], text[match.end() :]
    if not text.startswith("INFO:  ") and (
        match := _LEVEL.search(text)
    ):  # not always at the start: progress bars end without a newline
        inner = _PROCESS.search(text[: match.start()])
        return LogLine(
            (inner[1] or inner[2]) if inner else process,
            match[1],
            match[4].rstrip(),
            number,
            match[2],
            match[3],
            is_cut,
        )
    if match := _UVICORN.match(text):
        return LogLine(process, match[1], match[2].rstrip(), number, is_cut=is_cut)
    if text.startswith("[") and (match := _PLACE.match(text)):  # a row whose beginning was lost
        return LogLine(process, "", text[match.end() :].rstrip(), number, is_cut=is_cut)
    level = "WARNING" if _WARNING.match(text) else ""
    return LogLine(process, level, text.rstrip(), number, is_cut=is_cut)


class _DockerRow(msgspec.Struct):
    """One row of Docker's json-file driver; a long line takes several rows, and only the last ends in a newline."""

    log: str


class Lines:
    """Cuts the chunks given to `feed`, split anywhere, into lines. Holds one row at a time."""

    def __init__(self) -> None:
        self._decoder: codecs.IncrementalDecoder | None = None
        self._head = b""
        self._row = ""
        self._joined = ""
        self._prefixes = Prefixes()
        self._is_wide = False
        self.count = 0
        """Number of rows so far."""

    def feed(self, chunk: bytes) -> Iterator[LogLine]:
        if self._decoder is None:
            chunk = self._head = self._head + chunk
            if len(chunk) < len(codecs.BOM_UTF16):
                return
            self._is_wide = chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # as PowerShell's > writes
            self._decoder = codecs.getincrementaldecoder("utf-16" if self._is_wide else "utf-8-sig")("replace")
        if not self._is_wide and b"\0" in chunk:  # what copytruncate of logrotate leaves before the next row
            chunk = chunk.translate(None, b"\0")  # `replace` takes ten times as long for many
        yield from self._cut(self._decoder.decode(chunk))

    def end(self) -> Iterator[LogLine]:
        """Yield what is left after the last newline; do not call `feed` afterwards."""
        yield from self._cut(
            self._decoder.decode(b"", final=True) if self._decoder else self._head.decode("ascii", "replace")
        )
        if self._row or self._joined:
            yield from self._ended(self._row, is_cut=True)
        self._row = self._joined = ""

    def _cut(self, text: str) -> Iterator[LogLine]:
        *rows, rest = text.split("\n")
        for row in rows:
            yield from self._ended((self._row + row)[:MAX_ROW])
            self._row = ""
        self._row = (self._row + rest)[:MAX_ROW]

    def _ended(self, row: str, is_cut: bool = False) -> Iterator[LogLine]:
        self.count += 1
        if row.startswith(_BARE) and not self._joined and not is_cut and row.isprintable() and row[-2:] != "^M":
            yield _line(row, self.count, is_cut=False)
            return
        whole = True
        if row.startswith('{"log":"'):
            try:
                row = msgspec.json.decode(row, type=_DockerRow).log
            except (ValueError, RecursionError):
                pass  # other JSON, or an incomplete row
            else:
                whole, row = row.endswith("\n"), row.removesuffix("\n")
        row = plain(row)
        row, is_partial = self._prefixes.strip(row)
        whole = whole and not is_partial
        row, self._joined = (self._joined + row)[:MAX_ROW], ""
        if whole or is_cut:
            yield from _parts(row, self.count, is_cut)
        else:
            self._joined = row


def _parts(row: str, number: int, is_cut: bool = False) -> Iterator[LogLine]:
    if row[:1] in _OTHER_FORMATS and (records := records_of(row)):
        for one in records:
            yield LogLine(one.process, one.level, one.text, number, one.when, one.where, is_cut)
        return
    *before, last = plain(row.rstrip("\r").removesuffix("^M")).split("\r")
    for part in before:
        yield _line(part, number, is_cut=False)
    yield _line(last, number, is_cut)


def lines_of(text: str) -> Iterator[LogLine]:
    """Yield the lines of a log in memory; its end counts as a newline, so no line is marked as cut."""
    for number, row in enumerate(text.split("\n"), 1):
        yield from _parts(row[:MAX_ROW], number)


def is_binary(head: bytes) -> bool:
    """Whether a file that begins with `head` is not text; zeros before the text and rubbish after rows of vLLM are."""
    head = head[:HEAD_BYTES]
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or _LOGGED.search(head):
        return False
    head = head.lstrip(b"\0")
    odd = head.count(b"\0") + head.decode("utf-8", "replace").count("\ufffd")
    return odd > BINARY_SHARE * len(head)


def parsed(version: str | None) -> Version | None:
    """Parse a version as logs name it; None for None and for text that is no version."""
    try:
        return None if version is None else Version(version[:MAX_VERSION])
    except InvalidVersion:
        return None
