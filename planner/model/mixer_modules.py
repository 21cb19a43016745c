"""The modules of a layer's mixer, in the order in which vLLM creates them: `mixer_modules(mixer, hidden_size)`.

Source: vllm@0.32 model_executor/models/*.py and layers/mamba/*.py; each function names its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.model.layers import (
    Attention,
    DeltaNet,
    LatentAttention,
    LightningAttention,
    Mamba,
    Mixer,
    ShortConvolution,
)
from planner.model.modules import Module, Part, by_inputs, by_outputs, divided, plain, whole


def mixer_modules(mixer: Mixer, hidden_size: int) -> Iterator[Module]:
    """The modules of one mixer."""
    match mixer:
        case Attention():
            return _attention(mixer, hidden_size)
        case LatentAttention():
            return _latent(mixer, hidden_size)
        case DeltaNet():
            return (_kimi if mixer.is_kimi else _delta_net)(mixer, hidden_size)
        case Mamba():
            return (_mamba1 if mixer.version == 1 else _mamba2)(mixer, hidden_size)
        case ShortConvolution():
            return _short_convolution(mixer, hidden_size)
        case LightningAttention():
            return _lightning(mixer, hidden_size)


def _attention(mixer: Attention, hidden: int) -> Iterator[Module]:
    """QKVParallelLinear, RowParallelLinear and the norms of queries and keys (models/qwen3.py, qwen3_next.py)."""
    if mixer.low_rank is not None:  # models/minicpm3.py
        yield from (module for module in _latent(mixer.low_rank, hidden) if not module.is_copy)
        return
    at, queries = mixer.name, mixer.num_heads * mixer.head_dim
    own_gate = mixer.gate_width not in (0, queries)
    query_width = mixer.head_dim * (2 if mixer.gate_width == queries else 1)
    parts = [Part(f"{at}.q_proj", mixer.num_heads, query_width)]
    if not mixer.shares_kv or mixer.keeps_keys:
        parts.append(Part(f"{at}.k_proj", mixer.num_kv_heads, mixer.head_dim))
        parts.append(Part(f"{at}.v_proj", mixer.num_kv_heads, mixer.v_head_dim))
    yield Module(tuple(parts), hidden, "outputs", has_bias=mixer.has_bias)
    if own_gate:
        yield Module((Part(f"{at}.g_proj", mixer.num_heads, mixer.gate_width // mixer.num_heads),), hidden, "outputs")
    yield by_inputs(f"{at}.o_proj", hidden, mixer.num_heads * mixer.v_head_dim, mixer.has_output_bias)
    if mixer.has_sinks:
        yield divided(f"{at}.sinks", mixer.num_heads)
    match mixer.qk_norm:
        case "head":
            yield plain(f"{at}.q_norm", mixer.head_dim)
            if not mixer.shares_kv or mixer.keeps_keys:
                yield plain(f"{at}.k_norm", mixer.head_dim)
        case "row" | "heads":
            yield divided(f"{at}.q_norm", mixer.num_heads, mixer.head_dim)
            yield Module(
                (Part(f"{at}.k_norm", mixer.num_kv_heads, mixer.head_dim),), 1, "outputs", is_quantizable=False
            )


def _latent(mixer: LatentAttention, hidden: int) -> Iterator[Module]:
    """The projections of multi-head latent attention; the compressing ones are replicated (models/deepseek_v2.py)."""
    at, heads = mixer.name, mixer.num_heads
    query_width = mixer.qk_nope_head_dim + mixer.qk_rope_head_dim
    if mixer.q_lora_rank:
        yield whole(f"{at}.q_a_proj", mixer.q_lora_rank, hidden)
        yield Module((Part(f"{at}.q_b_proj", heads, query_width),), mixer.q_lora_rank, "outputs")
    else:
        yield Module((Part(f"{at}.q_proj", heads, query_width),), hidden, "outputs")
    yield whole(f"{at}.kv_a_proj_with_mqa", mixer.kv_lora_rank + mixer.qk_rope_head_dim, hidden)
    width = mixer.qk_nope_head_dim + mixer.v_head_dim
    yield Module((Part(f"{at}.kv_b_proj", heads, width),), mixer.kv_lora_rank, "outputs")
    yield by_inputs(f"{at}.o_proj", hidden, heads * mixer.v_head_dim)
    # A quantised kv_b_proj is also kept dequantised and split (layers/attention/mla_attention.py: W_UK_T, W_UV).
    copy = (Part(f"{at}.W_UK_T and W_UV", heads, width),)
    yield Module(copy, mixer.kv_lora_rank, "outputs", is_quantizable=False, is_copy=True)
    if mixer.indexer is not None and not mixer.indexer.is_shared:  # replicated (models/deepseek_v2.py:Indexer)
        own = mixer.indexer
        yield whole(f"{at}.indexer.wq_b", own.num_heads * own.head_dim, mixer.q_lora_rank or hidden)
        yield whole(f"{at}.indexer.wk", own.head_dim + own.num_heads, hidden, is_quantizable=False)
        yield from (plain(f"{at}.indexer.k_norm", 2 * own.head_dim, itemsize=4),)


def _delta_net(mixer: DeltaNet, hidden: int) -> Iterator[Module]:
    """Projections, convolution and gates of a gated delta net (layers/mamba/gdn/qwen_gdn_linear_attn.py)."""
    at, mixed = mixer.name, 2 * mixer.key_width + mixer.value_width
    yield Module((
        Part(f"{at}.in_proj_qkv", mixer.num_key_heads, mixed // mixer.num_key_heads),
        Part(f"{at}.in_proj_z", mixer.num_value_heads, mixer.value_head_dim),
    ), hidden, "outputs")  # fmt: skip
    yield Module((
        Part(f"{at}.in_proj_b", mixer.num_value_heads), Part(f"{at}.in_proj_a", mixer.num_value_heads)
    ), hidden, "outputs", is_narrow=not mixer.is_interleaved)  # fmt: skip
    yield divided(f"{at}.conv1d", mixed, mixer.kernel_size)
    yield divided(f"{at}.dt_bias", mixer.num_value_heads, itemsize=4)
    yield divided(f"{at}.A_log", mixer.num_value_heads, itemsize=4)
    yield by_inputs(f"{at}.out_proj", hidden, mixer.value_width)


def _kimi(mixer: DeltaNet, hidden: int) -> Iterator[Module]:
    """Kimi delta attention; the ranks' low-rank gates are whole (layers/mamba/gdn/kimi_gdn_linear_attn.py)."""
    at, heads, width = mixer.name, mixer.num_value_heads, mixer.value_head_dim
    yield Module(
        tuple(Part(f"{at}.{name}", heads, width) for name in ("q_proj", "k_proj", "v_proj")), hidden, "outputs"
    )
    yield by_outputs(f"{at}.b_proj", heads, hidden)
    yield from (whole(f"{at}.f_a_proj", width, hidden), by_outputs(f"{at}.f_b_proj", heads * width, width))
    yield divided(f"{at}.dt_bias", heads * width, itemsize=4)
    yield divided(f"{at}.conv1d", 3 * heads * width, mixer.kernel_size, itemsize=4)
    yield divided(f"{at}.A_log", heads, itemsize=4)
    yield from (whole(f"{at}.g_a_proj", width, hidden), by_outputs(f"{at}.g_b_proj", heads * width, width))
    yield plain(f"{at}.o_norm", width)
    yield by_inputs(f"{at}.o_proj", hidden, heads * width)


