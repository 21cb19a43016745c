"""Bytes alive at once in the profile run's widest layer, by kind of layer: `layer_bytes(model, engine, tokens)`.

Formulas over arrays of candidates. The live sets of MLP and attention were read in vllm@0.8.5 model_executor/models/
qwen2.py; those of experts, latent attention and states in vllm@0.24.0, each named at its function.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

from planner import arrays as columns
from planner.arrays import FloatColumn
from planner.engine import FUSED_MLP_SINCE, SHARED_WORKSPACE_SINCE, WORKSPACE_CHUNKED_UNTIL, ResolvedEngine
from planner.estimate.memory.weights import kv_heads_per_rank
from planner.hardware import GpuSpec
from planner.model import DTYPE_BYTES, DeltaNet, Experts, LatentAttention, Mamba, ModelSpec
from planner.units import MIB

AWQ_DEQUANTIZE_TOKENS = 256
"""From this many tokens per step, vLLM's AWQ kernel dequantises the whole weight shard first (quantization/awq.py)."""
FUSED_MLP_HIDDEN_STATES = 3.5
"""Number of hidden states alive beside the MLP's widest tensors: 2.8 to 4.3 in five starts of 0.24 on 1 to 4 cards,
where the all-reduce adds none."""
STATE_HIDDEN_STATES = 5
"""Number of hidden states alive beside the tensors of a layer with a state: 3.8 to 6 in four starts of 0.24, of
Granite, Nemotron (two) and Qwen3-Next."""
MOE_CHUNK_TOKENS = 32768
"""Tokens that the fused experts take at once (VLLM_FUSED_MOE_CHUNK_SIZE)."""
LATENT_WORKSPACE_TOKENS = 64 * 1024
"""Most tokens of earlier chunks that latent attention unpacks at once (MLACommonMetadataBuilder)."""


def layer_bytes(model: ModelSpec, engine: ResolvedEngine, tokens: Any) -> FloatColumn:
    """Largest live set of one layer for this number of tokens, in bytes, without the experts' shared buffers."""
    sets = [_attention_bytes(model, engine, tokens)]
    if model.experts is None or model.num_dense_layers > 0:
        sets.append(_mlp_bytes(model, engine, tokens))
    if model.experts is not None:
        sets.append(_experts_bytes(model.experts, model, engine, tokens))
    sets += [_latent_bytes(mixer, model, engine, tokens) for mixer in model.mixers(LatentAttention)]
    sets += [_delta_net_bytes(mixer, model, engine, tokens) for mixer in model.mixers(DeltaNet)]
    sets += [_mamba_bytes(mixer, model, engine, tokens) for mixer in model.mixers(Mamba) if mixer.version == 2]
    widest: FloatColumn = reduce(columns.maximum, sets)
    return widest


def shares_workspace(engine: ResolvedEngine) -> bool:
    """Whether the experts' buffers stay allocated between layers."""
    return engine.generation == "V1" and engine.version >= SHARED_WORKSPACE_SINCE


def shared_workspace_bytes(model: ModelSpec, gpu: GpuSpec, engine: ResolvedEngine) -> FloatColumn:
    """Bytes of the buffer that the layers of a rank share and that outlives them: what its largest user asks for."""
    sparse: Any = 0
    if shares_workspace(engine):
        for mixer in model.mixers(LatentAttention):
            sparse = columns.maximum(sparse, _indexer_workspace_bytes(mixer, engine))
    shared: FloatColumn = columns.maximum(sparse, experts_workspace_bytes(model, gpu, engine))
    return shared


def _indexer_workspace_bytes(mixer: LatentAttention, engine: ResolvedEngine) -> Any:
    """Bytes of gathered keys and their scales of the sparse indexer; what attention gathers then is a little less.

    Source: vllm@0.24.0 v1/attention/backends/mla/indexer.py:get_max_prefill_buffer_size,
    model_executor/layers/sparse_attn_indexer.py.
    """
    if mixer.indexer is None:
        return 0
    return INDEXER_CONTEXTS * engine.max_model_len * (mixer.indexer.head_dim + 4)


