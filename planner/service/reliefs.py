"""Changes that each relieve GPU memory a little, and the ladder for `planner guard` that is built from them."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor

import msgspec

from planner.engine import knows
from planner.estimate import SAFE_SPARE_BYTES, MemoryEstimate, dangers
from planner.launch import bare_runs
from planner.service.ladder import Ladder, Policy, Rung
from planner.study import CPU_KV_ENV, Candidate, Forecast
from planner.trials import Trial
from planner.units import GIB, Bytes, Seconds, format_gib

# --- making one ---


def make_ladder(forecast: Forecast, trial: Trial) -> Ladder:
    """The trial's candidate, and below it others that break no rule and are predicted to use less memory each.

    Raises InputError if the study has no container section.
    """
    problem, candidate = forecast.problem, trial.candidate
    rungs = [_rung(forecast, candidate, "winner", f"trial {trial.number}, the one to deploy")]
    for name, relieve in RELIEFS:
        found = relieve(forecast, candidate)
        if found is not None and _is_lower(forecast, found[0], candidate):
            candidate = found[0]
            rungs.append(_rung(forecast, candidate, name, found[1]))
    limit = problem.objective.limits.get("ttft_p95")
    slo = None if limit is None else Seconds(limit)
    mark = "SIMULATED, not measured: " if trial.provenance.simulated else ""
    return Ladder(
        name=problem.spec.serve.name,
        version=str(problem.version),
        source=f"{mark}study {problem.spec.name}, trial {trial.number}, {trial.provenance.finished_at}",
        containers=bare_runs(problem, trial.candidate),
        extra_args=problem.spec.engine.extra_args,
        rungs=rungs,
        policy=Policy(start_timeout=problem.spec.engine.start_timeout, ttft_p95=slo),
    )


def _rung(forecast: Forecast, candidate: Candidate, name: str, why: str) -> Rung:
    deployment = forecast.deployment(candidate)
    return Rung(
        name=name,
        why=why,
        settings=candidate.engine,
        env=dict(candidate.env),
        max_model_len=int(deployment.engine.max_model_len),
        memory=Bytes(used_bytes(deployment.memory)),
        kv_tokens=int(deployment.memory.kv_tokens),
    )


def used_bytes(memory: MemoryEstimate) -> float:
    """Bytes that the engine is predicted to hold on its fullest card at its peak."""
    return float(
        memory.fullest_weight_bytes
        + memory.non_torch_bytes
        + memory.activation_bytes
        + memory.graph_bytes
        + memory.context_bytes
        + memory.kv_cache_bytes
    )


def _is_lower(forecast: Forecast, lower: Candidate, above: Candidate) -> bool:
    """Whether a candidate breaks no rule, adds no danger, and uses less memory by LEAST_RELIEF."""
    if forecast.check(lower):
        return False
    now, before = forecast.deployment(lower), forecast.deployment(above)
    relief = used_bytes(before.memory) - used_bytes(now.memory)
    return relief >= LEAST_RELIEF * used_bytes(before.memory) and len(dangers(now)) <= len(dangers(before))


LEAST_RELIEF = 0.005
"""Smallest saving of a rung, as a fraction of what the rung above uses; less would not be felt."""
HEADROOM_STEP = 0.02
"""Least memory that the first step frees, as a fraction of the card."""
UTILIZATION_STEP = 0.01

Relief = Callable[[Forecast, Candidate], tuple[Candidate, str] | None]
"""Gives a candidate that uses less memory, and the reason; None if there is nothing to take."""


def _headroom(forecast: Forecast, candidate: Candidate) -> tuple[Candidate, str] | None:
    """A smaller KV cache and nothing else: memory outside the budget stays free."""
    memory = forecast.deployment(candidate).memory
    if forecast.problem.gpu.is_cpu:
        wanted = float(memory.kv_cache_bytes) / 2
    else:
        wanted = max(HEADROOM_STEP * memory.total_bytes, SAFE_SPARE_BYTES - float(memory.spare_outside_bytes))
    lower = _with_smaller_cache(forecast, candidate, wanted)
    place = "of the host" if forecast.problem.gpu.is_cpu else "for the context, graphs and fragmentation"
    return None if lower is None else (lower, f"{format_gib(wanted)} less for the KV cache, so free {place}")


def _smaller_steps(forecast: Forecast, candidate: Candidate) -> tuple[Candidate, str] | None:
    """Half the sequences and tokens of a step; the activation memory this saves stays free."""
    engine = forecast.deployment(candidate).engine
    sequences = max(1, int(engine.max_num_seqs) // 2)
    tokens = max(sequences, int(engine.max_num_batched_tokens) // 2)
    if not engine.enable_chunked_prefill:
        tokens = max(tokens, int(engine.max_model_len))
    lower = _with(candidate, max_num_seqs=sequences, max_num_batched_tokens=tokens)
    before, after = (forecast.deployment(one).memory for one in (candidate, lower))
    saved = float(before.activation_bytes + before.graph_bytes - after.activation_bytes - after.graph_bytes)
    freed = _with_smaller_cache(forecast, lower, saved) if saved > 0 else None
    words = f"at most {sequences} sequences and {tokens} tokens a step: {format_gib(saved)} less for activations"
    return None if freed is None else (freed, words)


def _shorter_context(forecast: Forecast, candidate: Candidate) -> tuple[Candidate, str] | None:
    """Half the context, or what the workload needs, and the KV cache cut by the same factor: as many requests fit."""
    deployment = forecast.deployment(candidate)
    engine, block = deployment.engine, int(deployment.engine.block_size)
    context = int(engine.max_model_len)
    length = ceil(max(context // 2, forecast.problem.workload.max_total_tokens) / block) * block
    if length >= context:
        return None
    shorter = _with(candidate, max_model_len=length)
    if not engine.enable_chunked_prefill:  # a step takes a whole prompt
        shorter = _with(shorter, max_num_batched_tokens=max(length, int(engine.max_num_seqs)))
    lower = _with_smaller_cache(forecast, shorter, float(deployment.memory.kv_cache_bytes) * (1 - length / context))
    return None if lower is None else (lower, f"requests of at most {length} tokens, and a KV cache cut as much")


def _half_cache(forecast: Forecast, candidate: Candidate) -> tuple[Candidate, str] | None:
    lower = _with_smaller_cache(forecast, candidate, float(forecast.deployment(candidate).memory.kv_cache_bytes) / 2)
    return None if lower is None else (lower, "half the KV cache: more requests wait")


RELIEFS: tuple[tuple[str, Relief], ...] = (
    ("more headroom", _headroom),
    ("smaller steps", _smaller_steps),
    ("shorter context", _shorter_context),
    ("half the cache", _half_cache),
)
"""The cuts of the rungs below the winner, one on top of the other; what costs clients least comes first."""


def _with(candidate: Candidate, **changes: int | float | None) -> Candidate:
    return msgspec.structs.replace(candidate, engine=msgspec.structs.replace(candidate.engine, **changes))


def _with_smaller_cache(forecast: Forecast, candidate: Candidate, num_bytes: float) -> Candidate | None:
    """Shrink the KV cache by `num_bytes`, through whatever sets its size here, in steps that a person would write."""
    deployment, engine = forecast.deployment(candidate), candidate.engine
    memory, pool = deployment.memory, deployment.engine.kv_cache_memory_bytes
    left = float(memory.kv_cache_bytes if pool is None else pool) - num_bytes
    if left <= 0:
        return None
    if forecast.problem.gpu.is_cpu and CPU_KV_ENV in dict(candidate.env):
        gib = floor(left / GIB)
        return msgspec.structs.replace(candidate, env=_env_with(candidate, CPU_KV_ENV, gib)) if gib else None
    if engine.num_gpu_blocks_override is not None:
        return _with(candidate, num_gpu_blocks_override=floor(left / float(memory.kv_block_bytes)) or None)
    if engine.kv_cache_memory_bytes is not None or forecast.problem.gpu.is_cpu:
        known = knows(forecast.problem.version, "kv_cache_memory_bytes")
        return _with(candidate, kv_cache_memory_bytes=floor(left)) if known else None
    now = float(deployment.engine.gpu_memory_utilization)
    share = round(floor((now - num_bytes / memory.total_bytes) / UTILIZATION_STEP + 1e-9) * UTILIZATION_STEP, 4)
    return _with(candidate, gpu_memory_utilization=share) if share > 0 else None


def _env_with(candidate: Candidate, name: str, value: int) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({**dict(candidate.env), name: str(value)}.items()))
