"""Start a simulated engine, or refuse as vLLM would; and run a workload on it in virtual time.

In: a deployment's specs and memory estimate. Out: `SimulatedEngine`s, their start log, `RequestRecord`s on the virtual
clock. The messages and log lines are vLLM's own words; the first line of the log says SIMULATED.

Source: vllm@0.8.5 worker/worker.py:raise_if_cache_size_invalid, v1/core/kv_cache_utils.py:check_enough_kv_cache_memory
and real start logs of both engines.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush

from planner.benchmark.records import RequestRecord
from planner.constraints import OUT_OF_MEMORY, REFUSED_BY_ENGINE
from planner.engine.defaults import ResolvedEngine
from planner.errors import EngineOutOfMemory, EngineRejected
from planner.estimate.deployment import Deployment
from planner.estimate.memory.overheads import num_cuda_graphs
from planner.estimate.memory.per_gpu import MemoryEstimate
from planner.estimate.rules import check
from planner.estimate.speed.step import StepModel
from planner.hardware.gpus import GpuSpec, Interconnect
from planner.model.spec import ModelSpec
from planner.simulated.scheduler import SimulatedEngine
from planner.units import GIB, to_gib
from planner.workload.shapes import ClosedLoop, Shape, due_times, limit_of, shape_of
from planner.workload.workload import RequestPlan, Workload, conversations, plan_requests, plan_warmup

LOAD_BYTES_PER_S = 0.5 * GIB
"""Reading weights from disk, each rank."""
IMPORT_S = 20.0
"""Python imports, worker processes, NCCL: 12 to 25 s in real start logs."""
PROFILE_S = 5.0
COMPILE_S = 28.0
"""torch.compile of V1 with a cold cache: 24 to 31 s on 0.24."""
GRAPH_S = 0.7
"""Capture of one graph: 11 in 8 s at tensor parallel 4."""
REFUSED = "refused: longer than the KV cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCounters:
    """What the engines counted during the measured part of a load."""

    preemptions: int
    prefix_query_tokens: int
    prefix_hit_tokens: int
    kv_usage_peak: float
    """Highest share of KV blocks in use on any instance, 0 to 1."""


def start_engine(deployment: Deployment, interconnect: Interconnect, seed: int = 0) -> SimulatedEngine:
    """An engine that is ready. Raises EngineRejected or EngineOutOfMemory in vLLM's words, as a real start fails."""
    d = deployment
    for constraint in check(d):
        if constraint.kind == OUT_OF_MEMORY:
            raise EngineOutOfMemory(constraint.message)
        if constraint.kind == REFUSED_BY_ENGINE:
            raise EngineRejected(constraint.message)
    return SimulatedEngine(StepModel(d.model, d.gpu, interconnect, d.engine), int(d.memory.num_blocks), seed)


def start_seconds(model: ModelSpec, engine: ResolvedEngine, memory: MemoryEstimate) -> float:
    """Virtual duration of a start: processes, weights from disk, profile run, compilation and graphs."""
    graphs = int(num_cuda_graphs(engine))
    compiles = engine.generation == "V1" and not engine.enforce_eager
    layers = model.num_hidden_layers / 64  # a graph's capture runs every layer
    return (
        IMPORT_S
        + memory.weight_bytes / LOAD_BYTES_PER_S
        + PROFILE_S
        + (COMPILE_S if compiles else 0.0)
        + graphs * GRAPH_S * layers
    )


# --- the start log ----------------------------------------------------------------------------------------------------


def start_log(model: ModelSpec, gpu: GpuSpec, engine: ResolvedEngine, memory: MemoryEstimate) -> list[str]:
    """What the engine prints while it starts, in order; the first line says that it is simulated."""
    lines = [
        _line("__main__.py:1", f"SIMULATED engine, no GPU and no model: figures of {gpu.name} come from estimates"),
        _line("api_server.py:1043", f"vLLM API server version {engine.version} (SIMULATED)"),
    ]
    return lines + (_log_v0 if engine.generation == "V0" else _log_v1)(model, gpu, engine, memory)


def _line(where: str, text: str, level: str = "INFO") -> str:
    return f"{level} 01-01 00:00:00 [{where}] {text}"


