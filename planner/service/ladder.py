"""`Ladder`: the configurations of one service, each with less memory than the one above, and the policy of its guard.

In: a problem and the trial to deploy. Out: what `tune` writes as ladder.yaml and `planner guard` runs. A person may
edit it: a rung's settings are the only place from which its flags come. Launches nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor
from typing import Annotated, Literal

import msgspec

from planner.container import ContainerRun, bare_runs
from planner.engine.config import EngineConfig
from planner.engine.versions import knows, parse_version
from planner.errors import InputError
from planner.estimate.memory.per_gpu import MemoryEstimate
from planner.estimate.risks import SAFE_SPARE_BYTES, dangers
from planner.problem import CPU_KV_ENV, Problem
from planner.space import Candidate
from planner.spec import Name, Positive
from planner.trial import Trial
from planner.units import GIB, Bytes, Seconds, format_gib


def _seconds(value: float) -> Seconds:
    return msgspec.field(default_factory=lambda: Seconds(value))


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """When a guard calls an engine failed, how soon it starts it again, when it changes the rung."""

    every: Seconds = _seconds(5)
    """Between two looks at a container."""
    start_timeout: Seconds = _seconds(1200)
    """From launch until `/health` answers."""
    unhealthy_after: Seconds = _seconds(30)
    """So long without an answer of `/health`, or with refused probes."""
    stuck_after: Seconds = _seconds(120)
    """So long no token although requests wait; more than the longest prefill takes."""
    stuck_after_gpu_error: Seconds = _seconds(20)
    """The same after an error of the GPU in the log."""
    probe_every: Seconds = _seconds(30)
    """Without a token for so long, one is asked for; 0: never."""
    ttft_p95: Seconds | None = None
    """Above it for `slow_after` the service is called slow, which changes nothing else."""
    slow_after: Seconds = _seconds(120)
    first_wait: Seconds = _seconds(2)
    """Before the first restart; each further one waits twice as long."""
    longest_wait: Seconds = _seconds(300)
    settled_after: Seconds = _seconds(600)
    """After serving so long the next wait is the first one again."""
    starts_per_hour: Annotated[int, msgspec.Meta(ge=2)] = 20
    """At most so many in any hour."""
    window: Seconds = _seconds(3600)
    """In which failures of one kind on one rung are counted."""
    out_of_memory: Positive = 2
    """So many in the window: one rung down."""
    killed: Positive = 3
    refused: Positive = 2
    failed_start: Positive = 3
    climbs: Literal["idle", "always", "never"] = "idle"
    """Whether a higher rung is tried again: only while no request runs, or at once."""
    quiet: Seconds = _seconds(1800)
    """Without a failure for so long, one rung up; twice as long after each climb that failed."""
    longest_quiet: Seconds = _seconds(86400)

    def __post_init__(self) -> None:
        for name in ("every", "first_wait", "longest_wait", "quiet"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: must be above 0")


class Rung(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One configuration: what differs from the others is in `settings` and `env`."""

    name: str
    why: str = ""
    settings: EngineConfig
    env: dict[str, str] = {}
    max_model_len: int | None = None
    """What the settings come to: the longest request it serves."""
    memory: Bytes | None = None
    """Predicted use of one GPU, or of the host where the engine runs on the CPU; without `/dev/shm` and Python."""
    kv_tokens: int | None = None
    """Predicted, of one instance."""


