"""Rules of kernels: which quantisation, dtype, KV cache dtype, block size and backend run on a card in a release.

In: a deployment, one candidate or arrays. Out: an excess as in `rules.py`, and vLLM's words. LEAST_CAPABILITY, SCHEMES
and DTYPES are the tables; each row has its source.
"""

from __future__ import annotations

from typing import Any

from packaging.version import Version

from planner import arrays as columns
from planner.engine import (
    MARLIN_ON_TURING_SINCE,
    MODELOPT_FP8_ON_AMPERE_SINCE,
    NVFP4_MARLIN_SINCE,
    NVFP4_ON_TURING_SINCE,
    PLAIN_AWQ_IN_BFLOAT16_SINCE,
    TENSORS_ON_TURING_SINCE,
    TRITON_ATTN_NAMED_SINCE,
    V1_ONLY_SINCE,
    reads_fp8,
)
from planner.estimate.deployment import Deployment
from planner.hardware import GpuSpec
from planner.model import ModelSpec

Capability = tuple[int, int]
By = tuple[tuple[Version | None, Capability], ...]
"""Least capability by release: (from this release on; None: from the first, the capability)."""

TURING, AMPERE, ADA, HOPPER, BLACKWELL = (7, 5), (8, 0), (8, 9), (9, 0), (10, 0)
MARLIN: By = ((None, AMPERE), (MARLIN_ON_TURING_SINCE, TURING))
NVFP4: By = ((None, BLACKWELL), (NVFP4_MARLIN_SINCE, AMPERE), (NVFP4_ON_TURING_SINCE, TURING))

LEAST_CAPABILITY: dict[str, By] = {
    "awq": ((None, TURING),), "auto_awq": ((None, TURING),), "gptq": ((None, (6, 0)),), "auto_gptq": ((None, (6, 0)),),
    "awq_marlin": MARLIN, "gptq_marlin": MARLIN, "marlin": MARLIN, "fp8": MARLIN,
    "gptq_marlin_24": ((None, AMPERE),), "fbgemm_fp8": ((None, AMPERE),), "experts_int8": ((None, AMPERE),),
    "qqq": ((None, AMPERE),), "hqq": ((None, AMPERE),), "mxfp4": ((None, AMPERE),), "torchao": ((None, TURING),),
    "bitsandbytes": ((None, (7, 0)),), "moe_wna16": ((None, (7, 0)),), "compressed-tensors": ((None, (7, 0)),),
    "gguf": ((None, (6, 0)),), "aqlm": ((None, (6, 0)),), "fp_quant": ((None, BLACKWELL),),
    "modelopt": ((None, ADA), (MODELOPT_FP8_ON_AMPERE_SINCE, AMPERE)), "modelopt_fp4": NVFP4,
}  # fmt: skip
"""By quantisation method: vllm@0.8.5, 0.11.2, 0.17.0, 0.20.0, 0.24.0, 0.27.1, 0.32.0 layers/quantization/*.py:
get_min_capability. FP8 below 8.9 and NVFP4 below 10.0 run on Marlin, on weights alone."""
SCHEMES: dict[str, By] = {
    "WNA16": ((None, AMPERE), (TENSORS_ON_TURING_SINCE, TURING)), "int8": ((None, TURING),), "fp8": MARLIN,
    "NVFP4": NVFP4, "MXFP4": ((None, AMPERE),), "W4A8": ((None, HOPPER),),
}  # fmt: skip
"""By scheme of compressed-tensors, checked after the method: the same releases, compressed_tensors/schemes/*.py. FP8
activations need 8.9, below it the weights alone are FP8."""

HALF, BFLOAT, FULL = "torch.float16", "torch.bfloat16", "torch.float32"
DTYPES: dict[str, tuple[str, ...]] = {
    "awq_marlin": (HALF, BFLOAT), "gptq_marlin": (HALF, BFLOAT), "auto_awq": (HALF, BFLOAT),
    "auto_gptq": (HALF, BFLOAT), "fp8": (BFLOAT, HALF), "modelopt": (BFLOAT, HALF), "modelopt_fp4": (BFLOAT, HALF),
    "mxfp4": (BFLOAT,), "awq": (HALF,), "gptq": (HALF,), "gptq_marlin_24": (HALF,), "moe_wna16": (BFLOAT, HALF),
}  # fmt: skip
"""dtypes by method (the same files: get_supported_act_dtypes); methods that are not listed take all."""

