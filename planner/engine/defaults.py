"""vLLM's defaults for flags that are not passed: `resolve(settings, ...) -> ResolvedEngine`.

Values may be scalars or NumPy arrays (one entry per candidate): the same code serves both. Settings that are words
(dtype, quantization, kv_cache_dtype, attention_backend) and the parallel sizes are always scalars.

Source: vllm@0.8.5 engine/arg_utils.py:create_engine_config, _set_default_args_v0, _set_default_args_v1, config.py,
platforms/cuda.py; vllm@0.33.0 engine/arg_utils.py for the later defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from packaging.version import Version

from planner import arrays as columns
from planner.arrays import BoolColumn, FloatColumn, IntColumn
from planner.engine.adapters import Lora
from planner.engine.kv_defaults import (
    default_block_size,
    least_batched_tokens,
    prefix_caching,
    resolve_kv_cache_dtype,
)
from planner.engine.speculation import Speculation, speculation_of
from planner.engine.traits import NO_TRAITS, PLAIN, TRAITS, Compilation, EngineTraits, GraphMode
from planner.engine.versions import (
    ASYNC_SCHEDULING_SINCE,
    ASYNC_WITH_NGRAM_SINCE,
    ASYNC_WITH_STAGES_SINCE,
    CHUNKED_PREFILL_FORCED_UNTIL,
    COMPILATION_MODE_READ_SINCE,
    DEFAULTS_CUT_SINCE,
    FLASHINFER_ON_TURING_UNTIL,
    FULL_GRAPHS_SINCE,
    GRAPHS_FOLLOW_MAX_NUM_SEQS_SINCE,
    HALF_FALLBACK_SINCE,
    HIGHER_UTILIZATION_SINCE,
    LARGE_BATCH_BY_MEMORY_SINCE,
    LARGEST_BATCH_SINCE,
    MANY_SEQS_UNTIL,
    MARLIN_ON_TURING_SINCE,
    SMALL_BATCH_ON_A100_SINCE,
    V0_LONG_CHUNKS_SINCE,
    V1_DEFAULT_SINCE,
    V1_ON_TURING_SINCE,
    V1_ONLY_SINCE,
    WHOLE_PROMPT_FITS_SINCE,
)
from planner.hardware import GpuSpec
from planner.model import ModelSpec
from planner.units import GIB

Generation = Literal["V0", "V1"]

USE_V1_ENV = "VLLM_USE_V1"
"""Environment variable that forces V0 ("0") if a version has both engines; it is kept among the settings."""
USE_V2_RUNNER_ENV = "VLLM_USE_V2_MODEL_RUNNER"
"""Environment variable that forces the first model runner ("0") or the second ("1") of V1; kept among the settings."""
SWITCHES = (USE_V1_ENV, USE_V2_RUNNER_ENV)
"""Variables of 0 or 1 that decide which engine serves."""
LONG_CONTEXT = 32768
"""Largest max_model_len, in tokens, at which V0 does not turn chunked prefill on by itself."""
BIG_CARD_BYTES = 70 * GIB
"""Memory from which V1 gives a card larger batches, since 0.8.5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedEngine:
    """Every setting as the engine will use it, under vLLM's name. Columns are scalars, or arrays over candidates."""

    version: Version
    generation: Generation
    dtype: str
    quantization: str | None
    tensor_parallel_size: int
    pipeline_parallel_size: int
    kv_cache_dtype: str
    """As stored: what the checkpoint asks for instead of `auto`, `fp8_ds_mla` for the rows of sparse attention."""
    attention_backend: str
    max_model_len: IntColumn
    max_num_seqs: IntColumn
    max_num_batched_tokens: IntColumn
    gpu_memory_utilization: FloatColumn
    block_size: IntColumn
    swap_space: FloatColumn
    """Host memory for swapping, in GiB per GPU."""
    enable_chunked_prefill: BoolColumn
    enable_prefix_caching: BoolColumn
    enforce_eager: BoolColumn
    max_seq_len_to_capture: IntColumn
    kv_cache_memory_bytes: IntColumn | None
    num_scheduler_steps: IntColumn
    async_scheduling: BoolColumn
    enable_expert_parallel: bool
    data_parallel_size: int
    cpu_offload_gb: FloatColumn
    """Offloaded weights in GiB per GPU; GiB although the name says GB."""
    max_cudagraph_capture_size: IntColumn | None
    optimization_level: IntColumn | None
    speculative_config: str | None
    num_gpu_blocks_override: IntColumn | None
    disable_custom_all_reduce: BoolColumn = False
    lora: Lora | None = None
    """Room for LoRA adapters; None without them."""
    compilation: Compilation = PLAIN
    """What a compilation config says of CUDA graphs."""
    forced_runner: int | None = None
    """V1's model runner that the environment forces, 1 or 2; None if the release decides."""

    @property
    def world_size(self) -> int:
        """Number of ranks of one replica, over which the weights are split."""
        return self.tensor_parallel_size * self.pipeline_parallel_size

    @property
    def num_gpus(self) -> int:
        return self.world_size * self.data_parallel_size

    @property
    def speculation(self) -> Speculation | None:
        """Speculative decoding; None without it."""
        return speculation_of(self.speculative_config)

    @property
    def swap_space_bytes(self) -> FloatColumn:
        return self.swap_space * GIB

    @property
    def cpu_offload_bytes(self) -> FloatColumn:
        return self.cpu_offload_gb * GIB

    @property
    def graphs(self) -> GraphMode | None:
        """The kinds of CUDA graphs that were asked for; None: those of the release."""
        has_kinds = self.generation == "V1" and self.version >= FULL_GRAPHS_SINCE
        return self.compilation.graphs if has_kinds else None

    @property
    def has_graphs(self) -> BoolColumn:
        """Whether CUDA graphs are captured at all."""
        return columns.invert(self.enforce_eager) if self.graphs != "NONE" else False

    @property
    def graphs_follow_max_num_seqs(self) -> bool:
        """Whether V1 of this version captures CUDA graphs only up to the size that max_num_seqs needs."""
        return self.version >= GRAPHS_FOLLOW_MAX_NUM_SEQS_SINCE

    @property
    def starts_whole_prompts(self) -> bool:
        """Whether a prompt starts only if all of it fits the free KV cache; where not, its first chunk is enough."""
        return self.generation == "V0" or self.version >= WHOLE_PROMPT_FITS_SINCE

    @property
    def has_v1_only(self) -> bool:
        """Whether this version has no V0 to fall back to for what V1 cannot serve."""
        return self.version >= V1_ONLY_SINCE

    @property
    def runs_marlin_on_turing(self) -> bool:
        return self.version >= MARLIN_ON_TURING_SINCE

    @property
    def falls_back_to_half(self) -> bool:
        """Whether dtype auto becomes float16 on a card without bfloat16."""
        return self.version >= HALF_FALLBACK_SINCE

    @property
    def refuses_async_scheduling(self) -> bool:
        """Whether this version refuses asynchronous scheduling together with the other settings."""
        return _refuses_async(self.version, self.pipeline_parallel_size, self.speculative_config is not None)


