"""What a load can see of each setting: alike where nothing can differ, apart where anything does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from planner.engine import FIELDS
from planner.estimate.deployment import Deployment
from planner.estimate.relevance import RELEVANCE, seen_by
from planner.units import GIB
from planner.workload import Lengths, Workload
from tests.unit.estimate.test_rules import AMPERE, HYBRID, TURING, deployment

LOAD = Workload(concurrency=16, num_requests=48, input_tokens=Lengths(512, 1024), output_tokens=Lengths(64, 128))
SHARED = msgspec.structs.replace(LOAD, shared_prefix_tokens=256)
TALKS = msgspec.structs.replace(LOAD, turns=4, num_requests=64)
V0: dict[str, Any] = {"gpu": TURING, "version": "0.8.5"}
V1: dict[str, Any] = {"gpu": AMPERE, "version": "0.24.0"}


def seen(place: dict[str, Any], load: Workload = LOAD, **given: Any) -> dict[str, Any]:
    """What the load sees of Qwen3-8B with a context of 4096 tokens and these settings."""
    settings = {name: value for name, value in given.items() if value is not None}
    named = {name: value for name, value in given.items() if name not in {"model", "num_gpus"}}
    return seen_by(deployment(**place, **settings), load, named)


ALIKE: list[tuple[str, dict[str, Any], Workload, dict[str, Any], dict[str, Any]]] = [
    ("more sequences than the load ever runs", V0, LOAD, {"max_num_seqs": 128}, {"max_num_seqs": 256}),
    ("and in V1, where the graphs are the same", V1, LOAD, {"max_num_seqs": 512}, {"max_num_seqs": 256}),
    ("prefix caching of random prompts", V0, LOAD, {"enable_prefix_caching": False}, {"enable_prefix_caching": True}),
    ("and in V1", V1, LOAD, {"enable_prefix_caching": False}, {"enable_prefix_caching": True}),
    ("a prefix of less than a block", V1, msgspec.structs.replace(LOAD, shared_prefix_tokens=15),
     {"enable_prefix_caching": False}, {"enable_prefix_caching": True}),
    ("swap space", V0, LOAD, {"swap_space": 0}, {"swap_space": 4}),
    ("captured lengths above the longest", V0, LOAD, {"max_seq_len_to_capture": 2048},
     {"max_seq_len_to_capture": 4096}),
    ("and below the shortest", V0, LOAD, {"max_seq_len_to_capture": 128}, {"max_seq_len_to_capture": 512}),
    ("captured lengths in V1", V1, LOAD, {"max_seq_len_to_capture": 128}, {"max_seq_len_to_capture": 4096}),
    ("captured lengths without graphs", V0, LOAD, {"max_seq_len_to_capture": 600, "enforce_eager": True},
     {"max_seq_len_to_capture": 700, "enforce_eager": True}),
    ("block sizes of one kernel", V1, LOAD, {"block_size": 16}, {"block_size": 32}),
    ("a part of a prompt that no prompt reaches", V1, LOAD, {"long_prefill_token_threshold": 0},
     {"long_prefill_token_threshold": 2048}),
    ("more tokens than all sequences have together", V1, msgspec.structs.replace(LOAD, concurrency=2),
     {"max_num_batched_tokens": 4096}, {"max_num_batched_tokens": 8192}),
    ("a default that is written out", V1, LOAD, {"attention_backend": None}, {"attention_backend": "FLASH_ATTN"}),
]  # fmt: skip


@pytest.mark.parametrize(("place", "load", "one", "other"), [case[1:] for case in ALIKE], ids=[c[0] for c in ALIKE])
def test_what_cannot_matter_is_alike(
    place: dict[str, Any], load: Workload, one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert seen(place, load, **one) == seen(place, load, **other)


APART: list[tuple[str, dict[str, Any], Workload, dict[str, Any], dict[str, Any]]] = [
    ("fewer sequences than the load", V0, LOAD, {"max_num_seqs": 8}, {"max_num_seqs": 16}),
    ("graphs that follow the sequences", V1, LOAD, {"max_num_seqs": 64}, {"max_num_seqs": 256}),
    ("sequences of a larger load", V0, msgspec.structs.replace(LOAD, concurrency=200, num_requests=200),
     {"max_num_seqs": 128}, {"max_num_seqs": 256}),
    ("sequences of an open loop", V0, msgspec.structs.replace(LOAD, request_rate=2.0),
     {"max_num_seqs": 32}, {"max_num_seqs": 64}),
    ("a shared prefix", V1, SHARED, {"enable_prefix_caching": False}, {"enable_prefix_caching": True}),
    ("conversations", V1, TALKS, {"enable_prefix_caching": False}, {"enable_prefix_caching": True}),
    ("captured lengths between the shortest and the longest", V0, LOAD, {"max_seq_len_to_capture": 600},
     {"max_seq_len_to_capture": 4096}),
    ("block sizes with kernels of their own", V0, LOAD, {"block_size": 16}, {"block_size": 32}),
    ("blocks in which a prefix is found", V1, SHARED, {"block_size": 16}, {"block_size": 32}),
    ("a part that a prompt exceeds", V1, LOAD, {"long_prefill_token_threshold": 0},
     {"long_prefill_token_threshold": 256}),
    ("budgets within a step", V1, LOAD, {"max_num_batched_tokens": 2048}, {"max_num_batched_tokens": 4096}),
    ("memory", V1, LOAD, {"gpu_memory_utilization": 0.88}, {"gpu_memory_utilization": 0.9}),
    ("graphs", V1, LOAD, {"enforce_eager": False}, {"enforce_eager": True}),
    ("what nobody modelled", V1, LOAD, {"disable_custom_all_reduce": False}, {"disable_custom_all_reduce": True}),
    ("chunked prefill", V0, LOAD, {"enable_chunked_prefill": False}, {"enable_chunked_prefill": True}),
]  # fmt: skip


@pytest.mark.parametrize(("place", "load", "one", "other"), [case[1:] for case in APART], ids=[c[0] for c in APART])
def test_what_can_matter_is_kept(
    place: dict[str, Any], load: Workload, one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert seen(place, load, **one) != seen(place, load, **other)


def _memory(d: Deployment, load: Workload = LOAD) -> dict[str, Any]:
    return seen_by(d, load, {})


def test_a_pool_is_seen_where_the_load_can_fill_it_or_find_something_in_it() -> None:
    roomy, tight = deployment(**V1), deployment(**V0, max_num_seqs=64)
    more = replace(roomy, memory=replace(roomy.memory, num_blocks=roomy.memory.num_blocks + 100))
    assert _memory(roomy) == _memory(more)
    assert _memory(roomy, SHARED) != _memory(more, SHARED)  # freed blocks are found again
    many = msgspec.structs.replace(LOAD, concurrency=64, num_requests=200)
    less = replace(tight, memory=replace(tight.memory, num_blocks=tight.memory.num_blocks - 100))
    assert _memory(tight, many) != _memory(less, many)


def test_what_may_end_an_engine_is_seen() -> None:
    ample = deployment(**V0, gpu_memory_utilization=0.9)
    tight = replace(ample, memory=replace(ample.memory, graph_bytes=ample.memory.outside_bytes - 0.4 * GIB))
    assert _memory(ample)["tight outside"] != _memory(tight)["tight outside"]
    small, large = (deployment(**V0, swap_space=gib, host_gib=16) for gib in (0, 16))
    assert _memory(small) != _memory(large)
    assert seen(V0, swap_space=0) == seen(V0, swap_space=16)


def test_states_keep_what_changes_their_blocks() -> None:
    place = {"gpu": "H200 141GB", "version": "0.24.0", "model": HYBRID, "num_gpus": 4, "tensor_parallel_size": 4}
    assert seen(place, enable_prefix_caching=True) != seen(place, enable_prefix_caching=False)


def test_a_column_of_candidates_is_seen_as_each_of_them() -> None:
    each = [8, 16, 64, 256]
    columns = seen(V1, max_num_seqs=np.array(each), enable_prefix_caching=True)
    for place, number in enumerate(each):
        alone = seen(V1, max_num_seqs=number, enable_prefix_caching=True)
        for name, value in columns.items():
            assert np.broadcast_to(np.asarray(value), (len(each),))[place] == alone[name], name


def test_every_entry_is_a_setting() -> None:
    assert {rule.setting for rule in RELEVANCE} <= set(FIELDS)