def experts_workspace_bytes(model: ModelSpec, gpu: GpuSpec, engine: ResolvedEngine) -> FloatColumn:
    """Bytes of the two buffers that all fused experts of a rank share.

    One holds each token's copies after the first matrix or after the second, the other after the activation.
    Kernels of FlashInfer and Triton's for MXFP4 keep buffers of their own, which are freed.

    Source: vllm@0.24.0 fused_moe/modular_kernel.py:_allocate_buffers, v1/worker/workspace.py; workspace_shapes in
    fused_moe/experts/triton_moe.py and marlin_moe.py, which ask for the same. Seven starts of 0.24 agree.
    """
    if model.experts is None or not shares_workspace(engine) or _keeps_own_buffers(model, gpu):
        return 0.0
    wanted = [_workspace_values(experts, model, engine) for experts in model.feed_forwards(Experts)]
    most: FloatColumn = reduce(columns.maximum, wanted)
    return most * DTYPE_BYTES[engine.dtype]


def _workspace_values(experts: Experts, model: ModelSpec, engine: ResolvedEngine) -> Any:
    width = experts.latent_size or model.hidden_size
    inner = _expert_width(experts, engine)
    copies = _copies(experts, engine, engine.max_num_batched_tokens)
    return copies * (max(inner, width) + max(inner * (2 if experts.is_gated else 1), width))


def _keeps_own_buffers(model: ModelSpec, gpu: GpuSpec) -> bool:
    """Whether the experts' kernel shares no buffers, by the weights' format and the card.

    Source: vllm@0.24.0 fused_moe/oracle/*.py, which take FlashInfer's kernels first on compute capability 10.x.
    """
    major = gpu.compute_capability[0]
    scheme = model.quantization.scheme if model.quantization is not None else None
    packing = "none" if scheme is None else scheme.packing
    if packing == "mxfp4":
        return major in {9, 10}
    if packing == "nvfp4":
        return major >= 10
    return major == 10 and packing in {"none", "fp8"}


def _expert_width(experts: Experts, engine: ResolvedEngine) -> int:
    """Intermediate width of an expert on one rank."""
    return experts.intermediate_size // (1 if engine.enable_expert_parallel else engine.tensor_parallel_size)


def _copies(experts: Experts, engine: ResolvedEngine, tokens: Any) -> Any:
    """Number of rows that the experts compute: a copy of each token per expert that it is sent to."""
    if engine.version < WORKSPACE_CHUNKED_UNTIL:
        tokens = columns.minimum(tokens, MOE_CHUNK_TOKENS)
    return tokens * experts.num_experts_per_tok


def _mlp_bytes(model: ModelSpec, engine: ResolvedEngine, tokens: Any) -> Any:
    """Largest live set of the MLP in bytes: at gate and up, at down, or at the all-reduce that follows."""
    hidden, itemsize = model.hidden_size, DTYPE_BYTES[engine.dtype]
    inner = model.intermediate_size // engine.tensor_parallel_size
    dequantised: Any = 0
    if engine.quantization == "awq":
        dequantised = columns.where(tokens >= AWQ_DEQUANTIZE_TOKENS, hidden * inner * itemsize, 0)
    gate_up = itemsize * tokens * (2 * inner + 3 * hidden) + 2 * dequantised
    if _is_fused(engine):
        return columns.maximum(
            gate_up, itemsize * tokens * (3 * inner + FUSED_MLP_HIDDEN_STATES * hidden) + dequantised
        )
    down = itemsize * tokens * (3 * inner + 4 * hidden) + dequantised
    reduced = itemsize * tokens * (3 * inner + 5 * hidden) if engine.tensor_parallel_size > 1 else 0
    return columns.maximum(columns.maximum(gate_up, down), reduced)


def _is_fused(engine: ResolvedEngine) -> bool:
    """Whether torch.compile fuses norms and activations so far that fewer tensors live at once."""
    return engine.generation == "V1" and engine.version >= FUSED_MLP_SINCE


def _experts_bytes(experts: Experts, model: ModelSpec, engine: ResolvedEngine, tokens: Any) -> Any:
    """Bytes beside the shared buffers: hidden states and the shared experts; before 0.14 the copies of each token too.

    Source: vllm@0.10.2 model_executor/layers/fused_moe/fused_moe.py:fused_experts_impl (cache1 and cache3 share memory,
    chunks of at most 32768 tokens).
    """
    hidden, itemsize = model.hidden_size, DTYPE_BYTES[engine.dtype]
    values = tokens * 4 * hidden
    scheme = model.quantization.scheme if model.quantization is not None else None
    if not shares_workspace(engine) or (scheme is not None and scheme.packing == "mxfp4"):
        inner = _expert_width(experts, engine)
        values = values + _copies(experts, engine, tokens) * (max(2 * inner, hidden) + inner)
    else:
        values = values + tokens * 3 * experts.shared_intermediate_size // engine.tensor_parallel_size
    return itemsize * values


