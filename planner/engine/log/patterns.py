"""Patterns of vLLM's log: what surrounds failures, figures, settings, run time.

`causes.py` has the failures themselves, `known_warnings.py` the warnings.

Texts read in vllm 0.6.6.post1, 0.8.5, 0.10.2, 0.12.0, 0.24.0, 0.32.0 and 0.33.0, in the notes on the versions
between and in real logs. All are searched in a line without its prefix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

NUMBER = r"(-?\d[\d,]{0,20}(?:\.\d{1,20})?)"
"""A number, bounded like all gaps below, so that a search takes time linear in the line's length (tests/fuzz)."""

# ---------------------------------------------------------------- failures

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
# The same where a traceback's frames went before: any name, `requests.exceptions.ReadTimeout: ...`, `Exception: ...`.
ENDING = re.compile(
    r"(?P<name>(?=[A-Z]|[a-z_]\w{0,100}\.)(?:[A-Za-z_]\w{0,100}\.){0,12}[A-Za-z_]\w{2,100})"
    r"(?:\(\w{1,100}\))?(?:: (?P<words>.+))?"
)
TOLD_NAMES = frozenset({"KeyboardInterrupt", "SystemExit", "GeneratorExit", "StopIteration", "StopAsyncIteration"})
"""Exceptions that end a process in order."""
# Messages of processes that waited for the one that failed.
LATER_NOISE = re.compile(
    r"Engine core initialization failed|Engine process failed to start|See (?:stack trace|root cause)|EngineDeadError"
    r"|EngineCore encountered (?:an issue|a fatal error)|check the stack trace above|Engine loop has died"
    r"|MQClientClosed|Background loop has errored|Worker proc .{0,300} died|WorkerProc initialization failed"
    r"|AsyncLLM output_handler failed|exit code: -15|Executor failed|Worker processes are not running"
    r"|CancelledError|worker died|BrokenPipeError|EngineGenerateError|ConnectionResetError"
    r"|(?:RPC call to|MQLLMEngine|RPCServer) .{0,300}(?:timed out|reply within)|ActorDiedError"
    r"|The actor (?:died|is dead)"
    r"|RuntimeError: cancelled$|fatal signal from worker|MQLLMEngine is already dead|failed to be inspected"
    r"|^(?:\w+\.)*TimeoutError$|^EOFError\b|: Traceback \(most recent call last\):$|RayTaskError|AsyncEngineDeadError"
    r"|Error in inspecting model|died unexpectedly|the TorchScript interpreter|exception in a background process"
    r"|DistStoreError: .{0,80}timed out after|Hit an exception\b"
    r"|Engine loop is not running|^NoneType: None$|Engine process \(pid \d+\) died|No heartbeat received from MQ"
)
CHAINED = re.compile(r"^\s*(?:The above exception was the direct cause|During handling of the above exception)")
"""Lines between two exceptions of one chain; the last of the chain says most."""
FRAME = re.compile(r'\s{0,200}(?:\|\s{0,20})?File "(?P<frame>[^"]{1,500}", line \d{1,9}(?:, in .{1,200})?)$')
_TROUBLE = (
    "error", "fail", "exception", "cannot", "can't", "unable", "not ", "no ", "fatal", "killed", "died", "dead",
    "exceed", "timed out", "timeout", "memory", "undefined", "invalid", "support", "already", "larger", "signal",
    "sigs", "caught", "require", "least", "terminat", "please", "start a new", "attempt", "trace", "status",
    "pending", "fault", "exit", "encountered", "must", "unique", "version", "driver", "sufficient", "unexpected",
    "changed", "abort", "input", "less ", "gloo", "nccl", "connect", "barrier", "didn't", "exc.", "cuh", "nrt_",
    "nonetype", "nvml",
    "interpreter", "closed", "feasible", "bounds", "mismatch", "too old", "nvidia-", "unsatisfied", "libcuda",
    "extra ", "sigf", "sigb", "siga", "sigi", "sigk", "illegal", "is lost", "fallen", "xid", "core dumped", "manifest",
    "image", "unresolv", "specification", "ordinal", "oom", "uncorrect", "denied", "exhaust",
)  # fmt: skip
"""Every line that can match a sign, LATER_NOISE or FATAL has one of these, in lower case (tests/fuzz)."""


_TELLING = (
    "engine", "gib", "blocks", "tokens", "concurrency", "graph", "block_size", "backend", "took", "take", "model",
    "args", "chunked", "auto-fit", "schedul", "utiliz", "overrid", "route", "shut", "keyboard", "receiv", "got ",
    "caught", "applic", "throughput", "http/", "request", "prefix", "preempt", 'file "', "raise", "█", "server",
    "transformers", "capturing", "loading", "kv cache",
)  # fmt: skip
"""Every other line that a pattern of this module matches has one of these, in lower case (tests/fuzz)."""
_DIGITS = str.maketrans("123456789", "0" * 9)
MOST_SHAPES = 4096