def _mamba2(mixer: Mamba, hidden: int) -> Iterator[Module]:
    """Mamba-2; one group of heads is repeated on every rank, several are shared out (layers/mamba/mamba_mixer2.py)."""
    at, heads, state = mixer.name, mixer.num_heads, mixer.num_groups * mixer.state_size
    groups = Part(f"{at}.in_proj", 2 * mixer.num_groups, mixer.state_size)
    if mixer.num_groups == 1:
        groups = Part(f"{at}.in_proj", 1, 2 * state)
    convolved = (Part(f"{at}.conv1d", mixer.inner), Part(f"{at}.conv1d", groups.pieces, groups.width))
    yield Module(convolved, mixer.kernel_size, "outputs", is_quantizable=False, has_bias=mixer.has_conv_bias)
    projected = (Part(f"{at}.in_proj", 2 * mixer.inner), groups, Part(f"{at}.in_proj", heads))
    yield Module(projected, hidden, "outputs", has_bias=mixer.has_bias)
    yield divided(f"{at}.A_log", heads, itemsize=4)
    yield from (divided(f"{at}.D", heads), divided(f"{at}.dt_bias", heads))
    yield by_inputs(f"{at}.out_proj", hidden, mixer.inner, mixer.has_bias)
    if mixer.has_gated_norm:
        yield divided(f"{at}.norm", mixer.inner)


def _mamba1(mixer: Mamba, hidden: int) -> Iterator[Module]:
    """Mamba with norms of its time step, B and C; vLLM never quantises it (layers/mamba/mamba_mixer.py)."""
    at, inner, state = mixer.name, mixer.inner, mixer.state_size
    yield Module((Part(f"{at}.conv1d", inner),), mixer.kernel_size, "outputs", False, has_bias=mixer.has_conv_bias)
    yield Module((Part(f"{at}.in_proj", 2 * inner),), hidden, "outputs", False, has_bias=mixer.has_bias)
    yield Module((Part(f"{at}.x_proj", mixer.dt_rank + 2 * state),), inner, "inputs", False)
    yield Module((Part(f"{at}.dt_proj", inner),), mixer.dt_rank, "outputs", False, has_bias=True)
    yield from (divided(f"{at}.A_log", inner, state, itemsize=4), divided(f"{at}.D", inner))
    yield Module((Part(f"{at}.out_proj", hidden),), inner, "inputs", False, has_bias=mixer.has_bias)
    if mixer.has_gated_norm:
        yield plain(f"{at}.dt_layernorm", mixer.dt_rank + 2 * state)


def _short_convolution(mixer: ShortConvolution, hidden: int) -> Iterator[Module]:
    """A gated short convolution (layers/mamba/short_conv.py)."""
    at, width = mixer.name, mixer.width
    yield Module((Part(f"{at}.conv", width),), mixer.kernel_size, "outputs", False, has_bias=mixer.has_bias)
    yield by_outputs(f"{at}.in_proj", 3 * width, hidden, mixer.has_bias)
    yield by_inputs(f"{at}.out_proj", hidden, width, mixer.has_bias)


def _lightning(mixer: LightningAttention, hidden: int) -> Iterator[Module]:
    """Linear attention with an output gate and a norm (vllm@0.22 layers/mamba/linear_attn.py)."""
    at, width = mixer.name, mixer.num_heads * mixer.head_dim
    yield by_outputs(f"{at}.qkv_proj", 3 * width, hidden)
    yield by_outputs(f"{at}.output_gate", width, hidden)
    yield by_inputs(f"{at}.out_proj", hidden, width)
    yield divided(f"{at}.norm", width)
