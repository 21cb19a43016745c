"""The simulated engine behaves as vLLM's scheduler does, refuses as vLLM does, and answers over HTTP."""

from __future__ import annotations

import json
import math
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate, pairwise
from typing import Any

import httpx
import msgspec
import pytest
from packaging.version import Version

from planner.benchmark.metrics import summarize
from planner.engine.defaults import ResolvedEngine, resolve
from planner.engine.log.report import read_log
from planner.errors import EngineOutOfMemory, EngineRejected
from planner.estimate.deployment import Deployment
from planner.estimate.memory.per_gpu import estimate_memory
from planner.estimate.speed.step import StepModel
from planner.hardware.by_name import find_gpu
from planner.hardware.placement import Placement
from planner.model.catalog import load_model
from planner.model.spec import ModelSpec
from planner.simulated.load import simulate_load
from planner.simulated.scheduler import SimulatedEngine, StepOutcome
from planner.simulated.start import start_engine, start_seconds
from planner.simulated.start_log import start_log
from planner.workload import load_workload, predictable
from planner.workload.workload import Lengths, Workload, plan_requests
from tests.places import ROOT

MODEL, GPU = load_model("Qwen/Qwen3-32B-AWQ"), find_gpu("RTX 2080 Ti 22GB")
V0, V1 = Version("0.8.5"), Version("0.14.1")


def settled(version: Version = V0, **settings: Any) -> ResolvedEngine:
    defaults = {"dtype": "half", "tensor_parallel_size": 4, "max_model_len": 4096, "max_num_seqs": 16}
    return resolve({**defaults, **settings}, MODEL, GPU, version)


def make(version: Version = V0, num_blocks: int = 10_000, seed: int = 0, **settings: Any) -> SimulatedEngine:
    return SimulatedEngine(StepModel(MODEL, Placement(GPU), settled(version, **settings)), num_blocks, seed)


def drain(engine: SimulatedEngine) -> list[StepOutcome]:
    outcomes = []
    while engine.has_work:
        outcomes.append(engine.step())
        assert len(outcomes) < 100_000
    return outcomes


