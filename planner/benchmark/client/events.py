"""The server-sent events of a streamed answer: tokens, usage, errors, and how a stream may be cut."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

# ---------------------------------------------------------------- the stream of events


class _Delta(msgspec.Struct):
    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(msgspec.Struct):
    text: str | None = None
    finish_reason: str | None = None
    delta: _Delta | None = None


Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class _Usage(msgspec.Struct):
    prompt_tokens: Tokens = 0
    completion_tokens: Tokens | None = None


class _Event(msgspec.Struct):
    """The fields read from an event; msgspec skips all others without creating objects."""

    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Event)
MAX_EVENT_BYTES = 1 << 20
"""Largest event, and largest body of an error response, in bytes. No engine sends longer ones."""


def _decode_event(payload: bytes) -> _Event:
    """Decode one event. Raises MsgspecError for anything wrong with it."""
    try:
        return _decoder.decode(payload)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None


CUT_STREAM = "cut stream"
NO_USAGE = "no usage"
NO_TOKENS = "no tokens"


class StreamedAnswer:
    """The part of an answer that has arrived. `feed` takes the bytes of each read, wherever TCP cut them."""

    __slots__ = ("chunk_s", "done", "error", "finish_reason", "keeps_text", "rest", "texts", "usage")

    def __init__(self, keeps_text: bool = False) -> None:
        self.rest = b""
        self.keeps_text = keeps_text
        self.texts: list[str] = []
        self.chunk_s: list[float] = []
        self.usage: _Usage | None = None
        self.finish_reason: str | None = None
        self.error: str | None = None
        self.done = False

    def feed(self, data: bytes, now_s: float) -> None:
        if b"\r" in data:  # JSON escapes it, so a raw one can only end a line
            data = data.replace(b"\r", b"")
        events = (self.rest + data).split(b"\n\n")
        self.rest = events.pop()
        if len(self.rest) > MAX_EVENT_BYTES:
            raise msgspec.DecodeError(f"an event of more than {MAX_EVENT_BYTES} bytes")
        for event in events:
            self._take(event, now_s)

    def _take(self, event: bytes, now_s: float) -> None:
        if not event.startswith(b"data:"):  # a comment, or a data line after other fields
            event = next((line for line in event.split(b"\n") if line.startswith(b"data:")), b"")
        payload = event[5:].strip()
        if not payload:
            return
        if payload == b"[DONE]":
            self.done = True
            return
        content = _decode_event(payload)
        if content.choices:
            choice = content.choices[0]
            delta = choice.delta
            # A chat stream opens with an event that only names the role and carries no token. An empty text elsewhere
            # is a token: special tokens and halves of a character have no text.
            if delta is None or delta.role is None or delta.content or delta.reasoning_content or delta.reasoning:
                self.chunk_s.append(now_s)
            if self.keeps_text:
                self.texts.append((choice.text if delta is None else delta.content) or "")
            if choice.finish_reason is not None:
                self.finish_reason = choice.finish_reason
        if content.usage is not None:
            self.usage = content.usage
        if content.error is not None:
            self.error = "stream error: " + error_message(payload)

    @property
    def prompt_tokens(self) -> int:
        return self.usage.prompt_tokens if self.usage is not None else 0

    @property
    def completion_tokens(self) -> int | None:
        return self.usage.completion_tokens if self.usage is not None else None

    def verdict(self, most_input: int, most_output: int) -> str | None:
        """The error of an answer that has ended, or None where it is complete and its usage can be true.

        `most_input`: tokens that the request can have, `most_output`: tokens that were asked for.
        """
        if self.error is not None:
            return self.error
        if not self.done:
            return CUT_STREAM
        if self.usage is None or self.usage.completion_tokens is None:
            return NO_USAGE
        if not self.chunk_s:
            return NO_TOKENS
        events = len(self.chunk_s)
        counted = self.usage.completion_tokens
        if not events // 2 <= counted <= max(most_output, events):  # some events have no token, as the last one
            return f"false usage: {counted} tokens in {events} events, of {most_output} asked for"
        if self.usage.prompt_tokens > most_input:
            return f"false usage: a prompt of {self.usage.prompt_tokens} tokens, where at most {most_input} were sent"
        return None


def error_message(body: bytes) -> str:
    """One line from an error's JSON body: old `{"message"}`, now `{"error": {"message"}}`, FastAPI's `{"detail"}`."""
    try:
        content = msgspec.json.decode(body)
        while isinstance(content, dict):
            content = next((content[key] for key in ("error", "message", "detail") if content.get(key)), str(content))
        words = str(content)
    except (ValueError, RecursionError):
        words = body.decode(errors="replace")
    return " ".join(words.split())
