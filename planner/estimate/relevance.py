"""How far settings can matter under a load: `seen_by(deployment, workload, given)`, equal for settings that run alike.

In: a deployment whose columns may be arrays, the workload, and the values of the searched settings. Out: for each of
them the value as far as the load can meet it, and what of the memory it can meet. Two candidates for which all of it
is equal run the same steps in the same memory: measuring both measures noise. A setting without an entry in RELEVANCE
always matters.

Counts what the speed and memory models count. Ignores: prefixes that a preempted request finds again in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from planner import arrays as columns
from planner.estimate.deployment import Deployment
from planner.estimate.memory.overheads import largest_graph_tokens
from planner.estimate.memory.per_gpu import WATERMARK_FRACTION
from planner.estimate.risks import HOST_BYTES_PER_PROCESS, SAFE_SPARE_BYTES, no_effect
from planner.estimate.rules import pinned_bytes
from planner.estimate.speed.prediction import most_in_flight
from planner.workload import Workload

ONE_KERNEL_BELOW = {"FLASH_ATTN": 128}
"""Tokens of a block below which a backend has one kernel for all sizes: it walks the block table at run time, and only
larger pages are loaded as whole tiles. Other backends are compiled for each block size (vllm-flash-attn
csrc/flash_attn/flash_api.cpp, hopper/flash_api.cpp:get_pagedkv_tma; vllm@0.8.5 csrc/attention/paged_attention_v1.cu;
v1/attention/backends/triton_attn.py)."""
ALIKE = 0
"""What is seen of a setting that cannot matter."""


@dataclass(frozen=True, slots=True)
class Relevance:
    """What a load can see of one setting."""

    setting: str
    seen: Callable[[Deployment, Workload, Any], Any]
    """The setting's value as far as it can matter; the last argument is the value that the engine uses."""
    reason: str
    """Why some values are alike, for a person."""


