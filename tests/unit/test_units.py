"""Sizes and durations, in and out."""

from __future__ import annotations

import pytest

from planner.units import format_count, format_duration, format_gib, format_ms, parse_bytes, parse_seconds


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [
        ("80GiB", 85_899_345_920),
        ("21.48GiB", 23_063_974_380),
        ("512GB", 512_000_000_000),  # a bare GB is 1e9
        (" 8 mib ", 8_388_608),
        ("1.5TiB", 1_649_267_441_664),
        (4096, 4096),
        ("0", 0),
    ],
)
def test_bytes(text: str | int, num_bytes: int) -> None:
    assert parse_bytes(text) == num_bytes


@pytest.mark.parametrize(
    ("text", "seconds"), [("200ms", 0.2), ("30s", 30), ("5min", 300), ("2h", 7200), ("250us", 0.00025), (1.5, 1.5)]
)
def test_seconds(text: str | float, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("parse", [parse_bytes, parse_seconds])
@pytest.mark.parametrize("text", ["", "-5GiB", "1e9", "5 parsecs", "GiB", "1,5GiB", "nan", "inf", True, None])
def test_what_is_no_quantity_is_refused_with_an_example(parse: type, text: object) -> None:
    with pytest.raises(ValueError, match="such as"):
        parse(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (9600, "2 h 40 min"), (-3, "0 s")],
)
def test_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_printed_forms() -> None:
    assert format_ms(0.0854) == "85.4 ms"
    assert format_ms(1.3249) == "1.32 s"
    assert format_gib(23_063_974_380) == "21.48 GiB"
    assert format_gib(1.5 * 2**30, 0) == "2 GiB"
    assert format_count(13414.0) == "13 414"
