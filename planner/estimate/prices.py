"""What a change costs: `cost_words`, `loss_of` to sort by, and `pace_of`, the speed that is predicted.

In: a change's values before and after, and the answer that it leads to. Out: words, a number, tokens per second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, log2
from typing import Any

from planner.estimate.answer import Answer, Setup
from planner.estimate.moves import DRAFT, GPU, INSTANCES, MODEL, NUM_GPUS
from planner.units import format_count, format_gib

UNKNOWN_SPEED = ("bitsandbytes", "gguf")
"""Quantisation methods whose kernels the speed model does not know."""
PACE_CONTEXT_TOKENS = 2048
"""Tokens in the KV cache of each sequence whose decoding is predicted; fewer where max_model_len is shorter."""


@dataclass(frozen=True, slots=True)
class DecodeRate:
    """Decoding speed by the speed model (performance-model.md), in output tokens per second over all instances."""

    alone: float
    """Of one sequence."""
    together: float
    """Of all sequences together that run at once."""
    num_seqs: int
    """Sequences that run at once: as many as fit the KV cache, at most max_num_seqs an instance."""

    @property
    def words(self) -> str:
        at_once = f", {_rounded(self.together)} for {self.num_seqs} requests at once" if self.num_seqs > 1 else ""
        return f"predicted: {_rounded(self.alone)} tokens/s for one request{at_once}"

    def document(self) -> dict[str, float]:
        return {
            "one_request_tokens_per_s": round(self.alone, 1),
            "all_requests_tokens_per_s": round(self.together, 1),
            "requests_at_once": self.num_seqs,
        }


def pace_of(answer: Answer) -> DecodeRate | None:
    """Speed of decoding where the speed model can say; None of what does not start, is not modelled or has no cards."""
    d = answer.deployment
    if answer.violated or d.gpu.is_cpu or not d.model.is_modelled or not d.memory.kv_block_bytes:
        return None
    if d.engine.quantization in UNKNOWN_SPEED:
        return None
    from planner.estimate.speed.step import Step, StepModel

    context = min(PACE_CONTEXT_TOKENS, int(d.engine.max_model_len))
    fit = float(d.memory.max_concurrency) * int(d.engine.max_model_len) / context
    seqs = int(max(1, min(fit, d.engine.max_num_seqs)))
    steps = StepModel(d.model, d.placement, d.engine)

    def rate(count: int) -> float:
        step = Step(decode_seqs=count, context_tokens=count * context, longest_tokens=context)
        return count / float(steps.seconds(step))

    return DecodeRate(rate(1), rate(seqs) * d.instances, seqs * d.instances)


def cost_words(setup: Setup, changes: Mapping[str, Any], before: Mapping[str, Any], answer: Answer) -> str:
    """What the changes cost, in words; empty if nothing."""
    words = [_cost(setup, name, value, before[name], answer) for name, value in changes.items()]
    if any(name.endswith("parallel_size") for name in changes) and NUM_GPUS not in changes:
        used = answer.deployment.engine.num_gpus * answer.deployment.instances
        words.append(f"takes {used} of {setup.placement.num_gpus} cards")
    return ", ".join(dict.fromkeys(word for word in words if word))


def _cost(setup: Setup, name: str, value: Any, before: Any, answer: Answer) -> str:
    """What one change costs, in words; empty if nothing."""
    if value is None:
        return "no drafter, each request decodes slower" if name == DRAFT else ""
    engine, memory = answer.deployment.engine, answer.deployment.memory
    match name:
        case "max_num_seqs":
            return f"at most {value} requests run at once, more wait"
        case "max_num_batched_tokens" if engine.enable_chunked_prefill and value < engine.max_model_len:
            return f"a prompt of full length takes {ceil(engine.max_model_len / value)} steps"
        case "max_num_batched_tokens" if value > before:
            return "longer steps, a larger activation peak"
        case "gpu_memory_utilization" if value > before:
            return f"{format_gib(memory.outside_bytes)} stay outside the budget for context and graphs"
        case "max_model_len":
            return "longer requests are refused"
        case "kv_cache_dtype":
            return "keys and values in 8 bits, check the answers"
        case "enforce_eager":
            return "no CUDA graphs, slower decoding"
        case "dtype" if not engine.falls_back_to_half:
            return "16-bit floats of a smaller range"
        case "quantization":
            return f"weights in {8 if value == 'fp8' else 4} bits, quantised while loading; check the answers"
        case "model" if (quantization := answer.deployment.model.quantization) is not None:
            return f"weights in {quantization.bits} bits, check the answers"
        case "num_gpus":
            more = value - setup.placement.num_gpus
            return f"{more} more card{'s' if more > 1 else ''}"
        case "pipeline_parallel_size" if value > before:
            return "stages work in turn on one request"
        case _:
            return ""


def loss_of(setup: Setup, changes: Mapping[str, Any], before: Mapping[str, Any], answer: Answer) -> float:
    """Cost for the user, to sort by: the sum of LOSSES over the changes, and more if a danger remains."""
    losses = (_loss(setup, name, before[name], value) for name, value in changes.items())
    return sum(losses) + (DANGER_LOSS if answer.dangers else 0.0)


def _loss(setup: Setup, name: str, before: Any, value: Any) -> float:
    if value is None or name not in LOSSES:
        return DRAFTER_LOSS if name == DRAFT else 0.0
    weight = LOSSES[name]
    if name == "max_model_len" and setup.settings.get(name) is None:
        weight = UNASKED_CONTEXT_LOSS
    if value == "bitsandbytes":
        weight += SLOW_KERNEL_LOSS
    if isinstance(value, bool) or not isinstance(value, int | float) or not before:
        return weight
    return weight * abs(log2(value / before)) if value > 0 else 0.0


LOSSES = {
    "gpu_memory_utilization": 1.0, "max_num_seqs": 0.5, "max_num_batched_tokens": 0.3, "enable_chunked_prefill": 0.3,
    "block_size": 0.1, "kv_cache_dtype": 1.0, "enforce_eager": 2.0, "tensor_parallel_size": 0.6, "max_model_len": 2.0,
    "pipeline_parallel_size": 0.7, "quantization": 1.8, MODEL: 1.0, INSTANCES: 0.5, NUM_GPUS: 4.0, GPU: 6.0,
}  # fmt: skip
"""Cost of a change, by name; for a number, per halving or doubling. Names that are not listed cost nothing. The order
of fixes rests on it, nothing else: an operator's judgement, not measured."""
UNASKED_CONTEXT_LOSS = 1.0
"""Cost of halving a context that nobody asked for."""
SLOW_KERNEL_LOSS = 1.5
"""More, for kernels that are known to be slow."""
DRAFTER_LOSS = 0.8
"""Cost of going without a drafter."""
DANGER_LOSS = 3.0
CHEAP_LOSS = 1.5
"""Loss up to which a change is so small that nobody needs other cards."""


def _rounded(rate: float) -> str:
    """A rate with two significant digits, as no more are known."""
    return f"{rate:.1f}" if rate < 10 else format_count(float(f"{rate:.2g}"))