def seen_by(deployment: Deployment, workload: Workload, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the load can see of each setting under `given` and, under names of their own, of graphs and memory.

    `given` holds the searched settings of the engine by vLLM's name; null or a column of numbers. `workload` is the
    heaviest load of the study.
    """
    found: dict[str, Any] = {}
    for name, value in given.items():
        resolved = getattr(deployment.engine, name, None)
        used = value if resolved is None else resolved
        rule = RELEVANCE_OF.get(name)
        found[name] = used if rule is None else rule.seen(deployment, workload, used)
    return {**found, "graphs": _graph_tokens(deployment, workload), **_memory(deployment, workload)}


# --- the load ---


def _in_flight(d: Deployment, w: Workload, seqs: Any = None) -> Any:
    """Most sequences that one instance ever runs at once, should the front door send it all of the load."""
    return columns.minimum(d.engine.max_num_seqs if seqs is None else seqs, most_in_flight(w))


def _step_tokens(d: Deployment, w: Workload) -> Any:
    """Most tokens that a step could hold if the budget did not matter: every sequence computed anew in whole."""
    return _in_flight(d, w) * w.max_total_tokens


def _shortest(w: Workload) -> int:
    return w.input_tokens if isinstance(w.input_tokens, int) else w.input_tokens.low


def _caches(d: Deployment, w: Workload) -> Any:
    """Whether the prefix cache is on and can find something: at least one whole block that was computed before."""
    caches = d.engine.enable_prefix_caching
    if w.prompts is not None or w.turns > 1:
        return caches
    if w.shared_prefix_share == 0 or not w.shared_prefix_tokens:
        return columns.where(caches, False, False)
    return caches & (columns.minimum(w.shared_prefix_tokens, _shortest(w) - 1) >= d.memory.block_size)


# --- settings ---


def _seqs(d: Deployment, w: Workload, value: Any) -> Any:
    return _in_flight(d, w, value)


def _batched_tokens(d: Deployment, w: Workload, value: Any) -> Any:
    return value if d.engine.speculation is not None else columns.minimum(value, _step_tokens(d, w))


def _prefix_caching(d: Deployment, w: Workload, value: Any) -> Any:
    return value if d.memory.has_states else _caches(d, w)  # caching changes the blocks that hold states


def _capture_length(d: Deployment, w: Workload, value: Any) -> Any:
    """V0 alone reads it (vllm@0.8.5 worker/model_runner.py:_use_captured_graph); lengths between two ends matter."""
    if d.engine.generation == "V1":
        return ALIKE
    reached = columns.clip(columns.minimum(value, d.engine.max_model_len), _shortest(w), w.max_total_tokens)
    return columns.where(d.engine.enforce_eager, ALIKE, reached)


def _capture_size(d: Deployment, w: Workload, value: Any) -> Any:  # noqa: ARG001
    return ALIKE  # what it captures is among the graphs


def _block_size(d: Deployment, w: Workload, value: Any) -> Any:
    """Alike if one kernel reads them, the cache finds nothing by blocks, and the pool is not full of half blocks."""
    below = ONE_KERNEL_BELOW.get(d.engine.attention_backend, 0)
    if d.memory.has_states or d.gpu.is_cpu:
        return value
    alike = columns.invert(_caches(d, w)) & _holds_all(d, w) & (value < below)
    return columns.where(alike, ALIKE, value)


def _long_prefill(d: Deployment, w: Workload, value: Any) -> Any:
    """A part of a prompt that is never longer than it is alike none at all (vllm@0.8.5 v1/core/sched/scheduler.py)."""
    if value is None:
        return ALIKE
    if d.engine.generation == "V0":
        return columns.where(d.engine.enable_chunked_prefill, value, ALIKE)
    binds = (value < w.max_total_tokens) & (value < d.engine.max_num_batched_tokens)
    return columns.where(binds, value, ALIKE)


def _swap_space(d: Deployment, w: Workload, value: Any) -> Any:  # noqa: ARG001
    return ALIKE if "swap_space" in no_effect(d.engine, d.engine.version) else value


RELEVANCE: tuple[Relevance, ...] = (
    Relevance("max_num_seqs", _seqs, "the load never runs more sequences"),
    Relevance("max_num_batched_tokens", _batched_tokens, "no step of this load holds more tokens"),
    Relevance("enable_prefix_caching", _prefix_caching, "the load's prompts share no whole block"),
    Relevance("max_seq_len_to_capture", _capture_length, "no sequence of this load has a length between them"),
    Relevance("max_cudagraph_capture_size", _capture_size, "the same batches are captured"),
    Relevance("block_size", _block_size, "one kernel reads them, and the pool holds the whole load"),
    Relevance("long_prefill_token_threshold", _long_prefill, "no prompt's part is longer"),
    Relevance("swap_space", _swap_space, "nothing is ever swapped"),
)
"""Settings of which a load may see only a part, with what it sees."""
RELEVANCE_OF = {rule.setting: rule for rule in RELEVANCE}


# --- graphs and memory ---


def _graph_tokens(d: Deployment, w: Workload) -> Any:
    """Largest captured batch that a step of the load can reach; V0 captures all that max_num_seqs needs."""
    engine = d.engine
    if engine.generation == "V0":
        return ALIKE
    largest: Any = largest_graph_tokens(engine)
    is_asked = engine.compilation.sizes is None and engine.graphs_follow_max_num_seqs
    if is_asked and engine.max_cudagraph_capture_size is not None:
        largest = columns.minimum(engine.max_cudagraph_capture_size, engine.max_num_batched_tokens)
    reached = largest if engine.speculation is not None else columns.minimum(largest, _step_tokens(d, w))
    return columns.where(engine.has_graphs, reached, ALIKE)


def _holds_all(d: Deployment, w: Workload) -> Any:
    """Whether the KV cache holds every sequence of the load at its longest, so that a larger one changes nothing."""
    memory = d.memory
    kept_free = WATERMARK_FRACTION if d.engine.generation == "V0" else 0.0
    each: Any = columns.ceil(w.max_total_tokens / memory.block_size) + 1
    if memory.has_states or memory.num_kv_groups > 1:
        each = memory.request_blocks
    return memory.num_blocks * (1 - kept_free) >= _in_flight(d, w) * each


def _memory(d: Deployment, w: Workload) -> dict[str, Any]:
    """What the load can see of the memory: a pool that it can fill, and what may end an engine.

    A pool in which freed blocks are found again is always seen: the larger it is, the more is found.
    """
    memory = d.memory
    unseen = _holds_all(d, w) & columns.invert(_caches(d, w))
    spare = columns.minimum(memory.spare_outside_bytes, SAFE_SPARE_BYTES)
    low, _ = memory.kv_interval_bytes
    lacks = memory.request_blocks * memory.kv_block_bytes > low
    return {
        "pool": columns.where(unseen, math.inf, memory.block_tokens),
        "tight outside": 0.0 if d.gpu.is_cpu else spare,
        "tight inside": columns.where(lacks, memory.block_tokens, ALIKE),
        "tight host": _host_bytes(d),
    }


def _host_bytes(d: Deployment) -> Any:
    """Host bytes that the engines pin, where the host may lack them; else 0."""
    there = d.placement.host_memory_bytes
    if there is None or d.gpu.is_cpu:
        return ALIKE
    ranks = d.instances * d.engine.num_gpus
    pinned = pinned_bytes(d) if d.engine.generation == "V0" else 0.0
    needed = pinned + d.engine.cpu_offload_bytes * ranks + HOST_BYTES_PER_PROCESS * (ranks + d.instances)
    return columns.where(needed > there, needed, ALIKE)
