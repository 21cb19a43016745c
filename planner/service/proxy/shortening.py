"""A request made to fit the context that is served, or refused in OpenAI's words: `fit(request, ...)`.

In: a request, the context, and who counts the tokens of a text. Out: nothing, or a body without the oldest turns. The
engine decides what `max_tokens` may be beyond the prompt: 0.8 refuses it, 0.32 cuts the answer short.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Literal, TypeAlias

import msgspec

from planner.service.proxy.context_limit import (
    CHAT,
    Asked,
    answer_tokens,
    counted_tokens,
    read_request,
    surely_fits,
    tokenize_bodies,
    turns,
    with_messages,
)
from planner.service.proxy.request import ProxyRequest, Refused

Trim = Literal["oldest"]
Tokenize: TypeAlias = Callable[[ProxyRequest], Awaitable[bytes | None]]
"""Sends a request for /tokenize to an engine; returns its answer, or None if none answers."""


async def fit(request: ProxyRequest, context_tokens: int | None, trim: Trim | None, tokenize: Tokenize) -> None:
    """Trim a request that is too long. `context_tokens` None: the engine judges.

    Raises Refused if it may not be trimmed, or cannot be.
    """
    asked = None if context_tokens is None else read_request(request.path, request.body)
    if asked is None or context_tokens is None:
        return
    limits = [context_tokens - 1]  # an answer has at least one token
    if trims := trim is not None and asked.is_chat:
        limits.insert(0, context_tokens - answer_tokens(asked, context_tokens))
    num_tokens = counted_tokens(asked)
    if num_tokens is None:
        if surely_fits(asked, limits[0]):
            return
        num_tokens = await _count(request, asked, request.body, tokenize)
    for most_tokens in limits:
        if num_tokens is None or num_tokens <= most_tokens:
            return
        if trims and await _trim(request, asked, most_tokens, tokenize):
            return
    what = "messages" if asked.is_chat else "prompt"
    raise _too_long(
        what,
        f"This model's maximum context length is {context_tokens} tokens. However, your {what} resulted in "
        f"{num_tokens} tokens. Please reduce the length of the {what}.",
    )


def too_long_says(path: str, body: bytes) -> Refused | None:
    """The engine's own refusal of a request's length, in OpenAI's form; None if the answer is something else."""
    message = _decode_error(body)
    if message is None or not _LENGTH.search(message):
        return None
    return _too_long("messages" if path == CHAT else "prompt", message)


class _Error(msgspec.Struct):
    message: str = ""


class _ChatBody(msgspec.Struct):
    """An engine's error: nested since 0.11, flat before."""

    error: _Error | None = None
    message: str = ""


_LENGTH = re.compile(r"maximum (?:context|model) length")


def _decode_error(body: bytes) -> str | None:
    try:
        found = msgspec.json.decode(body, type=_ChatBody)
    except msgspec.MsgspecError:
        return None
    return found.message if found.error is None else found.error.message


async def _count(request: ProxyRequest, asked: Asked, body: bytes, tokenize: Tokenize) -> int | None:
    """Number of tokens by an engine's tokenizer, of several prompts the longest; None if it does not say."""
    counts = []
    try:
        for content in tokenize_bodies(asked, body):
            answer = await tokenize(ProxyRequest("POST", "/tokenize", b"/tokenize", request.headers, content))
            counts.append(int(msgspec.json.decode(answer or b"")["count"]))
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
        return None
    return max(counts, default=None)


async def _trim(request: ProxyRequest, asked: Asked, most_tokens: int, tokenize: Tokenize) -> bool:
    """Leave out as few of the oldest turns as needed, by bisection. False: the last turn alone is too long."""
    try:
        first, said = turns(asked.prompt)
    except msgspec.MsgspecError:
        return False

    def without(num_turns: int) -> bytes:
        return with_messages(request.body, [*first, *(message for turn in said[num_turns:] for message in turn)])

    low, high = 0, len(said)  # `low`: still too long without these; `high`: short enough, or all turns
    while high - low > 1:
        middle = (low + high) // 2
        num_tokens = await _count(request, asked, without(middle), tokenize)
        fits = num_tokens is not None and num_tokens <= most_tokens
        low, high = (low, middle) if fits else (middle, high)
    if high >= len(said):
        return False
    request.body = without(high)
    request.num_trimmed += sum(map(len, said[:high]))
    return True


def _too_long(what: str, message: str) -> Refused:
    return Refused(400, "context_length_exceeded", message, param=what)