def _log_v0(model: ModelSpec, gpu: GpuSpec, engine: ResolvedEngine, memory: MemoryEstimate) -> list[str]:
    m = memory
    load_s = memory.weight_bytes / LOAD_BYTES_PER_S
    lines = []
    if gpu.compute_capability < (8, 0):
        lines.append(
            _line(
                "arg_utils.py:1658",
                "Compute Capability < 8.0 is not supported by the V1 Engine. Falling back to V0. ",
                "WARNING",
            )
        )
    if engine.quantization in {"awq", "gptq"}:
        text = (
            f"{engine.quantization} quantization is not fully optimized yet. The speed can be slower than "
            "non-quantized models."
        )
        lines.append(_line("config.py:830", text, "WARNING"))
    if engine.enable_chunked_prefill:
        text = f"Chunked prefill is enabled with max_num_batched_tokens={engine.max_num_batched_tokens}."
        lines.append(_line("config.py:2003", text))
    if engine.world_size > 1:
        lines.append(_line("config.py:1770", "Defaulting to use mp for distributed inference"))
    lines.append(_line("llm_engine.py:240", _initializing(model, engine)))
    if gpu.compute_capability < (8, 0):
        lines.append(_line("cuda.py:240", "Cannot use FlashAttention-2 backend for Volta and Turing GPUs."))
    backends = {"XFORMERS": "XFormers", "FLASH_ATTN": "Flash Attention", "FLASHINFER": "FlashInfer"}
    backend = backends.get(engine.attention_backend, engine.attention_backend)
    split = (
        f"model weights take {to_gib(m.weight_bytes):.2f}GiB; non_torch_memory takes {to_gib(m.non_torch_bytes):.2f}"
        f"GiB; PyTorch activation peak memory takes {to_gib(float(m.activation_bytes)):.2f}GiB; the rest of the memory "
        f"reserved for KV Cache is {to_gib(float(m.kv_cache_bytes)):.2f}GiB."
    )
    budget = (
        f"the current vLLM instance can use total_gpu_memory ({to_gib(m.total_bytes):.2f}GiB) x "
        f"gpu_memory_utilization ({float(engine.gpu_memory_utilization):.2f}) = {to_gib(float(m.budget_bytes)):.2f}GiB"
    )
    cpu_blocks = int(m.pinned_host_bytes / engine.world_size / m.kv_block_bytes)
    lines += [
        _line("cuda.py:228", f"Using {backend} backend."),
        _line("model_runner.py:1108", f"Starting to load model {model.name}..."),
        _line("loader.py:458", f"Loading weights took {load_s:.2f} seconds"),
        _line("model_runner.py:1140", f"Model loading took {to_gib(m.weight_bytes):.4f} GiB and {load_s:.6f} seconds"),
        _line("worker.py:287", f"Memory profiling takes {PROFILE_S:.2f} seconds"),
        _line("worker.py:287", budget),
        _line("worker.py:287", split),
        _line("executor_base.py:112", f"# cuda blocks: {m.num_blocks}, # CPU blocks: {cpu_blocks}"),
        _line(
            "executor_base.py:117",
            f"Maximum concurrency for {engine.max_model_len} tokens per request: {float(m.max_concurrency):.2f}x",
        ),
        *_graph_lines(engine, memory),
    ]
    return lines


def _log_v1(model: ModelSpec, gpu: GpuSpec, engine: ResolvedEngine, memory: MemoryEstimate) -> list[str]:
    m = memory
    load_s = m.weight_bytes / LOAD_BYTES_PER_S
    cache = "CPU" if gpu.is_cpu else "GPU"
    concurrency = (
        f"Maximum concurrency for {engine.max_model_len:,} tokens per request: {float(m.max_concurrency):.2f}x"
    )
    return [
        _line(
            "config.py:2003", f"Chunked prefill is enabled with max_num_batched_tokens={engine.max_num_batched_tokens}."
        ),
        _line("core.py:58", _initializing(model, engine)),
        _line("cuda.py:221", f"Using {engine.attention_backend} backend."),
        _line("gpu_model_runner.py:1329", f"Starting to load model {model.name}..."),
        _line("loader.py:458", f"Loading weights took {load_s:.2f} seconds"),
        _line(
            "gpu_model_runner.py:1347",
            f"Model loading took {to_gib(m.weight_bytes):.4f} GiB memory and {load_s:.6f} seconds",
        ),
        _line("gpu_worker.py:298", f"Available KV cache memory: {to_gib(float(m.kv_cache_bytes)):.2f} GiB"),
        _line("kv_cache_utils.py:634", f"{cache} KV cache size: {m.kv_tokens:,} tokens"),
        _line("kv_cache_utils.py:637", concurrency),
        *_graph_lines(engine, memory),
    ]


