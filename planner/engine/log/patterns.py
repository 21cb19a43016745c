"""All patterns of vLLM's log except `known_warnings.py`: failures and what to change, figures, settings, run time.

Texts read in vllm 0.6.6.post1, 0.8.5, 0.10.2, 0.12.0, 0.24.0, 0.32.0 and 0.33.0, in the notes on the versions
between and in real logs. All are searched in a line without its prefix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from planner.errors import EngineCrashed, EngineError, EngineOutOfMemory, EngineRejected

NUMBER = r"(-?\d[\d,]{0,20}(?:\.\d{1,20})?)"
"""A number, bounded like all gaps below, so that a search takes time linear in the line's length (tests/fuzz)."""

# ---------------------------------------------------------------- failures

Kind = type[EngineError]


@dataclass(frozen=True, slots=True)
class Cause:
    """A class of failures; `name` is shown to people."""

    name: str
    kind: Kind
    advice: str
    """What to change, in one or two sentences."""


CAUSES: Mapping[str, Cause] = {cause.name: cause for cause in (
    Cause("KV cache too small", EngineOutOfMemory,
          "Lower max_model_len or raise gpu_memory_utilization; more cards (tensor_parallel_size), a quantised model "
          "or an fp8 kv_cache_dtype leave more. planner estimate --fit max_model_len finds the longest that fits."),
    Cause("no room for a KV cache", EngineOutOfMemory,
          "Weights and the profile's peak fill the budget: raise gpu_memory_utilization, lower "
          "max_num_batched_tokens, or use more cards or a smaller model. planner estimate with these settings says "
          "what fits."),
    Cause("card already in use", EngineOutOfMemory,
          "Another process holds memory of the card (nvidia-smi): end it, or lower gpu_memory_utilization below the "
          "free share."),
    Cause("host memory too small", EngineOutOfMemory,
          "Give the machine or container more memory, or ask for less: VLLM_CPU_KVCACHE_SPACE or "
          "gpu_memory_utilization on a CPU, swap_space and cpu_offload_gb on cards."),
    Cause("out of memory", EngineOutOfMemory,
          "Lower max_num_batched_tokens, max_num_seqs or gpu_memory_utilization. planner estimate with these "
          "settings says what fits."),
    Cause("bad flag", EngineRejected,
          "Correct or remove the flag; `vllm serve --help` of the version that runs lists what it takes."),
    Cause("bad setting", EngineRejected, "Change the setting that the message names."),
    Cause("batch too small", EngineRejected,
          "Raise max_num_batched_tokens to at least max_num_seqs and, without chunked prefill, to max_model_len; or "
          "turn enable_chunked_prefill on."),
    Cause("context too long", EngineRejected,
          "Lower max_model_len to the model's own length, or scale its rope (hf_overrides)."),
    Cause("layout impossible", EngineRejected,
          "Choose a tensor_parallel_size that divides the model's heads and is at most the number of visible cards."),
    Cause("model files", EngineRejected,
          "Check the path as the container sees it (a volume?) and that config.json, tokenizer and weights are "
          "there; for a name on the Hub: network, HF_TOKEN, and the terms of a gated model."),
    Cause("model not supported", EngineRejected,
          "This version does not know the architecture: take a newer vLLM, or set trust_remote_code if the model "
          "brings its own code."),
    Cause("card not capable", EngineRejected,
          "The card lacks what these settings ask: try dtype half, another attention_backend, kv_cache_dtype auto, "
          "or a quantization that the card runs."),
    Cause("port in use", EngineCrashed,
          "Another process, perhaps an earlier engine, listens on the port: stop it or choose another --port."),
    Cause("address not there", EngineCrashed,
          "No interface of this machine or container has the address: leave --host out, or 0.0.0.0 inside a "
          "container."),
    Cause("permission", EngineCrashed,
          "The engine's user may not do this: check the owner of mounted folders and caches (HF_HOME, "
          "VLLM_CACHE_ROOT), and take a port above 1023."),
    Cause("disk full", EngineCrashed, "Free space where caches and models lie (HF_HOME, VLLM_CACHE_ROOT, /tmp)."),
    Cause("too many open files", EngineCrashed,
          "Start with a higher limit: ulimit -n 65536, docker run --ulimit nofile=65536."),
    Cause("shared memory too small", EngineCrashed, "Start the container with --ipc=host or --shm-size=8g."),
    Cause("no card visible", EngineCrashed,
          "Start the container with --gpus all and the NVIDIA runtime, and check nvidia-smi inside it; planner gpus "
          "says what is seen here."),
    Cause("NCCL", EngineCrashed,
          "Cards or ranks cannot talk: run once with NCCL_DEBUG=INFO; then --ipc=host, disable_custom_all_reduce, "
          "NCCL_P2P_DISABLE=1 or, between machines, NCCL_SOCKET_IFNAME."),
    Cause("ranks hang", EngineCrashed,
          "A rank did not answer in time: look for the first error above; else try disable_custom_all_reduce or "
          "NCCL_P2P_DISABLE=1, and NCCL_DEBUG=INFO to see where."),
    Cause("start took too long", EngineCrashed,
          "Raise VLLM_ENGINE_READY_TIMEOUT_S (VLLM_RPC_TIMEOUT for V0), or read the weights from a faster disk."),
    Cause("CUDA error", EngineCrashed,
          "Driver, kernel and card do not fit together: check the driver's version against the image's CUDA; run "
          "once with CUDA_LAUNCH_BLOCKING=1, and with enforce_eager, to see whether graphs are at fault."),
    Cause("memory changed while profiling", EngineCrashed,
          "Another process released or took memory of the card during the start: start engines one after the other."),
    Cause("killed", EngineCrashed,
          "A process was ended from outside, most often because the host's memory ran out: see dmesg, and lower "
          "swap_space, cpu_offload_gb or the number of engines."),
    Cause("engine process gone", EngineCrashed,
          "The engine's process ended without a word while the server went on: often the host's memory (dmesg), a "
          "signal, or a crash in native code."),
    Cause("not in the table", EngineCrashed, "Its own words are all that is known."),
)}  # fmt: skip