def _kernel_of(model: ModelSpec, gpu: GpuSpec, version: Version) -> str | None:
    """Quantization method of a checkpoint if no flag names one: Marlin's kernels where they run; None if unquantised.

    Source: vllm@0.8.5 layers/quantization/awq_marlin.py, gptq_marlin.py:override_quantization_method.
    """
    method = model.quantization.method if model.quantization is not None else None
    least = (7, 5) if version >= MARLIN_ON_TURING_SINCE else (8, 0)
    return f"{method}_marlin" if method in {"awq", "gptq"} and gpu.compute_capability >= least else method


def generation_of(version: Version, gpu: GpuSpec, settings: Mapping[str, Any]) -> Generation:
    """Engine generation that serves, V0 or V1 (vllm@0.8.5 engine/arg_utils.py:_is_v1_supported_oracle)."""
    if gpu.is_cpu or version >= V1_ONLY_SINCE:
        return "V1"
    if version < V1_DEFAULT_SINCE:
        return "V0"
    if gpu.compute_capability < (8, 0) and version < V1_ON_TURING_SINCE:
        return "V0"
    forces_v0 = (
        settings.get(USE_V1_ENV) == "0"
        or settings.get("attention_backend") == "XFORMERS"
        or columns.any_of((settings.get("num_scheduler_steps") or 1) > 1)
    )
    return "V0" if forces_v0 else "V1"


