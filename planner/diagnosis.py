"""What a vLLM log says: why an engine did not start or died (`diagnose`), and what took effect (`read_start_facts`).

In: the text of a log, 0.6.6 to 0.33, V0 or V1, with or without its beginning. Out: an `EngineError` in vLLM's own
words, or `StartFacts`. The only reader of logs: `TABLE` and `FACTS` hold every pattern there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from planner.errors import EngineCrashed, EngineError, EngineOutOfMemory, EngineRejected
from planner.units import GIB

TAIL_LINES = 40
MAX_WORDS = 400
"""Characters of a message; torch's out-of-memory text alone would be a page."""


# ---------------------------------------------------------------- lines

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# `(VllmWorkerProcess pid=12)`, `(VllmWorker rank=1 pid=12)`, `(Worker_TP0 pid=1)`, `(EngineCore_DP0 pid=1)`, ...
_PROCESS = re.compile(r"\(([A-Za-z_][\w.-]*(?: [\w=]+)*?) pid=\d+\)\s*")
# `ERROR 11-22 07:10:00 [core.py:12] ` since 0.7.3, `... 07:10:00 worker.py:267] ` before.
_LEVEL = re.compile(
    r"(DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d (?:\[[^\]\n]*:\d+\]|[\w./-]+:\d+\]) ?(.*)"
)
_UVICORN = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL):\s+(.*)")
# Warnings of torch (`[rank0]:[W1122 07:20:56.1 socket.cpp:204]`, `W1122 09:03:18.5 1 triton.py:53]`) and of Python.
_WARNING = re.compile(r"(?:\[rank\d+\]:\s*)?\[?W\d{4} |.*\b[A-Z]\w*Warning: |\s+warnings\.warn")


@dataclass(frozen=True, slots=True)
class _Line:
    process: str
    """Who wrote it: `VllmWorkerProcess`, `Worker_TP0`; empty for the engine's or server's own process."""
    level: str
    """Empty where the line is not a logger's: tracebacks, argparse, torch, the shell."""
    text: str

    @property
    def is_trouble(self) -> bool:
        return self.level in ("", "ERROR", "CRITICAL")

    @property
    def is_first_rank(self) -> bool:
        """Of the ranks' copies of a line, that of rank 0: V0 logs it without a process, V1 names the ranks."""
        ranks = re.findall(r"(?:rank=|TP|PP|DP|EP|Worker-)(\d+)", self.process)
        return self.process != "VllmWorkerProcess" and all(rank == "0" for rank in ranks)


def _lines(log_text: str) -> list[_Line]:
    plain = _ANSI.sub("", log_text)
    return [_line(part) for row in plain.split("\n") for part in row.split("\r")]


def _line(text: str) -> _Line:
    process = ""
    while match := _PROCESS.match(text):  # a launcher's own prefix may come before the worker's
        process, text = match[1], text[match.end() :]
    if match := _LEVEL.search(text):  # not always at the start: progress bars end without a newline
        inner = _PROCESS.search(text[: match.start()])
        return _Line(inner[1] if inner else process, match[1], match[2].rstrip())
    if match := _UVICORN.match(text):
        return _Line(process, match[1], match[2].rstrip())
    return _Line(process, "WARNING" if _WARNING.match(text) else "", text.rstrip())


# ---------------------------------------------------------------- why it failed

_Kind = type[EngineError]

_PYDANTIC = r"Input should be|Extra inputs are|Unexpected keyword|Field required|Unable to parse"

