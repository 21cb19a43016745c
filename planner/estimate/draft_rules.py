"""Rules of drafters and experts: values of speculative_config, and expert parallelism, that the engine itself refuses.

In: a deployment. Out: an excess as in `rules.py`, and vLLM's words.
"""

from __future__ import annotations

from planner.engine import OWN_MTP_SINCE
from planner.estimate.deployment import Deployment
from planner.estimate.memory.runners import takes_draft

METHODS = frozenset({
    "ngram", "ngram_gpu", "[ngram]", "medusa", "mlp_speculator", "draft_model", "suffix", "custom_class", "eagle",
    "eagle3", "extract_hidden_states", "dflash", "dspark", "mtp",
})  # fmt: skip
"""Words for `method`, beside those that end in `_mtp` (vllm@0.11.0, 0.24.0, 0.32.0 config/speculative.py:
SpeculativeMethod)."""
COUNTED = frozenset({"ngram", "ngram_gpu", "[ngram]", "draft_model"})
"""Methods whose drafter cannot say how many tokens it proposes."""


def lacks_experts(d: Deployment) -> bool:
    """Whether experts are to be shared out by a model that has none.

    Source: vllm@0.8.5 config.py, 0.11.0, 0.32.0 config/model.py:_verify_with_expert_parallelism.
    """
    return d.engine.enable_expert_parallel and d.model.is_known and d.model.experts is None and not d.gpu.is_cpu


def is_no_method(d: Deployment) -> bool:
    """Whether speculative_config names a method that no release knows."""
    speculation = d.engine.speculation
    if speculation is None:
        return False
    return speculation.method not in METHODS and not speculation.method.endswith("_mtp")


def lacks_draft_tokens(d: Deployment) -> bool:
    """Whether nothing says how many tokens are proposed (vllm@0.8.5, 0.24.0 config/speculative.py:_verify_args)."""
    speculation = d.engine.speculation
    return speculation is not None and speculation.method in COUNTED and speculation.num_tokens < 1


def lacks_mtp(d: Deployment) -> bool:
    """Whether a model is to predict several tokens with layers of its own, for which its type has no class.

    Source: vllm@0.11.2..0.33.0 config/speculative.py:hf_config_override, __post_init__.
    """
    speculation = d.engine.speculation
    if speculation is None or speculation.drafting != "mtp" or speculation.model is not None or not d.model.is_known:
        return False
    since = OWN_MTP_SINCE.get(d.model.model_type)
    needs_count = d.model.model_type == "nemotron_h"  # its class is taken only where config.json counts such layers
    return since is None or d.engine.version < since or (needs_count and not d.model.num_mtp_layers)


def lacks_runner(d: Deployment) -> bool:
    """Whether model runner V2 is forced for drafts that it does not serve (vllm@0.24.0 config/vllm.py:
    _validate_v2_model_runner)."""
    return d.engine.forced_runner == 2 and not takes_draft(d.engine)


def runner_message(d: Deployment) -> str:
    speculation = d.engine.speculation
    method = speculation.method if speculation is not None else ""
    return f"Model Runner V2 does not yet support: speculative method '{method}'"


def method_message(d: Deployment) -> str:
    speculation = d.engine.speculation
    return f"Unsupported speculative method: '{speculation.method if speculation is not None else ''}'"
