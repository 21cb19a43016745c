"""A request made to fit the context that is served, or refused in OpenAI's words: `fit(request, ...)`.

In: a request, the context, and who counts the tokens of a text. Out: nothing, or a body without the oldest turns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, TypeAlias

import msgspec

from planner.service.lengths import (
    Asked,
    counted_tokens,
    read_request,
    surely_fits,
    tokenize_bodies,
    turns,
    with_messages,
    with_room,
)
from planner.service.request import Refused, Request

Trim = Literal["oldest"]
Tokenize: TypeAlias = Callable[[Request], Awaitable[bytes | None]]
"""Sends a request for /tokenize to an engine; None where none answers."""


async def fit(request: Request, context_tokens: int | None, trim: Trim | None, tokenize: Tokenize) -> None:
    """Raises Refused where it is too long and may not be, or cannot be, trimmed. None: the engine judges."""
    asked = None if context_tokens is None else read_request(request.path, request.body)
    if asked is None or context_tokens is None:
        return
    trims = trim is not None and asked.is_chat
    asked = with_room(asked, context_tokens) if trims else asked
    num_tokens = counted_tokens(asked)
    if num_tokens is None:
        if surely_fits(asked, context_tokens):
            return
        num_tokens = await _count(request, asked, request.body, tokenize)
    if num_tokens is None or num_tokens + asked.max_new_tokens <= context_tokens:
        return
    if not trims or not await _trim(request, asked, context_tokens, tokenize):
        raise _too_long(asked, num_tokens, context_tokens)


async def _count(request: Request, asked: Asked, body: bytes, tokenize: Tokenize) -> int | None:
    """Tokens by an engine's tokenizer, of several prompts the longest; None where it does not say."""
    counts = []
    try:
        for content in tokenize_bodies(asked, body):
            answer = await tokenize(Request("POST", "/tokenize", b"/tokenize", request.headers, content))
            counts.append(int(msgspec.json.decode(answer or b"")["count"]))
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
        return None
    return max(counts, default=None)


async def _trim(request: Request, asked: Asked, context_tokens: int, tokenize: Tokenize) -> bool:
    """Leave out as few of the oldest turns as needed, by bisection. False: the last one alone is too long."""
    try:
        first, said = turns(asked.prompt)
    except msgspec.MsgspecError:
        return False

    def without(num_turns: int) -> bytes:
        return with_messages(request.body, [*first, *(message for turn in said[num_turns:] for message in turn)])

    low, high = 0, len(said)  # too long without `low` turns; `high`: short enough, or none is left
    while high - low > 1:
        middle = (low + high) // 2
        num_tokens = await _count(request, asked, without(middle), tokenize)
        fits = num_tokens is not None and num_tokens + asked.max_new_tokens <= context_tokens
        low, high = (low, middle) if fits else (middle, high)
    if high >= len(said):
        return False
    request.body = without(high)
    request.num_trimmed += sum(map(len, said[:high]))
    return True


def _too_long(asked: Asked, num_tokens: int, context_tokens: int) -> Refused:
    where = "messages" if asked.is_chat else "prompt"
    return Refused(
        400,
        "context_length_exceeded",
        f"This model's maximum context length is {context_tokens} tokens. However, you requested "
        f"{num_tokens + asked.max_new_tokens} tokens ({num_tokens} in the {where}, {asked.max_new_tokens} in the "
        f"completion). Please reduce the length of the {where} or completion.",
        param=where,
    )
