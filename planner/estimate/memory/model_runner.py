"""Which of vLLM's model runners serves a deployment: `uses_second_runner(model, engine)`.

In: the model and the engine's settings. Out: yes or no. Says nothing of the memory, which differs by runner.
Source: vllm@0.23.0 to 0.33.0 config/vllm.py:use_v2_model_runner.
"""

from __future__ import annotations

from planner.engine import (
    SECOND_RUNNER_DRAFTS_SINCE,
    SECOND_RUNNER_FOR_ALL_SINCE,
    SECOND_RUNNER_FOR_DENSE_SINCE,
    SECOND_RUNNER_QUANTISED_SINCE,
    SECOND_RUNNER_SINCE,
    ResolvedEngine,
)
from planner.model import ModelSpec

FIRST_TYPES = {"qwen3", "llama", "mistral"}
"""Architectures that model runner V2 serves first (vllm@0.23.0 config/vllm.py:DEFAULT_V2_MODEL_RUNNER_ARCHITECTURES).
"""
MIXTURES = {"qwen2_moe", "deepseek_v2", "granitemoe"}
"""Mixtures of experts that it serves from 0.24, other mixtures only where it serves all."""


def uses_second_runner(model: ModelSpec, engine: ResolvedEngine) -> bool:
    """Whether model runner V2 runs this model with these settings, unless VLLM_USE_V2_MODEL_RUNNER says otherwise."""
    version = engine.version
    if version < SECOND_RUNNER_SINCE or not _knows_drafts(engine):
        return False
    if version >= SECOND_RUNNER_FOR_ALL_SINCE:
        return True
    if not model.has_head:  # pooling
        return False
    if version < SECOND_RUNNER_QUANTISED_SINCE:
        return model.model_type in FIRST_TYPES and model.quantization is None
    if model.model_type in MIXTURES:
        return True
    if version < SECOND_RUNNER_FOR_DENSE_SINCE:
        return model.model_type in FIRST_TYPES
    return model.experts is None and not model.is_hybrid


def _knows_drafts(engine: ResolvedEngine) -> bool:
    """Whether model runner V2 of this version knows the method of speculative decoding, if there is any."""
    speculation = engine.speculation if engine.speculative_config is not None else None
    if speculation is None:
        return True
    since = SECOND_RUNNER_DRAFTS_SINCE.get("mtp" if speculation.drafting == "mtp" else speculation.method)
    return since is not None and engine.version >= since
