"""Find candidates that cannot work: `check(deployment) -> violated constraints`, `violations(...)` over arrays.

A rule computes an excess: at most 0 if it is kept (Optuna's sign), a scalar or an array over candidates. Its message is
the one that vLLM itself would print, if vLLM prints one.

Source: the validations of vllm@0.8.5 config.py and worker/worker.py, and their successors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from planner import arrays as columns
from planner.constraints import OUT_OF_MEMORY, STARTS_ANYWAY, Constraint, Kind
from planner.engine import OFFLOAD_WITH_ONE_KIND
from planner.estimate import block_rules as blocks
from planner.estimate import draft_rules as drafts
from planner.estimate import kernel_rules as kernels
from planner.estimate.deployment import Deployment
from planner.estimate.kv_rules import (
    capacity_message,
    lacks_one_request,
    no_blocks,
    states_without_block,
    under_watermark,
)
from planner.estimate.memory.weights import padded_vocab_size
from planner.units import GIB, format_count, format_gib

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    excess: Callable[[Deployment], Any]
    message: Callable[[Deployment], str]
    kind: Kind = "refused"


def check(deployment: Deployment) -> tuple[Constraint, ...]:
    """The violated rules of one candidate, in the order in which vLLM would check them."""
    violated = []
    for rule in RULES:
        excess = float(rule.excess(deployment))
        if excess > 0:
            violated.append(Constraint(rule.name, excess, rule.message(deployment), rule.kind))
    return tuple(violated)


def violations(deployment: Deployment, count: int) -> NDArray[np.int64]:
    """For arrays of candidates: the index in RULES of the first violated rule, -1 where feasible.  # (count,)"""
    import numpy as np

    first = np.full(count, -1)
    for i, rule in enumerate(RULES):
        broken = np.broadcast_to(np.asarray(rule.excess(deployment)) > 0, (count,))
        first = np.where((first < 0) & broken, i, first)
    return first


# --- the rules -------------------------------------------------------------------------------------------------------


def _gpus(d: Deployment) -> int:
    return d.instances * d.engine.num_gpus - d.placement.num_gpus


def _stages(d: Deployment) -> int:
    """Stages of the pipeline that would have no layer (vllm@0.8.5 distributed/utils.py:get_pp_indices)."""
    return d.engine.pipeline_parallel_size - d.model.num_hidden_layers


def _heads(d: Deployment) -> int:
    return d.model.num_attention_heads % d.engine.tensor_parallel_size if d.model.attends else 0


def _kv_heads(d: Deployment) -> int:
    heads, tp = d.model.num_key_value_heads, d.engine.tensor_parallel_size
    return heads % tp if heads >= tp else tp % heads