_PYDANTIC = r"Input should be|Extra inputs are|Unexpected keyword|Field required|Unable to parse"

FAILURES: tuple[tuple[str, str], ...] = (
    # The KV cache is too small, or would be.
    ("KV cache too small", r"larger than the maximum number of tokens that can be stored in KV cache"),
    ("KV cache too small", r"To serve at least one request with the model"),
    ("no room for a KV cache", r"No available memory for the cache blocks"),
    ("no room for a KV cache", r"Cannot auto-fit max_model_len: not enough GPU memory"),
    ("card already in use", r"Free memory on device .{0,300}on startup is less than"),
    ("host memory too small", r"Available memory on node .{0,300}less than desired CPU memory utilization"),
    ("host memory too small", r"on kv cache allocation is less than requested memory for kv"),
    ("host memory too small", r"Aborted due to the lack of CPU swap space"),
    # An allocation failed.
    ("out of memory", r"CUDA out of memory occurred when warming up"),
    ("out of memory", r"(?:CUDA|HIP|XPU) out of memory"),
    ("out of memory", r"CUDA error: out of memory|Cuda failure 2 'out of memory'|CUBLAS_STATUS_ALLOC_FAILED"),
    # Flags, as argparse and pydantic say it.
    ("bad flag", r"^(?:vllm(?: serve)?|\S+\.py): error: (?P<words>.+)"),
    ("bad setting", r"^\s+Value error, (?P<words>.+?)(?: \[type=\w+, .*)?$"),
    ("bad flag", rf"^\s+(?P<field_words>(?:{_PYDANTIC}).*?)(?: \[type=\w+, .*)?$"),
    # Models.
    ("model files", r"Repo id must be|is not a valid model identifier|Invalid repository ID or local directory"),
    ("model files", r"does not appear to have a file named|Cannot find any model weights|Cannot access gated repo"),
    ("model not supported", r"Model architectures .{0,300} (?:are not supported|failed to be inspected)"),
    # What this GPU or machine cannot do, said as a RuntimeError or by a compiler.
    ("card not capable", r"FlashAttention only supports Ampere|For FP8 input, output must have dtype"),
    ("card not capable", r"out of resource: shared memory|type fp8\w+ not supported in this architecture"),
    ("layout impossible", r"is less than than max local gpu count|to less than max local gpu count"),
    # The machine under it.
    ("port in use", r"(?i)address already in use"),
    (
        "shared memory too small",
        r"Insufficient space in /dev/shm|insufficient shared memory|/dev/shm.{0,300}No space|Bus error",
    ),
    (
        "shared memory too small",
        r"unable to (?:open|mmap|resize|allocate) shared memory|Error while creating shared memory",
    ),
    ("no card visible", r"No CUDA GPUs are available|Failed to infer device type|Found no NVIDIA driver|libcuda\.so"),
    ("NCCL", r"NCCL error|ncclUnhandled\w+|ncclSystemError|ncclInternalError|ncclRemoteError"),
    ("CUDA error", r"CUDA error: .+|CUDA driver version is insufficient|no kernel image is available"),
    ("memory changed while profiling", r"Error in memory profiling"),
    ("host memory too small", r"DefaultCPUAllocator: (?:can't allocate|not enough) memory|Cannot allocate memory"),
    ("host memory too small", r"^MemoryError\b"),
    ("killed", r"died, exit code: -(?:9|7|11|6)\b|^Killed\b|^Segmentation fault"),
)
"""(cause, pattern) by weight; the first that occurs anywhere counts: a rank that runs out of memory makes the others
fail in NCCL, often before it logs its own error. A group `words` is the message."""