TABLE: tuple[tuple[_Kind, str], ...] = (
    # The KV cache is too small, or would be.
    (EngineOutOfMemory, r"larger than the maximum number of tokens that can be stored in KV cache"),
    (EngineOutOfMemory, r"To serve at least one request with the model"),
    (EngineOutOfMemory, r"No available memory for the cache blocks"),
    (EngineOutOfMemory, r"Cannot auto-fit max_model_len: not enough GPU memory"),
    (EngineOutOfMemory, r"Free memory on device .*on startup is less than"),
    (EngineOutOfMemory, r"Available memory on node .*less than desired CPU memory utilization"),
    (EngineOutOfMemory, r"on kv cache allocation is less than requested memory for kv"),
    (EngineOutOfMemory, r"Aborted due to the lack of CPU swap space"),
    # An allocation failed.
    (EngineOutOfMemory, r"CUDA out of memory occurred when warming up"),
    (EngineOutOfMemory, r"(?:CUDA|HIP|XPU) out of memory"),
    (EngineOutOfMemory, r"CUDA error: out of memory|Cuda failure 2 'out of memory'|CUBLAS_STATUS_ALLOC_FAILED"),
    # Flags, as argparse and pydantic say it.
    (EngineRejected, r"^(?:vllm(?: serve)?|\S+\.py): error: (?P<words>.+)"),
    (EngineRejected, r"^\s+Value error, (?P<words>.+?)(?: \[type=\w+, .*)?$"),
    (EngineRejected, rf"^\s+(?P<field_words>(?:{_PYDANTIC}).*?)(?: \[type=\w+, .*)?$"),
    # Models.
    (EngineRejected, r"Repo id must be|is not a valid model identifier|Invalid repository ID or local directory"),
    (EngineRejected, r"does not appear to have a file named|Cannot find any model weights|Cannot access gated repo"),
    (EngineRejected, r"Model architectures .* (?:are not supported|failed to be inspected)"),
    # What this GPU or machine cannot do, said as a RuntimeError or by a compiler.
    (EngineRejected, r"FlashAttention only supports Ampere|For FP8 input, output must have dtype"),
    (EngineRejected, r"out of resource: shared memory|type fp8\w+ not supported in this architecture"),
    (EngineRejected, r"is less than than max local gpu count|to less than max local gpu count"),
    # The machine under it.
    (EngineCrashed, r"(?i)address already in use"),
    (EngineCrashed, r"Insufficient space in /dev/shm|insufficient shared memory|/dev/shm.*No space|Bus error"),
    (EngineCrashed, r"unable to (?:open|mmap|resize|allocate) shared memory|Error while creating shared memory"),
    (EngineCrashed, r"No CUDA GPUs are available|Failed to infer device type|Found no NVIDIA driver|libcuda\.so"),
    (EngineCrashed, r"NCCL error|ncclUnhandled\w+|ncclSystemError|ncclInternalError|ncclRemoteError"),
    (EngineCrashed, r"CUDA error: .+|CUDA driver version is insufficient|no kernel image is available"),
    (EngineCrashed, r"Error in memory profiling"),
    (EngineOutOfMemory, r"DefaultCPUAllocator: (?:can't allocate|not enough) memory|Cannot allocate memory"),
    (EngineOutOfMemory, r"^MemoryError\b"),
    (EngineCrashed, r"died, exit code: -(?:9|7|11|6)\b|^Killed\b|^Segmentation fault"),
)
"""Patterns by weight, the first that occurs anywhere counts: a rank that runs out of memory makes the others fail in
NCCL, often before it has said so itself. Searched in a line without its prefix; a group `words` is the message. Texts
read in vllm 0.6.6.post1, 0.8.5 and 0.32 and in the notes on those between."""

_TABLE = tuple((kind, re.compile(pattern)) for kind, pattern in TABLE)

# `ValueError: ...`, `torch.OutOfMemoryError: ...`, a bare `AssertionError`: the last line of a traceback.
_EXCEPTION = re.compile(r"(?P<name>(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception))(?:: (?P<words>.+))?")
# Said by those who waited for the one that failed.
_LATER_NOISE = re.compile(
    r"Engine core initialization failed|Engine process failed to start|See (?:stack trace|root cause)|EngineDeadError"
    r"|EngineCore encountered (?:an issue|a fatal error)|check the stack trace above|Engine loop has died"
    r"|MQClientClosed|Background loop has errored|Worker proc .* died|WorkerProc initialization failed"
    r"|AsyncLLM output_handler failed|exit code: -15|Executor failed|Worker processes are not running"
    r"|CancelledError|worker died|BrokenPipeError|EngineGenerateError|ConnectionResetError"
    r"|(?:RPC call to|MQLLMEngine|RPCServer) .*(?:timed out|reply within)"
)
# Exceptions that a configuration earns: while the engine starts they come of its checks, and come again each time.
_REFUSALS = {
    "ValueError", "NotImplementedError", "AssertionError", "TypeError", "KeyError", "AttributeError", "ImportError",
    "ModuleNotFoundError", "ValidationError", "OSError", "FileNotFoundError", "ArgumentTypeError", "GatedRepoError",
    "RepositoryNotFoundError", "HFValidationError", "LocalEntryNotFoundError", "SafetensorError",
}  # fmt: skip
# Their name adds nothing to their words.
_SILENT = {
    "ValueError", "RuntimeError", "NotImplementedError", "OSError", "AssertionError", "OutOfMemoryError", "Exception",
}  # fmt: skip

