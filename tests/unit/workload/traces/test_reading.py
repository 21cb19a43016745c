"""Recorded traffic of every format, recognised by its content; a bad line is one error that names it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from planner.errors import InputError
from planner.workload.recorded import GivenPrompt
from planner.workload.traces.reading import FORMATS, parse_traffic, read_traffic
from tests.places import ROOT

TRACES = ROOT / "tests" / "golden" / "traces"
EXCERPTS = {
    "azure-2023.csv": ("Azure LLM inference trace", 12, 0, True),
    "azure-2024.csv": ("Azure LLM inference trace", 12, 0, True),
    "burstgpt.csv": ("BurstGPT", 10, 2, True),
    "mooncake.jsonl": ("Mooncake", 60, 0, True),
    "openai-batch-output.jsonl": ("OpenAI", 3, 1, False),
    "openai-batch.jsonl": ("OpenAI", 5, 0, False),
    "openai-chat.jsonl": ("OpenAI", 4, 0, True),
    "planner.jsonl": ("prompts and lengths", 6, 0, True),
    "qwen.jsonl": ("Qwen trace", 8, 0, True),
    "sharegpt.json": ("ShareGPT", 4, 1, False),
    "vllm-custom.jsonl": ("prompts and lengths", 5, 0, False),
}
"""Excerpt -> format, requests, entries left out, whether arrivals are known."""


@pytest.mark.parametrize("name", EXCERPTS)
def test_an_excerpt_is_recognised_whatever_its_name(name: str, tmp_path: Path) -> None:
    unnamed = tmp_path / "traffic"
    unnamed.write_bytes((TRACES / name).read_bytes())
    traffic = read_traffic(unnamed)
    assert (traffic.kind, len(traffic.requests), traffic.left_out, traffic.has_arrivals) == EXCERPTS[name]


def test_every_format_has_an_excerpt() -> None:
    assert {path.name for path in TRACES.iterdir()} - {"README.md"} == set(EXCERPTS)
    assert {kind for kind, *_ in EXCERPTS.values()} == {one.name for one in FORMATS}


def test_units_and_lengths_are_those_of_the_formats() -> None:
    mooncake, qwen = (read_traffic(TRACES / f"{name}.jsonl").requests[0] for name in ("mooncake", "qwen"))
    assert mooncake == GivenPrompt(None, 286, 0.147, 1445, (0, 1, 46), 512)
    assert (qwen.arrival_s, qwen.block_tokens, len(qwen.hash_ids)) == (0.595, 16, 7)
    for year in ("2023", "2024"):
        first, second, *_ = read_traffic(TRACES / f"azure-{year}.csv").requests
        assert 0 < (second.arrival_s or 0) - (first.arrival_s or 0) < 1
    burst = read_traffic(TRACES / "burstgpt.csv").requests[0]
    assert burst == GivenPrompt(None, 245, 5.0, 460)
    batch = read_traffic(TRACES / "openai-batch.jsonl").requests[0]
    assert (batch.prompt or "").startswith("system: You are")
    assert batch.output_tokens == 100
    answered = read_traffic(TRACES / "openai-batch-output.jsonl").requests[0]
    assert answered == GivenPrompt(None, 15, None, 24)
    chat = read_traffic(TRACES / "openai-chat.jsonl").requests
    assert chat[0].output_tokens == 26  # twenty words
    assert (chat[1].arrival_s or 0) - (chat[0].arrival_s or 0) == 2.0


def test_requests_stand_in_the_order_of_their_arrivals() -> None:
    lines = ['{"input_tokens": 1, "arrival_s": 2}', '{"input_tokens": 2, "arrival_s": 1}']
    assert [one.input_tokens for one in parse_traffic("\n".join(lines), "f").requests] == [2, 1]


def test_files_of_prompts() -> None:
    first = {"prompt": "a", "output_tokens": 3, "arrival_s": 1.5}
    second = {"prompt": "b", "timestamp": 2, "output_len": "4"}
    lines = [msgspec.json.encode(line).decode() for line in (first, second)]
    assert parse_traffic("\n\n".join(lines), "f").requests == (GivenPrompt("a", 3, 1.5), GivenPrompt("b", 4, 2.0))
    talks = [
        {"conversations": [{"from": "human", "value": "why?"}, {"from": "gpt", "value": " ".join(["x"] * 10)}]},
        {"conversations": [{"from": "human", "value": "alone"}]},
    ]
    assert parse_traffic(msgspec.json.encode(talks).decode(), "f").requests == (GivenPrompt("why?", 13),)


MOONCAKE = '{"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [1, 2]}'
AZURE, BURST = "TIMESTAMP,ContextTokens,GeneratedTokens", "Timestamp,Model,Request tokens,Response tokens"
BAD = {
    "": "f: has no requests; allowed: Azure",
    "[]": "f: has no requests; allowed: ",
    '{"prompt": ""}': "f:1: a line has no prompt, nor input_tokens; allowed: {prompt",
    '\n{"input_tokens": 0}': "f:2: input_tokens: '0': Expected `int` >= 1; allowed: {prompt",
    '{"input_tokens": "many"}': "f:1: input_tokens: 'many': Expected `int",
    '{"text": "a"}': "f:1: is no request of a known format: it has text; allowed: ",
    "{}": "f:1: is no request of a known format: it has no keys",
    "not json": "f: has no requests; allowed: ",
    "a,b\n1,2": "f:2: is no request of a known format: it has a, b; allowed: ",
    '{"prompt": "a"}\nnot json': "f:2: is not JSON: ",
    '[{"prompt": "a"}, 5]': "f: entry 2: is no object",
    '{"prompt": "a", "max_tokens": "x"}': "f:1: max_tokens: 'x': Expected `int",
    MOONCAKE + "\n" + MOONCAKE.replace("[1, 2]", "[1]"): "f:2: hash_ids: has 1 ids and 600 tokens are 2 blocks; "
    "allowed: one per 512 tokens",
    MOONCAKE.replace("[1, 2]", '["a", 2]'): "f:1: hash_ids: is no list of whole numbers; allowed: {timestamp (ms)",
    MOONCAKE.replace('"output_length"', '"output"'): "f:1: output_length: is missing; allowed: {timestamp (ms)",
    MOONCAKE.replace('"timestamp": 0', '"timestamp": null'): "f:1: a value is null; allowed: {timestamp (ms)",
    MOONCAKE.replace("600", "-6"): "f:1: input_length: '-6': Expected `int` >= 1; allowed: ",
    f"{AZURE}\n2023-11-16 18:15:46.68,374,44\nyesterday,1,2": "f:3: TIMESTAMP: 'yesterday' is no date; allowed: ",
    f"{AZURE}\n2023-11-16 18:15:46.68,many,44": "f:2: ContextTokens: 'many': Expected `int",
    f"{AZURE}\n2023-11-16 18:15:46.68,374": "f:2: has 2 values; allowed: 3, as the header has",
    f"{BURST}\n5,GPT-4,472,18\n6,GPT-4,4.5,18": "f:3: Request tokens: '4.5': Expected `int",
    f"{BURST}\n5,GPT-4,472,0": "f: has no requests: each of the 1 entries failed",
    f'{AZURE}\n"2023,3,4': "f:2: is not CSV: ",
    '{"conversations": 5}': "f:1: conversations: is no list of turns",
    '{"custom_id": "a", "url": "/v1/embeddings", "body": {}}': "f:1: url: '/v1/embeddings'; allowed: /v1/chat",
    '{"messages": []}': "f:1: messages: is no list of {role, content}",
    '{"messages": [5]}': "f:1: messages: is no list of {role, content}",
    '{"body": {"model": "a"}}': "f:1: has no messages, prompt, nor usage.prompt_tokens; allowed: {messages",
    '{"body": {"prompt": [1, 2]}}': "f:1: prompt: is no text",
    '{"messages": [{"content": "a"}], "timestamp": "noon"}': "f:1: timestamp: 'noon' is no time; allowed: seconds",
    '{"messages": [{"content": "a"}], "max_tokens": -1}': "f:1: output_tokens: Expected `int` >= 0; allowed: ",
}


@pytest.mark.parametrize(("text", "words"), BAD.items())
def test_a_bad_line_is_one_error_that_names_it(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_traffic(text, "f")
    assert str(caught.value).startswith(words)


def test_a_log_of_requests_and_answers_counts_by_its_usage() -> None:
    log = {
        "request": {
            "messages": [{"role": "user", "content": [{"type": "text", "text": "what is this?"}, {"type": "i"}]}]
        },
        "response": {"created": 5, "usage": {"prompt_tokens": 40, "completion_tokens": 9}},
    }
    (one,) = parse_traffic(msgspec.json.encode(log).decode(), "f").requests
    assert one == GivenPrompt("user: what is this?", 9, 5.0, 40)