def count_tokens(outcomes: list[StepOutcome]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for outcome in outcomes:
        for request_id in outcome.emitted:
            counts[request_id] = counts.get(request_id, 0) + 1
    return counts


# --- scheduling ---


def test_v0_without_chunked_prefill_never_mixes_prompts_and_decodes() -> None:
    engine = make(enable_chunked_prefill=False)
    for i in range(20):
        engine.add(str(i), 300 + 50 * i, 5 + i)
    outcomes = drain(engine)
    assert all(not (o.prefill_tokens and o.decode_seqs) for o in outcomes)
    assert all(o.prefill_tokens <= engine.max_num_batched_tokens for o in outcomes)
    assert outcomes[0].prefill_tokens > 300, "several prompts share the first step"


@pytest.mark.parametrize(("version", "chunked"), [(V0, True), (V1, None)])
def test_chunked_prefill_fills_what_the_decodes_leave_of_the_budget(version: Version, chunked: bool | None) -> None:
    engine = make(version, enable_chunked_prefill=chunked, max_num_batched_tokens=256)
    engine.add("short", 100, 50)
    engine.step()
    engine.add("long", 1000, 2)
    outcomes = drain(engine)
    assert [(o.prefill_tokens, o.decode_seqs) for o in outcomes[:4]] == [(255, 1), (255, 1), (255, 1), (235, 1)]
    assert "long" in outcomes[3].emitted
    assert "long" not in outcomes[2].emitted


@pytest.mark.parametrize("version", [V0, V1])
@pytest.mark.parametrize("num_blocks", [80, 10_000])
def test_every_request_gets_exactly_its_tokens(version: Version, num_blocks: int) -> None:
    engine = make(version, num_blocks)
    wanted = {str(i): 1 + 7 * i for i in range(16)}
    for name, tokens in wanted.items():
        engine.add(name, 100, tokens)
    outcomes = drain(engine)
    assert count_tokens(outcomes) == wanted
    assert sorted(name for o in outcomes for name in o.finished) == sorted(wanted)
    assert engine.pool.num_used == 0
    assert engine.kv_usage == 0


@pytest.mark.parametrize("version", [V0, V1])
def test_preemption_when_the_kv_cache_is_small(version: Version) -> None:
    engine = make(version, num_blocks=40)
    for i in range(8):
        engine.add(str(i), 100, 200)
    outcomes = drain(engine)
    assert engine.num_preemptions == sum(len(o.preempted) for o in outcomes) > 0
    assert set(count_tokens(outcomes).values()) == {200}
    first = next(o.preempted for o in outcomes if o.preempted)
    assert first != ("0",), "the latest goes, not the first"
    assert make(version).num_preemptions == 0


@pytest.mark.parametrize(("version", "started"), [("0.18.0", 2), ("0.19.0", 1)])
def test_since_0_19_a_prompt_starts_only_if_all_of_it_fits(version: str, started: int) -> None:
    engine = make(Version(version), num_blocks=100, max_num_batched_tokens=1024)
    for name in ("first", "second"):
        engine.add(name, 1000, 50)
    engine.step()
    assert engine.num_running == started, "24 tokens of the batch and 37 blocks are left"
    outcomes = drain(engine)
    assert sorted(name for o in outcomes for name in o.finished) == ["first", "second"]
    assert (engine.num_preemptions > 0) == (started == 2)


def test_max_num_seqs_caps_what_runs() -> None:
    engine = make(max_num_seqs=4)
    for i in range(20):
        engine.add(str(i), 50, 10)
    running = []
    while engine.has_work:
        engine.step()
        running.append(engine.num_running)
    assert max(running) == 4


def test_v0_keeps_one_percent_of_the_blocks_free() -> None:
    engine = make(num_blocks=200, max_model_len=4096)
    engine.add("too long", 199 * 16, 1)
    engine.add("fits", 198 * 16, 1)
    outcomes = drain(engine)
    assert outcomes[0].refused == ("too long",)
    assert count_tokens(outcomes) == {"fits": 1}


def test_an_aborted_request_gives_its_blocks_back() -> None:
    engine = make()
    engine.add("a", 1000, 100)
    engine.step()
    assert engine.pool.num_used == 63
    engine.abort("a")
    assert not engine.has_work
    assert engine.pool.num_used == 0


def test_a_seed_decides_everything() -> None:
    def run(seed: int) -> list[float]:
        engine = make(seed=seed)
        for i in range(8):
            engine.add(str(i), 200, 20)
        return [o.elapsed_s for o in drain(engine)]

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert sum(run(1)) == pytest.approx(sum(run(2)), rel=0.1)


# --- prefix caching ---


@pytest.mark.parametrize(("version", "first_step"), [(V0, 2000), (V1, 1040)])
def test_a_shared_prefix_is_computed_once(version: Version, first_step: int) -> None:
    engine = make(version, enable_prefix_caching=True, enable_chunked_prefill=version == V1)
    for name in ("a", "b"):
        engine.add(name, 1000, 1, shared_prefix_tokens=960)
    assert engine.step().prefill_tokens == first_step, "V0 knows a block once computed, V1 once scheduled"
    engine.add("c", 1000, 1, shared_prefix_tokens=960)
    assert engine.step().prefill_tokens == 40
    assert engine.prefix_hit_tokens == (960 if version == V0 else 1920)


def test_a_whole_cached_prompt_still_computes_its_end() -> None:
    engine = make(enable_prefix_caching=True)
    for name in ("a", "b"):
        engine.add(name, 64, 1, block_hashes=[11, 12, 13, 14])
        drained = drain(engine)
    assert drained[0].prefill_tokens == 16


def test_prefix_caching_shortens_ttft() -> None:
    workload = Workload(concurrency=4, num_requests=12, input_tokens=2048, output_tokens=8, shared_prefix_tokens=1536)

    def ttft(caches: bool) -> float:
        records, _ = simulate_load([make(enable_prefix_caching=caches)], workload)
        return summarize(records).metrics["ttft_mean"]

    assert ttft(True) < 0.6 * ttft(False)


# --- a load in virtual time ---

WORKLOAD = Workload(concurrency=8, num_requests=24, input_tokens=Lengths(100, 900), output_tokens=Lengths(10, 60))


def test_a_load_yields_one_complete_record_a_request() -> None:
    records, counters = simulate_load([make()], WORKLOAD)
    result = summarize(records)
    assert [r.index for r in records] == list(range(24))
    assert (result.completed, result.failed) == (24, 0)
    assert all(len(r.chunk_s) == r.output_tokens and r.finished_s == r.chunk_s[-1] for r in records)
    assert counters.preemptions == 0
    assert 0 < counters.kv_usage_peak < 1


def test_no_more_than_the_concurrency_is_in_flight() -> None:
    records, _ = simulate_load([make(), make(seed=1)], WORKLOAD)
    edges = sorted([(r.started_s, 1) for r in records] + [(r.finished_s, -1) for r in records])
    in_flight = most = 0
    for _, change in edges:
        in_flight += change
        most = max(most, in_flight)
    assert most == 8


def test_two_instances_are_faster_than_one() -> None:
    one, two = (simulate_load([make(seed=i) for i in range(n)], WORKLOAD)[0] for n in (1, 2))
    assert summarize(two).metrics["output_throughput"] > 1.2 * summarize(one).metrics["output_throughput"]


TALKS = Workload(
    concurrency=4, num_requests=32, turns=4, input_tokens=320, turn_tokens=100, output_tokens=60,
    shared_prefix_tokens=160, warmup_requests=0,
)  # fmt: skip


def test_turns_follow_each_other_and_find_what_was_said_before() -> None:
    plans = plan_requests(TALKS)
    records, counters = simulate_load([make(V1, enable_prefix_caching=True)], TALKS)
    for (plan, record), (next_plan, next_record) in pairwise(zip(plans, records, strict=True)):
        if plan.conversation == next_plan.conversation:
            assert next_record.started_s == record.finished_s
    seen = sum(plan.input_tokens for plan in plans if plan.index % 4 < 3)  # each is the beginning of the next
    expected = (seen + 8 * 160) / sum(plan.input_tokens for plan in plans)
    assert counters.prefix_hit_tokens / counters.prefix_query_tokens == pytest.approx(expected, rel=0.05)
    edges = sorted([(r.started_s, 1) for r in records] + [(r.finished_s, -1) for r in records])
    assert max(accumulate(change for _, change in edges)) == 4


def test_requests_arrive_at_their_rate() -> None:
    asked = msgspec.structs.replace(WORKLOAD, request_rate=0.5, burstiness=math.inf, warmup_requests=0)
    records, _ = simulate_load([make()], asked)
    started = [record.started_s for record in records]
    assert [b - a for a, b in pairwise(started)] == pytest.approx([2.0] * 23)
    crowded = msgspec.structs.replace(asked, request_rate=100.0, max_concurrency=3)
    records, _ = simulate_load([make()], crowded)
    edges = sorted([(r.started_s, 1) for r in records] + [(r.finished_s, -1) for r in records])
    assert max(accumulate(change for _, change in edges)) == 3


def test_a_refused_request_is_a_record_with_an_error() -> None:
    workload = Workload(concurrency=2, num_requests=2, input_tokens=2000, output_tokens=2, warmup_requests=0)
    records, _ = simulate_load([make(num_blocks=100)], workload)
    assert [r.error is None for r in records] == [False, False]


# --- starting ---


def deployment(model: ModelSpec, engine: ResolvedEngine) -> Deployment:
    return Deployment.of(model, Placement(GPU, 4), engine)


def start(version: Version = V0, **settings: Any) -> SimulatedEngine:
    engine = settled(version, **settings)
    return start_engine(deployment(MODEL, engine))


def test_start_uses_the_memory_model_s_blocks() -> None:
    engine = settled()
    assert start().pool.num_blocks == estimate_memory(MODEL, Placement(GPU), engine).num_blocks


@pytest.mark.parametrize(
    ("version", "settings", "message"),
    [
        (V0, {"gpu_memory_utilization": 0.2}, "No available memory for the cache blocks. Try increasing"),
        (
            V0,
            {"gpu_memory_utilization": 0.4, "max_model_len": 32768, "max_num_batched_tokens": 32768},
            "The model's max seq len (32768) is larger than the maximum number of tokens that can be stored",
        ),
        (
            V1,
            {"gpu_memory_utilization": 0.3, "max_model_len": 32768},
            "To serve at least one request with the models's max seq len (32768)",
        ),
        (V0, {"gpu_memory_utilization": 0.99}, "CUDA out of memory while capturing graphs"),
    ],
)
def test_too_little_memory_is_refused_in_vllm_s_words(version: Version, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineOutOfMemory) as caught:
        start(version, **settings)
    assert str(caught.value).startswith(message)


def test_weights_larger_than_the_card_do_not_load() -> None:
    model = load_model("Qwen/Qwen3-32B")
    engine = resolve({"dtype": "half", "max_model_len": 4096}, model, GPU, V0)
    with pytest.raises(EngineOutOfMemory, match="CUDA out of memory"):
        start_engine(deployment(model, engine))


@pytest.mark.parametrize(
    "settings",
    [
        {"dtype": "bfloat16"},
        {"max_num_batched_tokens": 1024, "enable_chunked_prefill": False},
        {"max_num_batched_tokens": 8, "enable_chunked_prefill": True},
        {"tensor_parallel_size": 3},
        {"max_model_len": 1_000_000},
    ],
)
def test_impossible_settings_are_rejected(settings: dict[str, Any]) -> None:
    with pytest.raises(EngineRejected):
        start(**settings)


def test_start_log_has_vllm_s_lines_in_order() -> None:
    engine = settled(max_model_len=32768)
    memory = estimate_memory(MODEL, Placement(GPU), engine)
    log = start_log(MODEL, GPU, engine, memory)
    assert "SIMULATED" in log[0]
    expected = [
        "Falling back to V0",
        "awq quantization is not fully optimized yet",
        "Initializing a V0 LLM engine (v0.8.5)",
        "Using XFormers backend.",
        "Model loading took 4.58",
        "model weights take 4.58GiB; non_torch_memory takes",
        f"# cuda blocks: {memory.num_blocks}, # CPU blocks: 4096",
        "Maximum concurrency for 32768 tokens per request:",
        "Graph capturing finished in",
    ]
    found = [next(i for i, line in enumerate(log) if text in line) for text in expected]
    assert found == sorted(found)


def test_v1_log_counts_tokens_instead_of_blocks() -> None:
    engine = settled(V1)
    memory = estimate_memory(MODEL, Placement(GPU), engine)
    log = "\n".join(start_log(MODEL, GPU, engine, memory))
    assert f"GPU KV cache size: {memory.kv_tokens:,} tokens" in log
    assert "# cuda blocks" not in log


def test_the_reader_of_real_logs_reads_the_simulated_one() -> None:
    for version in (V0, V1):
        engine = settled(version)
        memory = estimate_memory(MODEL, Placement(GPU), engine)
        report = read_log("\n".join(start_log(MODEL, GPU, engine, memory)))
        assert report.is_simulated
        assert report.facts.engine_generation == engine.generation
        assert memory.num_blocks == (report.facts.num_gpu_blocks or (report.facts.kv_tokens or 0) // 16)
        assert (report.counts.unknown_warnings, report.counts.unknown_errors) == (0, 0)


def test_eager_starts_sooner() -> None:
    seconds = []
    for eager in (True, False):
        engine = settled(enforce_eager=eager)
        seconds.append(start_seconds(MODEL, engine, estimate_memory(MODEL, Placement(GPU), engine)))
    assert 0 < seconds[0] < seconds[1]


# --- over HTTP ---

SERVE = [
    *(sys.executable, "-m", "planner.simulated", "serve", "--model", "Qwen/Qwen3-32B-AWQ"),
    *("--gpu", "RTX 2080 Ti 22GB", "--num-gpus", "4", "--vllm-version", "0.8.5", "--speedup", "1000"),
    *("--served-model-name", "coder", "--tensor-parallel-size", "4", "--dtype", "half", "--max-model-len", "4096"),
]


@contextmanager
def serving(*flags: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([*SERVE, "--port", str(port), *flags], cwd=ROOT, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(6000):
            assert process.poll() is None
            try:
                httpx.get(f"{url}/health")
                break
            except httpx.TransportError:
                time.sleep(0.05)
        yield url, process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving("--enable-prefix-caching") as (url, _):
        yield url


def stream(url: str, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    events = []
    with httpx.stream("POST", f"{url}{path}", json={**body, "stream": True}, timeout=60) as response:
        assert response.headers["x-planner-simulated"] == "1"
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    for line in lines[:-1]:
        events.append(json.loads(line.removeprefix("data: ")))
    return events


def scrape(url: str) -> dict[str, float]:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return {line.split("{")[0]: float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("vllm:")}


def test_streamed_completion_has_exactly_the_tokens_asked_for(url: str) -> None:
    body = {"prompt": list(range(300)), "max_tokens": 12, "ignore_eos": True, "stream_options": {"include_usage": True}}
    *tokens, usage = stream(url, "/v1/completions", body)
    assert len(tokens) == 12
    assert [event["choices"][0]["finish_reason"] for event in tokens] == [None] * 11 + ["length"]
    assert usage["choices"] == []
    assert usage["usage"] == {"prompt_tokens": 300, "total_tokens": 312, "completion_tokens": 12}


def test_streamed_chat_opens_with_the_role(url: str) -> None:
    body = {"model": "coder", "messages": [{"role": "user", "content": "four words are here"}], "max_tokens": 3}
    first, *rest = stream(url, "/v1/chat/completions", body)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [event["choices"][0]["delta"]["content"] for event in rest] == [" SIMULATED"] * 3


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "a b c"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
    ],
)
def test_whole_answers(url: str, path: str, body: dict[str, Any]) -> None:
    answer = httpx.post(f"{url}{path}", json={**body, "max_tokens": 4}, timeout=60).json()
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 7, "completion_tokens": 4}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"prompt": [1] * 4000, "max_tokens": 97}, 400, "This model's maximum context length is 4096 tokens. However"),
        ({"prompt": "a", "model": "other"}, 404, "The model `other` does not exist."),
        ({"prompt": []}, 400, "prompt must be"),
        ({"prompt": "a", "max_tokens": 0}, 400, "max_tokens must be at least 1"),
        ([], 400, "the body is not a JSON object"),
    ],
)
def test_bad_requests_get_vllm_s_error(url: str, body: Any, status: int, message: str) -> None:
    response = httpx.post(f"{url}/v1/completions", json=body)
    assert (response.status_code, response.json()["code"]) == (status, status)
    assert response.json()["message"].startswith(message)


