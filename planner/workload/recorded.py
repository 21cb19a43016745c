"""Recorded traffic: JSON Lines or ShareGPT files read as prompts with lengths and arrival times."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

MOST_TOKENS = 2**31 - 1
MOST_ARRIVAL_S = 1e9
Tokens = Annotated[int, msgspec.Meta(ge=1, le=MOST_TOKENS)]


class GivenPrompt(msgspec.Struct, frozen=True):
    """One recorded request: its prompt, or only the prompt's length."""

    prompt: str | None
    output_tokens: Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)] | None = None
    arrival_s: Annotated[float, msgspec.Meta(ge=-MOST_ARRIVAL_S, le=MOST_ARRIVAL_S * 10)] | None = None
    input_tokens: Tokens | None = None
    """Length of the prompt. If `prompt` is None, a prompt of this length is generated."""


# --- recorded prompts -------------------------------------------------------------------------------------------------

TOKENS_PER_WORD = 1.3
"""Approximate tokens per word of English text; ShareGPT files do not say how many tokens an answer had."""


def read_prompts(text: str) -> list[GivenPrompt]:
    """Parse JSONL of `{prompt, output_tokens, arrival_s}`, or a ShareGPT file. Raises ValueError.

    A line may give `input_tokens`, the length alone, in place of the prompt. The names that other tools write are
    accepted too: `max_tokens`, `output_len`, `input_len`, `timestamp`.
    """
    if text.lstrip().startswith("["):
        lines = msgspec.json.decode(text, type=list[dict[str, Any]])
    else:
        lines = [msgspec.json.decode(line, type=dict[str, Any]) for line in text.splitlines() if line.strip()]
    found = [_from_sharegpt(line) if "conversations" in line else _from_line(line) for line in lines]
    prompts = [given for given in found if given is not None]
    if not prompts:
        raise ValueError("has no prompts")
    return prompts


def _from_line(line: dict[str, Any]) -> GivenPrompt:
    prompt, length = line.get("prompt"), line.get("input_tokens", line.get("input_len"))
    if length is None and (not isinstance(prompt, str) or not prompt):
        raise ValueError("a line has no prompt, nor input_tokens")
    arrival = line.get("arrival_s", line.get("timestamp"))
    found = {
        "prompt": prompt if isinstance(prompt, str) else None,
        "input_tokens": length,
        "output_tokens": line.get("output_tokens", line.get("max_tokens", line.get("output_len"))),
        "arrival_s": arrival,
    }
    return msgspec.convert(found, GivenPrompt, strict=False)  # a count may be written as "12" or 12.0


def _from_sharegpt(talk: dict[str, Any]) -> GivenPrompt | None:
    """The first question with the approximate tokens of its answer; None unless the file has both."""
    turns = talk["conversations"]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns[:2]):
        raise ValueError("conversations: is no list of turns")
    if len(turns) < 2:
        return None
    prompt, answer = str(turns[0].get("value", "")), str(turns[1].get("value", ""))
    return GivenPrompt(prompt, max(1, round(len(answer.split()) * TOKENS_PER_WORD))) if prompt and answer else None
