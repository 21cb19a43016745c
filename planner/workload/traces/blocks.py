"""Traces of lengths and block hashes: Mooncake's, and those of Alibaba's Qwen service, which have its keys.

Sources: kvcache-ai/Mooncake FAST25-release/traces (`timestamp` in ms, blocks of 512 tokens), alibaba-edu/
qwen-bailian-usagetraces-anon (`timestamp` in s, blocks of 16 tokens, with `chat_id` and `turn`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from planner.workload.recorded import GivenPrompt
from planner.workload.traces.lines import Entry

MOONCAKE = "{timestamp (ms), input_length, output_length, hash_ids (one whole number per 512 tokens)}"
QWEN = "{timestamp (s), input_length, output_length, hash_ids (one whole number per 16 tokens)}"
KEYS = {"arrival_s": "timestamp", "input_tokens": "input_length", "output_tokens": "output_length"}


def read_mooncake(entries: Sequence[Entry]) -> list[GivenPrompt | None]:
    return [_read(entry, 512, 1e-3, MOONCAKE) for entry in entries]


def read_qwen(entries: Sequence[Entry]) -> list[GivenPrompt | None]:
    return [_read(entry, 16, 1.0, QWEN) for entry in entries]


def _read(entry: Entry, block_tokens: int, second: float, allowed: str) -> GivenPrompt:
    given = entry.given(KEYS, allowed)
    ids = entry.values.get("hash_ids", [])
    if not isinstance(ids, list) or any(isinstance(one, bool) or not isinstance(one, int) for one in ids):
        raise entry.wrong("hash_ids: is no list of whole numbers", allowed)
    if given.arrival_s is None or given.input_tokens is None or given.output_tokens is None:
        raise entry.wrong("a value is null", allowed)
    blocks = -(-given.input_tokens // block_tokens)
    if ids and len(ids) != blocks:
        what = f"hash_ids: has {len(ids)} ids and {given.input_tokens} tokens are {blocks} blocks"
        raise entry.wrong(what, f"one per {block_tokens} tokens")
    fields: dict[str, Any] = {"hash_ids": tuple(ids), "block_tokens": block_tokens} if ids else {}
    return GivenPrompt(
        prompt=None,
        output_tokens=given.output_tokens,
        arrival_s=given.arrival_s * second,
        input_tokens=given.input_tokens,
        **fields,
    )