def _initializing(model: ModelSpec, engine: ResolvedEngine) -> str:
    return (
        f"Initializing a {engine.generation} LLM engine (v{engine.version}) with config: model='{model.name}', "
        f"dtype=torch.{engine.dtype}, max_seq_len={engine.max_model_len}, "
        f"tensor_parallel_size={engine.tensor_parallel_size}, "
        f"pipeline_parallel_size={engine.pipeline_parallel_size}, quantization={engine.quantization}, "
        f"enforce_eager={engine.enforce_eager}, kv_cache_dtype={engine.kv_cache_dtype}, "
        f"enable_prefix_caching={engine.enable_prefix_caching}, "
        f"chunked_prefill_enabled={engine.enable_chunked_prefill}, SIMULATED"
    )


def _graph_lines(engine: ResolvedEngine, memory: MemoryEstimate) -> list[str]:
    graphs = int(num_cuda_graphs(engine))
    took_s = PROFILE_S + graphs * GRAPH_S
    ready = _line(
        "llm_engine.py:437", f"init engine (profile, create kv cache, warmup model) took {took_s:.2f} seconds"
    )
    if not graphs or not memory.graph_bytes:
        return [ready]
    capturing = (
        "Capturing cudagraphs for decoding. This may lead to unexpected consequences if the model is not static. To "
        "run the model in eager mode, set 'enforce_eager=True' or use '--enforce-eager' in the CLI."
    )
    took = f"Graph capturing finished in {graphs * GRAPH_S:.0f} secs, took {to_gib(float(memory.graph_bytes)):.2f} GiB"
    return [_line("model_runner.py:1450", capturing), _line("model_runner.py:1592", took), ready]


# --- a load in virtual time -------------------------------------------------------------------------------------------


def simulate_load(engines: list[SimulatedEngine], workload: Workload) -> tuple[list[RequestRecord], LoadCounters]:
    """Warm up, then run the measured requests, as the load generator does, over all instances.

    Returns one record per planned request, in their order, and what the engines counted meanwhile.
    """
    loop = _Loop(engines)
    loop.run(plan_warmup(workload), ClosedLoop(workload.concurrency), workload.seed)
    before = [(e.num_preemptions, e.prefix_query_tokens, e.prefix_hit_tokens) for e in engines]
    loop.kv_usage_peak = 0.0
    records = loop.run(plan_requests(workload), shape_of(workload), workload.seed)
    after = [(e.num_preemptions, e.prefix_query_tokens, e.prefix_hit_tokens) for e in engines]
    preemptions, queries, hits = (
        sum(now[i] - then[i] for now, then in zip(after, before, strict=True)) for i in range(3)
    )
    counters = LoadCounters(
        preemptions=preemptions,
        prefix_query_tokens=queries,
        prefix_hit_tokens=hits,
        kv_usage_peak=loop.kv_usage_peak,
    )
    return records, counters


@dataclass(slots=True)
class _Flight:
    plan: RequestPlan
    following: list[RequestPlan]
    """The conversation's later turns."""
    instance: int
    started_s: float
    chunk_s: list[float]


