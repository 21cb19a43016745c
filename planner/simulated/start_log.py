"""The log that a simulated engine prints at its start, worded as by the vLLM version it stands for."""

from __future__ import annotations

from planner.engine import ResolvedEngine
from planner.estimate import MemoryEstimate, num_cuda_graphs
from planner.hardware import GpuSpec
from planner.model import ModelSpec
from planner.simulated.start import GRAPH_S, LOAD_BYTES_PER_S, PROFILE_S
from planner.units import to_gib

# --- the start log ----------------------------------------------------------------------------------------------------


def start_log(model: ModelSpec, gpu: GpuSpec, engine: ResolvedEngine, memory: MemoryEstimate) -> list[str]:
    """Lines that the engine prints while it starts, in order; the first line says that it is simulated."""
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
        f"model weights take {to_gib(m.weight_bytes):.2f}GiB; "
        f"non_torch_memory takes {to_gib(float(m.non_torch_bytes)):.2f}GiB; "
        f"PyTorch activation peak memory takes {to_gib(float(m.activation_bytes)):.2f}GiB; "
        f"the rest of the memory reserved for KV Cache is {to_gib(float(m.kv_cache_bytes)):.2f}GiB."
    )
    budget = (
        f"the current vLLM instance can use total_gpu_memory ({to_gib(m.total_bytes):.2f}GiB) x "
        f"gpu_memory_utilization ({float(engine.gpu_memory_utilization):.2f}) = {to_gib(float(m.budget_bytes)):.2f}GiB"
    )
    cpu_blocks = int(m.pinned_host_bytes / engine.world_size / (m.kv_block_bytes or 1))
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
