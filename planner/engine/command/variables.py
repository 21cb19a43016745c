"""Variables that a pasted text sets before its command: `Variables` notes them and fills them into later words.

`MODEL=Qwen/Qwen3-8B`, `export TP=2`, `ARGS=(--port 1)`, `$env:A = "1"`; `$MODEL`, `${TP}`, `${PORT:-8000}`,
`"${ARGS[@]}"`. A variable that the text does not set stays as it is. Runs nothing.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from planner.engine.command.shell import ASSIGNMENT, assigned, split_line

USED = re.compile(r"\$(?:\{([A-Za-z_]\w{0,99})(?::?-([^}]{0,500}))?\}|([A-Za-z_]\w{0,99}))")
WHOLE = re.compile(r"\$(?:\{([A-Za-z_]\w{0,99})(?:\[@\])?\}|([A-Za-z_]\w{0,99}))")
POWERSHELL = re.compile(r"\$env:([A-Za-z_]\w{0,99})", re.IGNORECASE)
MOST = 4096
"""Longest word, in characters, into which variables are filled: each could double the next."""


class Variables:
    """The variables of a text so far, by name."""

    def __init__(self) -> None:
        self.env: dict[str, str] = {}
        self._lists: dict[str, str] = {}

    def note(self, words: Sequence[str]) -> bool:
        """Whether a command only sets variables; they are remembered."""
        if (match := POWERSHELL.match(words[0])) is not None and "=" in "".join(words[:2]):
            value = " ".join(words)[match.end() :].strip().removeprefix("=").strip()
            self.env[match[1]] = value
            return True
        first = ASSIGNMENT.fullmatch(words[0])
        if first is not None and first[2].startswith("(") and words[-1].endswith(")"):
            inner = [first[2].removeprefix("("), *words[1:]]
            inner[-1] = inner[-1].removesuffix(")")
            self._lists[first[1]] = shlex.join(word for word in inner if word)
            return True
        if (given := assigned(words)) is None:
            return False
        self.env |= {name: self._filled(value) for name, value in given.items()}
        return True

    def fill(self, words: Sequence[str]) -> list[str]:
        """The words with what is known in place of variables; a word that is one variable may become several."""
        found: list[str] = []
        for word in words:
            match = WHOLE.fullmatch(word)
            name = (match[1] or match[2]) if match is not None else ""
            value = self._lists.get(name, self.env.get(name))
            if value is not None and len(value) <= MOST:
                found += split_line(value) if name in self._lists or value.lstrip().startswith("-") else [value]
            else:
                found.append(self._filled(word))
        return found

    def _filled(self, word: str) -> str:
        def value(match: re.Match[str]) -> str:
            known = self.env.get(match[1] or match[3])
            return known if known is not None else match[2] if match[2] is not None else match[0]

        filled = USED.sub(value, word) if "$" in word and len(word) <= MOST else word
        return filled if len(filled) <= MOST else word