def resolve(settings: Mapping[str, Any], model: ModelSpec, gpu: GpuSpec, version: Version) -> ResolvedEngine:
    """Fill in the settings that are not set. `settings` maps EngineConfig's field names to scalars or arrays."""
    generation = generation_of(version, gpu, settings)
    traits: EngineTraits = settings.get(TRAITS, NO_TRAITS)

    def column(name: str, default: Any) -> Any:
        value = settings.get(name)
        return default if value is None else value

    max_model_len = column("max_model_len", model.max_context_tokens)
    chunked_default = True if generation == "V1" else max_model_len > LONG_CONTEXT
    is_forced = generation == "V1" and version < CHUNKED_PREFILL_FORCED_UNTIL
    chunked = True if is_forced else column("enable_chunked_prefill", chunked_default)
    batched, seqs = _scheduler_defaults(generation, gpu, version, max_model_len, chunked)
    batched = columns.maximum(batched, least_batched_tokens(model, version))
    kv_cache_dtype = resolve_kv_cache_dtype(settings.get("kv_cache_dtype"), model, gpu, version)
    if generation == "V1" and version >= DEFAULTS_CUT_SINCE:
        asked = column("max_num_seqs", seqs)
        batched = columns.minimum(batched, asked * max_model_len)
        seqs = columns.minimum(seqs, column("max_num_batched_tokens", batched))
    max_num_seqs = column("max_num_seqs", seqs)
    return ResolvedEngine(
        version=version,
        generation=generation,
        dtype=resolve_dtype(settings.get("dtype"), model, gpu, version),
        quantization=settings.get("quantization") or _kernel_of(model, gpu, version),
        tensor_parallel_size=settings.get("tensor_parallel_size") or 1,
        pipeline_parallel_size=settings.get("pipeline_parallel_size") or 1,
        kv_cache_dtype=kv_cache_dtype,
        attention_backend=_named_backend(settings) or default_backend(generation, gpu, version, kv_cache_dtype),
        max_model_len=max_model_len,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=column("max_num_batched_tokens", batched),
        gpu_memory_utilization=column("gpu_memory_utilization", 0.92 if version >= HIGHER_UTILIZATION_SINCE else 0.90),
        block_size=column("block_size", default_block_size(model, gpu, version, kv_cache_dtype)),
        swap_space=column("swap_space", 4.0 if generation == "V0" else 0.0),
        enable_chunked_prefill=chunked,
        enable_prefix_caching=prefix_caching(settings.get("enable_prefix_caching"), model, version, generation == "V1"),
        enforce_eager=column("enforce_eager", False)
        | (column("optimization_level", 2) == 0)  # O0: no graphs either
        | (traits.compilation.is_eager and version >= COMPILATION_MODE_READ_SINCE),
        max_seq_len_to_capture=columns.minimum(column("max_seq_len_to_capture", 8192), max_model_len),
        kv_cache_memory_bytes=settings.get("kv_cache_memory_bytes"),
        num_scheduler_steps=column("num_scheduler_steps", 1),
        enable_expert_parallel=bool(settings.get("enable_expert_parallel")),
        disable_custom_all_reduce=column("disable_custom_all_reduce", False),
        num_gpu_blocks_override=settings.get("num_gpu_blocks_override"),
        data_parallel_size=settings.get("data_parallel_size") or 1,
        cpu_offload_gb=column("cpu_offload_gb", 0.0),
        max_cudagraph_capture_size=column("max_cudagraph_capture_size", traits.compilation.largest),
        optimization_level=settings.get("optimization_level"),
        speculative_config=settings.get("speculative_config"),
        lora=traits.lora,
        compilation=traits.compilation,
        forced_runner=_forced_runner(settings),
        async_scheduling=column("async_scheduling", _is_async(settings, gpu, version)),
    )


def _forced_runner(settings: Mapping[str, Any]) -> int | None:
    text = settings.get(USE_V2_RUNNER_ENV)
    return None if text is None else 1 + int(text)


def _scheduler_defaults(
    generation: Generation, gpu: GpuSpec, version: Version, max_model_len: IntColumn, chunked: BoolColumn
) -> tuple[Any, int]:
    """Default max_num_batched_tokens and max_num_seqs of the API server."""
    if generation == "V0":
        chunk = 512 if version < V0_LONG_CHUNKS_SINCE else 2048
        return columns.where(chunked, chunk, columns.maximum(max_model_len, 2048)), 256
    batched, seqs = _v1_defaults(gpu, version)
    return columns.where(chunked, batched, columns.maximum(max_model_len, batched)), seqs


