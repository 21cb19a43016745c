"""The widest layer's live set, term by term against tensors counted by hand, and the experts' shared buffers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.engine.defaults import ResolvedEngine, resolve
from planner.engine.versions import parse_version
from planner.estimate.memory.live_sets import experts_workspace_bytes, layer_bytes, shared_workspace_bytes
from planner.hardware.by_name import find_gpu
from planner.model.catalog import load_model
from planner.model.config_json import spec_from_config
from planner.units import MIB

H200, BLACKWELL = find_gpu("H200"), find_gpu("B200")
MOE, NEXT, OSS = load_model("qwen3-30b-a3b"), load_model("qwen3-next-80b-a3b-thinking"), load_model("gpt-oss-20b")
LATENT_CONFIG = {
    "model_type": "deepseek_v2", "hidden_size": 2048, "num_hidden_layers": 27, "num_attention_heads": 16,
    "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "q_lora_rank": None,
    "intermediate_size": 10944, "moe_intermediate_size": 1408, "n_routed_experts": 64, "num_experts_per_tok": 6,
    "n_shared_experts": 2, "first_k_dense_replace": 1, "moe_layer_freq": 1, "vocab_size": 102400,
    "max_position_embeddings": 163840,
}  # fmt: skip
LATENT = spec_from_config(LATENT_CONFIG, "deepseek-v2-lite")


def _engine(version: str = "0.24.0", **settings: object) -> ResolvedEngine:
    asked = {"max_model_len": 32768, "max_num_seqs": 128, "max_num_batched_tokens": 8192, **settings}
    return resolve(asked, MOE, H200, parse_version(version))


def test_experts_share_a_row_of_each_matrix_per_copy_of_a_token() -> None:
    """Qwen3-30B-A3B: 8 copies of 8192 tokens, 2048 values each, once for either buffer, of 2 bytes."""
    assert experts_workspace_bytes(MOE, H200, _engine()) == 8 * 8192 * (2048 + 2048) * 2 == 512 * MIB


def test_expert_parallel_ranks_hold_whole_experts() -> None:
    wide = replace(MOE, hidden_size=256)
    split = experts_workspace_bytes(wide, H200, _engine(tensor_parallel_size=2))
    whole = experts_workspace_bytes(wide, H200, _engine(tensor_parallel_size=2, enable_expert_parallel=True))
    assert split == whole / 2


@pytest.mark.parametrize(
    ("version", "tokens", "copies"),
    [("0.12.0", 8192, 0), ("0.17.0", 65536, 8 * 32768), ("0.24.0", 65536, 8 * 65536)],
)
def test_the_buffers_outlive_layers_since_0_14_and_take_every_token_since_0_18(
    version: str, tokens: int, copies: int
) -> None:
    engine = _engine(version, max_num_batched_tokens=tokens)
    assert experts_workspace_bytes(MOE, H200, engine) == copies * 4096 * 2


def test_kernels_with_buffers_of_their_own_share_none() -> None:
    assert experts_workspace_bytes(OSS, H200, _engine()) == 0  # Triton's for MXFP4
    assert experts_workspace_bytes(MOE, BLACKWELL, _engine()) == 0  # FlashInfer's
    assert experts_workspace_bytes(OSS, find_gpu("RTX 4090"), _engine()) > 0  # Marlin's


def test_latent_attention_unpacks_65536_tokens_in_the_profile() -> None:
    """DeepSeek-V2-Lite: 65536 tokens of 16 heads of 256 values beside queries, latent vectors and two hidden states."""
    widest = layer_bytes(LATENT, _engine(), 8192)
    assert widest == 2 * (65536 * 16 * 256 + 8192 * (16 * 192 + 512 + 64 + 2 * 2048))
    short = _engine(max_model_len=1024, max_num_seqs=8)
    assert layer_bytes(LATENT, _engine(), 512) - layer_bytes(LATENT, short, 512) > 2 * 50_000 * 16 * 256


def test_a_delta_net_holds_its_projections_twice() -> None:
    """Qwen3-Next: q, k of 2048, v, z of 4096; what the convolution reads; four copies; the output; hidden states."""
    values = (2 * 2048 + 2 * 4096) + (2 * 2048 + 4096) + (2 * 2048 + 2 * 4096) + 4096 + 5 * 2048
    assert layer_bytes(NEXT, _engine(), 8192) == 2 * 8192 * values
    assert layer_bytes(NEXT, _engine(tensor_parallel_size=2), 8192) == 2 * 8192 * ((values - 5 * 2048) / 2 + 5 * 2048)


def test_mamba_2_copies_what_the_convolution_reads_twice() -> None:
    granite = spec_from_config(
        {
            "model_type": "granitemoehybrid", "hidden_size": 4096, "num_hidden_layers": 2, "vocab_size": 100352,
            "layer_types": ["mamba", "attention"], "num_attention_heads": 32, "num_key_value_heads": 8,
            "mamba_n_heads": 128, "mamba_d_head": 64, "mamba_d_state": 128, "mamba_n_groups": 1, "mamba_expand": 2,
            "mamba_d_conv": 4, "num_local_experts": 72, "num_experts_per_tok": 10, "intermediate_size": 768,
            "shared_intermediate_size": 1536, "max_position_embeddings": 131072,
        },
        "granite",
    )  # fmt: skip
    inner, convolved = 8192, 8192 + 2 * 128
    values = (inner + convolved + 128) + inner + 2 * convolved + 5 * 4096
    assert layer_bytes(granite, _engine(), 8192) == 2 * 8192 * values


def test_norms_of_queries_run_in_fp32_until_the_compiler_fuses_them() -> None:
    narrow = load_model("qwen3-0.6b")
    assert layer_bytes(narrow, _engine("0.19.0"), 8192) > layer_bytes(narrow, _engine("0.24.0"), 8192)


def test_a_sparse_indexer_gathers_forty_contexts_and_scores_them() -> None:
    """DeepSeek-V3.2 by vLLM's own comment: 40 x 163840 x 132 bytes = 825 MB; and 512 MiB of logits."""
    sparse = spec_from_config(
        {**LATENT_CONFIG, "model_type": "deepseek_v32", "index_n_heads": 64, "index_head_dim": 128, "index_topk": 2048},
        "sparse",
    )
    engine = _engine(max_model_len=163840)
    assert shared_workspace_bytes(sparse, H200, engine) == 865_075_200
    assert shared_workspace_bytes(LATENT, H200, engine) == experts_workspace_bytes(LATENT, H200, engine)
    assert layer_bytes(sparse, engine, 512) == 512 * MIB + 2 * 512 * (16 * 192 + 512 + 64 + 2 * 2048)
