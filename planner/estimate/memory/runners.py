"""Which of V1's two model runners serves a model: `uses_second_runner(model, engine)`.

They differ in what a profile run takes, in whether the graphs come out of the budget, and in whether weights are
offloaded. In: the model and the engine's settings. Out: whether model runner V2 serves, by release.

Source: config/vllm.py:use_v2_model_runner, _is_default_v2_model_runner_model and
_get_v2_model_runner_unsupported_features of vllm 0.22.0 to 0.33.0.
"""

from __future__ import annotations

from packaging.version import Version

from planner.engine import (
    DRAFTS_ON_SECOND_RUNNER_SINCE,
    RUNNER_CHOSEN_SINCE,
    SECOND_RUNNER_FOR_ALL_SINCE,
    SECOND_RUNNER_FOR_DENSE_SINCE,
    SECOND_RUNNER_FOR_QUANTISED_SINCE,
    SECOND_RUNNER_FOR_THREE_SINCE,
    SECOND_RUNNER_SINCE,
    SECOND_RUNNER_STAGED_EAGLE_SINCE,
    ResolvedEngine,
)
from planner.model import ModelSpec

BY_TYPE: tuple[tuple[Version, frozenset[str]], ...] = (
    (SECOND_RUNNER_SINCE, frozenset({"qwen3"})),
    (SECOND_RUNNER_FOR_THREE_SINCE, frozenset({"qwen3", "llama", "mistral"})),
    (SECOND_RUNNER_FOR_QUANTISED_SINCE,
     frozenset({"qwen3", "llama", "mistral", "qwen2_moe", "deepseek_v2", "granitemoe"})),
    (SECOND_RUNNER_FOR_DENSE_SINCE, frozenset({"qwen2_moe", "deepseek_v2", "granitemoe"})),
)  # fmt: skip
"""Model types that each release names (DEFAULT_V2_MODEL_RUNNER_ARCHITECTURES); from the last row on it also serves all
others that are neither mixtures of experts nor hybrids."""


def uses_second_runner(model: ModelSpec, engine: ResolvedEngine) -> bool:
    """Whether model runner V2 serves this model: some architectures first, then dense ones, later all."""
    version = engine.version
    if engine.forced_runner is not None and version >= RUNNER_CHOSEN_SINCE:
        return engine.forced_runner == 2
    if version < SECOND_RUNNER_SINCE or not takes_draft(engine):
        return False
    if version >= SECOND_RUNNER_FOR_ALL_SINCE:
        return True
    named = next(types for since, types in reversed(BY_TYPE) if version >= since)
    if not model.has_head or not model.attends:  # pooling, and no attention
        return False
    if version >= SECOND_RUNNER_FOR_DENSE_SINCE:
        return not model.is_hybrid and (model.model_type in named or model.experts is None)
    if version < SECOND_RUNNER_FOR_QUANTISED_SINCE and engine.quantization is not None:
        return False
    return model.model_type in named


def takes_draft(engine: ResolvedEngine) -> bool:
    """Whether model runner V2 of this release serves the speculative decoding that is asked for, or none is."""
    speculation = engine.speculation
    if speculation is None:
        return True
    if speculation.drafting in {"mtp", "eagle"}:
        is_staged = speculation.method == "eagle3" and engine.pipeline_parallel_size > 1
        return not is_staged or engine.version >= SECOND_RUNNER_STAGED_EAGLE_SINCE
    name = "draft_model" if speculation.drafting == "model" else speculation.method.strip("[]")
    since = DRAFTS_ON_SECOND_RUNNER_SINCE.get(name)
    return since is not None and engine.version >= since