def _attention_bytes(model: ModelSpec, engine: ResolvedEngine, tokens: Any) -> Any:
    """Bytes alive in the attention block; per-head norms run in fp32 (layers/layernorm.py:RMSNorm.forward_native)."""
    queries = model.num_attention_heads * model.head_dim // engine.tensor_parallel_size
    keys = kv_heads_per_rank(model, engine.tensor_parallel_size) * model.head_dim
    in_fp32 = model.qk_norm and not _is_fused(engine)
    per_token = 10 * queries + 4 * keys if in_fp32 else 6 * queries + 4 * keys
    return tokens * (per_token + 4 * model.hidden_size)


def _latent_bytes(mixer: LatentAttention, model: ModelSpec, engine: ResolvedEngine, tokens: Any) -> Any:
    """Bytes of latent attention: the profile takes what unpacks earlier chunks at its largest.

    Source: vllm@0.11.2 v1/attention/backends/mla/common.py:determine_chunked_prefill_workspace_size and forward, the
    same in 0.24.0; with queries, the latent vector and two hidden states it is exact for DeepSeek-V2-Lite at 0.24.
    """
    heads, itemsize = mixer.num_heads // engine.tensor_parallel_size, DTYPE_BYTES[engine.dtype]
    queries = heads * (mixer.qk_nope_head_dim + mixer.qk_rope_head_dim)
    beside = tokens * (queries + mixer.kv_lora_rank + mixer.qk_rope_head_dim + 2 * model.hidden_size)
    unpacked: Any = 0
    if mixer.indexer is not None:
        return itemsize * beside + INDEXER_LOGITS_BYTES
    if engine.generation == "V1":
        by_seqs = engine.max_num_seqs * LATENT_BLOCK_TOKENS
        earlier = columns.minimum(columns.maximum(8 * engine.max_model_len, 4 * by_seqs), LATENT_WORKSPACE_TOKENS)
        unpacked = columns.maximum(earlier, by_seqs) * heads * (mixer.qk_nope_head_dim + mixer.v_head_dim)
    return itemsize * (beside + unpacked)


INDEXER_CONTEXTS, INDEXER_LOGITS_BYTES = 40, 512 * MIB
"""Contexts of max_model_len that the sparse indexer gathers at once, and the logits that it takes in the profile
(VLLM_SPARSE_INDEXER_MAX_LOGITS_MB)."""
LATENT_BLOCK_TOKENS = 16
"""Block size in that bound, which matters above 1024 sequences only."""


def _delta_net_bytes(mixer: DeltaNet, model: ModelSpec, engine: ResolvedEngine, tokens: Any) -> Any:
    """Bytes of a gated delta net: projections, what the convolution reads, queries to gate apart, and its output.

    Source: vllm@0.24.0 layers/mamba/gdn/qwen_gdn_linear_attn.py:forward_cuda. Only Qwen3-Next copies queries and keys.
    """
    projected = 2 * mixer.key_width + 2 * mixer.value_width
    copied = (2 * mixer.key_width if mixer.is_interleaved else 0) + 2 * mixer.value_width
    convolved = 2 * mixer.key_width + mixer.value_width
    per_rank = (projected + convolved + copied + mixer.value_width) // engine.tensor_parallel_size
    return DTYPE_BYTES[engine.dtype] * tokens * (per_rank + STATE_HIDDEN_STATES * model.hidden_size)


def _mamba_bytes(mixer: Mamba, model: ModelSpec, engine: ResolvedEngine, tokens: Any) -> Any:
    """Bytes of a Mamba-2 mixer: its projection, its output and two copies of what the convolution reads.

    Source: vllm@0.24.0 layers/mamba/mamba_mixer2.py:conv_ssm_forward, the branch of the profile run.
    """
    projected = mixer.inner + mixer.conv_width + mixer.num_heads
    per_rank = (projected + mixer.inner + 2 * mixer.conv_width) // engine.tensor_parallel_size
    return DTYPE_BYTES[engine.dtype] * tokens * (per_rank + STATE_HIDDEN_STATES * model.hidden_size)
