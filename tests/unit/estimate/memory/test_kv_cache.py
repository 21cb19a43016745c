"""The division of the KV cache: each recorded pool becomes the logged number of requests; groups, stages, columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planner.engine.defaults import resolve
from planner.engine.versions import parse_version
from planner.estimate.memory.kv_cache import KvDivision, kv_bytes_per_token, kv_division
from planner.estimate.memory.weights import Rank
from planner.hardware.by_name import find_gpu
from planner.model import ModelSpec, load_model, spec_from_config
from tests.accuracy.kv_pools import PoolStart, load_pools

POOLS = list(load_pools())
QWEN_NEXT, GPT_OSS = load_model("Qwen/Qwen3-Next-80B-A3B-Instruct"), load_model("openai/gpt-oss-20b")


@pytest.mark.parametrize("start", POOLS, ids=lambda start: start.id)
def test_a_logged_pool_holds_the_logged_requests(start: PoolStart) -> None:
    assert abs(start.error) <= 0.01
    assert start.says_tokens
    blocks, pool = start.observed.get("gpu_blocks"), start.observed["kv_cache_gib"]
    assert blocks is None or start.blocks(pool - 0.005) <= blocks <= start.blocks(pool + 0.005)


def division(model: ModelSpec, version: str, gpu: str = "H100 80GB", rank: Rank | None = None, **settings: Any) -> Any:
    engine = resolve(settings, model, find_gpu(gpu), parse_version(version))
    return kv_division(model, engine, rank or Rank(0, 0, 0, len(model.layers), True, True, True))


def stack(kinds: list[str], **more: Any) -> ModelSpec:
    """A small model with layers of these kinds."""
    return spec_from_config(
        {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": len(kinds), "num_attention_heads": 4,
         "vocab_size": 128, "intermediate_size": 128, "max_position_embeddings": 65536, "sliding_window": 1024,
         "layer_types": kinds, **more}, "stack")  # fmt: skip


FULL, SLIDING = "full_attention", "sliding_attention"


@pytest.mark.parametrize(
    ("full", "sliding", "version", "groups", "width"),
    [
        (6, 30, "0.24.0", 6, 6), (6, 30, "0.10.0", 6, 6), (5, 12, "0.24.0", 4, 5),
        (13, 12, "0.11.2", 3, 12),  # the rarest kind sets the width, 11 of 24 layers are padding
        (13, 12, "0.12.0", 2, 13), (14, 10, "0.16.0", 3, 10), (14, 10, "0.18.0", 2, 14), (15, 10, "0.18.0", 3, 10),
        (12, 12, "0.9.2", 1, 24), (12, 12, "0.8.5", 1, 24),
    ],
)  # fmt: skip
def test_groups_are_as_wide_as_this_version_makes_them(
    full: int, sliding: int, version: str, groups: int, width: int
) -> None:
    found: KvDivision = division(stack([FULL] * full + [SLIDING] * sliding), version)
    assert (found.num_groups, found.block_bytes) == (groups, width * 16 * 2 * 4 * 16 * 2)


@pytest.mark.parametrize(
    ("version", "asynchronous", "window_blocks"), [("0.25.1", True, 193), ("0.26.0", True, 321), ("0.26.0", False, 193)]
)
def test_windows_hold_every_batch_in_flight(version: str, asynchronous: bool, window_blocks: int) -> None:
    found = division(stack([FULL, SLIDING]), version, max_num_batched_tokens=2048, max_model_len=32768,
                     async_scheduling=asynchronous)  # fmt: skip
    assert found.request_blocks == 32768 // 16 + window_blocks


def test_a_model_of_windows_alone_needs_windows_alone() -> None:
    found = division(stack([SLIDING] * 4), "0.24.0", max_num_batched_tokens=2048, max_model_len=32768)
    assert (found.num_groups, found.request_blocks) == (1, -(-(1023 + 2048) // 16) + 1)


@pytest.mark.parametrize(
    ("version", "settings", "states"),
    [("0.24.0", {}, 1), ("0.24.0", {"enable_prefix_caching": True}, 2), ("0.26.0", {}, 2), ("0.33.0", {}, 3),
     ("0.24.0", {"speculative_config": '{"method": "mtp", "num_speculative_tokens": 3}'}, 4), ("0.14.1", {}, 1)],
)  # fmt: skip
def test_states_of_a_request(version: str, settings: dict[str, Any], states: int) -> None:
    """Qwen3-Next has 12 layers of attention and 36 with states: groups of 12, three of them with states."""
    found = division(QWEN_NEXT, version, max_model_len=8192, **settings)
    attention = -(-8192 // int(found.block_size))
    assert found.request_blocks == attention + 3 * states, "a layer that drafts joins those of attention"
    assert found.has_states


def test_mode_all_keeps_a_state_per_block() -> None:
    granite = spec_from_config(
        {"model_type": "granitemoehybrid", "hidden_size": 4096, "num_hidden_layers": 4, "num_attention_heads": 32,
         "num_key_value_heads": 8, "vocab_size": 1024, "intermediate_size": 512, "shared_intermediate_size": 512,
         "max_position_embeddings": 131072, "mamba_d_state": 128, "mamba_n_heads": 128, "mamba_d_head": 64,
         "mamba_chunk_size": 256, "num_local_experts": 0, "num_experts_per_tok": 0,
         "layer_types": ["mamba", "mamba", "mamba", "attention"]}, "granite")  # fmt: skip
    plain = division(granite, "0.24.0", max_model_len=8192)
    assert (plain.block_size, plain.request_blocks) == (528, 16 + 3)
    cached = division(granite, "0.24.0", max_model_len=8192, enable_prefix_caching=True)
    assert (cached.block_size, cached.request_blocks) == (768, 11 + 3 * 11)
    aligned = division(granite, "0.32.0", max_model_len=8192, enable_prefix_caching=True)
    assert (aligned.block_size, aligned.request_blocks) == (528, 16 + 3 * 3)


def test_an_encoder_keeps_nothing() -> None:
    bert = spec_from_config({"model_type": "bert", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
                             "vocab_size": 128, "intermediate_size": 128}, "bert")  # fmt: skip
    assert division(bert, "0.24.0").block_bytes == 0


def test_stages_share_groups_and_each_holds_its_layers_of_them() -> None:
    """Full attention in the first layers alone: the first of two stages holds them all, the second none."""
    model = stack([FULL] * 2 + [SLIDING] * 6)
    page = 16 * 2 * 4 * 16 * 2
    first = division(model, "0.24.0", rank=Rank(0, 0, 0, 4, True, False, False), pipeline_parallel_size=2)
    last = division(model, "0.24.0", rank=Rank(1, 1, 4, 4, False, True, True), pipeline_parallel_size=2)
    assert (first.num_groups, first.block_bytes, last.block_bytes) == (4, 2 * page, 2 * page)
    assert first.request_blocks == last.request_blocks


@pytest.mark.parametrize("model", [QWEN_NEXT, GPT_OSS], ids=["states", "windows"])
def test_columns_are_judged_as_one_by_one(model: ModelSpec) -> None:
    columns = {"max_model_len": [4096, 32768, 100000], "max_num_batched_tokens": [512, 8192, 2048],
               "block_size": [16, 32, 1024], "enable_prefix_caching": [False, True, True],
               "async_scheduling": [True, False, True]}  # fmt: skip
    many = division(model, "0.27.0", **{name: np.asarray(values) for name, values in columns.items()})
    for row in range(3):
        one = division(model, "0.27.0", **{name: values[row] for name, values in columns.items()})
        for name in ("block_bytes", "request_blocks", "block_size"):
            assert np.broadcast_to(getattr(many, name), 3)[row] == getattr(one, name), (row, name)
        assert many.num_groups == one.num_groups


def test_bytes_of_a_token_count_layers_that_attend() -> None:
    engine = resolve({}, QWEN_NEXT, find_gpu("H100 80GB"), parse_version("0.24.0"))
    assert kv_bytes_per_token(QWEN_NEXT, engine) == 12 * 2 * 2 * 256 * 2
