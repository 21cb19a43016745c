"""What tests and benchmarks write into the pages: `write_made(page, name, text)`."""

from __future__ import annotations

from pathlib import Path

END = "<!-- end -->"


def begin_of(name: str) -> str:
    return f"<!-- made: {name} -->"


def write_made(page: Path, name: str, text: str) -> None:
    """Put it between `<!-- made: NAME -->` and `<!-- end -->`. Raises AssertionError where a page has no such place."""
    begin = begin_of(name)
    before, found, rest = page.read_text("utf-8").partition(begin)
    assert found, f"{page}: has no {begin}"
    page.write_text(f"{before}{begin}\n{text}\n{END}{rest.partition(END)[2]}", "utf-8")