_SERVING = re.compile(r"Application startup complete|Avg prompt throughput")
_PHASES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), phase)
    for pattern, phase in (
        # Frames of the traceback.
        (r", in load_model$", "loading weights"),
        (r", in (?:profile_run|determine_num_available_blocks|determine_available_memory)$", "profiling"),
        (r", in (?:initialize_kv_cache|_?allocate_kv_cache\w*|_init_cache_engine)$", "allocating the KV cache"),
        (r", in capture_model$", "graph capture"),
        (r", in (?:_dummy_sampler_run|_dummy_pooler_run)$", "sampler warm-up"),
        # Lines of the log.
        (r"^Starting to load model", "loading weights"),
        (r"[Mm]odel (?:loading|weights) took|^Loading weights took", "profiling"),
        (r"# \w+ blocks: |KV cache size: |Available KV cache memory", "allocating the KV cache"),
        (r"^Capturing cudagraphs|Capturing CUDA graph", "graph capture"),
        (r"^Graph capturing finished", "warm-up"),
        (_SERVING.pattern, "under load"),
    )
)


def diagnose(log_text: str, exit_code: int | None = None) -> EngineError:
    """Why an engine ended, to be raised: rejected, out of memory or crashed, in vLLM's own words.

    `exit_code` of the process or container, where known, tells of deaths that leave no words: killed, bus error.
    """
    lines = _lines(log_text)
    served_until = max((i + 1 for i, line in enumerate(lines) if _SERVING.search(line.text)), default=0)
    # An engine that had served may have logged errors of single requests before: its end is what counts.
    found = _cause(lines, served_until, served_until > 0) or _cause(lines, 0, served_until > 0)
    kind, words = found or (EngineCrashed, _silent_death(lines, exit_code))
    rows = _ANSI.sub("", log_text).rstrip().split("\n")
    return kind(words, "\n".join(row.rstrip("\r").rpartition("\r")[2] for row in rows[-TAIL_LINES:]))


def _cause(lines: Sequence[_Line], start: int, served: bool) -> tuple[_Kind, str] | None:
    """The first known cause from line `start` on, else the first exception."""
    trouble = [i for i in range(start, len(lines)) if lines[i].is_trouble and not _LATER_NOISE.search(lines[i].text)]
    for kind, pattern in _TABLE:
        for index in trouble:
            if match := pattern.search(lines[index].text):
                return kind, _message(lines, index, match)
    for index in trouble:
        if match := _EXCEPTION.fullmatch(lines[index].text):
            refused = not served and match["name"].rpartition(".")[2] in _REFUSALS
            return (EngineRejected if refused else EngineCrashed), _exception_words(lines, index, match)
    return None


def _message(lines: Sequence[_Line], index: int, match: re.Match[str]) -> str:
    groups, text = match.groupdict(), lines[index].text
    if "words" in groups:
        return _one_line(groups["words"])
    if "field_words" in groups:  # pydantic writes the setting's name on the line above
        return _one_line(f"{lines[index - 1].text.strip()}: {groups['field_words']}")
    exception = _EXCEPTION.fullmatch(text)
    message = _exception_words(lines, index, exception) if exception else _one_line(text)
    if "out of memory. Tried to allocate" in message or "CUDA error: out of memory" in message:
        phase = _phase(lines[:index])
        return f"{message} (while {phase})" if phase else message
    if "NCCL" in message:  # the reason follows some lines below
        rest = [line.text for line in lines[index + 1 : index + 8]]
        if "Last error:" in rest[:-1]:
            return _one_line(f"{message}: {rest[rest.index('Last error:') + 1]}")
    return message


def _exception_words(lines: Sequence[_Line], index: int, match: re.Match[str]) -> str:
    name, words = match["name"].rpartition(".")[2], match["words"]
    if words is None:  # a bare assert: its source line says what was asked
        source = next((t for line in reversed(lines[:index]) if (t := line.text.strip()).strip("^~ ")), "")
        return _one_line(f"{name}: {source}" if source else name)
    return _one_line(words if name in _SILENT else f"{name}: {words}")


