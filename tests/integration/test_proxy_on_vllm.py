"""The front door before the real vLLM in a container: streams, lengths by its tokenizer, clients that go."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from planner.benchmark.client.telemetry import fetch_telemetry
from planner.service.proxy.app import Proxy
from planner.service.proxy.server import proxy_in_thread

pytestmark = [pytest.mark.container, pytest.mark.vllm]

MODEL, ENGINE_CONTEXT, CONTEXT = "/models/tiny", 1024, 256
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


@pytest.fixture(scope="module")
def door(engine: tuple[Any, str]) -> Iterator[tuple[str, Proxy]]:
    proxy = Proxy([engine[1]], context_tokens=CONTEXT)
    with proxy_in_thread(proxy, "127.0.0.1", 0) as url:
        yield url, proxy


def post(url: str, path: str, **fields: Any) -> httpx.Response:
    return httpx.post(url + path, json={"model": MODEL, "temperature": 0, **fields}, timeout=600, trust_env=False)


def test_answers_and_streams_are_the_engines_own(engine: tuple[Any, str], door: tuple[str, Proxy]) -> None:
    asked = {"prompt": list(range(100, 150)), "max_tokens": 16, "ignore_eos": True}
    texts = [post(url, COMPLETIONS, **asked).json()["choices"][0]["text"] for url in (engine[1], door[0])]
    assert texts[0] == texts[1] != ""
    body = {"model": MODEL, "temperature": 0, "stream": True, **asked}
    with httpx.stream("POST", door[0] + COMPLETIONS, json=body, timeout=600, trust_env=False) as response:
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    assert "".join(json.loads(line)["choices"][0]["text"] for line in lines[:-1]) == texts[0]
    assert post(door[0], COMPLETIONS, **{**asked, "model": "other"}).status_code == 404


def test_the_limit_is_where_the_engine_itself_would_have_it(engine: tuple[Any, str], door: tuple[str, Proxy]) -> None:
    """A prompt may leave one token of the context, by ids and by the engine's own count of a text."""
    for url, context in ((engine[1], ENGINE_CONTEXT), (door[0], CONTEXT)):
        assert post(url, COMPLETIONS, prompt=[5] * (context - 1), max_tokens=8).status_code == 200
        assert post(url, COMPLETIONS, prompt=[5] * context, max_tokens=8).status_code == 400

    def chat(num_words: int) -> httpx.Response:
        messages = [{"role": "user", "content": "w100 " * num_words}]
        return post(door[0], CHAT, messages=messages, max_tokens=8)

    more = chat(200).json()["usage"]["prompt_tokens"] - 200
    assert chat(CONTEXT - 1 - more).status_code == 200
    refused = chat(CONTEXT - more)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "context_length_exceeded")


def test_the_engines_own_refusal_has_openais_form(engine: tuple[Any, str]) -> None:
    asked = {"prompt": [5] * (ENGINE_CONTEXT + 1), "max_tokens": 8}
    own = post(engine[1], COMPLETIONS, **asked)
    with proxy_in_thread(Proxy([engine[1]]), "127.0.0.1", 0) as url:
        error = post(url, COMPLETIONS, **asked).json()["error"]
    assert error["message"] == own.json()["error"]["message"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "context_length_exceeded")


def test_the_oldest_turns_are_left_out(door: tuple[str, Proxy]) -> None:
    url, proxy = door
    turn = [{"role": "user", "content": "w100 " * 20}, {"role": "assistant", "content": "w200 " * 20}]
    messages = [{"role": "system", "content": "w7"}, *turn * 12, {"role": "user", "content": "w300"}]
    assert post(url, CHAT, messages=messages, max_tokens=8).status_code == 400
    proxy.trim = "oldest"
    try:
        answer = post(url, CHAT, messages=messages, max_tokens=8)
    finally:
        proxy.trim = None
    assert answer.status_code == 200, answer.text
    left_out = int(answer.headers["x-planner-trimmed"])
    used = answer.json()["usage"]["prompt_tokens"]
    per_turn = 40  # and what the template adds
    assert left_out % 2 == 0
    assert CONTEXT - 8 - 2 * per_turn < used <= CONTEXT - 8, "no more than needed"


def test_a_client_that_goes_frees_the_engine(engine: tuple[Any, str], door: tuple[str, Proxy]) -> None:
    def read(field: str) -> int:
        said = fetch_telemetry(engine[1])
        return -1 if said is None else int(getattr(said, field))

    before, most = read("generation_tokens"), ENGINE_CONTEXT - 8
    body = {"model": MODEL, "prompt": [5] * 8, "max_tokens": most, "ignore_eos": True, "stream": True}
    with httpx.stream("POST", door[0] + COMPLETIONS, json=body, timeout=600, trust_env=False) as response:
        next(response.iter_lines())  # the engine is at it; asking it so takes as long as its answer on a busy machine
    wait_until(lambda: read("num_requests_running") == 0)
    assert read("generation_tokens") - before < most


def wait_until(is_so: Callable[[], bool], timeout_s: float = 600) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)