NEEDS_FILE = frozenset({
    "awq", "auto_awq", "awq_marlin", "gptq", "auto_gptq", "gptq_marlin", "gptq_marlin_24", "marlin", "moe_wna16",
    "aqlm", "bitblas", "gptq_bitblas", "hqq", "qqq", "auto-round", "inc", "modelopt", "modelopt_fp4",
    "compressed-tensors",
})  # fmt: skip
"""Methods that read how a checkpoint was quantised (get_config_filenames); the others quantise while loading."""

SERVED_BY = {"awq": {"auto_awq", "marlin", "moe_wna16", "humming"},
             "gptq": {"auto_gptq", "marlin", "moe_wna16", "humming"},
             "mxfp4": {"gpt_oss_mxfp4", "humming"}}  # fmt: skip
"""Further methods that load a checkpoint, beside its own and that method's kernels (`awq_marlin`): vllm@0.8.5, 0.32.0
layers/quantization/*.py:override_quantization_method."""

TURING_PREFIX_BLOCK_SIZES = (16, 32)
"""Block sizes for which the Triton prefix-prefill kernel compiles on sm_75 (block size 8 does not)."""
PAGED_ATTENTION_BLOCK_SIZES = (8, 16, 32)
V1_BLOCK_MULTIPLE = 16
"""V1's backends keep blocks of a multiple of this (v1/attention/backends/*.py:get_kv_cache_shape)."""
V1_BACKENDS = frozenset({
    "FLASH_ATTN", "FLASHINFER", "TRITON_ATTN", "FLEX_ATTENTION", "TREE_ATTN", "XFORMERS", "TORCH_SDPA", "CPU_ATTN",
    "FLASH_ATTN_DIFFKV", "TRITON_ATTN_DIFFKV", "FLASH_ATTN_MLA", "FLASH_ATTN_MLA_SPARSE", "FLASHINFER_MLA",
    "FLASHINFER_MLA_SPARSE", "FLASHINFER_MLA_SPARSE_SM90", "FLASHINFER_MLA_SPARSE_SM120", "FLASHMLA", "FLASHMLA_SPARSE",
    "FLASHINFER_MLA_SPARSE_DSV4", "FLASHINFER_MLA_SPARSE_DSV41", "FLASHMLA_SPARSE_DSV4", "FLASHMLA_SPARSE_DSV41",
    "FLASHMLA_MEGA_ATTN_DSV41", "TRITON_MLA", "CUTLASS_MLA", "CUTLASS_MSA", "TRITON_MSA", "TOKENSPEED_MLA",
    "TURBOQUANT", "ULTRAQUANT", "MINIMAX_M3_SPARSE", "HPC_ATTN", "B12X", "CUSTOM", "NO_ATTENTION", "CPU_MLA", "AMX_MLA",
})  # fmt: skip
"""Names of attention backends that a release since 0.11 knows (v1/attention/backends/registry.py of 0.11.2 to 0.32.0),
without other vendors'."""


def least_of(by: By, version: Version) -> Capability:
    """The least capability that a release asks for."""
    least = by[0][1]
    for since, capability in by[1:]:
        if since is not None and version >= since:
            least = capability
    return least


def least_capability(d: Deployment) -> Capability:
    """Least compute capability of the deployment's quantisation method."""
    return least_of(LEAST_CAPABILITY.get(_method(d), ((None, (0, 0)),)), d.engine.version)


def _method(d: Deployment) -> str:
    """The quantisation method; of ModelOpt's checkpoints the name of their kind, which vLLM puts in its place."""
    method, quantization = d.engine.quantization or "", d.model.quantization
    packing = quantization.scheme.packing if quantization is not None and quantization.scheme is not None else ""
    return "modelopt_fp4" if method.startswith("modelopt") and packing == "nvfp4" else method


def scheme_capability(d: Deployment) -> Capability:
    """Least compute capability of a compressed-tensors checkpoint's scheme; (0, 0) of any other."""
    quantization = d.model.quantization
    if quantization is None or quantization.method != "compressed-tensors":
        return (0, 0)
    return least_of(SCHEMES.get(quantization.activation_scheme, ((None, (0, 0)),)), d.engine.version)


