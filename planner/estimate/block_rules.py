"""Rules of FP8 blocks: what tensor parallelism divides must hold whole blocks of 128 x 128 weights on every rank.

In: a deployment. Out: an excess as in `rules.py`, and vLLM's words. Source: vllm@0.20.0
layers/quantization/fp8.py:Fp8MoEMethod.create_weights; vllm@0.32.0 layers/quantization/utils/fp8_utils.py:
validate_fp8_block_shape, validate_fp8_block_shape_moe.
"""

from __future__ import annotations

from functools import lru_cache

from planner.engine import UNEVEN_EXPERT_BLOCKS_SINCE
from planner.estimate.deployment import Deployment
from planner.estimate.memory.weights import layer_schemes
from planner.model import ModelSpec, modules_of

FED = (".gate_proj", ".up_proj", ".down_proj")
"""Modules of feed-forwards, dense or of experts. Attention may be exempt (MiMo-V2), narrow projections of
delta nets are; they are not judged."""


def lacks_whole_blocks(d: Deployment) -> bool:
    """Whether a rank would hold part of a block."""
    return _uneven(d) is not None


def block_message(d: Deployment) -> str:
    return _uneven(d) or ""


def _uneven(d: Deployment) -> str | None:
    engine = d.engine
    if engine.tensor_parallel_size == 1 or d.gpu.is_cpu or not d.model.is_known or d.model.quantization is None:
        return None
    refuses_experts = not engine.enable_expert_parallel and engine.version < UNEVEN_EXPERT_BLOCKS_SINCE
    return _first_uneven(d.model, engine.tensor_parallel_size, refuses_experts)


@lru_cache(maxsize=256)
def _first_uneven(model: ModelSpec, ranks: int, refuses_experts: bool) -> str | None:
    """vLLM's words for the first module that does not divide; None if all do."""
    for kind, layer in enumerate(model.layers.kinds):
        modules = modules_of(layer, model.hidden_size)
        schemes = layer_schemes(model.quantization, modules, model.layers.order.index(kind))
        for module, scheme in zip(modules, schemes, strict=True):
            if scheme is None or scheme.block_size is None or not module.name.endswith(FED):
                continue
            block_n, block_k = scheme.block_size
            inputs = module.shape(ranks)[1]
            uneven = next((part.rows(ranks) for part in module.parts if part.rows(ranks) % block_n), 0)
            if module.copies:
                if refuses_experts and module.cut == "outputs" and uneven:
                    return (
                        f"The output_size of gate's and up's weight = {uneven} is not divisible by weight "
                        f"quantization block_n = {block_n}."
                    )
            elif module.cut == "inputs" and inputs % block_k:
                return (
                    f"Weight input_size_per_partition = {inputs} is not divisible by weight quantization "
                    f"block_k = {block_k}."
                )
            elif module.cut == "outputs" and uneven:
                return (
                    f"Weight output_partition_size = {uneven} is not divisible by weight quantization "
                    f"block_n = {block_n}."
                )
    return None
