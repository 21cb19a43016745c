"""What stands around vLLM's own lines: launchers' prefixes, colours, files of other programs."""

from __future__ import annotations

import json

import pytest

from planner.engine.log.lines import MAX_ROW, Lines, LogLine, is_binary, lines_of, plain

ROW = "(Worker_TP1 pid=7) WARNING 11-22 07:10:00 [symm_mem.py:106] Not supported."
LINE = ("Worker_TP1", "WARNING", "Not supported.", "11-22 07:10:00", "[symm_mem.py:106]")


def read(*chunks: bytes) -> list[LogLine]:
    lines = Lines()
    return [*(line for chunk in chunks for line in lines.feed(chunk)), *lines.end()]


def parts(line: LogLine) -> tuple[str, str, str, str, str]:
    return line.process, line.level, line.text, line.when, line.where


@pytest.mark.parametrize(
    "row",
    [
        ROW,
        f"{ROW}\r",
        f"vllm-1  | {ROW}",
        f"\x1b[36mvllm-1  | \x1b[0m{ROW}",
        f"2026-11-22T07:10:00.123456789Z {ROW}",
        f"2026-11-22T07:10:00.123+01:00 stderr F {ROW}",
        f"Nov 22 07:10:00 host docker[123]: {ROW}",
        json.dumps({"log": ROW + "\n", "stream": "stderr", "time": "2026-11-22T07:10:00Z"}, separators=(",", ":")),
        ROW.replace("(Worker_TP1 pid=7)", "\x1b[1;36m(Worker_TP1 pid=7)\x1b[0;0m"),
    ],
)
def test_prefixes_of_launchers(row: str) -> None:
    (line,) = read(row.encode() + b"\n")
    assert parts(line) == LINE


def test_a_long_row_that_docker_cuts_in_two_is_one() -> None:
    halves = ({"log": ROW[:40]}, {"log": ROW[40:] + "\n"})
    as_json = "".join(json.dumps(half, separators=(",", ":")) + "\n" for half in halves)
    (line,) = read(as_json.encode())
    assert parts(line) == LINE
    as_cri = f"2026-11-22T07:10:00.1Z stderr P {ROW[:40]}\n2026-11-22T07:10:00.1Z stderr F {ROW[40:]}\n"
    (line,) = read(as_cri.encode())
    assert parts(line) == LINE


def test_powershells_utf_16_is_text() -> None:
    raw = f"{ROW}\r\n".encode("utf-16")
    assert not is_binary(raw)
    (line,) = read(*(raw[i : i + 1] for i in range(len(raw))))
    assert parts(line) == LINE


def test_progress_bars_share_a_row() -> None:
    bars = [line.text for line in read(b"Loading:  0%\rLoading: 50%\rLoading: 100%\n")]
    assert bars == ["Loading:  0%", "Loading: 50%", "Loading: 100%"]


def test_what_a_terminal_would_act_on_is_gone() -> None:
    assert plain("\x1b]0;title\x07\x1b[31mred\x1b[0m\x9b2J\u202eabc") == "]0;titlered2Jabc"
    (line,) = lines_of("ERROR 11-22 07:10:00 [x.py:1] \x1b[2J\x1b]8;;http://x\x07click")
    assert not any(ord(char) < 32 for char in line.text)


def test_a_row_without_end_does_not_fill_the_memory() -> None:
    lines = Lines()
    for _ in range(100):
        assert list(lines.feed(b"x" * 10_000)) == []
    (line,) = lines.end()
    assert len(line.text) == MAX_ROW
    assert line.is_cut


def test_rows_are_numbered_as_in_an_editor() -> None:
    assert [line.number for line in read(b"a\n\nb\rc\nd")] == [1, 2, 3, 3, 4]


@pytest.mark.parametrize(
    ("head", "binary"),
    [
        (b"", False),
        (ROW.encode(), False),
        ("▄▄ ▄█ █     █     █ ▀▄▀ █  version 0.33.0".encode(), False),
        (b"\x7fELF\x02\x01\x01" + b"\0" * 40, True),
        (bytes(range(256)), True),
        (ROW.encode() + b"\xff", False),
    ],
)
def test_binary_files_are_seen_by_their_beginning(head: bytes, binary: bool) -> None:
    assert is_binary(head) is binary