def _one_line(words: str) -> str:
    for advice in (" If reserved but unallocated memory", " See documentation for Memory", " See https://"):
        words = words.partition(advice)[0]
    words = " ".join(words.split())
    return words if len(words) <= MAX_WORDS else words[: MAX_WORDS - 3] + "..."


def _phase(before: Sequence[_Line]) -> str | None:
    """What the engine was doing, by the last line that tells: the traceback's frames come first."""
    for line in reversed(before):
        for pattern, phase in _PHASES:
            if pattern.search(line.text):
                return phase
    return None


def _silent_death(lines: Sequence[_Line], exit_code: int | None) -> str:
    signal = {137: 9, -9: 9, 135: 7, -7: 7, 139: 11, -11: 11, 134: 6, -6: 6}.get(exit_code or 0)
    if signal == 9:
        return f"killed (exit code {exit_code}): most often the machine's memory ran out"
    if signal == 7:
        return f"bus error (exit code {exit_code}): most often /dev/shm is too small"
    code = "" if exit_code is None else f" (exit code {exit_code})"
    errors = [
        line.text
        for line in lines
        if (line.level in ("ERROR", "CRITICAL") or (not line.level and _LATER_NOISE.search(line.text)))
        and "exit code: -15" not in line.text  # a worker that was told to end
    ]
    if errors:
        return _one_line(errors[0] + code)
    said = [line.text for line in lines if line.level != "WARNING" and line.text.strip()]
    if not said:
        return f"ended{code} without a word"
    return _one_line(f"ended{code} without naming a cause; its last line: {said[-1]}")


# ---------------------------------------------------------------- what took effect


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFacts:
    """What a start-up log says took effect; None where this version does not say. Of one rank: rank 0."""

    vllm_version: str | None = None
    engine_generation: str | None = None
    """V0 or V1."""
    weights_bytes: int | None = None
    non_torch_bytes: int | None = None
    activation_bytes: int | None = None
    kv_cache_bytes: int | None = None
    total_bytes: int | None = None
    """The card, as CUDA reports it."""
    num_gpu_blocks: int | None = None
    kv_tokens: int | None = None
    max_concurrency: float | None = None
    """How many requests of max_model_len the KV cache holds."""
    graph_bytes: int | None = None
    """CUDA graphs, by the growth of used memory: can be below zero where something else was freed."""
    attention_backend: str | None = None
    """Under the name `--attention-backend` takes."""


_NUMBER = r"(-?\d[\d,]*(?:\.\d+)?)"
FACTS: dict[str, tuple[str, ...]] = {
    "version": (r"LLM engine \(v([^)\s]+)\)", r"vLLM (?:API )?server version (\S+)", r"█.* version (\d\S*)$"),
    "generation": (r"Initializing a (V\d) LLM engine",),
    # 0.6 and 0.7 write GB and mean 2**30.
    "weights_gib": (rf"[Mm]odel (?:loading|weights) took {_NUMBER} Gi?B", rf"model weights take {_NUMBER}GiB"),
    "non_torch_gib": (rf"non_torch_memory takes {_NUMBER}GiB", rf"{_NUMBER} GiB for non-torch memory",
                      rf"non-torch forward increase memory: {_NUMBER}GiB"),
    "total_gib": (rf"total_gpu_memory \({_NUMBER}GiB\)", rf"Free memory on device \([\d.]+/{_NUMBER} GiB\) on startup"),
    # 0.20 and later name the sum of weights and the rest that is not torch's.
    "consumed_gib": (rf"Actual usage is {_NUMBER} GiB for consumed memory",),
    "activation_gib": (rf"activation peak memory takes {_NUMBER}GiB", rf"{_NUMBER} GiB for peak activation",
                       rf"torch peak memory increase: {_NUMBER}GiB"),
    "kv_cache_gib": (rf"reserved for KV Cache is {_NUMBER}GiB", rf"Available KV cache memory: {_NUMBER} GiB",
                     rf"reserved {_NUMBER} GiB memory for KV Cache", rf"set \({_NUMBER}/[\d.]+\) GiB for KV cache"),
    "blocks": (rf"# (?!CPU)\w+ blocks: {_NUMBER}", r"after num_gpu_blocks is: (\d+)"),
    "tokens": (rf"\w+ KV cache size: {_NUMBER} tokens",),
    "concurrency": (rf"Maximum concurrency for [\d,]+ tokens per request: {_NUMBER}x",),
    "graph_gib": (rf"Graph capturing finished in .*took {_NUMBER} GiB", rf"CUDA graph pool memory: {_NUMBER} GiB"),
    "block_size": (r"\bblock_size=(\d+)",),
    "attention": (r"^Using (?:AttentionBackendEnum\.)?([\w ]+?)(?: attention)? backend"
                  r"(?: on V1 engine| out of potential backends: .*| \(selected.*)?\.?$",),
}  # fmt: skip
"""Patterns by fact, the best first. Read in the same versions as `TABLE`."""

