"""What the front door can tell of a request's length without asking anyone."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from planner.service.proxy.context_limit import (
    CHAT,
    COMPLETIONS,
    answer_tokens,
    counted_tokens,
    read_request,
    surely_fits,
    tokenize_bodies,
    turns,
    with_messages,
)


def body(**fields: Any) -> bytes:
    return msgspec.json.encode({"model": "m", **fields})


@pytest.mark.parametrize(
    ("prompt", "count"),
    [([1], 1), ([1, 2, 3], 3), ([[1, 2], [3, 4, 5]], 3), ("1,2,3", None), (["a", "b"], None), ([[1], "a"], None)],
)
def test_ids_are_counted_and_text_is_not(prompt: Any, count: int | None) -> None:
    asked = read_request(COMPLETIONS, body(prompt=prompt))
    assert asked is not None
    assert counted_tokens(asked) == count


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/v1/embeddings", body(input="a")),
        (COMPLETIONS, b"no json"),
        (COMPLETIONS, body()),
        (COMPLETIONS, body(prompt="a", max_tokens="many")),
        (COMPLETIONS, body(prompt="a", truncate_prompt_tokens=10)),
        (CHAT, body(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])),
    ],
)
def test_what_cannot_be_judged(path: str, content: bytes) -> None:
    assert read_request(path, content) is None


def test_a_text_with_fewer_bytes_than_there_is_room_fits() -> None:
    """Ideographs may be three tokens each, and they are three bytes."""
    asked = read_request(COMPLETIONS, body(prompt="\u4f60" * 100))
    assert asked is not None
    assert asked.num_bytes > 300
    assert surely_fits(asked, asked.num_bytes + 256)
    assert not surely_fits(asked, asked.num_bytes + 255)


@pytest.mark.parametrize(("said", "kept"), [(None, 1024), (500, 500), (4096, 4096), (5000, 1024), (0, 1024)])
def test_room_for_the_answer(said: int | None, kept: int) -> None:
    asked = read_request(CHAT, body(messages=[], max_completion_tokens=said, max_tokens=7 if said is None else None))
    assert asked is not None
    assert answer_tokens(asked, 8192) == (7 if said is None else kept)
    unlimited = read_request(CHAT, body(messages=[]))
    assert unlimited is not None
    assert answer_tokens(unlimited, 8192) == 1024
    assert answer_tokens(unlimited, 100) == 25


def test_a_turn_is_a_users_message_and_all_that_follows() -> None:
    roles = ["system", "developer", "user", "assistant", "tool", "assistant", "user", "assistant", "user"]
    messages = [{"role": role, "content": str(number)} for number, role in enumerate(roles)]
    content = body(messages=messages, temperature=0.5)
    asked = read_request(CHAT, content)
    assert asked is not None
    first, said = turns(asked.prompt)
    assert [len(first), *map(len, said)] == [2, 4, 2, 1]
    trimmed = msgspec.json.decode(with_messages(content, [*first, *said[2]]))
    assert trimmed == {"model": "m", "temperature": 0.5, "messages": [*messages[:2], messages[-1]]}


def test_what_the_engines_tokenizer_is_asked() -> None:
    asked = read_request(COMPLETIONS, body(prompt=["a", "b"], max_tokens=3))
    assert asked is not None
    assert [msgspec.json.decode(one) for one in tokenize_bodies(asked, b"")] == [
        {"model": "m", "prompt": "a"},
        {"model": "m", "prompt": "b"},
    ]
    content = body(messages=[{"role": "user", "content": "a"}], tools=[{"type": "function"}], max_tokens=3, stream=True)
    chat = read_request(CHAT, content)
    assert chat is not None
    (one,) = tokenize_bodies(chat, content)
    assert set(msgspec.json.decode(one)) == {"model", "messages", "tools"}