def test_what_the_server_says_of_itself(url: str) -> None:
    assert httpx.get(f"{url}/version").json() == {"version": "0.8.5+simulated"}
    (model,) = httpx.get(f"{url}/v1/models").json()["data"]
    assert (model["id"], model["max_model_len"]) == ("coder", 4096)
    engine = settled(max_model_len=4096, max_num_seqs=None, enable_prefix_caching=True)
    num_blocks = estimate_memory(MODEL, Placement(GPU), engine).num_blocks
    assert f'num_gpu_blocks="{num_blocks}"' in httpx.get(f"{url}/metrics").text


def test_tokens_are_counted_as_they_are_used(url: str) -> None:
    messages = [{"role": "user", "content": "four words are here"}]
    for path, asked in (("completions", {"prompt": "three words here"}), ("chat/completions", {"messages": messages})):
        used = httpx.post(f"{url}/v1/{path}", json={**asked, "max_tokens": 1}, timeout=60).json()["usage"]
        counted = httpx.post(f"{url}/tokenize", json=asked).json()
        assert (counted["count"], counted["max_model_len"]) == (used["prompt_tokens"], 4096)
    assert httpx.post(f"{url}/tokenize", json={"prompt": []}).status_code == 400


def test_metrics_count_tokens(url: str) -> None:
    before = scrape(url)
    stream(url, "/v1/completions", {"prompt": "one two three", "max_tokens": 5})
    after = scrape(url)
    assert after["vllm:prompt_tokens_total"] - before["vllm:prompt_tokens_total"] == 3
    assert after["vllm:generation_tokens_total"] - before["vllm:generation_tokens_total"] == 5
    assert after["vllm:num_requests_running"] == after["vllm:gpu_cache_usage_perc"] == 0
    assert after["vllm:num_preemptions_total"] == 0