_FACTS = {name: tuple(re.compile(pattern) for pattern in patterns) for name, patterns in FACTS.items()}

_ATTENTION_NAMES = {
    "XFORMERS": "XFORMERS",
    "FLASH ATTENTION": "FLASH_ATTN",
    "FLASHINFER": "FLASHINFER",
    "TRITON": "TRITON_ATTN",
    "TRITON ATTENTION": "TRITON_ATTN",
    "TORCH SDPA": "TORCH_SDPA",
    "TRITON MLA": "TRITON_MLA",
}
"""What logs up to 0.10 call the backends."""
_NOT_ATTENTION = {"TRANSFORMERS", "RAY", "NCCL", "GLOO"}


def read_start_facts(log_text: str) -> StartFacts:
    """Read what a start-up log says. Of ranks that differ: rank 0's bytes, and the fewest blocks and tokens."""
    found = _matches(_lines(log_text))

    def gib(name: str) -> int | None:
        text = _first_rank(found[name])
        return None if text is None else round(_number(text) * GIB)

    num_gpu_blocks = min((int(_number(text)) for _, text in found["blocks"]), default=None)
    kv_tokens = min((int(_number(text)) for _, text in found["tokens"]), default=None)
    version, generation = _first_rank(found["version"]), _first_rank(found["generation"])
    if generation is None and num_gpu_blocks is not None and version is not None and version.startswith("0.6."):
        generation = "V0"  # it did not say yet
    block_size = _first_rank(found["block_size"])
    if kv_tokens is None and num_gpu_blocks is not None and block_size is not None:
        kv_tokens = num_gpu_blocks * int(block_size)
    weights_bytes, non_torch_bytes, consumed_bytes = gib("weights_gib"), gib("non_torch_gib"), gib("consumed_gib")
    if non_torch_bytes is None and weights_bytes is not None and consumed_bytes is not None:
        non_torch_bytes = consumed_bytes - weights_bytes
    return StartFacts(
        vllm_version=version,
        engine_generation=generation,
        weights_bytes=weights_bytes,
        non_torch_bytes=non_torch_bytes,
        activation_bytes=gib("activation_gib"),
        total_bytes=gib("total_gib"),
        kv_cache_bytes=gib("kv_cache_gib"),
        num_gpu_blocks=num_gpu_blocks,
        kv_tokens=kv_tokens,
        max_concurrency=min((_number(text) for _, text in found["concurrency"]), default=None),
        graph_bytes=gib("graph_gib"),
        attention_backend=_attention(text for _, text in found["attention"]),
    )


def _matches(lines: Iterable[_Line]) -> dict[str, list[tuple[_Line, str]]]:
    """For each fact, the lines that tell it and the text they give, under the best pattern that occurs."""
    by_pattern: dict[re.Pattern[str], list[tuple[_Line, str]]] = {}
    for line in lines:
        for patterns in _FACTS.values():
            for pattern in patterns:
                if match := pattern.search(line.text):
                    by_pattern.setdefault(pattern, []).append((line, match[1]))
    return {
        name: next((by_pattern[pattern] for pattern in patterns if pattern in by_pattern), [])
        for name, patterns in _FACTS.items()
    }


def _first_rank(found: Sequence[tuple[_Line, str]]) -> str | None:
    return next((text for line, text in found if line.is_first_rank), found[0][1] if found else None)


def _attention(names: Iterable[str]) -> str | None:
    for name in names:
        upper = name.upper()
        if upper not in _NOT_ATTENTION and not upper.endswith(("MOE", "PREFILL")):
            return _ATTENTION_NAMES.get(upper, upper.replace(" ", "_"))
    return None


def _number(text: str) -> float:
    return float(text.replace(",", ""))