REFUSALS: tuple[tuple[str, str], ...] = (
    ("host memory too small", r"Too large swap space|The worker already uses .{0,300} of CPU memory"),
    ("card already in use", r"Free memory on device|Externally held weights on device"),
    (
        "batch too small",
        r"max_num_batched_tokens .{0,300}(?:is smaller than max_model_len|must be greater than or equal)",
    ),
    ("context too long", r"User-specified max_model_len|is greater than the derived max_model_len"),
    ("layout impossible", r"must be divisible by tensor parallel size|is not divisible by|num_kv_heads % tp_size"),
    ("layout impossible", r"larger than the number of available GPUs|Unable to load Ray|aligned with the quantized"),
    ("card not capable", r"not supported for the current GPU|Bfloat16 is only supported|Invalid attention backend"),
    ("card not capable", r"is not supported for quantization method|No valid attention backend|FP8 KV cache is not"),
    ("model files", r"No such file or directory|FileNotFoundError|is not a local folder|401 Client Error|GatedRepo"),
    ("model files", r"SafetensorError|Error while deserializing header|couldn't connect to|LocalEntryNotFound"),
    (
        "model not supported",
        r"(?i)does not recognize this architecture|architectures? .{0,300}not supp|trust_remote_code",
    ),
    ("permission", r"Permission denied|\[Errno 13\]|Read-only file system"),
    ("address not there", r"Cannot assign requested address|\[Errno 99\]|Name or service not known"),
    ("disk full", r"No space left on device|\[Errno 28\]|Disk quota exceeded"),
    ("too many open files", r"Too many open files|\[Errno 24\]"),
    ("start took too long", r"(?i)timed out waiting for (?:new )?engine|Engine process .{0,300}timed? ?out"),
    (
        "ranks hang",
        r"RPC call to .{0,300} timed out|collective operation timeout|Watchdog caught|MQLLMEngine didn't reply",
    ),
    ("killed", r"killed \(exit code|bus error \(exit code"),
    (
        "engine process gone",
        r"output_handler failed|engine core .{0,300}unexpectedly|Engine core proc .{0,300} died|EngineDead",
    ),
)
"""(cause, pattern) for messages that match none of FAILURES: those of an exception or of a silent death."""

PHASE_ADVICE: Mapping[str, str] = {
    "loading weights": "The weights do not fit: more cards (tensor_parallel_size), a quantised model or "
                       "cpu_offload_gb.",
    "profiling": "The profile run does not fit beside the weights: lower max_num_batched_tokens, then max_num_seqs.",
    "allocating the KV cache": "Something else holds memory of the card (nvidia-smi): end it or lower "
                               "gpu_memory_utilization.",
    "graph capture": "CUDA graphs did not fit: lower gpu_memory_utilization, max_cudagraph_capture_size or "
    "max_num_seqs, "
                     "or set enforce_eager.",
    "sampler warm-up": "Lower max_num_seqs or gpu_memory_utilization.",
    "warm-up": "Lower gpu_memory_utilization or max_num_batched_tokens.",
    "under load": "Serving took more than the profile run foresaw: lower gpu_memory_utilization by 0.02 to 0.05 or "
                  "max_num_batched_tokens; PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True against fragments.",
}  # fmt: skip
"""What to change if an allocation failed, by phase."""
GRAPHS_IN_BUDGET_ADVICE = (
    "Their estimate was too small: lower max_cudagraph_capture_size or max_num_seqs, raise what stays free by a lower "
    "gpu_memory_utilization, or set enforce_eager."
)
"""What to change if graphs did not fit, in versions whose budget includes an estimate of them."""