def _shards(d: Deployment) -> int:
    """Sum of the remainders when vocabulary, MLP and quantisation groups are split; vLLM pads MXFP4 experts itself."""
    tp, quantization = d.engine.tensor_parallel_size, d.model.quantization
    rest = padded_vocab_size(d.model) % tp + d.model.intermediate_size % tp
    if quantization is not None and quantization.group_size > 0 and quantization.method != "mxfp4" and not rest:
        queries = d.model.num_attention_heads * d.model.head_dim
        rest = sum(width // tp % quantization.group_size for width in (d.model.intermediate_size, queries))
    return rest


def _shards_message(d: Deployment) -> str:
    """vLLM's words: of quantised weights those of their kernels, else vllm@0.8.5 distributed/utils.py:divide."""
    tp = d.engine.tensor_parallel_size
    if d.model.quantization is None:
        width = next((w for w in (padded_vocab_size(d.model), d.model.intermediate_size) if w % tp), 0)
        return f"{width} is not divisible by {tp} (tensor parallel size)"
    return (
        "The input size is not aligned with the quantized weight shape. This can be caused by too large tensor "
        f"parallel size ({tp})."
    )


def _context(d: Deployment) -> Any:
    return d.engine.max_model_len - d.model.max_context_tokens


def _seqs_over_tokens(d: Deployment) -> Any:
    return d.engine.max_num_seqs - d.engine.max_num_batched_tokens


def _tokens_under_context(d: Deployment) -> Any:
    lacking = d.engine.max_model_len - d.engine.max_num_batched_tokens
    return columns.where(d.engine.enable_chunked_prefill, 0, lacking)


def _steps(d: Deployment) -> Any:
    multi = d.engine.num_scheduler_steps > 1
    return multi & (d.engine.attention_backend == "XFORMERS")


def _offload(d: Deployment) -> Any:
    """Whether V1 would have to make its batch anew for several kinds of KV cache, which it refuses while offloading."""
    first, until = OFFLOAD_WITH_ONE_KIND
    if d.engine.generation != "V1" or d.gpu.is_cpu or not first <= d.engine.version < until:
        return False
    return (d.engine.cpu_offload_gb > 0) & (d.memory.num_kv_groups > 1)


def _asynchronous(d: Deployment) -> Any:
    """Whether async_scheduling is set together with a setting that it does not support."""
    return d.engine.async_scheduling if d.engine.refuses_async_scheduling else 0


def _idle_graph_settings(d: Deployment) -> Any:
    """Whether settings of graphs and compilation are given with enforce_eager, where they have no effect."""
    graphs, level = d.engine.max_cudagraph_capture_size, d.engine.optimization_level
    is_said = (graphs is not None) | (columns.invert(level == 0) if level is not None else False)
    return d.engine.enforce_eager & is_said


def _swap_space(d: Deployment) -> Any:
    if d.placement.host_memory_bytes is None or d.engine.generation != "V0":
        return 0
    return pinned_bytes(d) - 0.7 * d.placement.host_memory_bytes


def pinned_bytes(d: Deployment) -> Any:
    """Host bytes pinned for swapping by all instances; vLLM's own check sees only one engine."""
    return d.engine.swap_space_bytes * d.engine.tensor_parallel_size * d.instances


def _free_at_start(d: Deployment) -> Any:
    return 0 if d.gpu.is_cpu else d.lacking_at_start_bytes


def _weights(d: Deployment) -> Any:
    return 0 if d.gpu.is_cpu else d.memory.fullest_weight_bytes - d.memory.total_bytes


def _kv_on_card(d: Deployment) -> Any:
    """Bytes that the card lacks: only kv_cache_memory_bytes or num_gpu_blocks_override can ask for more than it has."""
    if d.gpu.is_cpu:
        return 0
    return d.memory.kv_cache_bytes + d.memory.weight_bytes - d.memory.total_bytes


def _outside(d: Deployment) -> Any:
    return 0 if d.gpu.is_cpu else -d.memory.spare_outside_bytes


def _workload(d: Deployment) -> Any:
    return d.workload_tokens - d.engine.max_model_len


RULES: tuple[Rule, ...] = (
    Rule("enough GPUs", _gpus,
         lambda d: f"{d.instances} x {d.engine.num_gpus} GPUs are needed, {d.placement.num_gpus} are there (vLLM: "
                   "Unable to load Ray which is required for multi-node inference)"),
    Rule("stages have layers", _stages,
         lambda d: f"pipeline_parallel_size ({d.engine.pipeline_parallel_size}) is above the model's number of layers "
                   f"({d.model.num_hidden_layers}): a stage without a layer cannot be judged"),
    Rule("heads divide", _heads,
         lambda d: f"Total number of attention heads ({d.model.num_attention_heads}) must be divisible by tensor "
                   f"parallel size ({d.engine.tensor_parallel_size})."),
    Rule("KV heads divide", _kv_heads,
         lambda d: f"{d.model.num_key_value_heads} KV heads cannot be shared out over tensor parallel size "
                   f"{d.engine.tensor_parallel_size}"),
    Rule("shards align", _shards,
         _shards_message),
    Rule("whole FP8 blocks", blocks.lacks_whole_blocks, blocks.block_message),
    Rule("experts to share out", drafts.lacks_experts,
         lambda _: "Number of experts in the model must be greater than 0 when expert parallelism is enabled."),
    Rule("a drafter that is known", drafts.is_no_method, drafts.method_message),
    Rule("layers for multi-token prediction", drafts.lacks_mtp, drafts.method_message),
    Rule("a model runner for the drafts", drafts.lacks_runner, drafts.runner_message),
    Rule("tokens of the drafter", drafts.lacks_draft_tokens,
         lambda _: "num_speculative_tokens must be provided with speculative model unless the draft model config "
                   "contains an n_predict parameter."),
    Rule("quantization as declared", kernels.is_declared_otherwise,
         lambda d: kernels.quantization_conflict(d.model, d.engine.quantization) or ""),
    Rule("dtype of quantization", kernels.lacks_dtype,
         kernels.dtype_message),
    Rule("dtype on this card", kernels.lacks_bfloat16,
         lambda d: "Bfloat16 is only supported on GPUs with compute capability of at least 8.0. "
                   f"{d.gpu.name} has {d.gpu.compute_capability[0]}.{d.gpu.compute_capability[1]}; pass dtype half"),
    Rule("quantization on this card", kernels.lacks_method,
         kernels.method_message),
    Rule("quantization scheme on this card", kernels.lacks_scheme,
         kernels.scheme_message),
    Rule("8-bit integers on this card", kernels.lacks_int8, kernels.int8_message),
    Rule("context of the model", _context,
         lambda d: f"max_model_len ({d.engine.max_model_len}) is greater than the derived max_model_len "
                   f"({d.model.max_context_tokens})"),
    Rule("max_num_batched_tokens >= max_num_seqs", _seqs_over_tokens,
         lambda d: f"max_num_batched_tokens ({d.engine.max_num_batched_tokens}) must be greater than or equal to "
                   f"max_num_seqs ({d.engine.max_num_seqs})."),
    Rule("max_num_batched_tokens >= max_model_len without chunked prefill", _tokens_under_context,
         lambda d: f"max_num_batched_tokens ({d.engine.max_num_batched_tokens}) is smaller than max_model_len "
                   f"({d.engine.max_model_len}). This effectively limits the maximum sequence length to "
                   "max_num_batched_tokens and makes vLLM reject longer sequences."),
    Rule("multi-step needs another backend", _steps,
         lambda d: f"num_scheduler_steps > 1 is not supported for attention backend: {d.engine.attention_backend}"),
    Rule("block size has a kernel", kernels.lacks_block_size,
         kernels.block_size_message),
    Rule("fp8 KV cache on this card", kernels.lacks_fp8_prefix_kernel,
         lambda _: "type fp8e4nv not supported in this architecture: fp8_e4m3 KV cache needs chunked prefill and "
                   "prefix caching off here"),
    Rule("fp8 KV cache of this backend", kernels.lacks_fp8_backend,
         lambda d: f"{d.engine.attention_backend} has no kernel for kv_cache_dtype {d.engine.kv_cache_dtype} on "
                   f"compute capability {'.'.join(map(str, d.gpu.compute_capability))}"),
    Rule("fp8 KV cache in bfloat16", kernels.lacks_fp8_in_half,
         lambda _: "For FP16/BF16 input, output must have the same dtype as inputs. For FP8 input, output must have "
                   "dtype BF16: on this card an fp8 KV cache needs dtype bfloat16"),
    Rule("nvfp4 KV cache on this card", kernels.lacks_fp4_cache,
         lambda d: f"--kv-cache-dtype {d.engine.kv_cache_dtype} requires sm100f, please try a different dtype or "
                   "remove"),
    Rule("offloading with one kind of layers", _offload,
         lambda _: "Cannot re-initialize the input batch when CPU weight offloading is enabled. See "
                   "https://github.com/vllm-project/vllm/pull/18298 for more details."),
    Rule("asynchronous scheduling alone", _asynchronous,
         lambda d: f"Async scheduling is not supported with "
                   f"{'pipeline_parallel_size > 1' if d.engine.pipeline_parallel_size > 1 else 'ngram'}"),
    Rule("graph settings need graphs", _idle_graph_settings,
         lambda _: "enforce_eager leaves out graphs and compilation: max_cudagraph_capture_size and "
                   "optimization_level change nothing", STARTS_ANYWAY),
    Rule("attention backend", kernels.lacks_backend,
         kernels.backend_message),
    Rule("swap space fits host memory", _swap_space,
         lambda d: f"Too large swap space. {pinned_bytes(d) / GIB:.2f} GiB out of the "
                   f"{(d.placement.host_memory_bytes or 0) / GIB:.2f} GiB total CPU memory is allocated for the swap "
                   "space."),
    Rule("free memory at the start", _free_at_start,
         lambda d: f"Free memory on device ({format_gib(d.memory.total_bytes - d.memory.context_bytes)} of "
                   f"{format_gib(d.memory.total_bytes)}) on startup is less than desired GPU memory utilization "
                   f"({d.engine.gpu_memory_utilization:g}, {format_gib(d.memory.budget_bytes)}). Decrease GPU memory "
                   "utilization or reduce GPU memory used by other processes.", OUT_OF_MEMORY),
    Rule("weights fit", _weights,
         lambda d: f"CUDA out of memory while loading the weights: {format_gib(d.memory.fullest_weight_bytes)} on a "
                   f"card of {format_gib(d.memory.total_bytes)}", OUT_OF_MEMORY),
    Rule("KV cache fits the card", _kv_on_card,
         lambda d: f"CUDA out of memory while allocating the KV cache: {format_gib(d.memory.kv_cache_bytes)} beside "
                   f"{format_gib(d.memory.weight_bytes)} of weights on {format_gib(d.memory.total_bytes)}",
         OUT_OF_MEMORY),
    Rule("KV cache has blocks", no_blocks,
         lambda _: "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when "
                   "initializing the engine.", OUT_OF_MEMORY),
    Rule("KV cache holds one request", lacks_one_request, capacity_message, OUT_OF_MEMORY),
    Rule("max_num_seqs fits the Mamba cache blocks", states_without_block,
         lambda d: f"max_num_seqs ({d.engine.max_num_seqs}) exceeds available Mamba cache blocks "
                   f"({d.memory.num_blocks}). Each decode sequence requires one Mamba cache block, so CUDA graph "
                   f"capture cannot proceed. Please lower max_num_seqs to at most {d.memory.num_blocks} or increase "
                   "gpu_memory_utilization."),
    Rule("V0 admits a full-length prompt", under_watermark,
         lambda d: f"starts, but no prompt of {d.engine.max_model_len} tokens is ever admitted: V0 keeps 1 % of the "
                   f"{format_count(float(d.memory.num_blocks))} blocks free", STARTS_ANYWAY),
    Rule("CUDA graphs fit outside the budget", _outside,
         lambda d: f"CUDA out of memory while capturing graphs: {format_gib(d.memory.outside_bytes)} outside the "
                   f"budget, {format_gib(d.memory.context_bytes + d.memory.graph_bytes)} needed (context, graphs)",
         OUT_OF_MEMORY),
    Rule("workload fits the context", _workload,
         lambda d: f"the workload's longest request has {d.workload_tokens} tokens, max_model_len is "
                   f"{d.engine.max_model_len}", STARTS_ANYWAY),
)  # fmt: skip
