"""Units: plain bytes and seconds inside the program, scaled ones only where text is read or printed.

In: what a person writes ("80GiB", "200ms"). Out: `Bytes` (int) and `Seconds` (float), and their printed forms.
This is the only module that scales a unit.
"""

from __future__ import annotations

import re
from typing import SupportsFloat

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

HOUR_S = 3600.0

_BYTE_UNITS = {
    "": 1, "b": 1, "kib": KIB, "mib": MIB, "gib": GIB, "tib": GIB << 10,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
}  # fmt: skip
_SECOND_UNITS = {"": 1.0, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
MOST_BYTES, MOST_SECONDS = 1 << 60, 1e9
"""Largest size and duration read: an exbibyte and 31 years. A larger figure is a mistake."""
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", re.IGNORECASE)


class Bytes(int):
    """A number of bytes; in YAML `21.48GiB`, `512GB` (a bare GB is 1e9) or a plain count."""


class Seconds(float):
    """A duration; in YAML `200ms`, `30s`, `5min` or plain seconds."""


def parse_bytes(text: str | int | float) -> Bytes:
    """Read a size in bytes. Raises ValueError that says what is allowed."""
    return Bytes(round(_parse(text, _BYTE_UNITS, "a size such as 80GiB, 22GB or a count of bytes", MOST_BYTES)))


def parse_seconds(text: str | int | float) -> Seconds:
    """Read a duration in seconds. Raises ValueError that says what is allowed."""
    allowed = "a duration such as 200ms, 30s, 5min or plain seconds"
    return Seconds(_parse(text, _SECOND_UNITS, allowed, MOST_SECONDS))


def parse_rate(text: str | int | float) -> float:
    """Read a rate per second. Raises ValueError that says what is allowed."""
    return _parse(text, {"": 1.0}, "a plain number a second such as 500", 1e12)


def _parse(text: str | int | float, units: dict[str, float] | dict[str, int], allowed: str, most: float) -> float:
    match = _QUANTITY.fullmatch(str(text).strip())
    if not match or match[2].lower() not in units:
        raise ValueError(f"{text!r} is not {allowed}")
    number = float(match[1]) * units[match[2].lower()]
    if number > most:
        raise ValueError(f"{text!r} is too large, at most {most:g}")
    return number


def format_gib(num_bytes: SupportsFloat, digits: int = 2) -> str:
    return f"{float(num_bytes) / GIB:.{digits}f} GiB"


def format_bandwidth(bytes_per_s: float) -> str:
    """`936 GB/s`: a bandwidth as data sheets give it."""
    return f"{bytes_per_s / 1e9:.0f} GB/s"


def format_flop_rate(flop_per_s: float) -> str:
    """`71.0 TFLOP/s`: an arithmetic rate as data sheets give it."""
    return f"{flop_per_s / 1e12:.1f} TFLOP/s"


def to_gib(num_bytes: float) -> float:
    return float(num_bytes) / GIB


def to_ms(seconds: float) -> float:
    return seconds * 1e3


def format_ms(seconds: float) -> str:
    """`85 ms`, `1.32 s`: a latency with three significant digits."""
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 999.5 else format_duration(seconds)


def format_duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 40 min`: a time that a person waits."""
    total = max(0, round(seconds))
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60:02d} s"
    return f"{total // 3600} h {total % 3600 // 60:02d} min"


def format_count(number: float) -> str:
    """`13 414`: digits grouped by plain spaces, as thin spaces are hard to copy."""
    return f"{number:,.0f}".replace(",", " ")
