"""Predict the metrics of a candidate under a workload, before launch: `predict(deployment, workload) -> metrics`.

In: a deployment and a workload. Out: rates and latencies, arrays if the engine's columns are. `step.py` gives the
duration of a step; this module says which steps a run consists of (V0: prompts first, V1: mixed with decoding).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from planner.arrays import FloatColumn, plain
from planner.engine import ResolvedEngine
from planner.estimate.deployment import Deployment
from planner.estimate.memory.per_gpu import WATERMARK_FRACTION, MemoryEstimate
from planner.estimate.speed.coefficients import Coefficients
from planner.estimate.speed.step import Step, StepModel, prefill_pairs
from planner.workload import Workload


def predict(
    deployment: Deployment, workload: Workload, coefficients: Coefficients | None = None
) -> dict[str, FloatColumn]:
    """Every metric of a whole run of the workload over all instances, fill and drain included, by `metrics.METRICS`.

    Between fill and drain, `running` sequences decode; in each step about running/output of them finish and the same
    number of prompts starts. Tokens in the prefix cache (the shared prefix, a conversation's earlier turns) are not
    computed again. The throughput of an open loop is its request rate or the engine's limit, whichever is lower.
    Infeasible candidates (no KV blocks) have rates of 0. Latencies follow from the throughput by Little's law, their
    percentiles by fixed ratios: they rank candidates, but do not predict the tail. Ignores: evictions from the cache.
    """
    engine, memory, instances = deployment.engine, deployment.memory, deployment.instances
    steps = StepModel(deployment.model, deployment.placement, engine, coefficients)
    prompt, output = workload.mean_input_tokens, workload.mean_output_tokens
    caches = np.asarray(engine.enable_prefix_caching)
    block_size = np.asarray(engine.block_size)

    def in_blocks(tokens: float) -> Any:
        return np.where(caches, np.minimum(tokens, prompt - 1) // block_size * block_size, 0)

    cached, held_once = in_blocks(workload.mean_seen_tokens), in_blocks(workload.mean_shared_tokens)
    share = most_in_flight(workload) / instances
    running = running_seqs(engine, memory, share, prompt + output / 2, held_once)
    context = prompt + output / 2

    def decode_step(seqs: Any, **prefill: Any) -> Step:
        return Step(
            decode_seqs=seqs,
            context_tokens=seqs * context,
            longest_tokens=workload.longest_input_tokens(seqs) + output / 2,
            **prefill,
        )

    token_s = _chunked_s(steps, decode_step, running, prompt, cached, output)
    if engine.generation == "V0":
        unchunked_s = _unchunked_s(steps, decode_step, running, prompt, cached, output)
        token_s = np.where(engine.enable_chunked_prefill, token_s, unchunked_s)
    frontend_s = steps.coefficients.frontend_s_per_token
    token_s = np.maximum(token_s, frontend_s)
    drain_step_s = np.maximum(np.asarray(steps.seconds(decode_step(running / 2))), running / 2 * frontend_s)
    requests = workload.num_requests / instances
    total_s = _run_s(workload, requests, running, token_s, drain_step_s)
    throughput = workload.num_requests * output / total_s
    saturated_s = prompt_s = _prompt_s(steps, prompt, cached) + token_s * running
    if workload.request_rate is None:  # closed loop: in flight = rate x time (Little)
        saturated_s = share * output * instances / throughput
    else:
        throughput = np.minimum(throughput, workload.request_rate * output)
    tpot_s = token_s * running
    ttft_s = np.maximum(saturated_s - tpot_s * (output - 1), prompt_s)
    rate = np.where(np.asarray(memory.num_blocks) > 0, throughput / output, 0.0)
    return _metrics(workload, rate, ttft_s, tpot_s)


def _metrics(workload: Workload, rate: Any, ttft_s: Any, tpot_s: Any) -> dict[str, FloatColumn]:
    """Metrics by name: rates follow from the requests per second, latencies from mean TTFT and TPOT in seconds."""
    prompt, output = workload.mean_input_tokens, workload.mean_output_tokens
    means = {"ttft": ttft_s, "tpot": tpot_s, "itl": tpot_s, "e2el": ttft_s + tpot_s * (output - 1)}
    rates = {
        "request_throughput": rate,
        "input_throughput": rate * prompt,
        "output_throughput": rate * output,
        "total_token_throughput": rate * (prompt + output),
    }
    latencies = {f"{name}_{kind}": mean * ratio for name, mean in means.items() for kind, ratio in _RATIOS.items()}
    return {name: plain(value) for name, value in {**rates, **latencies}.items()}


_RATIOS = {"mean": 1.0, "std": 0.3, "p50": 1.0, "p90": 1.3, "p95": 1.5, "p99": 2.0}
"""Ratio of each statistic to the mean, as seen in closed loops of mixed lengths; rough."""


def _prompt_s(steps: StepModel, prompt: float, cached: Any) -> Any:
    """Seconds to prefill one prompt alone, in the number of steps that the token budget requires."""
    new = prompt - cached
    chunk = np.minimum(new, np.asarray(steps.engine.max_num_batched_tokens))
    step = Step(
        prefill_tokens=chunk,
        prefill_pairs=prefill_pairs(new, cached) * chunk / new,
        continues_prefix=cached > 0,
        sampled_prefills=1,
    )
    return np.asarray(steps.seconds(step)) * np.ceil(new / chunk)


def most_in_flight(workload: Workload) -> int:
    """Most requests in flight at once; a conversation has one in flight at a time."""
    limit = workload.concurrency if workload.request_rate is None else workload.max_concurrency
    return workload.num_requests if limit is None else min(limit, -(-workload.num_requests // workload.turns))


def running_seqs(
    engine: ResolvedEngine, memory: MemoryEstimate, concurrency: float, tokens_per_seq: float, shared_tokens: Any = 0
) -> Any:
    """Number of sequences that run at once: the least of the concurrency, max_num_seqs and what fits the KV cache."""
    kept_free = WATERMARK_FRACTION if engine.generation == "V0" else 0.0
    room = np.asarray(memory.block_tokens) * (1 - kept_free) - shared_tokens
    fit = np.maximum(room / (tokens_per_seq - shared_tokens), 1.0)
    return np.minimum(np.minimum(concurrency, engine.max_num_seqs), fit)


def _unchunked_s(steps: StepModel, decode_step: Any, running: Any, prompt: float, cached: Any, output: float) -> Any:
    """Seconds per output token when prompts stop the decoding (V0 without chunked prefill)."""
    new = prompt - cached
    batch = np.clip(np.maximum(running / output, 1.0), 1.0, np.maximum(steps.engine.max_num_batched_tokens // new, 1))
    prefill = Step(
        prefill_tokens=batch * new,
        prefill_pairs=batch * prefill_pairs(new, cached),
        continues_prefix=cached > 0,
        sampled_prefills=batch,
    )
    request_s = np.asarray(steps.seconds(prefill)) / batch
    return np.asarray(steps.seconds(decode_step(running))) / running + request_s / output


def _chunked_s(steps: StepModel, decode_step: Any, running: Any, prompt: float, cached: Any, output: float) -> Any:
    """Seconds per output token when prompts share steps with decodes, within the rest of the token budget.

    `mixed` is the fraction of steps that carry prefill: at least what the budget forces, more if prompts come alone.
    """
    new = prompt - cached
    budget = np.maximum(np.asarray(steps.engine.max_num_batched_tokens) - running, 1.0)
    decoding = np.minimum(running, output * budget / new)  # the rest waits in prefill
    arrivals = decoding / output  # per step
    chunks = np.maximum(1.0, new / budget + 0.5)
    mixed = np.clip(np.maximum(arrivals * new / budget, 1 - np.exp(-arrivals * chunks)), 1e-9, 1.0)
    chunk = arrivals * new / mixed
    pairs = arrivals * prefill_pairs(new, cached) / mixed
    mixed_step = decode_step(decoding, prefill_tokens=chunk, prefill_pairs=pairs, sampled_prefills=arrivals / mixed)
    decode_s = np.asarray(steps.seconds(decode_step(decoding)))
    return (mixed * np.asarray(steps.seconds(mixed_step)) + (1 - mixed) * decode_s) / decoding


def _run_s(workload: Workload, requests: float, running: Any, token_s: Any, drain_step_s: Any) -> Any:
    """Seconds for one instance's requests. Equal lengths run in waves; others desynchronise and drain at the end."""
    output = workload.mean_output_tokens
    if isinstance(workload.output_tokens, int) and isinstance(workload.input_tokens, int) and workload.turns == 1:
        return np.ceil(requests / running - 1e-9) * running * output * token_s
    in_drain = np.minimum(running, requests) / 2  # requests' worth of tokens made while the batch empties
    return (requests - in_drain) * output * token_s + output * drain_step_s
