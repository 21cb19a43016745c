"""Read the settings asked for, as vLLM logs its arguments, and those in effect, as its engine logs them.

`SettingsReader` folds lines, `read_settings` a text; `differences` compares. Only values of `EngineConfig`'s settings
are kept: other arguments may hold keys and tokens, so only their names are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from planner.engine.config import BOOLEANS, FIELDS
from planner.engine.log.lines import LogLine, lines_of
from planner.engine.log.patterns import ASKED, CAPTURE_SIZE, IN_EFFECT, LOGGED_AS, SETTINGS

Scalar = str | int | float | bool | None

MAX_VALUE = 200
"""Most characters kept of a value that is no plain number or word."""

_OPEN, _CLOSE, _QUOTES = "([{<", ")]}>", "'\""
_PAIR = re.compile(r"""\s*(?:(\w+)=|['"](\w+)['"]: )(.*)""", re.DOTALL)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_WORDS: Mapping[str, Scalar] = {"True": True, "False": False, "None": None}
_SAME: Mapping[Scalar, Scalar] = {"half": "float16", "float": "float32", "enabled": True, "disabled": False}
# `torch.float16`, `LoadFormat.DUMMY`
_QUALIFIED = re.compile(r"torch\.(\w+)|[A-Z]\w*\.([A-Z][A-Z0-9_]*)")


@dataclass(frozen=True, slots=True)
class SettingDifference:
    setting: str
    asked: Scalar
    in_effect: Scalar


class SettingsReader:
    """Folds the lines of one start into its settings."""

    def __init__(self) -> None:
        self.asked: dict[str, Scalar] = {}
        self.has_all = False
        """Whether `asked` also has settings at vLLM's defaults, as the log does up to 0.9."""
        self.others: set[str] = set()
        """Names of the other arguments that were passed."""
        self.model: str | None = None
        self.in_effect: dict[str, Scalar] = {}

    def feed(self, line: LogLine) -> bool:
        """Take a line in; returns whether it has settings."""
        text = line.text
        if match := ASKED.match(text):
            self._take_asked(text[match.end() :], is_all=match["namespace"] is not None)
        elif match := IN_EFFECT.search(text):
            self._take_engine(text[match.end() :])
        else:
            return self._take_line(line)
        return True

    def _take_asked(self, text: str, is_all: bool) -> None:
        """The command line's arguments: those that differ from their defaults, or up to 0.9 all of them.

        Source: vllm@0.8.5 entrypoints/openai/api_server.py:run_server, vllm@0.32
        entrypoints/serve/utils/api_utils.py:log_non_default_args.
        """
        self.has_all = is_all
        for name, raw in _pairs(text):
            value = scalar(raw)
            if name in {"model", "model_tag"} and isinstance(value, str):
                self.model = value
            elif name in FIELDS and value is not None:
                self.asked[name] = value
            elif not is_all:
                self.others.add(name)

    def _take_engine(self, text: str) -> None:
        for name, raw in _pairs(text):
            field, value = LOGGED_AS.get(name, name), scalar(raw)
            if field in FIELDS:
                self.in_effect[field] = value
            elif field == "model" and isinstance(value, str):
                self.model = value
            elif field == "compilation_config" and (size := CAPTURE_SIZE.search(raw)):
                self.in_effect["max_cudagraph_capture_size"] = int(size[1])

    def _take_line(self, line: LogLine) -> bool:
        told = False
        for name, pattern in SETTINGS:
            match = pattern.search(line.text)
            if match and not (line.is_cut and match.end() == len(line.text)):
                self.in_effect[name] = scalar(match[1])
                told = True
        return told

    def asked_words(self) -> str:
        """The settings asked for as one line, without values that may be secret."""
        asked = ", ".join(f"{name} {value}" for name, value in self.asked.items()) or "nothing that is a setting"
        return f"asked: {asked}{'; passed too: ' + ', '.join(sorted(self.others)) if self.others else ''}"

    def differences(self) -> tuple[SettingDifference, ...]:
        return differences(self.asked, self.in_effect)


def read_settings(log_text: str) -> SettingsReader:
    """Read the settings from the log of a start."""
    reader = SettingsReader()
    for line in lines_of(log_text):
        reader.feed(line)
    return reader


def differences(asked: Mapping[str, Scalar], in_effect: Mapping[str, Scalar]) -> tuple[SettingDifference, ...]:
    """Settings in effect with another value than asked for; a value left to the engine (auto) never differs."""
    return tuple(
        SettingDifference(name, value, in_effect[name])
        for name, value in asked.items()
        if name in in_effect and not is_same(name, value, in_effect[name])
    )


def is_same(name: str, asked: Scalar, in_effect: Scalar) -> bool:
    """Whether two values mean the same to vLLM; a value left to the engine equals any."""
    asked, in_effect = _SAME.get(asked, asked), _SAME.get(in_effect, in_effect)
    if asked is None or asked == "auto" or (name == "max_model_len" and asked == -1):
        return True
    if name in BOOLEANS:
        return bool(asked) == bool(in_effect)  # V0 says None for off
    if isinstance(asked, int | float) and isinstance(in_effect, int | float):
        decimals = len(str(in_effect).partition(".")[2])
        return asked == in_effect or (isinstance(in_effect, float) and round(asked, decimals) == in_effect)
    if str(asked).startswith(_OPEN[2]) or not isinstance(in_effect, str):  # JSON against a description of an object
        return (asked is None) == (in_effect is None)
    return str(asked).lower() == in_effect.lower()


def scalar(text: str) -> Scalar:
    """Parse a value in Python's notation: number, word, True, None; anything else is its text, shortened."""
    text = text.strip()
    if text in _WORDS:
        return _WORDS[text]
    if _NUMBER.fullmatch(text) and len(text) < 20:
        return float(text) if re.search(r"[.e]", text) else int(text)
    if len(text) >= 2 and text[0] in _QUOTES and text[-1] == text[0]:
        text = text[1:-1]
    if match := _QUALIFIED.fullmatch(text):
        text = match[1] or match[2].lower()
    if text in _SAME:
        return _SAME[text]
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 3] + "..."


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """Yield the whole pairs of `name=value, ...` or `'name': value, ...`: those with a comma or bracket after them."""
    for piece in _pieces(text):
        if match := _PAIR.fullmatch(piece):
            yield match[1] or match[2], match[3]


def _pieces(text: str) -> Iterator[str]:
    """Cut text at commas outside brackets and quotes, up to the closing bracket of the list."""
    depth, start, quote, skip = 0, 0, "", False
    for index, char in enumerate(text):
        if skip:
            skip = False
        elif quote:
            if char == "\\":
                skip = True
            elif char == quote:
                quote = ""
        elif char in _QUOTES:
            quote = char
        elif char in _OPEN:
            depth += 1
        elif char in _CLOSE:
            depth -= 1
            if depth < 0:
                yield text[start:index]
                return
        elif char == "," and depth == 0:
            yield text[start:index]
            start = index + 1