FREE_MEMORY = re.compile(
    r"Free memory on device .{0,300}?\((\d{1,15}(?:\.\d{1,15})?)/(\d{1,15}(?:\.\d{1,15})?) GiB\) on startup"
)
LONGEST = re.compile(r"can be stored in KV cache \((\d{1,15})\)|estimated maximum model length is (\d{1,15})")
"""Largest context, in tokens, that would have fitted by a refusal's own message."""

# `ValueError: ...`, `torch.OutOfMemoryError: ...`, a bare `AssertionError`: the last line of a traceback.
EXCEPTION = re.compile(r"(?P<name>(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception))(?:: (?P<words>.+))?")
# Messages of processes that waited for the one that failed.
LATER_NOISE = re.compile(
    r"Engine core initialization failed|Engine process failed to start|See (?:stack trace|root cause)|EngineDeadError"
    r"|EngineCore encountered (?:an issue|a fatal error)|check the stack trace above|Engine loop has died"
    r"|MQClientClosed|Background loop has errored|Worker proc .{0,300} died|WorkerProc initialization failed"
    r"|AsyncLLM output_handler failed|exit code: -15|Executor failed|Worker processes are not running"
    r"|CancelledError|worker died|BrokenPipeError|EngineGenerateError|ConnectionResetError"
    r"|(?:RPC call to|MQLLMEngine|RPCServer) .{0,300}(?:timed out|reply within)"
)
FATAL = re.compile(
    r"EngineDeadError|EngineCore (?:failed to start|encountered an? (?:issue|fatal error))|Engine loop has died"
    r"|(?:Engine core|Worker) proc .{0,300} died|engine core exited unexpectedly|Background loop has errored"
    r"|Engine (?:core initialization failed|process failed to start|background task failed)"
    r"|died, exit code: -(?!15\b)\d|WorkerProc (?:failed|hit an exception)|^Fatal Python error|^Segmentation fault"
    r"|^Killed\b"
)
"""Lines after which the engine no longer serves; an error without one may be of a single request."""
# Exceptions caused by the configuration: during a start they come from checks, and recur at each start.
REFUSED_BY = frozenset({
    "ValueError", "NotImplementedError", "AssertionError", "TypeError", "KeyError", "AttributeError", "ImportError",
    "ModuleNotFoundError", "ValidationError", "OSError", "FileNotFoundError", "ArgumentTypeError", "GatedRepoError",
    "RepositoryNotFoundError", "HFValidationError", "LocalEntryNotFoundError", "SafetensorError",
})  # fmt: skip
# Exceptions whose name adds nothing to their message.
SILENT_NAMES = frozenset({
    "ValueError", "RuntimeError", "NotImplementedError", "OSError", "AssertionError", "OutOfMemoryError", "Exception",
})  # fmt: skip

# ---------------------------------------------------------------- phases of a start

UNDER_LOAD = "under load"
SERVING = re.compile(r"Application startup complete|Avg prompt throughput")
STARTED = re.compile(r"vLLM (?:API )?server version |█.{0,100} version \d")
"""Logged once per start; a restarted container writes into the same log."""
SIMULATED = "SIMULATED"
"""Word that planner's own simulated server adds to that line."""
ROUTES = re.compile(r"^Available routes are")
ROUTE = re.compile(r"^Route: ")
LISTENING = re.compile(r"^Starting vLLM (?:API )?server(?: \d+)? on (\S+)")
STOPPED = re.compile(
    r"^\[shutdown\] API server: shutdown triggered|^Shutting down FastAPI HTTP server|is gracefully shutting down"
)
"""Lines of an engine that was told to end: errors after it are no failure."""
PHASES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), phase)
    for pattern, phase in (
        # Frames of the traceback.
        (r", in load_model$", "loading weights"),
        (r", in (?:profile_run|determine_num_available_blocks|determine_available_memory)$", "profiling"),
        (r", in (?:initialize_kv_cache|_?allocate_kv_cache\w*|_init_cache_engine)$", "allocating the KV cache"),
        (r", in capture_model$", "graph capture"),
        (r", in (?:_dummy_sampler_run|_dummy_pooler_run)$", "sampler warm-up"),
        # Lines of the log.
        (r"^Starting to load model|^Loading model from scratch", "loading weights"),
        (r"[Mm]odel (?:loading|weights) took|^Loading weights took", "profiling"),
        (r"# \w+ blocks: |KV cache size: |Available KV cache memory", "allocating the KV cache"),
        (r"^Capturing cudagraphs|Capturing CUDA graph", "graph capture"),
        (r"^Graph capturing finished", "warm-up"),
        (SERVING.pattern, UNDER_LOAD),
    )
)