def has_trouble(text: str) -> bool:
    """Whether a line can match a sign of a failure; cheaper than to search for each."""
    text = text.lower()
    return any(word in text for word in _TROUBLE)


def is_dull(text: str) -> bool:
    """Whether no pattern can match a line; remembered for lines that differ in their digits only, as most do."""
    return _is_dull(text.translate(_DIGITS))


@lru_cache(MOST_SHAPES)
def _is_dull(shape: str) -> bool:
    shape = shape.lower()
    return not has_trouble(shape) and not any(word in shape for word in _TELLING)


HARMLESS = re.compile(
    r"exit code: -15|^Dumping (?:input data|scheduler)|^Cannot use FA version \d is not supported due to"
)
"""Lines of ERROR that name no cause: a worker that was told to end, what every start on Turing prints, dumps."""
VLLM_FRAME = re.compile(r"[/\\]vllm[/\\](?!lib\w{0,2}[/\\]|bin[/\\])")
"""Paths of vLLM's own code, not of a folder of that name that holds an environment."""
REASON = re.compile(r"(?i)\b(?:fatal|error|undefined|not defined|not found|failed|unsupported|no such|cannot)\b")
"""Words of the lines below a message that holds no reason itself."""
FATAL = re.compile(
    r"EngineDeadError|EngineCore (?:failed to start|encountered an? (?:issue|fatal error))|Engine loop has died"
    r"|(?:Engine core|Worker) proc .{0,300} died|engine core exited unexpectedly|Background loop has errored"
    r"|Engine (?:core initialization failed|process failed to start|background task failed)"
    r"|died, exit code: -(?!15\b)\d|WorkerProc (?:failed|hit an exception)|^Fatal Python error|^Segmentation fault"
    r"|^Killed\b|fatal signal from worker|MQLLMEngine is already dead|died unexpectedly"
    r"|SIG(?:SEGV|ABRT|BUS|FPE) received"
    r"|^terminate called after throwing|watchdog thread terminated|ActorDiedError|The actor (?:died|is dead)"
    r"|Engine core hit an exception|EngineCore hit an exception|engine process is dead"
    r"|oom_kill event|OOM Killed|killed by the OOM killer|[Oo]ut of memory: Killed process|Memory access fault by GPU"
    r"|Main process exited, code=(?!killed, status=(?:15|2)/|exited, status=(?:0|130|143)/)|\(core dumped\)"
    r"|^Illegal instruction|\b(?:exited|terminated) with (?:exit )?code (?!0\b|130\b|143\b)\d"
    r"|terminated by SIG(?!TERM|INT)"
    r"|task [\d,-]{1,40}: (?:Out Of Memory|Killed|Segmentation fault|Aborted|Illegal|Exited with exit code [1-9])"
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
FINISHED = re.compile(r"^Finished server process \[\d{1,9}\]|^Application shutdown complete")
"""Lines of uvicorn after its last answer: nothing serves any more, whoever ended it."""
TOLD = re.compile(
    r"^KeyboardInterrupt\b|^(?:Received|Got|Caught) (?:signal )?(?:SIGTERM|SIGINT|15\b)|Received (?:SIGTERM|SIGINT)\b"
    r"|^Received shutdown signal|^slurmstepd: error: .{0,200}(?:CANCELLED|DUE TO TIME LIMIT)"
    r"|^\S{1,100}\.service: start operation timed out|^Stopping \S{1,100}\.service\b"
    r"|^\S{1,100}\.service: Main process exited, code=killed, status=(?:15/TERM|2/INT)"
)
"""Lines of a process that a signal ended, also before it served."""
RAY = re.compile(r"^(?:Ray\w*Worker|_MapWorker|ServeReplica|DPEngineCoreActor|raylet)")
"""Names of processes that Ray started."""
FRAME_PHASES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), phase)
    for pattern, phase in (
        (r", in load_model$", "loading weights"),
        (r", in (?:profile_run|determine_num_available_blocks|determine_available_memory)$", "profiling"),
        (r", in (?:initialize_kv_cache|_?allocate_kv_cache\w*|_init_cache_engine)$", "allocating the KV cache"),
        (r", in capture_model$", "graph capture"),
        (r", in (?:_dummy_sampler_run|_dummy_pooler_run)$", "sampler warm-up"),
    )
)
"""Phases by the frames of a traceback."""
PHASES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), phase)
    for pattern, phase in (
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