class Ladder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A service and its rungs, the best first."""

    name: Name
    """Of the service: the label by which its containers are known."""
    version: str
    """Of vLLM: how flags are spelled."""
    source: str = ""
    """Where the winner's numbers come from."""
    containers: Annotated[list[ContainerRun], msgspec.Meta(min_length=1)]
    """One for each instance, without the rung's settings."""
    extra_args: list[str] = []
    """Further flags of every rung, passed as they are."""
    rungs: Annotated[list[Rung], msgspec.Meta(min_length=1)]
    policy: Policy = msgspec.field(default_factory=Policy)

    def __post_init__(self) -> None:
        try:
            version = parse_version(self.version)
        except InputError as error:
            raise ValueError(str(error)) from None
        for rung in self.rungs:
            for field in rung.settings.__struct_fields__:
                if getattr(rung.settings, field) is not None and not knows(version, field):
                    raise ValueError(f"rung {rung.name}: {field} is not a setting of vLLM {version}")
        if len({run.name for run in self.containers}) < len(self.containers):
            raise ValueError("containers: a name is there twice")
        if nameless := [run.name for run in self.containers if run.host_port is None]:
            raise ValueError(f"containers: {nameless[0]}: missing key `host_port`: clients must find it")

    def run_of(self, container: int, rung: int) -> ContainerRun:
        """What is launched for an instance on a rung."""
        chosen = self.rungs[rung]
        return self.containers[container].with_engine(
            chosen.settings, chosen.env, parse_version(self.version), self.extra_args
        )


# --- making one ---


def make_ladder(problem: Problem, trial: Trial) -> Ladder:
    """The trial's candidate, and below it others that break no rule and are predicted to use less memory each.

    Raises InputError where the study has no container section.
    """
    candidate = trial.candidate
    rungs = [_rung(problem, candidate, "winner", f"trial {trial.number}, the one to deploy")]
    for name, relieve in RELIEFS:
        found = relieve(problem, candidate)
        if found is not None and _is_lower(problem, found[0], candidate):
            candidate = found[0]
            rungs.append(_rung(problem, candidate, name, found[1]))
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


def _rung(problem: Problem, candidate: Candidate, name: str, why: str) -> Rung:
    deployment = problem.deployment(candidate)
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
    """Everything that the engine is predicted to hold on its fullest card at its peak."""
    return float(
        memory.fullest_weight_bytes
        + memory.non_torch_bytes
        + memory.activation_bytes
        + memory.graph_bytes
        + memory.context_bytes
        + memory.kv_cache_bytes
    )


def _is_lower(problem: Problem, lower: Candidate, above: Candidate) -> bool:
    """Whether a candidate breaks no rule, brings no danger of its own, and uses less by LEAST_RELIEF."""
    if problem.check(lower):
        return False
    now, before = problem.deployment(lower), problem.deployment(above)
    relief = used_bytes(before.memory) - used_bytes(now.memory)
    return relief >= LEAST_RELIEF * used_bytes(before.memory) and len(dangers(now)) <= len(dangers(before))


LEAST_RELIEF = 0.005
"""Of what the rung above uses: less would not be felt."""
HEADROOM_STEP = 0.02
"""Of the card: what the first step leaves free at least."""
UTILIZATION_STEP = 0.01

Relief = Callable[[Problem, Candidate], tuple[Candidate, str] | None]
"""A candidate with less, and why; None where there is nothing to take."""


def _headroom(problem: Problem, candidate: Candidate) -> tuple[Candidate, str] | None:
    """A smaller KV cache and nothing else: what is not in the budget stays free."""
    memory = problem.deployment(candidate).memory
    if problem.gpu.is_cpu:
        wanted = float(memory.kv_cache_bytes) / 2
    else:
        wanted = max(HEADROOM_STEP * memory.total_bytes, SAFE_SPARE_BYTES - float(memory.spare_outside_bytes))
    lower = _with_smaller_cache(problem, candidate, wanted)
    place = "of the host" if problem.gpu.is_cpu else "for the context, graphs and fragmentation"
    return None if lower is None else (lower, f"{format_gib(wanted)} less for the KV cache, so free {place}")