class _Loop:
    """Requests in flight over engines that each have a clock; the engine that is furthest behind steps next."""

    def __init__(self, engines: list[SimulatedEngine]) -> None:
        self.engines = engines
        self.clock_s = [0.0] * len(engines)
        self.arriving: list[list[_Flight]] = [[] for _ in engines]
        """Sent, but not yet seen by the engine, which looks before each step; in order of time."""
        self.in_flight = [0] * len(engines)
        self.num_sent = [0] * len(engines)
        self.flights: dict[str, _Flight] = {}
        self.kv_usage_peak = 0.0
        self.now_s = 0.0

    def run(self, plans: list[RequestPlan], shape: Shape, seed: int) -> list[RequestRecord]:
        """A place in flight takes a conversation at a time, the next one as soon as both are free and due."""
        due = due_times(shape, plans, seed) or (0.0,) * len(plans)
        due_s = {plan.index: self.now_s + after_s for plan, after_s in zip(plans, due, strict=True)}
        talks = sorted(conversations(plans), key=lambda talk: due_s[talk[0].index])
        todo, free_s, done = deque(talks), [self.now_s] * (limit_of(shape) or len(talks)), dict[int, RequestRecord]()
        while todo or self.flights:
            horizon_s = min((self._next_s(i) for i in self._busy()), default=math.inf)
            while todo and free_s and (due_s[todo[0][0].index] <= horizon_s):
                talk = todo.popleft()
                self._send(talk, max(due_s[talk[0].index], heappop(free_s)))
                horizon_s = min(self._next_s(i) for i in self._busy())
            instance = min(self._busy(), key=self._next_s)
            self.clock_s[instance] = self._next_s(instance)
            for ended in self._step(instance, done):
                if ended.following:
                    self._send(ended.following, self.clock_s[instance])
                else:
                    heappush(free_s, self.clock_s[instance])
        self.now_s = max(self.clock_s)
        return [done[plan.index] for plan in plans]

    def _busy(self) -> list[int]:
        return [i for i in range(len(self.engines)) if self.arriving[i] or self.engines[i].has_work]

    def _next_s(self, instance: int) -> float:
        """When this instance's next step begins."""
        if self.engines[instance].has_work:
            return self.clock_s[instance]
        return max(self.clock_s[instance], self.arriving[instance][0].started_s)

    def _send(self, talk: list[RequestPlan], now_s: float) -> None:
        """Its first turn, to the least loaded instance, as the load generator does."""
        plan, *following = talk
        target = min(range(len(self.engines)), key=lambda i: (self.in_flight[i], self.num_sent[i]))
        self.in_flight[target] += 1
        self.num_sent[target] += 1
        flight = _Flight(plan, following, target, now_s, [])
        self.flights[str(plan.index)] = flight
        insort(self.arriving[target], flight, key=lambda other: other.started_s)

    def _step(self, instance: int, done: dict[int, RequestRecord]) -> list[_Flight]:
        """One step of one engine; what it ended."""
        engine, arriving = self.engines[instance], self.arriving[instance]
        while arriving and arriving[0].started_s <= self.clock_s[instance]:
            plan = arriving.pop(0).plan
            hashes = _block_hashes(plan, engine.block_size)
            engine.add(str(plan.index), plan.input_tokens, plan.output_tokens, block_hashes=hashes)
        outcome = engine.step()
        self.clock_s[instance] += outcome.elapsed_s
        self.kv_usage_peak = max(self.kv_usage_peak, engine.kv_usage)
        now_s = self.clock_s[instance]
        for request_id in outcome.emitted:
            self.flights[request_id].chunk_s.append(now_s)
        ended = [self.flights.pop(request_id) for request_id in (*outcome.finished, *outcome.refused)]
        for flight in ended:
            self.in_flight[instance] -= 1
            is_refused = str(flight.plan.index) in outcome.refused
            done[flight.plan.index] = _record(flight, now_s, is_refused=is_refused)
        return ended


def _block_hashes(plan: RequestPlan, block_size: int) -> list[int]:
    """Of the prompt's full blocks that another prompt may begin with too: the shared prefix, a conversation's turns."""
    shared = list(range(plan.shared_prefix_tokens // block_size))
    if plan.conversation is None:
        return shared
    own = range(len(shared), plan.input_tokens // block_size)
    return shared + [hash((plan.conversation, plan.shared_prefix_tokens, block)) for block in own]


def _record(flight: _Flight, now_s: float, is_refused: bool) -> RequestRecord:
    return RequestRecord(
        index=flight.plan.index,
        started_s=flight.started_s,
        chunk_s=tuple(flight.chunk_s),
        finished_s=now_s,
        input_tokens=flight.plan.input_tokens,
        output_tokens=len(flight.chunk_s),
        finish_reason="length",
        error=REFUSED if is_refused else None,
    )