# ---------------------------------------------------------------- figures of a start

FACTS: Mapping[str, tuple[str, ...]] = {
    "version": (r"LLM engine \(v([^)\s]+)\)", r"vLLM (?:API )?server version ([^\s,]+)", r"█.{0,100} version (\d\S*)$"),
    "generation": (r"Initializing a (V\d) LLM engine",),
    # 0.6 and 0.7 write GB and mean 2**30.
    "weights_gib": (rf"[Mm]odel (?:loading|weights) took {NUMBER} Gi?B", rf"model weights take {NUMBER}GiB"),
    "non_torch_gib": (rf"non_torch_memory takes {NUMBER}GiB", rf"{NUMBER} GiB for non-torch memory",
                      rf"non-torch forward increase memory: {NUMBER}GiB"),
    "total_gib": (rf"total_gpu_memory \({NUMBER}GiB\)", rf"Free memory on device \([\d.]+/{NUMBER} GiB\) on startup"),
    # 0.20 and later name the sum of weights and the rest that is not torch's.
    "consumed_gib": (rf"Actual usage is {NUMBER} GiB for consumed memory",),
    "activation_gib": (rf"activation peak memory takes {NUMBER}GiB", rf"{NUMBER} GiB for peak activation",
                       rf"torch peak memory increase: {NUMBER}GiB"),
    "kv_cache_gib": (rf"reserved for KV Cache is {NUMBER}GiB", rf"Available KV cache memory: {NUMBER} GiB",
                     rf"reserved {NUMBER} GiB memory for KV Cache", rf"set \({NUMBER}/[\d.]+\) GiB for KV cache"),
    "blocks": (rf"# (?!CPU)\w+ blocks: {NUMBER}", r"after num_gpu_blocks is: (\d+)"),
    "tokens": (rf"\w{{1,20}} KV cache size: {NUMBER} tokens",),
    "concurrency": (rf"Maximum concurrency for [\d,]+ tokens per request: {NUMBER}x",),
    "graph_gib": (rf"Graph capturing finished in .{{0,300}}took {NUMBER} GiB",
                  rf"CUDA graph pool memory: {NUMBER} GiB"),
    "block_size": (r"\bblock_size=(\d{1,15})",),
    "attention": (r"^Using (?:AttentionBackendEnum\.)?([\w ]+?)(?: attention)? backend"
                  r"(?: on V1 engine| out of potential backends: .*| \(selected.*)?\.?$",),
    # Seconds.
    "load_s": (rf"[Mm]odel loading took .{{0,300}} and {NUMBER} seconds", rf"^Loading weights took {NUMBER} seconds"),
    "profile_s": (rf"Memory profiling takes {NUMBER} seconds",),
    "compile_s": (rf"torch\.compile (?:takes|took) {NUMBER} s in total",),
    "graph_s": (rf"Graph capturing finished in {NUMBER} secs",),
    "init_s": (rf"init engine \(.{{0,300}}\) took {NUMBER} s(?:econds)?\b",),
}  # fmt: skip
"""Patterns by fact, the best one first; the group is the value."""

ATTENTION_NAMES: Mapping[str, str] = {
    "XFORMERS": "XFORMERS",
    "FLASH ATTENTION": "FLASH_ATTN",
    "FLASHINFER": "FLASHINFER",
    "TRITON": "TRITON_ATTN",
    "TRITON ATTENTION": "TRITON_ATTN",
    "TORCH SDPA": "TORCH_SDPA",
    "TRITON MLA": "TRITON_MLA",
}
"""Attention backends by their name in logs up to 0.10."""
NOT_ATTENTION = frozenset({"TRANSFORMERS", "RAY", "NCCL", "GLOO"})