def test_sigterm_ends_the_server_even_while_it_streams() -> None:
    with (
        serving("--speedup", "0.01") as (url, process),
        httpx.stream("POST", f"{url}/v1/completions", json={"prompt": "a", "max_tokens": 4000, "stream": True}),
    ):
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=300)


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--gpu-memory-utilization", "0.2"], 1, "ValueError: No available memory for the cache blocks."),
        (["--tensor-parallel-size", "8"], 1, "Unable to load Ray"),
        (["--no-such-flag"], 2, "unrecognized arguments: --no-such-flag"),
        (["--async-scheduling"], 2, "unrecognized arguments: --async-scheduling"),
    ],
)
def test_a_configuration_that_cannot_start_exits(flags: list[str], code: int, message: str) -> None:
    result = subprocess.run([*SERVE, *flags], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == code
    assert message in result.stderr


def test_a_traces_shared_blocks_are_found_in_virtual_time() -> None:
    asked = predictable(load_workload("mooncake.jsonl", ROOT / "tests" / "golden" / "traces"))
    engine = make(V1, num_blocks=20_000, max_model_len=16384, enable_prefix_caching=True)
    _, counters = simulate_load([engine], asked)
    found = counters.prefix_hit_tokens / counters.prefix_query_tokens
    assert found == pytest.approx(asked.mean_seen_tokens / asked.mean_input_tokens, abs=0.02)
