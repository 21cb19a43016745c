"""Rows of vLLM whose logger has another format: JSON, or one of the user's own -> `LoggedRecord`s.

vLLM 0.33 writes JSON with --logging-config.formatter json (asctime, levelname, name, vllm_process_name, message) and
OpenTelemetry's names; VLLM_LOGGING_CONFIG_PATH allows any format of Python's logging.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

_LEVELS = {
    **{level: level for level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")},
    "WARN": "WARNING",
    "FATAL": "CRITICAL",
}
_MESSAGE = ("message", "msg", "body", "event")
_LEVEL = ("levelname", "level", "severity_text", "severity")
_TIME = ("asctime", "timestamp", "time", "ts")
_PROCESS = ("vllm_process_name", "processName")
_PLACE = ("name", "logger", "module", "filename")
_TRACE = ("exc_info", "exception", "stack_info")
_STAMP = re.compile(r"\[?\d{4}[-/](\d\d)[-/](\d\d)[T ](\d\d:\d\d:\d\d)")
_WORD = r"(?:\[[^\]\n]{1,100}\]|[\w./@:]{1,100})"
_CUSTOM = re.compile(
    r"\[?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?Z?\]?"
    rf"(?P<before>(?:[ |-]{{1,3}}{_WORD}){{0,5}}?)[ |-]{{1,3}}"
    r"\[?(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL)\]?(?! \d\d-\d\d \d\d:)"
    r"(?P<after>(?: {1,3}\[[^\]\n]{1,100}\]){0,4})[ |:>-]{0,8}(?P<text>.*)"
)


@dataclass(frozen=True, slots=True)
class LoggedRecord:
    """What a row says, in the terms of `LogLine`; a message with line ends gives several."""

    process: str
    level: str
    text: str
    when: str
    where: str


def records_of(row: str) -> list[LoggedRecord]:
    """The records of a row in JSON or another format; empty if it is neither."""
    if row.startswith("{"):
        return _of_json(row)
    if match := _CUSTOM.match(row):
        place = re.findall(r"[\w.]{3,}", match["before"] + match["after"])
        named = next((word for word in place if word.startswith("vllm") or word.endswith(".py")), "")
        return [LoggedRecord("", match["level"], match["text"].rstrip(), _when(row), f"[{named}]" if named else "")]
    return []


def _of_json(row: str) -> list[LoggedRecord]:
    try:
        found = msgspec.json.decode(row)
    except (ValueError, RecursionError):
        return []
    if not isinstance(found, dict):
        return []
    message, level = _first(found, _MESSAGE), _LEVELS.get(_first(found, _LEVEL).upper(), "")
    if not message and not level:
        return []
    place = _first(found, _PLACE)
    process = _first(found, _PROCESS).replace(" ", "_")
    rows = [*message.split("\n"), *(line for key in _TRACE for line in _first(found, (key,)).split("\n") if line)]
    when = _when(_first(found, _TIME))
    where = f"[{place}]" if place.startswith("vllm") or place.endswith(".py") else ""
    return [
        LoggedRecord("" if process == "MainProcess" else process, level, text.rstrip(), when, where) for text in rows
    ]


def _first(found: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((value for name in names if isinstance(value := found.get(name), str)), "")


def _when(stamp: str) -> str:
    """The time as vLLM's own format writes it, `11-22 07:10:00`; empty if there is none."""
    match = _STAMP.match(stamp)
    return f"{match[1]}-{match[2]} {match[3]}" if match else ""