# --- quantisation and dtype ---


def lacks_bfloat16(d: Deployment) -> bool:
    return d.engine.dtype == "bfloat16" and not d.gpu.is_cpu and d.gpu.compute_capability < AMPERE


def lacks_method(d: Deployment) -> bool:
    return not d.gpu.is_cpu and d.gpu.compute_capability < least_capability(d)


def method_message(d: Deployment) -> str:
    return (
        f"The quantization method {d.engine.quantization} is not supported for the current GPU. Minimum capability: "
        f"{_digits(least_capability(d))}. Current capability: {capability_of(d.gpu)}."
    )


def lacks_scheme(d: Deployment) -> bool:
    return not d.gpu.is_cpu and d.gpu.compute_capability < scheme_capability(d)


def scheme_message(d: Deployment) -> str:
    return (
        f"Quantization scheme is not supported for the current GPU. Min capability: {_digits(scheme_capability(d))}. "
        f"Current capability: {capability_of(d.gpu)}."
    )


NO_INT8 = (10, 0)
"""Compute capability from which CUTLASS has no kernel for 8-bit integers, which vLLM asks all the same (vllm@0.33.0
model_executor/kernels/linear/scaled_mm/cutlass.py: is_supported; vLLM's issue 54311)."""


def lacks_int8(d: Deployment) -> bool:
    """Whether weights and activations in 8-bit integers meet a card without a kernel for them."""
    quantization = d.model.quantization
    is_int8 = quantization is not None and quantization.activation_scheme == "int8"
    return is_int8 and not d.gpu.is_cpu and d.gpu.compute_capability >= NO_INT8


def int8_message(d: Deployment) -> str:
    card = f"SM{capability_of(d.gpu)}"
    return f"Int8 not supported on {card}. Use FP8 quantization instead, or run on older arch (SM < 100)."


def is_declared_otherwise(d: Deployment) -> bool:
    return not d.gpu.is_cpu and quantization_conflict(d.model, d.engine.quantization) is not None


def quantization_conflict(model: ModelSpec, asked: str | None) -> str | None:
    """vLLM's message if config.json names another method, or none where one is needed; None if they agree.

    Source: vllm@0.8.5, 0.32.0 config:_verify_quantization; model_loader/weight_utils.py:get_quant_config.
    """
    if asked is None:
        return None
    if model.quantization is None:
        is_missing = asked in NEEDS_FILE and not model.has_quantization_file
        return f"Cannot find the config file for {asked}" if is_missing else None
    method = model.quantization.method
    if asked == method or asked.startswith(f"{method}_") or asked in SERVED_BY.get(method, ()):
        return None
    words = f"Quantization method specified in the model config ({method}) does not match the quantization method"
    return f"{words} specified in the `quantization` argument ({asked})."


def lacks_dtype(d: Deployment) -> bool:
    return not d.gpu.is_cpu and f"torch.{d.engine.dtype}" not in _dtypes(d)


def _dtypes(d: Deployment) -> tuple[str, ...]:
    method = _method(d)
    if method in {"awq", "gptq"} and d.engine.version >= PLAIN_AWQ_IN_BFLOAT16_SINCE:
        return (HALF, BFLOAT)
    return DTYPES.get(method, (f"torch.{d.engine.dtype}",))


def dtype_message(d: Deployment) -> str:
    return (
        f"torch.{d.engine.dtype} is not supported for quantization method {d.engine.quantization}. Supported dtypes: "
        f"[{', '.join(_dtypes(d))}]"
    )


# --- the KV cache ---


def on_old_v0(d: Deployment) -> bool:
    """Whether V0 serves on a card below 8.0, with XFormers."""
    return d.engine.generation == "V0" and d.gpu.compute_capability < AMPERE and not d.gpu.is_cpu


def _uses_prefix_kernel(d: Deployment) -> Any:
    return d.engine.enable_chunked_prefill | d.engine.enable_prefix_caching


