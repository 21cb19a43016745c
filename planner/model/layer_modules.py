"""The modules of a whole layer: `modules_of(layer, hidden_size)`, in the order in which vLLM creates them.

In: a `Layer`. Out: `Module`s of mixers, feed-forwards, norms and further weights.
Source: vllm@0.32 model_executor/models/*.py; each function names its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from planner.model.layers import Experts, Layer, Mlp
from planner.model.mixer_modules import mixer_modules
from planner.model.modules import Module, Part, by_inputs, norm, plain, whole


@lru_cache(maxsize=512)
def modules_of(layer: Layer, hidden_size: int) -> tuple[Module, ...]:
    """The layer's modules in the order in which vLLM creates them: mixers, feed-forwards, norms, further weights."""
    modules: list[Module] = []
    for mixer in layer.mixers:
        modules += mixer_modules(mixer, hidden_size)
    for feed_forward in layer.feed_forwards:
        if isinstance(feed_forward, Mlp):
            modules += _mlp(feed_forward, hidden_size)
        else:
            modules += _experts(feed_forward, hidden_size)
    for number in range(layer.num_norms):
        modules += norm(f"norm{number}", hidden_size, layer.has_norm_bias)
    modules += layer.extra
    return tuple(modules)


def _mlp(mlp: Mlp, hidden: int) -> Iterator[Module]:
    """MergedColumnParallelLinear and RowParallelLinear (models/llama.py:LlamaMLP, models/opt.py)."""
    yield from _feed(mlp.name, mlp.intermediate_size, hidden, mlp.is_gated, mlp.has_bias)


def _feed(at: str, inner: int, hidden: int, is_gated: bool, has_bias: bool) -> Iterator[Module]:
    parts = (Part(f"{at}.gate_proj", inner), Part(f"{at}.up_proj", inner))
    yield Module(parts if is_gated else parts[1:], hidden, "outputs", has_bias=has_bias)
    yield by_inputs(f"{at}.down_proj", hidden, inner, has_bias)


def _experts(experts: Experts, hidden: int) -> Iterator[Module]:
    """Router (replicated, never quantised), the experts as two stacked tensors, the shared experts.

    Source: layers/fused_moe/layer.py:FusedMoE; models/nemotron_h.py:NemotronHMoE for experts in a latent width.
    """
    at, inner, count = experts.name and f"{experts.name}.", experts.intermediate_size, experts.num_experts
    yield Module(
        (Part(f"{at}{experts.router}", count + experts.zero_experts),), hidden, "whole", is_quantizable=False,
        itemsize=experts.router_itemsize,
    )  # fmt: skip
    if experts.has_score_bias:
        yield plain(f"{at}{experts.router}.e_score_correction_bias", count + experts.zero_experts, itemsize=4)
    width = experts.latent_size or hidden
    if experts.latent_size:
        yield whole(f"{at}fc1_latent_proj", width, hidden)
    parts = (Part(f"{at}experts.0.gate_proj", inner), Part(f"{at}experts.0.up_proj", inner))
    yield Module(parts if experts.is_gated else parts[1:], width, "outputs", copies=count, has_bias=experts.has_bias)
    yield Module((Part(f"{at}experts.0.down_proj", width),), inner, "inputs", copies=count, has_bias=experts.has_bias)
    if experts.latent_size:
        yield whole(f"{at}fc2_latent_proj", hidden, width)
    if experts.shared_intermediate_size:
        shared = f"{at}{experts.shared_name}"
        yield from _feed(shared, experts.shared_intermediate_size, hidden, experts.is_gated, False)
        if experts.has_shared_gate:
            yield whole(f"{at}shared_expert_gate", 1, hidden, is_quantizable=False)
