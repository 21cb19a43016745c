"""Room for LoRA adapters on one rank, in bytes: `lora_bytes(model, engine, rank)`; it counts as weights.

For each linear module vLLM allocates, when it loads the model, two matrices for max_loras adapters of max_lora_rank:
inputs x rank for each of its slices (query, key, value; gate, up), and rank x outputs. Source: vllm@0.24.0
lora/layers/{base_linear,column_parallel_linear,vocal_parallel_embedding,logits_processor,fused_moe}.py:
create_lora_weights; three starts of it are reproduced within 2.4 % (docs/accuracy.md names their group).
"""

from __future__ import annotations

from planner.engine import Lora, ResolvedEngine
from planner.estimate.memory.weights import Rank
from planner.model import DTYPE_BYTES, ModelSpec, modules_of
from planner.model import Module as WeightModule

ADAPTED_EMBEDDINGS = frozenset({"llama", "qwen3", "qwen3_moe"})
"""Model types whose embedding and head take adapters too (models/*.py: embedding_modules)."""


def lora_bytes(model: ModelSpec, engine: ResolvedEngine, rank: Rank) -> int:
    """Bytes of the buffers for adapters on a rank; 0 without LoRA. They have the model's dtype, quantised or not."""
    lora = engine.lora
    if lora is None:
        return 0
    tp = engine.tensor_parallel_size
    elements = 0
    for layer in model.layers.part(rank.first_layer, rank.num_layers):
        for module in modules_of(layer, model.hidden_size):
            if module.is_quantizable and not module.is_copy:
                elements += _adapter_elements(module, lora, tp)
    if model.model_type in ADAPTED_EMBEDDINGS:
        elements += (rank.is_first + rank.is_last) * (model.vocab_size + model.hidden_size) * lora.max_rank
    return elements * lora.max_loras * DTYPE_BYTES[engine.dtype]


def _adapter_elements(module: WeightModule, lora: Lora, tp: int) -> int:
    """Elements of one adapter's two matrices of a module on a rank; every expert has its own."""
    outputs, inputs = module.shape(tp)
    first = lora.max_rank // tp if lora.is_fully_sharded and module.cut == "outputs" else lora.max_rank
    slices = len(module.parts)
    return max(1, module.copies) * (slices * first * inputs + outputs * lora.max_rank)