def _v1_defaults(gpu: GpuSpec, version: Version) -> tuple[int, int]:
    """The same of V1 with chunked prefill; without it a step holds at least one prompt of max_model_len."""
    if gpu.is_cpu:
        return 2048, 128
    if gpu.memory_bytes >= 160 * GIB and version >= LARGEST_BATCH_SINCE:
        return 16384, 1024
    if _is_big(gpu, version):
        return 8192, 1024
    return 2048, 1024 if version < MANY_SEQS_UNTIL else 256


def _is_async(settings: Mapping[str, Any], gpu: GpuSpec, version: Version) -> bool:
    """Default of async_scheduling: off if another setting rules it out."""
    stages = settings.get("pipeline_parallel_size") or 1
    refused = _refuses_async(version, stages, settings.get("speculative_config") is not None)
    return version >= ASYNC_SCHEDULING_SINCE and not gpu.is_cpu and not refused


def _refuses_async(version: Version, num_stages: int, speculates: bool) -> bool:
    """Whether asynchronous scheduling is refused (vllm@0.10.2 engine/arg_utils.py, 0.24.0 config/vllm.py)."""
    return (num_stages > 1 and version < ASYNC_WITH_STAGES_SINCE) or (speculates and version < ASYNC_WITH_NGRAM_SINCE)


def _is_big(gpu: GpuSpec, version: Version) -> bool:
    """Whether the card gets larger batches: decided by name up to 0.8.4, by memory since; not the A100 since 0.9.

    Not the GB10 either: NVML reports no memory of its own for it, and 0.33 excludes it in so many words (two starts of
    0.25.1 raise max_num_batched_tokens from 2048).
    """
    if gpu.shares_host_memory:
        return False
    if version < LARGE_BATCH_BY_MEMORY_SINCE:
        return "H100" in gpu.name or "H200" in gpu.name
    is_small = gpu.name.startswith("A100") and version >= SMALL_BATCH_ON_A100_SINCE
    return gpu.memory_bytes >= BIG_CARD_BYTES and not is_small


def _named_backend(settings: Mapping[str, Any]) -> str | None:
    """The attention backend that a setting names, in capitals as vLLM reads it; None for `auto`.

    Source: vllm@0.24.0 config/attention.py:validate_backend_before.
    """
    name = str(settings.get("attention_backend") or "auto").upper()
    return None if name == "AUTO" else name


def resolve_dtype(dtype: str | None, model: ModelSpec, gpu: GpuSpec, version: Version) -> str:
    if dtype not in {None, "auto"}:
        return "float16" if dtype == "half" else str(dtype)
    if model.torch_dtype == "float32":
        return "float16"
    if model.torch_dtype == "bfloat16" and not gpu.is_cpu and gpu.compute_capability < (8, 0):
        return "float16" if version >= HALF_FALLBACK_SINCE else "bfloat16"
    return model.torch_dtype


def default_backend(generation: Generation, gpu: GpuSpec, version: Version, kv_cache_dtype: str = "auto") -> str:
    """The attention backend that the engine picks by default (vllm platforms/cuda.py:get_attn_backend_cls)."""
    if gpu.is_cpu:
        return "CPU_ATTN"
    if gpu.compute_capability >= (8, 0):
        is_second = kv_cache_dtype.startswith("fp8") and not reads_fp8(gpu) and version >= V1_ONLY_SINCE
        return "FLASHINFER" if is_second else "FLASH_ATTN"
    if generation == "V0":
        return "XFORMERS"
    if version < V1_ONLY_SINCE:
        return "FLEX_ATTENTION"
    return "FLASHINFER" if version < FLASHINFER_ON_TURING_UNTIL else "TRITON_ATTN"


def reads_fp8(gpu: GpuSpec) -> bool:
    """Whether FlashAttention reads an fp8 KV cache: FlashAttention 3 does, on compute capability 9.0.

    Source: vllm@0.14.1 v1/attention/backends/fa_utils.py:flash_attn_supports_fp8.
    """
    return (9, 0) <= gpu.compute_capability < (10, 0)
