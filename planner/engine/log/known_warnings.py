"""Known warnings of vLLM, each with its meaning and what to do about it: `NOTES`. They are listed nowhere else.

Texts read in the wheels of 0.6.6.post1, 0.8.5, 0.10.2, 0.12.0, 0.24.0, 0.32.0 (CPU) and 0.33.0; `versions` are those of
them that have the message, so it may be in the versions between too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from packaging.version import Version

from planner.engine.log.lines import parsed
from planner.engine.versions import V1_ONLY_SINCE

Weight = Literal["act", "know", "harmless"]
"""`act`: worth a change of settings or set-up; `know`: good to know; `harmless`: neither."""


@dataclass(frozen=True, slots=True)
class Note:
    name: str
    weight: Weight
    pattern: str
    """Regular expression, searched in a line without its prefix; the first note that matches counts."""
    meaning: str
    advice: str
    versions: str
    later: tuple[Version, str] | None = None
    """A version, and the advice from this version on."""

    def advice_for(self, version: str | None) -> str:
        """The advice for the version that the log names; `advice` if it is None."""
        known = parsed(version)
        if self.later is None or known is None or known < self.later[0]:
            return self.advice
        return self.later[1]


NOTES: tuple[Note, ...] = (
    # --- memory and lengths
    Note("preempted", "act", r"is preempted by PreemptionMode",
         "The KV cache was full: a running request was thrown out and will be computed again.",
         "Lower max_num_seqs, or make room: gpu_memory_utilization, max_model_len, more cards. Logged for the "
         "1st, 51st, 101st ... only.", "0.6.6 to 0.10"),
    Note("request dropped, no KV blocks", "act",
         r"because there's not enough kv cache blocks to run the entire sequence",
         "A request needs more KV blocks than there are.", "Make room for the KV cache or lower max_model_len.",
         "0.6.6 to 0.10"),
    Note("prompt too long", "act",
         r"Input prompt \(\d+ tokens\) (?:\+ lookahead slots \(\d+\) )?is too long and exceeds",
         "A prompt was refused: longer than a batch, or than the KV cache without its reserve of 1 %.",
         "Turn enable_chunked_prefill on, raise max_num_batched_tokens, or lower max_model_len so that clients "
         "are told.", "0.6.6 to 0.10"),
    Note("swap space large", "act", r"Possibly too large swap space",
         "swap_space, which is per card and pinned, takes over 40 % of the host's memory.",
         "Set swap_space 0: with its default way to preempt the engine never swaps.", "0.6.6 to 0.12",
         (V1_ONLY_SINCE, "Leave swap_space out: nothing swaps any more, and 0.18 refuses the flag.")),
    Note("long context, little memory", "act", r"^The model has a long context length",
         "The profile run reserves for the whole context of the model.",
         "Set max_model_len to the longest request you serve.", "0.6.6 to 0.10"),
    Note("max_model_len not set", "know", r"--max-model-len is not specified, it's currently using model's default",
         "The model's full context is planned for.", "Set max_model_len to the longest request you serve.", "0.10"),
    Note("chunked prefill by default", "know",
         r"^Chunked prefill is enabled by default for models with max_model_len > 32K",
         "V0 turned chunked prefill on because max_model_len is above 32768; a batch is then 2048 tokens.",
         "Say what you want: enable_chunked_prefill and max_num_batched_tokens.", "0.6.6 to 0.10"),
    Note("graphs charged to the budget", "know", r"^CUDA graph memory profiling is enabled",
         "Since 0.20 an estimate of the CUDA graphs is taken out of gpu_memory_utilization's budget.",
         "For the KV cache of older versions raise gpu_memory_utilization to the value that the line names.",
         "0.24 to 0.33"),
    Note("graphs not charged", "know", r"^CUDA graph memory profiling is disabled",
         "Graphs must fit into what gpu_memory_utilization leaves free.",
         "Keep gpu_memory_utilization low enough, or drop VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS=0.",
         "0.24 to 0.33"),
    Note("memory grew back", "act", r"^Free memory grew by .{0,300} during profiling",
         "Another process released memory of the card during the profile run, so the KV cache was sized another "
         "way.", "Start engines one after the other.", "0.33"),
    Note("KV cache padded", "know", r"^Add \d+ padding layers, may waste at most",
         "Layers of different kinds share blocks; some of the KV cache is lost to that.",
         "Nothing to set; the percentage in the line is the most it can be.", "0.10 to 0.33"),
    Note("hybrid KV cache off", "know", r"^Hybrid KV cache manager is disabled|^Turning off hybrid kv cache manager",
         "Sliding-window layers keep the whole context, so the KV cache holds fewer requests.",
         "Leave out what disables it: a KV connector, or disable_hybrid_kv_cache_manager.", "0.10 to 0.33"),
    Note("batch larger than all requests", "act",
         r"max_num_batched_tokens \(\d+\) exceeds max_num_seqs \* max_model_len",
         "A batch can never be that full, yet the profile run reserves memory for it.",
         "Lower max_num_batched_tokens to max_num_seqs x max_model_len or below.", "0.10 to 0.33"),
    # --- speed of weights and attention
    Note("AWQ not optimised", "act", r"^[\w-]+ quantization is not fully optimized yet",
         "The plain kernels of the quantisation run, not Marlin's.",
         "From compute capability 8.0 on leave the quantization flag out and Marlin is taken; on 7.5 it needs "
         "vLLM 0.14.", "0.6.6 to 0.10"),
    Note("faster kernel possible", "act",
         r"Detected that the model can run with \w+, however you specified quantization=",
         "The quantization flag forces slower kernels than this card could run.",
         "Leave the quantization flag out, or name the method of the line.", "0.6.6 to 0.12"),
    Note("layer without Marlin", "know", r"^Layer '.{0,300}' is not supported by \w*Marlin",
         "That layer's shape does not suit Marlin and runs on slower kernels.",
         "Another tensor_parallel_size may give shapes that do.", "0.8 to 0.33"),
    Note("GPTQ kernel faulty", "act", r"4-bit gptq_gemm kernel for GPTQ is buggy",
         "vLLM's own warning: answers may be wrong.",
         "Leave the quantization flag out so that gptq_marlin is taken.", "0.12"),
    Note("FlashAttention-2 unsupported", "know", r"^Cannot use FlashAttention(?:-2)? backend",
         "The card, dtype, head size or block size rules FlashAttention out; XFormers takes its place (V0).",
         "Expected on Turing and Volta (below 8.0). Elsewhere the line names the reason; dtype half or "
         "block_size 16 may lift it.", "0.6.6 to 0.10"),
    Note("engine V1 not possible", "know",
         r"is not supported by the V1 Engine. Falling back to V0|not supported on V1.{0,300}V0",
         "A setting or the card needs the old engine.",
         "Leave out what the line names to get V1; on Turing V1 runs since 0.10.", "0.8 to 0.10"),
    Note("FP8 cache without FlashInfer", "act", r"^Please use FlashInfer backend with FP8 KV Cache",
         "FlashAttention cannot read an fp8 KV cache here; a slower backend runs.",
         "Set attention_backend FLASHINFER.", "0.6.6 to 0.8"),
    Note("block size rules backends out", "act", r"^--block-size \d+ precluded higher-priority backend",
         "A slower attention backend runs because of block_size.", "Leave block_size out.", "0.24 to 0.33"),
    Note("float32 on Turing", "know", r"^Turing devices tensor cores do not support float32 matmul",
         "Chunked prefill's Triton kernels run in plain float32 there.", "Nothing to set on compute capability 7.5.",
         "0.6.6 to 0.33"),
    Note("no native FP8 or FP4", "know",
         r"Your GPU does not have native support for FP\d computation|lacks native FP4",
         "Weights are kept small but computed with in 16 bits: memory is saved, not time.",
         "For speed take a 4-bit AWQ or GPTQ variant, which Marlin runs well on such cards.", "0.6.6 to 0.33"),
    Note("untuned kernel", "know",
         r"^Using default (?:MoE|W8A8 Block \w+ kernel|Mamba SSU) config\. Performance might be",
         "vLLM ships no tuned kernel parameters for this card and shape.",
         "Tune with vLLM's benchmark_moe.py (or the like) and mount the file under the name in the line.",
         "0.6.6 to 0.33"),
    Note("Transformers fallback", "act", r"has no vLLM implementation, falling back to Transformers",
         "The model runs through Hugging Face's code: slower, fewer features.",
         "Take a vLLM that knows the architecture, if there is one.", "0.8 to 0.33"),
    Note("eager by choice", "act", r"^Enforce eager set|Since,? enforce-eager is enabled",
         "enforce_eager turns CUDA graphs, torch.compile and V0's asynchronous output off; decoding is slower.",
         "Leave enforce_eager out unless memory or start-up time decide.", "0.6.6 to 0.33"),
    Note("no CUDA graphs", "act",
         r"CUDA ?[Gg]raph is not supported|^Skipping CUDA graph capture|disabling torch\.compile",
         "Steps are launched kernel by kernel, which costs most at small batches.",
         "The line names the reason: a quantisation, a mode, or a variable that can be dropped.", "0.6.6 to 0.33"),
    Note("compilation off", "know", r"^Inductor compilation was disabled by user settings",
         "Follows from enforce_eager or a compilation mode without Inductor.",
         "Nothing more to do than for that setting.", "0.12 to 0.33"),
    Note("model not compiled", "know", r"^`torch\.compile` is turned on, but the model .{0,300} does not support it",
         "The model runs without torch.compile.", "Nothing to set.", "0.6.6 to 0.33"),
    Note("asynchronous scheduling off", "act", r"^Async scheduling .{0,300}disabled",
         "Another setting forbids it; the processor then prepares steps while the card waits.",
         "Leave out what the line names: pipeline stages or a way of speculative decoding.", "0.12 to 0.33"),
    Note("asynchronous output off", "know",
         r"^Async output process(?:ing|or) (?:is not supported|can not be enabled)",
         "V0 handles the output of a step before it starts the next.", "The line names the setting that forbids it.",
         "0.6.6"),
    Note("compiled while serving", "act", r"JIT compilation during inference",
         "A kernel was compiled during a request: one slow step.",
         "Send warm-up requests of such shapes, and keep Triton's cache between starts.", "0.24"),
    Note("sampler falls back", "know",
         r"^FlashInfer (?:is (?:not )?available|version|top-p/top-k sampling unavailable|0\.2\.3)",
         "top-p and top-k sampling run in PyTorch.",
         "Install FlashInfer, or set VLLM_USE_FLASHINFER_SAMPLER=1 where it is only not enabled.", "0.6.6 to 0.33"),
    Note("second model runner not used", "know", r"^Model Runner V2 (?:requires|does not yet support)",
         "The engine takes its older model runner.",
         "On a CPU that is usual; on a card check that Triton is installed, or leave out what the line names.",
         "0.24 to 0.33"),
    # --- cards and ranks
    Note("custom all-reduce off", "know", r"^Custom allreduce is disabled",
         "Ranks add up over NCCL: more than two cards without full NVLink, no peer access, or an odd number.",
         "Expected on PCIe; disable_custom_all_reduce only silences it. With NVLink check nvidia-smi topo -m and "
         "--ipc=host.", "0.6.6 to 0.33"),
    Note("symmetric memory off", "harmless",
         r"^SymmMemCommunicator: |^Custom quick allreduce|^FlashInfer All Reduce is disabled",
         "One of several ways to all-reduce is not there.", "Another is taken.", "0.10 to 0.33"),
    Note("unlike cards", "act", r"^Detected different devices in the system",
         "Cards of several kinds are visible, and CUDA may number them otherwise than nvidia-smi.",
         "Set CUDA_DEVICE_ORDER=PCI_BUS_ID and choose cards of one kind with CUDA_VISIBLE_DEVICES.", "0.6.6 to 0.33"),
    Note("peer access unclear", "know", r"do not agree on the P2P access status",
         "Peer access between two cards is taken as missing.",
         "Remove vLLM's gpu_p2p_access_cache file if cards or drivers changed.", "0.6.6 to 0.33"),
    Note("a rank is waited for", "act", r"^No available shared memory broadcast block found",
         "A process has not answered for a minute: compiling or loading at the start, else it hangs.",
         "If it repeats while serving, treat it as a hang: NCCL_DEBUG=INFO, disable_custom_all_reduce, --ipc=host.",
         "0.8 to 0.33"),
    Note("ranks on several nodes", "act",
         r"is bigger than a reserved number of|Tensor parallel workers can be spread out",
         "Tensor parallelism crosses machines, which is slow without InfiniBand.",
         "Keep tensor_parallel_size within one machine and use pipeline_parallel_size between them.",
         "0.6.6 to 0.33"),
    Note("pinned memory off", "know", r"^(?:Using 'pin_memory=False' as WSL|Pin memory is not supported)",
         "Copies between host and card are slower under WSL; on a CPU it means nothing.",
         "Run under Linux for speed.", "0.6.6 to 0.33"),
    # --- answers
    Note("dtype cast", "know", r"^Casting torch\.\w+ to torch\.\w+",
         "Weights are converted: from bfloat16 to float16 large values can overflow, to bfloat16 digits are lost.",
         "Leave dtype out on cards that have the checkpoint's type (bfloat16 from 8.0 on).", "0.6.6 to 0.33"),
    Note("dtype not on this card", "know", r"^Your device .{0,300} doesn't support torch\.\w+. Falling back",
         "The card lacks the checkpoint's type, so another is taken.", "Set dtype half to say so yourself.",
         "0.9 to 0.33"),
    Note("weight of another dtype", "know", r"^Attempted to load weight .{0,300} with dtype",
         "The checkpoint's tensor is converted while it is loaded.", "Follows from dtype.", "0.32 to 0.33"),
    Note("FP8 cache without scales", "act",
         r"KV cache scaling factor|q_scale|q scaling factor|FP8 KV cache but no scaling|Using Q scale"
         r"|fp8 data type to store",
         "The fp8 KV cache has no calibrated scales; answers may lose accuracy.",
         "Compare answers (planner tune does, see its quality gate), or take a checkpoint with k and v scales.",
         "0.6.6 to 0.33"),
    Note("old scale format", "know", r"Found kv_scale in the checkpoint|_scale is not loaded",
         "Scales of the KV cache have an old or unknown name.", "Take a newer checkpoint if accuracy matters.",
         "0.6.6 to 0.33"),
    Note("scales differ between parts", "know",
         r"(?:input_scales|global scale|weight_scale_2|weight_global_scale).{0,300}(?:equal|differ|match)",
         "Fused layers share one scale although the checkpoint has several; accuracy can suffer.",
         "Check the answers, or take a checkpoint with shared scales.", "0.6.6 to 0.33"),
    Note("sampling defaults of the model", "know", r"^Default (?:vLLM )?sampling parameters have been overridden",
         "generation_config.json sets temperature, top_p and the like where a request does not.",
         "Start with --generation-config vllm for vLLM's own.", "0.8 to 0.33"),
    Note("fields ignored", "know", r"^The following fields were present in the request but ignored",
         "Clients send what this server does not know.", "Check the names in the line for typing errors.",
         "0.6.6 to 0.33"),
    Note("temperature raised", "harmless", r"^temperature \S+ is less than .{0,300}, which may cause numerical",
         "A tiny temperature was raised to 0.01.", "Send 0 for greedy answers.", "0.6.6 to 0.33"),
    Note("speculation and sampling", "know", r"^min_p(?:,| and) logit_bias",
         "Some sampling parameters do not work beside speculative decoding.",
         "Do without min_p and logit_bias, or without speculation.", "0.12 to 0.33"),
    # --- models and tokenizers
    Note("slow tokenizer", "act", r"^Using a slow tokenizer",
         "Tokenizing in Python can bound the throughput.", "Take a checkpoint with tokenizer.json.", "0.6.6 to 0.33"),
    Note("tokenizer with a known fault", "act", r"with an incorrect regex pattern",
         "transformers says that this tokenizer may split text wrongly.",
         "Update the tokenizer files, or set fix_mistral_regex if the model is one of Mistral's.", "transformers"),
    Note("no tokenizer", "act", r"^No tokenizer found in",
         "The LoRA adapter's folder has none; the base model's is used.",
         "Add it if the adapter has its own tokens.", "0.6.6 to 0.10"),
    Note("Hub not reached", "know",
         r"^Cannot connect to Hugging Face Hub|^Failed to get file list for|^Error retrieving file list",
         "The Hub did not answer; local files are used if they are there.",
         "Set HF_HUB_OFFLINE=1 where that is meant, or check network and HF_TOKEN.", "0.8 to 0.33"),
    Note("context length unknown", "act",
         r"config\.json does not contain any of the (?:following )?keys to determine",
         "The model's longest context is a guess.", "Set max_model_len.", "0.6.6 to 0.33"),
    Note("context stretched", "act",
         r"VLLM_ALLOW_LONG_MAX_MODEL_LEN|Make sure the value is correct and within the model context",
         "max_model_len is beyond what the model was made for.", "Lower it, or configure the rope scaling.",
         "0.6.6 to 0.33"),
    Note("large checkpoint on a network disk", "know",
         r"^Network filesystem .{0,300} exceeds|strategy='prefetch' was explicitly",
         "The checkpoint is not read ahead because memory would not hold it.", "Copy it to a local disk.",
         "0.24 to 0.33"),
    # --- machine and process
    Note("ulimit", "act", r"^Found ulimit of \d+ and failed to automatically increase",
         "Each request holds a socket: many at once end in 'Too many open files'.",
         "Start with ulimit -n 65536 or more; docker run --ulimit nofile=65536.", "0.6.6 to 0.33"),
    Note("threads reduced", "harmless", r"^Reducing Torch (?:parallelism|threads)",
         "So that ranks do not fight for cores.", "OMP_NUM_THREADS sets it.", "0.6.6 to 0.33"),
    Note("spawned workers", "harmless", r"must use the `spawn` multiprocessing start method",
         "Workers are started afresh instead of forked; the start takes longer.", "Nothing to do.", "0.6.6 to 0.33"),
    Note("metrics folder set", "act", r"^Found PROMETHEUS_MULTIPROC_DIR was set by user",
         "A folder that is not emptied between runs falsifies /metrics.", "Unset PROMETHEUS_MULTIPROC_DIR.",
         "0.6.6 to 0.33"),
    Note("statistics off", "know", r"disabling stats logging to avoid incomplete stats",
         "With several API servers the log has no throughput lines.", "Read /metrics.", "0.10 to 0.33"),
    Note("unknown variable", "act", r"^Unknown vLLM environment variable detected",
         "A VLLM_ variable that this version does not know: misspelt or gone.", "Correct or remove it.",
         "0.24 to 0.33"),
    Note("address guessed", "know", r"^Failed to get the IP address|variable HOST_IP is deprecated",
         "The machine's address for other ranks is not known.", "Set VLLM_HOST_IP on several machines.",
         "0.6.6 to 0.33"),
    Note("port taken, another tried", "know", r"^Address already in use\. Retrying|^port \d+ is used by process",
         "Two processes wanted one port.", "If the API's own port is meant, stop the other process.", "0.10 to 0.33"),
    Note("host name unknown", "harmless", r"hostname of the client socket cannot be retrieved",
         "torch could not look up the name of an address of this machine.", "Nothing to do on one machine.", "torch"),
    Note("development endpoints", "act", r"^SECURITY WARNING|should ONLY be used for local development",
         "Endpoints are open that let a client change or profile the server.",
         "Unset VLLM_SERVER_DEV_MODE, the profiler, or runtime LoRA loading in production.", "0.6.6 to 0.33"),
    Note("tracing functions", "act", r"^VLLM_TRACE_FUNCTION is enabled",
         "Every Python call is recorded; all is slow.", "Unset VLLM_TRACE_FUNCTION.", "0.6.6 to 0.33"),
    Note("seed of the process", "harmless", r"^The global random seed is set to",
         "Engine and server share a process and its seed.", "Nothing to do.", "0.10 to 0.33"),
    Note("block hashes differ", "know", r"PYTHONHASHSEED",
         "Prefix-cache hashes differ between processes, which matters only where they share a cache.",
         "Set PYTHONHASHSEED to one value everywhere.", "0.10 to 0.33"),
    Note("NUMA not set", "know",
         r"numa_migrate_pages failed|numa_set_membind failed|NUMA memory policy|numactl args",
         "The container may not bind memory to the nearest cores.", "Start it with --cap-add SYS_NICE.",
         "0.24 to 0.33"),
    # --- the CPU build
    Note("CPU KV cache by default", "act", r"VLLM_CPU_KVCACHE_SPACE .{0,300}not set, using 4 by default",
         "The CPU backend takes 4 GiB for its KV cache.", "Set VLLM_CPU_KVCACHE_SPACE.", "0.6.6 to 0.12"),
    Note("libraries not preloaded", "act", r"is not found in LD_PRELOAD|without Intel OpenMP in LD_PRELOAD",
         "The CPU build is slower without tcmalloc and Intel's OpenMP.",
         "Set LD_PRELOAD to them, as vLLM's CPU installation page says.", "0.24 to 0.33"),
    Note("no Triton", "know",
         r"Triton (?:is not installed|is installed, but|not available, find_triton)|checking Triton active drivers",
         "Triton's kernels cannot run. Usual on a CPU.", "On a card install the triton that the torch version pins.",
         "0.8 to 0.33"),
    Note("oneDNN not used", "know", r"^Failed to create oneDNN linear",
         "The CPU runs this dtype without oneDNN, slowly.", "Set dtype bfloat16.", "0.12 to 0.33"),
    Note("CPU block size", "act", r"^CPU backend prefers block_size",
         "block_size is no multiple of 32.", "Set block_size 32, 64 or 128.", "0.12 to 0.33"),
    Note("CPU housekeeping", "harmless", r"after the thread binding, skip it|^Reset SSM cache type to float32",
         "The CPU backend says what it leaves alone.", "Nothing to do.", "0.24 to 0.33"),
    # --- the end
    Note("forced end", "harmless", r"^\[shutdown\] .{0,300}(?:force killing|still running)",
         "A process did not end in time and was killed while the server stopped.", "Nothing to do.", "0.24 to 0.33"),
    Note("engine gone", "act", r"engine core exited unexpectedly",
         "The engine's process ended under the server.", "See the failure.", "0.24 to 0.33"),
    Note("left at exit", "harmless",
         r"destroy_process_group\(\) was not called|There appear to be \d+ leaked|resource_tracker",
         "Python and torch tidy up after a process that ended at once.", "Nothing to do.", "torch, Python"),
    Note("deprecated", "know", r"(?i)\bdeprecated\b|\bDeprecationWarning\b|will be removed in",
         "It still works in this version.", "Change it before the next upgrade; the line says to what.", "any"),
)  # fmt: skip

COMPILED = tuple((note, re.compile(note.pattern)) for note in NOTES)


def note_of(text: str) -> Note | None:
    """The first note whose pattern matches the text of a line; None if none does."""
    for note, pattern in COMPILED:
        if pattern.search(text):
            return note
    return None
