"""The step model's mechanisms, each against what vLLM's code or plain arithmetic says; and the steady state on top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from packaging.version import Version

from planner.benchmark.metrics import summarize
from planner.engine.defaults import ResolvedEngine, resolve
from planner.estimate.deployment import Deployment
from planner.estimate.memory.overheads import largest_graph_tokens
from planner.estimate.memory.per_gpu import estimate_memory
from planner.estimate.speed.coefficients import V1
from planner.estimate.speed.prediction import predict as predict_metrics
from planner.estimate.speed.step import Step, StepModel, padded_tokens, prefill_pairs
from planner.files.shipped import load_named, shipped_files
from planner.hardware.by_name import find_gpu
from planner.hardware.gpus import GpuSpec
from planner.hardware.placement import Placement
from planner.model.catalog import load_model, shipped_config
from planner.model.config_json import spec_from_config
from planner.model.spec import ModelSpec
from planner.simulated.load import simulate_load
from planner.simulated.scheduler import SimulatedEngine
from planner.workload.workload import Lengths, Workload, plan_requests

AWQ_32B = load_model("Qwen/Qwen3-32B-AWQ")
DENSE_4B = load_model("Qwen/Qwen3-4B")
TURING, H200 = find_gpu("RTX 2080 Ti 22GB"), find_gpu("H200")
LONG = Workload(concurrency=16, num_requests=48, input_tokens=Lengths(8192, 24576), output_tokens=Lengths(256, 512))
CHAT = Workload(concurrency=128, num_requests=480, input_tokens=Lengths(256, 768), output_tokens=Lengths(128, 384))


def turing(**settings: Any) -> ResolvedEngine:
    defaults = {"dtype": "half", "max_model_len": 32768, "tensor_parallel_size": 4, "max_num_seqs": 64}
    return resolve({**defaults, **settings}, AWQ_32B, TURING, Version("0.8.5"))


def h200(**settings: Any) -> ResolvedEngine:
    defaults = {"dtype": "half", "max_model_len": 16384, "max_num_seqs": 128, "gpu_memory_utilization": 0.1487}
    return resolve({**defaults, **settings}, DENSE_4B, H200, Version("0.24.0"))


def decode(seqs: int, context: int = 1000) -> Step:
    return Step(decode_seqs=seqs, context_tokens=seqs * context, longest_tokens=context)


def prefill(tokens: int) -> Step:
    return Step(prefill_tokens=tokens, prefill_pairs=prefill_pairs(tokens), sampled_prefills=1)


def predict(model: ModelSpec, gpu: GpuSpec, engine: ResolvedEngine, workload: Workload, instances: int = 1) -> Any:
    deployment = Deployment.of(model, Placement(gpu), engine, instances)
    return predict_metrics(deployment, workload)["output_throughput"]


def test_pairs_of_chunks_add_up_to_the_whole_prompt() -> None:
    chunks = sum(prefill_pairs(100, before) for before in range(0, 1000, 100))
    assert chunks == prefill_pairs(1000) == 1000 * 1001 / 2


def test_decode_of_one_sequence_is_near_the_time_to_read_the_weights() -> None:
    step_s = StepModel(DENSE_4B, Placement(H200, interconnect="none"), h200()).seconds(decode(1, 10))
    weights_s = 4e9 * 2 / H200.memory_bandwidth_bytes_per_s
    assert weights_s < step_s < 2 * weights_s


def test_long_prefill_is_near_the_time_of_its_arithmetic() -> None:
    steps = StepModel(DENSE_4B, Placement(H200, interconnect="none"), h200(max_num_batched_tokens=16384))
    step_s = steps.seconds(prefill(8192))
    assert 1 < step_s / (2 * 3.6e9 * 8192 / H200.peak_flop_per_s) < 3


def test_longer_contexts_and_larger_batches_take_longer() -> None:
    steps = StepModel(AWQ_32B, Placement(TURING), turing())
    by_context = [steps.seconds(decode(8, context)) for context in (100, 1000, 8000)]
    by_batch = [steps.seconds(decode(seqs, 1000)) for seqs in (1, 8, 64)]
    assert by_context == sorted(by_context)
    assert by_batch == sorted(by_batch)
    assert by_batch[2] / 64 < by_batch[0] / 2


def test_a_batch_is_padded_to_the_next_captured_size() -> None:
    sizes = {1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 8: 8, 9: 16, 250: 256}
    assert [padded_tokens(tokens) for tokens in sizes] == list(sizes.values())
    assert padded_tokens(np.array(list(sizes))).tolist() == list(sizes.values())


def test_awq_switches_kernels_at_256_tokens() -> None:
    steps = StepModel(AWQ_32B, Placement(TURING), turing(max_num_seqs=512))
    per_token = [steps.seconds(prefill(tokens)) / tokens for tokens in (128, 255, 512, 2048)]
    assert per_token[0] >= per_token[1] > per_token[2] > per_token[3]
    assert per_token[1] > 1.5 * per_token[3]  # the fused kernel gains nothing from more tokens


def test_marlin_replaces_plain_awq_on_newer_cards() -> None:
    card = find_gpu("RTX 3090")
    engine = resolve({"tensor_parallel_size": 4}, AWQ_32B, card, Version("0.8.5"))
    seconds = [StepModel(AWQ_32B, Placement(card), engine).seconds(prefill(tokens)) for tokens in (255, 257)]
    assert seconds[1] == pytest.approx(seconds[0], rel=0.1)


def test_few_tokens_read_few_experts() -> None:
    config = {
        **shipped_config("Qwen/Qwen3-4B"),
        "model_type": "qwen3_moe",
        "num_experts": 128,
        "num_experts_per_tok": 8,
    }
    moe = spec_from_config({**config, "moe_intermediate_size": 768}, "moe")
    dense = spec_from_config({**config, "num_experts": 0, "intermediate_size": 128 * 768}, "dense")
    one, many = decode(1), decode(1024)
    engine = h200(max_num_seqs=1024, enforce_eager=True)
    alone = Placement(H200, interconnect="none")
    sparse, whole = StepModel(moe, alone, engine), StepModel(dense, alone, engine)
    assert float(sparse._linear_s(1)) < 0.2 * float(whole._linear_s(1))  # one token of 128 experts uses 8
    assert sparse.seconds(one) <= sparse.seconds(many) < whole.seconds(many)  # all are read, few computed


def test_v0_graphs_serve_decodes_of_short_sequences_only() -> None:
    steps = StepModel(AWQ_32B, Placement(TURING), turing(max_seq_len_to_capture=8192))
    assert steps.is_graphed(decode(8, 8192))
    assert not steps.is_graphed(decode(8, 8193))
    assert not steps.is_graphed(Step(prefill_tokens=10, decode_seqs=8, longest_tokens=100))
    assert not StepModel(AWQ_32B, Placement(TURING), turing(enforce_eager=True)).is_graphed(decode(8))


def test_v1_graphs_serve_mixed_steps_up_to_twice_max_num_seqs() -> None:
    steps = StepModel(DENSE_4B, Placement(H200, interconnect="none"), h200(max_num_seqs=64))
    assert steps.is_graphed(Step(prefill_tokens=100, decode_seqs=28))
    assert not steps.is_graphed(Step(prefill_tokens=101, decode_seqs=28))
    assert largest_graph_tokens(h200(max_num_seqs=1024)) == 512
    assert largest_graph_tokens(h200(max_num_seqs=1024, max_num_batched_tokens=1024)) == 512


@pytest.mark.parametrize(
    ("version", "largest"), [("0.9.2", 512), ("0.10.0", 128), ("0.10.2", 128), ("0.11.0", 128), ("0.24.0", 128)]
)
def test_captured_graphs_follow_max_num_seqs_since_0_10(version: str, largest: int) -> None:
    engine = resolve({"max_num_seqs": 64}, DENSE_4B, H200, Version(version))
    steps = StepModel(DENSE_4B, Placement(H200, interconnect="none"), engine)
    assert largest_graph_tokens(engine) == largest
    assert steps.is_graphed(Step(prefill_tokens=largest - 28, decode_seqs=28))
    assert not steps.is_graphed(Step(prefill_tokens=largest - 27, decode_seqs=28))


def test_eager_steps_cost_a_launch_per_layer() -> None:
    eager = StepModel(DENSE_4B, Placement(H200, interconnect="none"), h200(enforce_eager=True)).seconds(decode(8))
    graphed = StepModel(DENSE_4B, Placement(H200, interconnect="none"), h200()).seconds(decode(8))
    assert eager == pytest.approx(36 * V1.launch_s_per_layer, rel=0.01)
    assert graphed < eager / 3


def test_async_scheduling_hides_the_host() -> None:
    hidden = StepModel(DENSE_4B, Placement(H200, interconnect="none"), h200(async_scheduling=True)).seconds(decode(128))
    shown = StepModel(DENSE_4B, Placement(H200, interconnect="none"), h200(async_scheduling=False)).seconds(decode(128))
    assert shown - hidden == pytest.approx(V1.host_s + V1.host_s_per_rank + 128 * V1.host_s_per_seq, rel=0.01)


def test_nvlink_spares_most_of_the_all_reduce() -> None:
    over_pcie = StepModel(AWQ_32B, Placement(TURING), turing()).seconds(prefill(2048))
    over_nvlink = StepModel(AWQ_32B, Placement(TURING, interconnect="nvlink"), turing()).seconds(prefill(2048))
    pairs = StepModel(AWQ_32B, Placement(TURING, interconnect="nvlink-pairs"), turing()).seconds(prefill(2048))
    assert over_nvlink < pairs == over_pcie
    assert over_pcie - over_nvlink > 0.3  # 128 all-reduces of 2048 x 5120 halves at 6 GB/s: 0.67 s


def test_a_prefix_hit_uses_the_slow_kernel_on_turing() -> None:
    steps = StepModel(AWQ_32B, Placement(TURING), turing(enable_chunked_prefill=False))
    fresh = Step(prefill_tokens=8192, prefill_pairs=prefill_pairs(8192), sampled_prefills=1)
    hit = Step(prefill_tokens=8192, prefill_pairs=prefill_pairs(8192), sampled_prefills=1, continues_prefix=True)
    assert steps.seconds(hit) > steps.seconds(fresh)


def test_arrays_give_what_scalars_give() -> None:
    seqs, tokens = np.array([8, 16, 64, 8]), np.array([512, 2048, 8192, 32768])
    chunked = np.array([True, True, True, False])
    together = turing(max_num_seqs=seqs, max_num_batched_tokens=tokens, enable_chunked_prefill=chunked)
    predicted = predict(AWQ_32B, TURING, together, LONG)
    alone = [
        predict(
            AWQ_32B,
            TURING,
            turing(max_num_seqs=int(s), max_num_batched_tokens=int(n), enable_chunked_prefill=bool(c)),
            LONG,
        )
        for s, n, c in zip(seqs, tokens, chunked, strict=True)
    ]
    assert predicted.shape == (4,)
    assert predicted.tolist() == pytest.approx(alone)
    assert isinstance(alone[0], float)


def test_step_sizes_may_be_arrays() -> None:
    steps = StepModel(AWQ_32B, Placement(TURING), turing())
    seqs = np.array([1, 8, 64])
    together = steps.seconds(Step(decode_seqs=seqs, context_tokens=seqs * 1000, longest_tokens=1000))
    assert np.asarray(together).tolist() == pytest.approx([steps.seconds(decode(int(n))) for n in seqs])


def test_more_sequences_help_up_to_the_offered_load() -> None:
    by_seqs = [predict(DENSE_4B, H200, h200(max_num_seqs=n, max_num_batched_tokens=2048), CHAT) for n in (16, 64, 128)]
    assert by_seqs == sorted(by_seqs)
    assert predict(DENSE_4B, H200, h200(max_num_seqs=512), CHAT) < 1.1 * by_seqs[-1]


def test_a_small_token_budget_is_best_where_it_fits_the_graphs() -> None:
    def chat(seqs: int, tokens: int) -> float:
        return float(predict(DENSE_4B, H200, h200(max_num_seqs=seqs, max_num_batched_tokens=tokens), CHAT))

    assert chat(256, 512) > chat(256, 2048)
    assert chat(128, 512) < chat(128, 2048)


def test_eager_costs_at_least_a_third_of_chat_throughput() -> None:
    assert predict(DENSE_4B, H200, h200(enforce_eager=True), CHAT) < 2 / 3 * predict(DENSE_4B, H200, h200(), CHAT)


def test_prefix_caching_pays_where_prompts_share_a_prefix() -> None:
    shared = Workload(concurrency=16, num_requests=64, input_tokens=8192, output_tokens=128, shared_prefix_tokens=7168)
    plain = Workload(concurrency=16, num_requests=64, input_tokens=8192, output_tokens=128)

    def gain(workload: Workload) -> float:
        on, off = (predict(AWQ_32B, TURING, turing(enable_prefix_caching=on), workload) for on in (True, False))
        return float(on / off)

    assert gain(shared) > 2
    assert gain(plain) == pytest.approx(1, rel=0.01)


def test_no_kv_blocks_predict_nothing() -> None:
    utilization = np.array([0.2, 0.9])
    predicted = predict(AWQ_32B, TURING, turing(gpu_memory_utilization=utilization), LONG)
    assert predicted[0] == 0 < predicted[1]


@pytest.mark.parametrize("name", sorted(shipped_files("workloads")))
@pytest.mark.parametrize("caching", [True, False])
def test_the_prediction_is_near_the_simulated_engine_on_every_shipped_workload(name: str, caching: bool) -> None:
    """Shared prefixes and conversations too: both leave out what the prefix cache has seen."""
    asked = load_named(name, Workload, Path(), "workloads")
    engine = h200(enable_prefix_caching=caching, max_model_len=40960, gpu_memory_utilization=0.4)
    memory = estimate_memory(DENSE_4B, Placement(H200), engine)
    started = SimulatedEngine(StepModel(DENSE_4B, Placement(H200), engine), int(memory.num_blocks))
    records, counters = simulate_load([started], asked)
    simulated = summarize(records).metrics["output_throughput"]
    assert predict(DENSE_4B, H200, engine, asked) == pytest.approx(simulated, rel=0.25)
    hit_rate = counters.prefix_hit_tokens / counters.prefix_query_tokens if caching else 0.0
    expected = asked.mean_seen_tokens / asked.mean_input_tokens if caching else 0.0
    assert hit_rate == pytest.approx(expected, abs=0.05)


def test_an_open_loop_gets_what_it_asks_for_or_what_there_is() -> None:
    def rate(per_s: float) -> float:
        return float(predict(DENSE_4B, H200, h200(), msgspec.structs.replace(CHAT, request_rate=per_s)))

    assert rate(0.5) == pytest.approx(0.5 * CHAT.mean_output_tokens)
    assert rate(1e6) == pytest.approx(float(predict(DENSE_4B, H200, h200(), CHAT)), rel=0.3)
    limited = msgspec.structs.replace(CHAT, request_rate=1e6, max_concurrency=4)
    assert float(predict(DENSE_4B, H200, h200(), limited)) < rate(1e6) / 4


def test_lognormal_lengths_have_the_mean_and_the_longest_that_are_drawn() -> None:
    lengths = Lengths(4, 4096, median=120, sigma=1.3)
    asked = Workload(concurrency=1, num_requests=20_000, input_tokens=lengths, output_tokens=1)
    drawn = np.asarray([plan.input_tokens for plan in plan_requests(asked)])
    assert asked.mean_input_tokens == pytest.approx(drawn.mean(), rel=0.03)
    longest = drawn.reshape(400, 50).max(axis=1).mean()
    assert asked.longest_input_tokens(np.asarray([50.0]))[0] == pytest.approx(longest, rel=0.05)
