"""Defaults of the KV cache that depend on the model: its dtype, its block, prefix caching, the largest image.

In: settings, model, card and version. Out: what vLLM makes of a flag that is not passed. Values may be arrays where
`defaults.py` says so.
"""

from __future__ import annotations

from typing import Any

from packaging.version import Version

from planner.engine.versions import (
    FLASH_ATTN_MLA_BLOCKS_SINCE,
    FLASHINFER_SPARSE_MLA_SINCE,
    GLM_FP8_KV_SINCE,
    HYBRID_PREFIX_SINCE,
    KV_SCHEME_SINCE,
    MAMBA_ALIGN_SINCE,
    MAMBA_PREFIX_ALL,
    MODELOPT_KV_SCHEME_SINCE,
    PREFIX_LM_BATCH_SINCE,
)
from planner.hardware import GpuSpec
from planner.model import Mamba, ModelSpec

PREFIX_LM_ITEM_TOKENS = {"gemma4": 2496, "gemma4_unified": 2496}
"""Tokens of the largest video: 32 frames of 70 tokens with 8 around each (vllm@0.32 models/gemma4_mm.py:
get_mm_max_tokens_per_item)."""


def resolve_kv_cache_dtype(asked: str | None, model: ModelSpec, gpu: GpuSpec, version: Version) -> str:
    """kv_cache_dtype as the engine stores it; `fp8_ds_mla` is the 656-byte row of sparse latent attention."""
    kind = asked or "auto"
    if kind == "auto":
        kind = _checkpoint_dtype(model, version)
    latent = model.latent_attention
    if latent is None or latent.indexer is None:
        return kind
    on_blackwell = gpu.compute_capability[0] == 10
    if kind == "auto" and on_blackwell and model.model_type == "glm_moe_dsa" and version >= GLM_FP8_KV_SINCE:
        kind = "fp8_e4m3"
    runs_on_flashinfer = on_blackwell and version >= FLASHINFER_SPARSE_MLA_SINCE
    return "fp8_ds_mla" if kind.startswith("fp8") and not runs_on_flashinfer else kind


def _checkpoint_dtype(model: ModelSpec, version: Version) -> str:
    """What the checkpoint makes of `auto`."""
    quantization = model.quantization
    if quantization is None or quantization.kv_cache_dtype is None:
        return "auto"
    since = MODELOPT_KV_SCHEME_SINCE if quantization.method.startswith("modelopt") else KV_SCHEME_SINCE
    return quantization.kv_cache_dtype if version >= since else "auto"


def default_block_size(model: ModelSpec, gpu: GpuSpec, version: Version, kv_cache_dtype: str) -> int:
    """Tokens of a block if no flag says so; latent attention's kernels want larger ones.

    Source: vllm@0.8.5..0.14.1 platforms/cuda.py:check_and_update_config (FlashMLA 64, CUTLASS 128), 0.24.0
    platforms/interface.py:update_block_size_for_backend; one start of 0.24 on compute capability 9.0 with an fp8 cache.
    """
    if gpu.is_cpu:
        return 128
    latent = model.latent_attention
    if latent is None:
        return 16
    if latent.indexer is not None:
        return 64
    major = gpu.compute_capability[0]
    if major == 10:
        return 128 if version < FLASHINFER_SPARSE_MLA_SINCE else 32
    if major == 9 and (version < FLASH_ATTN_MLA_BLOCKS_SINCE or kv_cache_dtype.startswith("fp8")):
        return 64
    return 16


ATTENTION_FREE = {"mamba", "falcon_mamba", "mamba2"}
"""Types whose class is IsAttentionFree (vllm@0.32 models/mamba.py, mamba2.py)."""


def prefix_caching(asked: Any, model: ModelSpec, version: Version, is_v1: bool) -> Any:
    """Whether prefix caching is on: hybrid models have it by default since 0.26, and could not have it at first.

    Classes without attention have it only if asked (vllm@0.32 config/model.py:is_prefix_caching_supported).
    """
    if not model.is_hybrid:
        return is_v1 if asked is None else asked
    if not is_v1 or (version < MAMBA_ALIGN_SINCE and not keeps_state_per_block(model, version)):
        return False
    return version >= HYBRID_PREFIX_SINCE and model.model_type not in ATTENTION_FREE if asked is None else asked


def keeps_state_per_block(model: ModelSpec, version: Version) -> bool:
    """Whether prefix caching means mamba_cache_mode `all` (models that are SupportsMambaPrefixCaching)."""
    first, until = MAMBA_PREFIX_ALL
    return first <= version < until and any(True for _ in model.mixers(Mamba))


def least_batched_tokens(model: ModelSpec, version: Version) -> int:
    """Tokens that the default of max_num_batched_tokens has at least, for the largest image or video; 0: no such."""
    if version < PREFIX_LM_BATCH_SINCE or not model.has_vision_tower:
        return 0
    return PREFIX_LM_ITEM_TOKENS.get(model.model_type, 0)