def lacks_block_size(d: Deployment) -> Any:
    block = d.engine.block_size
    if d.engine.generation != "V0":
        return 0 if d.gpu.is_cpu else block % V1_BLOCK_MULTIPLE
    allowed = columns.isin(block, PAGED_ATTENTION_BLOCK_SIZES)
    if on_old_v0(d):
        allowed = allowed & (columns.invert(_uses_prefix_kernel(d)) | columns.isin(block, TURING_PREFIX_BLOCK_SIZES))
    return columns.invert(allowed)


def block_size_message(d: Deployment) -> str:
    if d.engine.generation != "V0":
        return f"Block size must be a multiple of {V1_BLOCK_MULTIPLE}."
    return (
        f"block_size {d.engine.block_size} has no kernel here; with chunked prefill or prefix caching below compute "
        "capability 8.0 it must be 16 or 32"
    )


def lacks_fp8_prefix_kernel(d: Deployment) -> Any:
    kind = d.engine.kv_cache_dtype
    if not on_old_v0(d) or kind not in {"fp8", "fp8_e4m3"}:
        return 0
    return _uses_prefix_kernel(d)


def lacks_fp8_backend(d: Deployment) -> bool:
    """Whether V1's attention backend cannot read an fp8 KV cache on this card.

    Source: vllm@0.14.1, 0.24.0 v1/attention/backends/{flash_attn,flex_attention,triton_attn}.py.
    """
    backend, capability = d.engine.attention_backend, d.gpu.compute_capability
    if d.engine.generation != "V1" or d.gpu.is_cpu or not d.engine.kv_cache_dtype.startswith("fp8"):
        return False
    return (
        backend == "FLEX_ATTENTION"
        or (backend == "TRITON_ATTN" and capability < ADA)
        or (backend == "FLASH_ATTN" and not reads_fp8(d.gpu) and d.engine.has_v1_only)
    )


def lacks_fp8_in_half(d: Deployment) -> bool:
    """Whether FlashAttention 3 would have to compute an fp8 KV cache into float16; it fails in the first forward pass.

    It computes an fp8 KV cache into bfloat16 only.

    Source: 2 of 2 such starts of vllm 0.24.0 on H200 (vllm-flash-attn hopper/flash_api.cpp:mha_fwd).
    """
    reads = d.engine.generation == "V1" and d.engine.attention_backend == "FLASH_ATTN" and reads_fp8(d.gpu)
    return reads and d.engine.kv_cache_dtype.startswith("fp8") and d.engine.dtype == "float16"


def lacks_fp4_cache(d: Deployment) -> bool:
    """Whether a KV cache in NVFP4 is asked for on a card without FP4 (vllm@0.24.0 v1/attention/backends/flashinfer.py).

    That release serves 10.x only; a start of 0.29 on 12.0 is known, so 12.x is not refused.
    """
    return not d.gpu.is_cpu and d.engine.kv_cache_dtype.startswith("nvfp4") and d.gpu.compute_capability < BLACKWELL


# --- backends ---


def lacks_backend(d: Deployment) -> bool:
    backend, capability = d.engine.attention_backend, d.gpu.compute_capability
    if d.gpu.is_cpu:
        return False
    if d.engine.generation == "V1":
        is_unknown = d.engine.version >= V1_ONLY_SINCE and backend not in V1_BACKENDS
        is_unnamed = backend == "TRITON_ATTN" and d.engine.version < TRITON_ATTN_NAMED_SINCE
        return is_unknown or is_unnamed or (backend == "FLASH_ATTN" and capability < AMPERE)
    return backend not in {"XFORMERS", "FLASH_ATTN", "FLASHINFER"} or (on_old_v0(d) and backend == "FLASHINFER")


def backend_message(d: Deployment) -> str:
    if d.engine.version >= V1_ONLY_SINCE and d.engine.attention_backend not in V1_BACKENDS:
        return f"Unknown attention backend: '{d.engine.attention_backend}'. Valid options are: {', '.join(NAMED)}, ..."
    return f"Invalid attention backend for cuda on {d.gpu.name}: {d.engine.attention_backend}"


NAMED = ("FLASH_ATTN", "FLASHINFER", "TRITON_ATTN", "FLEX_ATTENTION")
"""Backends that a message names."""


def capability_of(gpu: GpuSpec) -> str:
    """Compute capability as vLLM's messages write it: 86."""
    return _digits(gpu.compute_capability)


def _digits(capability: Capability) -> str:
    return f"{capability[0]}{capability[1]}"