# ---------------------------------------------------------------- settings

ASKED = re.compile(r"^(?:non-default args: (?P<dict>\{)|args: Namespace(?P<namespace>\())")
IN_EFFECT = re.compile(r"Initializing an? (?:V\d )?LLM engine \(v[^)]{1,100}\) with config: ")
LOGGED_AS: Mapping[str, str] = {"max_seq_len": "max_model_len", "chunked_prefill_enabled": "enable_chunked_prefill"}
"""Names on the command line of settings that the engine's line spells differently."""
SETTINGS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("max_num_batched_tokens", r"^Chunked prefill is enabled with max_num_batched_tokens=(\d{1,15})\."),
        ("max_num_batched_tokens", r"^Setting max_num_batched_tokens to (\d{1,15}) for"),
        ("max_model_len", r"^Using max model len (\d{1,15})"),
        ("max_model_len", r"^Auto-fit max_model_len: reduced from \d+ to (\d{1,15}) to fit"),
        ("async_scheduling", r"^Asynchronous scheduling is (enabled|disabled)\."),
        ("gpu_memory_utilization", r"gpu_memory_utilization \((\d{1,15}(?:\.\d{1,15})?)\) = "),
        ("gpu_memory_utilization", r"Desired GPU memory utilization is \((\d{1,15}(?:\.\d{1,15})?), "),
        ("num_gpu_blocks_override", r"^Overriding num_gpu_blocks=\d+ with num_gpu_blocks_override=(\d{1,15})"),
    )
)
"""(setting, pattern) for settings in other lines; the last line counts."""
CAPTURE_SIZE = re.compile(r"max_(?:cudagraph_)?capture_size['\"]?: ?(\d{1,15})")

# ---------------------------------------------------------------- run time

STATISTICS = "Avg prompt throughput: "
STATISTIC: Mapping[str, re.Pattern[str]] = {
    name: re.compile(pattern)
    for name, pattern in {
        "prompt": r"Avg prompt throughput: (\d{1,15}(?:\.\d{1,15})?) tokens/s",
        "generation": r"Avg generation throughput: (\d{1,15}(?:\.\d{1,15})?) tokens/s",
        "running": r"Running: (\d{1,15}) reqs",
        "waiting": r"(?:Waiting|Pending): (\d{1,15}) reqs",
        "preemptions": r"Preemptions: (\d{1,15}),",
        "kv_usage": r"(?!CPU KV cache usage: [\d.]{1,20}%\.)\w{1,20} KV cache usage: (\d{1,15}(?:\.\d{1,15})?)%",
        "prefix_hits": r"(?<!External )Prefix cache hit rate: (?:GPU: )?(\d{1,15}(?:\.\d{1,15})?)%",
    }.items()
}
"""Patterns of the statistics, which V0 logs every 5 s of work, V1 every 10 s. V1 clears its count of preemptions before
it would log it (vllm@0.12.0..0.33.0 v1/metrics/loggers.py:LoggingStatLogger.log), so it is not known there."""
PREFIX_HITS = re.compile(r"^Prefix cache hit rate: GPU: (\d{1,15}(?:\.\d{1,15})?)%")
ENGINE = re.compile(r"^Engine (\d{1,15}): ")
PREEMPTED = re.compile(r"is preempted by \S{1,60} mode .{0,300}total_num_cumulative_preemption=(\d{1,15})")
ABORTED = (re.compile(r"^Request \S+ aborted\.?$"), re.compile(r"^Aborted request (?!\(s\))\S+$"))
"""V1's message and V0's; V1 of 0.8.5 writes both."""
ANSWERED = re.compile(r'"POST \S+ HTTP/[\d.]+" (\d)\d\d')
ROUTINE_STARTS = (
    "Received request ", "Added request ", "Finished request ", "Aborted request(s) ", "Prefix cache hit rate: ",
    "SpecDecoding metrics: ", "Route: ",
)  # fmt: skip
ACCESS = re.compile(r'HTTP/[\d.]+" \d{3}(?: |$)')


def is_routine(text: str) -> bool:
    """Whether a line is one of the many per request, which may quote a user and hold no facts."""
    return text.startswith(ROUTINE_STARTS) or (" HTTP/" in text and ACCESS.search(text) is not None)
