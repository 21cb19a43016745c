"""A text as people copy it from a shell, a README or a chat: `commands(text)` -> the words of each command.

Prompts, comments, Markdown fences and line continuations of bash, PowerShell and cmd are taken away. A line that begins
with a flag belongs to the command before it, also where its backslash was lost. Runs nothing, replaces no variable.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence

from planner.engine.command.retyped import retyped
from planner.errors import InputError

ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
PROMPT = re.compile(
    r"\s*(?:\([\w.-]{1,60}\)\s*)?(?:[\w.-]{1,60}@[^\s$#%>]{1,200}(?:[ \t][^\s$#%>]{1,200})?\s?[$#%>]"
    r"|\[[^\]\n]{1,200}\][$#%]|PS [^>\n]{0,200}>|[A-Za-z]:\\[^>\n]{0,200}>|[$%>❯➜])\s+"
)
"""Prompts of shells, before words that are typed: `$`, `(venv) $`, `user@host:~$`, `[root@host ~]#`, `PS C:\\>`."""
FENCE = re.compile(r"\s*(```|~~~)[\w-]*\s*")
CONTINUED = re.compile(r"[\\`^][ \t]*(\r?\n|$)")
"""A character that continues a line in bash, PowerShell or cmd, at the line's end."""
FLAG_BEGINS = re.compile(r"-{1,2}[A-Za-z]")
LEFT_BEHIND = frozenset({"\\", "$", "`", "^"})
"""Words that copying leaves behind: a continuation without its line end, a prompt."""


def is_left_behind(word: str) -> bool:
    """Whether a word is only what copying left: a lone backslash, a prompt, or the blank after a backslash."""
    return word.strip() in LEFT_BEHIND or (word != "" and not word.strip())


def split_line(text: str) -> list[str]:
    """The words of one command as a shell splits it. Raises InputError for a quote that is not closed."""
    try:
        words = shlex.split(re.sub(r"\\\s*\n", " ", text))
    except ValueError as error:
        raise InputError(f"the pasted line: {error}: {text[:60]!r}") from None
    return [word for word in words if not is_left_behind(word)]


SERVICE = re.compile(
    r"\s*(?:(?:ExecStart|Exec|command)\s*=\s*(?:[-@:+!]{1,3}(?=/))?|Environment\s*=\s*|ENV\s+(?=\w+=)|(?:CMD|ENTRYPOINT)\s+(?=\[))(?=\S)"
)
"""Words before a command, or a variable, in a unit of systemd, of supervisor, a quadlet or a Dockerfile."""


def _plain(line: str) -> str:
    """A line without its prompt, or what a unit's file writes before the command; a JSON list as a shell's words."""
    if match := SERVICE.match(line):
        line = line[match.end() :]
    elif PROMPT.match(line):
        line = PROMPT.sub("", line, count=1)
    if line.lstrip().startswith('["'):
        try:
            listed = json.loads(line)
        except (ValueError, RecursionError):
            return line
        if all(isinstance(word, str) for word in listed):
            return shlex.join(listed)
    return line


def commands(text: str) -> list[list[str]]:
    """The words of each command of a text. Raises InputError for a quote that is not closed."""
    text = retyped(text)
    lines = [line for line in text.replace("\r\n", "\n").split("\n") if not FENCE.fullmatch(line)]
    plain = "\n".join(map(_plain, lines))
    if len(lines) == 1 and plain.lstrip().startswith("# "):
        plain = plain.lstrip()[2:]  # root's prompt: a comment alone would say nothing
    return [words for part in _parts(plain) if (words := split_line(part))]


def _parts(text: str) -> Iterator[str]:
    """The text of each command, without comments: it ends at a line's end, `;`, `&&` and `|`, outside quotes."""
    found: list[str] = []
    at, quote = 0, ""
    while at < len(text):
        char = text[at]
        step = 1
        if quote:
            step = 2 if char == "\\" and quote == '"' else 1
            quote = "" if char == quote else quote
            found.append(text[at : at + step])
        elif match := CONTINUED.match(text, at):
            found.append(" ")
            step = max(1, match.end() - at)
        elif char == "#" and (not found or found[-1].isspace()):
            end = text.find("\n", at)
            step = (len(text) if end < 0 else end) - at
        elif char in ";|" or text.startswith("&&", at):
            yield "".join(found)
            found, step = [], 2 if char == "&" or text.startswith("||", at) else 1
        elif char == "\n":
            step = _after_blank_lines(text, at) - at
            if FLAG_BEGINS.match(text, at + step):
                found.append(" ")
            else:
                yield "".join(found)
                found = []
        else:
            quote = char if char in "'\"" else ""
            step = 2 if char == "\\" else 1
            found.append(text[at : at + step])
        at += step
    yield "".join(found)


def _after_blank_lines(text: str, at: int) -> int:
    """Where the next word stands after blanks, line ends and whole lines of comment."""
    while at < len(text) and (text[at].isspace() or text[at] == "#"):
        end = text.find("\n", at) if text[at] == "#" else at + 1
        at = len(text) if end < 0 else end
    return at


def assigned(words: Sequence[str]) -> dict[str, str] | None:
    """The variables of `A=1`, `export A=1 B=2` or `set A=1`; None if the command is anything else."""
    given = list(words[1:] if words[:1] and words[0] in {"export", "set", "ENV"} else words)
    matches = [ASSIGNMENT.fullmatch(word) for word in given]
    return {match[1]: match[2] for match in matches if match} if matches and all(matches) else None
