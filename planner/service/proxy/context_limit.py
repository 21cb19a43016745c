"""How long a request is, against the context that is served now: `read_request`, `surely_fits`, `turns` and others.

Token ids are counted. A text fits if it has no more bytes than there is room for tokens; else the engine's tokenizer is
asked. What cannot be judged here (images, a body that is not JSON) is left to the engine. Opens no connections.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
ANSWER_TOKENS = 1024
"""Tokens kept for an answer when turns are left out and max_tokens is not usable; at most a quarter of the context."""
TEMPLATE_TOKENS = 256
"""Tokens that a chat template may add beyond what the body's own bytes cover."""
MOST_COUNTED = 8
"""Most prompts of one request that are counted; the engine judges the others, which have fewer characters."""
_MEDIA = re.compile(rb'"(?:image_url|input_audio|video_url|audio_url|image_embeds|image)"')
_NESTED = re.compile(rb"\[\s*[\[\"]")


class _Body(msgspec.Struct):
    """The parts of a request that are read; the rest stays bytes."""

    model: str | None = None
    prompt: msgspec.Raw = msgspec.Raw()
    messages: msgspec.Raw = msgspec.Raw()
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    truncate_prompt_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A completion request."""

    path: str
    model: str | None
    prompt: bytes
    """JSON of the prompt, or of the messages."""
    num_bytes: int
    """Bytes of the whole body, including tools and whatever else a template may show the model."""
    max_tokens: int | None

    @property
    def is_chat(self) -> bool:
        return self.path == CHAT


class _Lists(msgspec.Struct):
    """The parts of a request that may make many of one."""

    prompt: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    documents: msgspec.Raw = msgspec.Raw()
    text_2: msgspec.Raw = msgspec.Raw()
    n: int | None = None
    best_of: int | None = None


_decode = msgspec.json.Decoder(_Body).decode
_decode_lists = msgspec.json.Decoder(_Lists).decode


def read_request(path: str, body: bytes) -> Asked | None:
    """The completion that is asked for; None if its length cannot be judged here."""
    if path not in (COMPLETIONS, CHAT):
        return None
    try:
        asked = _decode(body)
    except msgspec.MsgspecError:
        return None  # the engine reports what is wrong with it
    prompt = bytes(asked.messages if path == CHAT else asked.prompt)
    if not prompt or asked.truncate_prompt_tokens is not None or _MEDIA.search(prompt):
        return None
    max_tokens = asked.max_tokens if asked.max_completion_tokens is None else asked.max_completion_tokens
    return Asked(path, asked.model, prompt, len(body), max_tokens)


def num_sequences(body: bytes) -> int:
    """Answers that a request asks for: its prompts, inputs or documents, times `n` or `best_of`. 1 if it is no JSON."""
    try:
        asked = _decode_lists(body)
    except msgspec.MsgspecError:
        return 1
    many = max(_length(part) for part in (asked.prompt, asked.input, asked.documents, asked.text_2))
    return many * max(1, asked.n or 1, asked.best_of or 1)


def _length(raw: msgspec.Raw) -> int:
    """Elements of a JSON list of texts or of lists; 1 for anything else, a list of token ids too."""
    if not _NESTED.match(bytes(raw)):
        return 1
    try:
        return len(msgspec.json.decode(raw, type=list[msgspec.Raw]))
    except msgspec.MsgspecError:
        return 1


def answer_tokens(asked: Asked, context_tokens: int) -> int:
    """Tokens to keep for the answer when turns are left out: max_tokens, unless that is most of the context."""
    if asked.max_tokens is not None and 0 < asked.max_tokens <= context_tokens // 2:
        return asked.max_tokens
    return max(1, min(ANSWER_TOKENS, context_tokens // 4))


def counted_tokens(asked: Asked) -> int | None:
    """Number of tokens of a prompt given as token ids (of several, the longest); None for text."""
    if asked.is_chat or not asked.prompt.startswith(b"["):
        return None
    if not _NESTED.match(asked.prompt):
        return asked.prompt.count(b",") + 1
    try:
        return max(map(len, msgspec.json.decode(asked.prompt, type=list[list[int]])), default=0)
    except msgspec.MsgspecError:
        return None


def surely_fits(asked: Asked, most_tokens: int) -> bool:
    """Whether the body is short enough without counting tokens.

    A token is at least one byte of text, and a message's JSON is longer than what a template writes around it.
    """
    return asked.num_bytes + TEMPLATE_TOKENS <= most_tokens


def tokenize_bodies(asked: Asked, body: bytes) -> list[bytes]:
    """Bodies to send to /tokenize, one per prompt, of many the longest. Raises MsgspecError if a prompt is no text."""
    if not asked.is_chat:
        prompts = msgspec.json.decode(asked.prompt, type=str | list[str])
        texts = [prompts] if isinstance(prompts, str) else sorted(prompts, key=len)[-MOST_COUNTED:]
        return [msgspec.json.encode({"model": asked.model, "prompt": text}) for text in texts]
    kept = ("model", "messages", "tools", "add_generation_prompt", "continue_final_message", "chat_template_kwargs")
    content = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    return [msgspec.json.encode({name: content[name] for name in kept if name in content})]


def turns(messages: bytes) -> tuple[list[msgspec.Raw], list[list[msgspec.Raw]]]:
    """The leading messages of the system or developer, and the turns after, each beginning with a user's message.

    Raises MsgspecError.
    """

    class Message(msgspec.Struct):
        role: str

    raw = msgspec.json.decode(messages, type=list[msgspec.Raw])
    roles = [message.role for message in msgspec.json.decode(messages, type=list[Message])]
    first = next((i for i, role in enumerate(roles) if role not in ("system", "developer")), len(roles))
    found: list[list[msgspec.Raw]] = []
    for message, role in zip(raw[first:], roles[first:], strict=True):
        if role == "user" or not found:
            found.append([])
        found[-1].append(message)
    return raw[:first], found


def with_messages(body: bytes, messages: Sequence[msgspec.Raw]) -> bytes:
    """The body with other messages; every other field stays as written. Raises MsgspecError."""
    content: dict[str, Any] = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    return msgspec.json.encode({**content, "messages": list(messages)})
