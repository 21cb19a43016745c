"""Files of texts: planner's own lines and vLLM's custom ones, ShareGPT, OpenAI's chat logs and batch files.

Sources: vllm@0.32 benchmarks/datasets.py:CustomDataset and ShareGPTDataset; OpenAI's Batch API (`custom_id`, `method`,
`url`, `body`; in its answers `response`) and chat completions (`messages`, `usage`, `created`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from planner.workload.recorded import GivenPrompt
from planner.workload.traces.lines import Entry, seconds_of, tokens_of

OWN = "{prompt (text) or input_tokens, output_tokens, arrival_s}"
SHAREGPT = "{conversations: [{from, value}, ...]}"
OPENAI = "{messages: [{role, content}, ...]}, {body: {messages or prompt}}, or {usage: {prompt_tokens}}"
ALIASES = {
    "input_tokens": ("input_tokens", "input_len"),
    "output_tokens": ("output_tokens", "max_tokens", "output_len"),
    "arrival_s": ("arrival_s", "timestamp"),
}
"""Names that other tools write for planner's own."""
MOST_OUTPUT = ("max_completion_tokens", "max_tokens", "max_output_tokens")
TIMES = ("arrival_s", "timestamp", "created", "created_at")
URLS = ("/v1/chat/completions", "/v1/completions", "/v1/responses")


def read_own(entries: Sequence[Entry]) -> list[GivenPrompt | None]:
    """Lines of a prompt or its length, with tokens of the answer and arrival in seconds where they are known."""
    return [_own(entry) for entry in entries]


def _own(entry: Entry) -> GivenPrompt:
    prompt = entry.values.get("prompt")
    keys = {field: key for field, names in ALIASES.items() for key in [_first(entry.values, names)] if key}
    if "input_tokens" not in keys and (not isinstance(prompt, str) or not prompt):
        raise entry.wrong("a line has no prompt, nor input_tokens", OWN)
    return entry.given(keys, OWN, prompt=prompt if isinstance(prompt, str) else None)


def _first(values: Any, names: Sequence[str]) -> str | None:
    return next((name for name in names if values.get(name) is not None), None)


def read_sharegpt(entries: Sequence[Entry]) -> list[GivenPrompt | None]:
    """The first question of each conversation with the approximate tokens of its answer; None where one lacks."""
    found: list[GivenPrompt | None] = []
    for entry in entries:
        turns = entry.values.get("conversations")
        if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns[:2]):
            raise entry.wrong("conversations: is no list of turns", SHAREGPT)
        question, answer = (str(turn.get("value", "")) for turn in (*turns[:2], {}, {})[:2])
        is_whole = bool(question) and bool(answer)
        found.append(GivenPrompt(question, tokens_of(answer)) if is_whole else None)
    return found


# --- OpenAI -----------------------------------------------------------------------------------------------------------


def read_openai(entries: Sequence[Entry]) -> list[GivenPrompt | None]:
    """Requests with their answers where both are logged; usage counts tokens, else words do, else the request's limit.

    An answer that failed is left out. Texts of a conversation follow each other with the role before each, so that what
    later turns have in common with earlier ones stays in common.
    """
    return [_openai(entry) for entry in entries]


def _openai(entry: Entry) -> GivenPrompt | None:
    values = entry.values
    url = values.get("url")
    if url is not None and url not in URLS:
        raise entry.wrong(f"url: {str(url)[:60]!a}", ", ".join(URLS))
    body = next((one for key in ("body", "request") if isinstance(one := values.get(key), dict)), values)
    response = values.get("response")
    if values.get("error") or (isinstance(response, dict) and response.get("status_code", 200) != 200):
        return None
    answer = response if isinstance(response, dict) else values
    answer = answer["body"] if answer is response and isinstance(answer.get("body"), dict) else answer
    prompt, said = _prompt_of(entry, body)
    usage: dict[str, Any] = found if isinstance(found := answer.get("usage"), dict) else {}
    counted = {
        "input_tokens": _first(usage, ("prompt_tokens", "input_tokens")),
        "output_tokens": _first(usage, ("completion_tokens", "output_tokens")),
    }
    if prompt is None and counted["input_tokens"] is None:
        raise entry.wrong("has no messages, prompt, nor usage.prompt_tokens", OPENAI)
    limit = _first(body, MOST_OUTPUT)
    if said is None and counted["output_tokens"] is None and (texts := _answers(answer)):
        said = tokens_of(texts)
    output = body[limit] if said is None and limit is not None else said
    more = {field: usage[key] for field, key in counted.items() if key is not None}
    return entry.given(
        {}, OPENAI, prompt=prompt, arrival_s=_arrival(entry, answer), **({"output_tokens": output} | more)
    )


def _prompt_of(entry: Entry, body: Any) -> tuple[str | None, int | None]:
    """The request's text, and the tokens of the answer that a log has as its last message; None where it has none."""
    messages = body.get("messages", body.get("input"))
    if isinstance(messages, str) or messages is None:
        text = messages if messages is not None else body.get("prompt")
        if text is not None and (not isinstance(text, str) or not text):
            raise entry.wrong("prompt: is no text", OPENAI)
        return text, None
    if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages) or not messages:
        raise entry.wrong("messages: is no list of {role, content}", OPENAI)
    last = messages[-1]
    said = tokens_of(_text(last)) if last.get("role") == "assistant" and len(messages) > 1 else None
    asked = messages[:-1] if said is not None else messages
    text = "\n".join(f"{one.get('role', 'user')}: {_text(one)}" for one in asked)
    return text, said


def _text(message: Any) -> str:
    """Text of a message's content; parts that are no text are left out."""
    content = message.get("content") or ""
    if isinstance(content, list):
        content = " ".join(str(part["text"]) for part in content if isinstance(part, dict) and part.get("text"))
    return str(content)


def _answers(answer: Any) -> str:
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = first.get("message")
    return _text(message) if isinstance(message, dict) else str(first.get("text") or "")


def _arrival(entry: Entry, answer: Any) -> float | None:
    if "custom_id" in entry.values:  # a batch is answered when there is room, not when its requests came
        return None
    for values in (entry.values, answer):
        if (key := _first(values, TIMES)) is not None:
            try:
                return seconds_of(values[key])
            except (ValueError, TypeError, OverflowError):
                allowed = "seconds, milliseconds since 1970, or a date"
                raise entry.wrong(f"{key}: {str(values[key])[:40]!a} is no time", allowed) from None
    return None
