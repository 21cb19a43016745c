"""The README is short, and the Chinese one says the same: sections, commands, figures and links, and a record of both.

docs/README.zh.md ends with a comment that names the English text it was compared with. Whoever changes README.md brings
the Chinese up to date and renews that comment; the failing test prints it.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter

from tests.docs_make import LEFT_OUT
from tests.places import ROOT

ENGLISH = (ROOT / "README.md").read_text("utf-8")
CHINESE = (ROOT / "docs" / "README.zh.md").read_text("utf-8")
MOST_LINES = 150


def sections(page: str) -> list[str]:
    """The text of each section, title first, without code."""
    return re.split(r"^#+ ", re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL), flags=re.MULTILINE)[1:]


def shell(page: str) -> list[str]:
    """Every line of a block that a reader may type or that is printed, without its comment."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    return [re.sub(r"\s+# .*$", "", line) for block in blocks for line in block.splitlines() if line.strip()]


def figures(text: str) -> Counter[str]:
    """Numbers with what makes them differ between languages taken out: words, signs, links' targets, comments."""
    plain = re.sub(r"\]\([^)]*\)|<!--.*?-->", "]", text)
    return Counter(re.findall(r"(?<![\w.-])\d+(?:\.\d+)*", plain))


def links(text: str) -> Counter[str]:
    """Targets, as seen from docs/; those to one another, and to other Chinese pages, count as the same."""
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    seen = (target.removeprefix("../").removeprefix("docs/").replace(".zh.md", ".md") for target in found)
    return Counter(seen)


def digest(page: str) -> str:
    """Of the page without what is printed in its blocks, which tests/docs_make.py renews on both pages."""
    kept, is_output = [], False
    for line in page.splitlines():
        is_output = line.startswith("```console") or (is_output and not line.startswith("```"))
        if not is_output or line.startswith("$ "):
            kept.append(line)
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()[:16]


def test_the_readme_is_short() -> None:
    assert len(ENGLISH.splitlines()) <= MOST_LINES
    assert len(CHINESE.splitlines()) <= MOST_LINES


def test_the_chinese_has_the_same_sections() -> None:
    assert re.findall(r"^(#+) ", CHINESE, re.MULTILINE) == re.findall(r"^(#+) ", ENGLISH, re.MULTILINE)


def test_the_chinese_has_the_same_commands_and_outputs() -> None:
    assert shell(CHINESE) == shell(ENGLISH)
    assert LEFT_OUT in shell(ENGLISH)


def test_each_section_has_the_same_figures() -> None:
    for english, chinese in zip(sections(ENGLISH), sections(CHINESE), strict=True):
        assert figures(chinese) == figures(english), chinese.partition("\n")[0]


def test_each_section_has_the_same_links() -> None:
    for english, chinese in zip(sections(ENGLISH), sections(CHINESE), strict=True):
        assert links(chinese) == links(english), chinese.partition("\n")[0]


def test_each_table_has_the_same_rows() -> None:
    for english, chinese in zip(sections(ENGLISH), sections(CHINESE), strict=True):
        assert len(re.findall(r"^\|", chinese, re.MULTILINE)) == len(re.findall(r"^\|", english, re.MULTILINE))


def test_the_chinese_was_compared_with_this_english() -> None:
    record = f"<!-- README.md {digest(ENGLISH)} -->"
    assert record in CHINESE, f"bring docs/README.zh.md up to date with README.md, then end it with: {record}"
