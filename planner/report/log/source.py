"""What `planner log` does: find the file or container, read it, follow it.

In: words of the command line. Out: a `LogReport`. It does not know how a report is shown.
"""

from __future__ import annotations

import gzip
import os
import re
import signal
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Protocol

import msgspec

from planner.engine import HEAD_BYTES, Lines, LogEvent, LogLine, LogReader, LogReport, is_binary
from planner.errors import BackendError, InputError
from planner.files import open_without_waiting, redactor

POLL_S = 0.5
_GZIP = b"\x1f\x8b"
_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Source(Protocol):
    """Where a log comes from."""

    @property
    def name(self) -> str: ...

    def chunks(self, follow: bool) -> Iterator[bytes]: ...

    def exit_code(self) -> int | None:
        """Exit code of a process that is known to have ended; else None."""


@dataclass(frozen=True, slots=True)
class LogFile:
    """A file, plain or gzip, or standard input (`-`)."""

    path: Path

    @property
    def name(self) -> str:
        return "standard input" if str(self.path) == "-" else str(self.path)

    def exit_code(self) -> int | None:
        return None

    def chunks(self, follow: bool) -> Iterator[bytes]:
        """Pieces of the file; with `follow` also what is appended, as `tail -F` does. Raises InputError."""
        try:
            if follow and str(self.path) != "-":
                yield from self._followed()
            else:
                with open(0, "rb", closefd=False) if str(self.path) == "-" else open_without_waiting(self.path) as file:
                    yield from _unpacked(file)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(f"{self.name}: its gzip data is damaged or ends too early: {error}") from None
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read: {error.strerror or error}") from None

    def _followed(self) -> Iterator[bytes]:
        """Pieces that are appended; a file that was replaced or cut short is read from its beginning again."""
        while True:
            with open_without_waiting(self.path) as file:
                if file.peek(2)[:2] == _GZIP:
                    raise InputError(f"{self.name}: is gzip, which cannot be followed")
                opened = os.fstat(file.fileno())
                while True:
                    yield from _pieces(file)
                    time.sleep(POLL_S)
                    try:
                        now = self.path.stat()
                    except FileNotFoundError:
                        continue  # the file was rotated away and the new one is not there yet
                    if (now.st_dev, now.st_ino) != (opened.st_dev, opened.st_ino) or now.st_size < file.tell():
                        yield from _pieces(file)
                        break


def _unpacked(file: BufferedReader) -> Iterator[bytes]:
    if file.peek(2)[:2] != _GZIP:
        yield from _pieces(file)
        return
    with gzip.open(file) as unpacked:
        yield from _pieces(unpacked)


def _pieces(file: BufferedReader | gzip.GzipFile) -> Iterator[bytes]:
    while chunk := file.read(HEAD_BYTES):
        yield chunk


@contextmanager
def open_log(target: str) -> Iterator[Source]:
    """The file of that name, else the container. Raises InputError."""
    path = Path(target)
    if target == "-" or path.is_file():
        yield LogFile(path)
        return
    if path.is_dir():
        raise InputError(f"{target}: is a folder; name a log file in it")
    if path.exists():
        yield LogFile(path)  # a pipe, for example
        return
    if not _CONTAINER.fullmatch(target):
        raise InputError(f"{target}: no such file")
    try:
        from planner.launch import container_log

        with container_log(target) as log:
            if log is None:
                raise InputError(f"{target}: no such file and no container of that name")
            yield log
    except BackendError as error:
        raise InputError(f"{target}: no such file, and no container can be looked up: {error}") from None


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends like Ctrl-C. Ctrl-C works also if a shell started this in the background and so ignores it."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def read_source(source: Source, follow: bool = False, on_event: Callable[[LogEvent], None] | None = None) -> LogReport:
    """Read a log to its end, or follow it until Ctrl-C or SIGTERM. Raises InputError if it is not a log of vLLM."""
    reader, lines, is_first, is_blank, redacted = LogReader(), Lines(), True, True, redactor()

    def take(line: LogLine) -> None:
        text = redacted(line.text)
        event = reader.feed(line if text == line.text else msgspec.structs.replace(line, text=text))
        if event is not None and on_event is not None:
            on_event(event)

    try:
        with _interruptible() if follow else nullcontext():
            for chunk in source.chunks(follow):
                if is_first and is_binary(chunk):
                    raise InputError(f"{source.name}: is binary, not a log")
                is_first, is_blank = False, is_blank and not chunk.strip(b"\0")
                for line in lines.feed(chunk):
                    take(line)
    except KeyboardInterrupt:
        if not follow:
            raise
    for line in lines.end():
        take(line)
    if is_blank:
        raise InputError(f"{source.name}: is {'empty' if is_first else 'binary, not a log'}")
    if not reader.is_vllm:
        raise InputError(f"{source.name}: none of its {lines.count} lines is of a vLLM log")
    exit_code = source.exit_code()
    return reader.report(exit_code, is_running=None if isinstance(source, LogFile) else exit_code is None)