def _smaller_steps(problem: Problem, candidate: Candidate) -> tuple[Candidate, str] | None:
    """Half the sequences and tokens of a step; what its activations no longer need stays free."""
    engine = problem.deployment(candidate).engine
    sequences = max(1, int(engine.max_num_seqs) // 2)
    tokens = max(sequences, int(engine.max_num_batched_tokens) // 2)
    if not engine.enable_chunked_prefill:
        tokens = max(tokens, int(engine.max_model_len))
    lower = _with(candidate, max_num_seqs=sequences, max_num_batched_tokens=tokens)
    before, after = (problem.deployment(one).memory for one in (candidate, lower))
    saved = float(before.activation_bytes + before.graph_bytes - after.activation_bytes - after.graph_bytes)
    freed = _with_smaller_cache(problem, lower, saved) if saved > 0 else None
    words = f"at most {sequences} sequences and {tokens} tokens a step: {format_gib(saved)} less for activations"
    return None if freed is None else (freed, words)


def _shorter_context(problem: Problem, candidate: Candidate) -> tuple[Candidate, str] | None:
    """Half the context, or what the workload needs, and the KV cache cut as much: as many requests fit as before."""
    deployment = problem.deployment(candidate)
    engine, block = deployment.engine, int(deployment.engine.block_size)
    context = int(engine.max_model_len)
    length = ceil(max(context // 2, problem.workload.max_total_tokens) / block) * block
    if length >= context:
        return None
    shorter = _with(candidate, max_model_len=length)
    if not engine.enable_chunked_prefill:  # a step takes a whole prompt
        shorter = _with(shorter, max_num_batched_tokens=max(length, int(engine.max_num_seqs)))
    lower = _with_smaller_cache(problem, shorter, float(deployment.memory.kv_cache_bytes) * (1 - length / context))
    return None if lower is None else (lower, f"requests of at most {length} tokens, and a KV cache cut as much")


def _half_cache(problem: Problem, candidate: Candidate) -> tuple[Candidate, str] | None:
    lower = _with_smaller_cache(problem, candidate, float(problem.deployment(candidate).memory.kv_cache_bytes) / 2)
    return None if lower is None else (lower, "half the KV cache: more requests wait")


RELIEFS: tuple[tuple[str, Relief], ...] = (
    ("more headroom", _headroom),
    ("smaller steps", _smaller_steps),
    ("shorter context", _shorter_context),
    ("half the cache", _half_cache),
)
"""What the rungs below the winner take away, one on top of the other: first what costs clients least."""


def _with(candidate: Candidate, **changes: int | float | None) -> Candidate:
    return msgspec.structs.replace(candidate, engine=msgspec.structs.replace(candidate.engine, **changes))


def _with_smaller_cache(problem: Problem, candidate: Candidate, num_bytes: float) -> Candidate | None:
    """So many bytes less for the KV cache, through whatever sets its size here, in steps that a person would write."""
    deployment, engine = problem.deployment(candidate), candidate.engine
    memory, pool = deployment.memory, deployment.engine.kv_cache_memory_bytes
    left = float(memory.kv_cache_bytes if pool is None else pool) - num_bytes
    if left <= 0:
        return None
    if problem.gpu.is_cpu and CPU_KV_ENV in dict(candidate.env):
        gib = floor(left / GIB)
        return msgspec.structs.replace(candidate, env=_env_with(candidate, CPU_KV_ENV, gib)) if gib else None
    if engine.num_gpu_blocks_override is not None:
        return _with(candidate, num_gpu_blocks_override=floor(left / float(memory.kv_block_bytes)) or None)
    if engine.kv_cache_memory_bytes is not None or problem.gpu.is_cpu:
        known = knows(problem.version, "kv_cache_memory_bytes")
        return _with(candidate, kv_cache_memory_bytes=floor(left)) if known else None
    now = float(deployment.engine.gpu_memory_utilization)
    share = round(floor((now - num_bytes / memory.total_bytes) / UTILIZATION_STEP + 1e-9) * UTILIZATION_STEP, 4)
    return _with(candidate, gpu_memory_utilization=share) if share > 0 else None


def _env_with(candidate: Candidate, name: str, value: int) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({**dict(candidate.env), name: str(value)}.items()))
