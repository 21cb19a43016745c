"""Characters and marks that chats, editors and notebooks put into a command: `retyped(text)` -> as a keyboard has it.

`buried(text)` finds a start behind other words of its line, as in a list of processes or in a sentence.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator

FOREIGN_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\uff0d"
"""Characters that editors, chats and Chinese keyboards write instead of a hyphen."""
_PLAIN = str.maketrans({
    **dict.fromkeys(map(chr, (0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000)), " "),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", ""),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\uff02", '"'),
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\uff07", "'"),
})  # fmt: skip
"""Blanks that no shell parts words at, marks without a width, and typographic quotes."""
_DASHED = re.compile(rf"(?<!\S)(-*[{FOREIGN_DASHES}][-{FOREIGN_DASHES}]*)(?=([A-Za-z]+))")
_SHORT = 3
"""Longest name, in letters, that one foreign hyphen may begin as a short flag: `\u2013tp 2`."""
_CELL = re.compile(r"\s*(?:%%(?:bash|sh|script)\b.*|[!%](?:sh\s+)?(?=[A-Za-z/]))")
"""What begins a shell's words in a notebook: a line that begins with `%%bash`, or `!` or `%sh` before them."""
_BURIED = re.compile(
    r"(?<![\w./~-])(?:[\w./~-]*/)?"
    r"(?:vllm[ \t]+serve[ \t]|python3?[\d.]*[ \t]+-m[ \t]+vllm\.entrypoints\.|docker[ \t]+run[ \t])"
)


_CLOSED_BY = {"`": "`", '"': '"', "'": "'", ">": "<"}
"""Marks right before a start -> those that end it: Markdown's, a string's, a tag's."""


def retyped(text: str) -> str:
    """The text with plain blanks, quotes and hyphens, without a notebook's or Markdown's marks around commands."""
    if not text.isascii():
        text = _DASHED.sub(_hyphens, text.translate(_PLAIN))
    text = "\n".join(map(_of_cell, text.split("\n")))
    inner = text.strip()
    if len(inner) > 2 and inner[0] == inner[-1] == "`" and "`" not in inner[1:-1] and "\n" not in inner:
        return inner[1:-1]
    return text


def _of_cell(line: str) -> str:
    match = _CELL.match(line)
    return line if match is None else line[match.end() :]


def _hyphens(match: re.Match[str]) -> str:
    is_short = len(match[1]) == 1 and match[1] != "\u2014" and len(match[2]) <= _SHORT
    return "-" if is_short else "--"


def buried(text: str) -> str | None:
    """The words from a start of vLLM on to the end of its text, where other words stand before it; else None."""
    called = next(_of_lists(text), None)
    if called is not None:
        return called
    match = _BURIED.search(text)
    if match is None:
        return None
    found = text[match.start() :]
    mark = _CLOSED_BY.get(text[match.start() - 1 : match.start()])
    return found if mark is None else re.split(rf"(?<!\\){mark}", found, maxsplit=1)[0]


def _of_lists(text: str) -> Iterator[str]:
    """Lists of words in Python that start vLLM: `subprocess.Popen(["vllm", "serve", "M"])`."""
    for match in re.finditer(r"\[\s*[\"'][^\[\]]{0,5000}\]", text):
        try:
            words = ast.literal_eval(match[0])
        except (ValueError, SyntaxError):
            continue
        if all(isinstance(word, str) for word in words) and _BURIED.match(shlex.join(words) + " "):
            yield shlex.join(words)
