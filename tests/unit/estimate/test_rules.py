"""Every rule broken once, first and alone of its kind; and scalars judged as arrays are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.engine.defaults import resolve
from planner.engine.versions import parse_version
from planner.estimate.deployment import Deployment
from planner.estimate.risks import dangers, hints, no_effect
from planner.estimate.rules import RULES, check, violations
from planner.hardware.by_name import find_gpu
from planner.hardware.placement import Placement
from planner.model.catalog import load_model, shipped_config
from planner.model.config_json import spec_from_config
from planner.model.quantization import read_quantization
from planner.study.loading import load_study
from planner.study.problem import Problem
from planner.units import GIB, MIB
from tests.forecasts import forecast_of, grid_of
from tests.places import ROOT

STUDIES = sorted((ROOT / "studies").glob("*/study.yaml"))
FP16, AWQ = "Qwen/Qwen3-8B", "Qwen/Qwen3-32B-AWQ"
HYBRID = "Qwen/Qwen3-Next-80B-A3B-Instruct"
TURING, AMPERE = "RTX 2080 Ti 22GB", "A100 80GB"


def deployment(
    model: str = FP16,
    gpu: str = TURING,
    version: str = "0.8.5",
    *,
    num_gpus: int = 1,
    instances: int = 1,
    host_gib: int | None = None,
    workload_tokens: int = 0,
    shm_mib: int | None = None,
    used_gib: int = 0,
    **settings: Any,
) -> Deployment:
    """A deployment that starts, unless an argument breaks it."""
    spec, card = load_model(model), find_gpu(gpu)
    engine = resolve({"dtype": "half", "max_model_len": 4096} | settings, spec, card, parse_version(version))
    placement = Placement(
        card,
        num_gpus,
        host_memory_bytes=None if host_gib is None else host_gib * GIB,
        shm_bytes=None if shm_mib is None else shm_mib * MIB,
        used_bytes=used_gib * GIB,
    )
    return Deployment.of(spec, placement, engine, instances, workload_tokens=workload_tokens)


def _exactly_full() -> Deployment:
    """A context of exactly the tokens that fit: starts, but 1 % of the blocks stay free."""
    same = {"model": AWQ, "max_num_batched_tokens": 512, "max_num_seqs": 8, "enable_chunked_prefill": True}
    tokens = deployment(**same, gpu_memory_utilization=0.95).memory.kv_tokens
    return deployment(**same, gpu_memory_utilization=0.95, max_model_len=int(tokens))


def _in_four_bits() -> Deployment:
    """The same model as compressed-tensors with integers of 4 bits, which 0.8.5 serves from 8.0 on."""
    group = {"weights": {"num_bits": 4, "group_size": 128, "type": "int"}, "targets": ["Linear"]}
    config = {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}
    d = deployment()
    return replace(d, model=replace(d.model, quantization=read_quantization(config, "made")))


def _in_eight_bits() -> Deployment:
    """Weights and activations in integers of 8 bits, on an RTX 5090."""
    part = {"num_bits": 8, "type": "int", "strategy": "channel"}
    group = {"weights": part, "input_activations": {**part, "dynamic": True}, "targets": ["Linear"]}
    config = {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}
    d = deployment(version="0.33.0", gpu="RTX 5090")
    return replace(d, model=replace(d.model, quantization=read_quantization(config, "made")))


NGRAM = '{"method": "ngram", "num_speculative_tokens": 4}'
UNCHUNKED = "max_num_batched_tokens >= max_model_len without chunked prefill"
BROKEN: dict[str, tuple[Deployment, str]] = {
    "enough GPUs": (deployment(num_gpus=3, instances=2, tensor_parallel_size=2), "2 x 2 GPUs are needed, 3 are there"),
    "stages have layers": (
        deployment(num_gpus=64, pipeline_parallel_size=64),
        "pipeline_parallel_size (64) is above the model's number of layers",
    ),
    "heads divide": (
        deployment(num_gpus=3, tensor_parallel_size=3),
        "attention heads (32) must be divisible by tensor parallel size (3)",
    ),
    "KV heads divide": (deployment("Qwen/Qwen3-14B", num_gpus=5, tensor_parallel_size=5), "8 KV heads cannot"),
    "shards align": (
        deployment(AWQ, num_gpus=16, tensor_parallel_size=16),
        "The input size is not aligned with the quantized weight shape",
    ),
    "whole FP8 blocks": (
        deployment("Qwen/Qwen3-4B-FP8", num_gpus=8, tensor_parallel_size=8, version="0.24.0", gpu="A100 40GB"),
        "Weight output_partition_size = 1216 is not divisible by weight quantization block_n = 128.",
    ),
    "experts to share out": (
        deployment(version="0.24.0", gpu="A100 40GB", num_gpus=2, tensor_parallel_size=2, enable_expert_parallel=True),
        "Number of experts in the model must be greater than 0",
    ),
    "a drafter that is known": (
        deployment(version="0.24.0", gpu="A100 40GB", speculative_config='{"method": "oracle"}'),
        "Unsupported speculative method: 'oracle'",
    ),
    "layers for multi-token prediction": (
        deployment(version="0.24.0", gpu="A100 40GB", speculative_config='{"method": "mtp"}'),
        "Unsupported speculative method: 'mtp'",
    ),
    "a model runner for the drafts": (
        deployment(
            version="0.24.0",
            gpu="A100 40GB",
            VLLM_USE_V2_MODEL_RUNNER="1",
            speculative_config='{"method": "ngram", "num_speculative_tokens": 2}',
        ),
        "Model Runner V2 does not yet support: speculative method 'ngram'",
    ),
    "tokens of the drafter": (
        deployment(version="0.24.0", gpu="A100 40GB", speculative_config='{"method": "ngram"}'),
        "num_speculative_tokens must be provided",
    ),
    "quantization as declared": (
        deployment(AWQ, quantization="gptq"),
        "specified in the model config (awq) does not match the quantization method specified in the",
    ),
    "dtype on this card": (deployment(dtype="auto"), "Bfloat16 is only supported on GPUs with compute capability"),
    "quantization on this card": (
        deployment(AWQ, quantization="awq_marlin"),
        "awq_marlin is not supported for the current GPU. Minimum capability: 80. Current capability: 75.",
    ),
    "quantization scheme on this card": (
        _in_four_bits(),
        "Quantization scheme is not supported for the current GPU. Min capability: 80. Current capability: 75.",
    ),
    "8-bit integers on this card": (
        _in_eight_bits(),
        "Int8 not supported on SM120. Use FP8 quantization instead, or run on older arch (SM < 100).",
    ),
    "nvfp4 KV cache on this card": (
        deployment(FP16, AMPERE, "0.24.0", kv_cache_dtype="nvfp4"),
        "--kv-cache-dtype nvfp4 requires sm100f",
    ),
    "dtype of quantization": (
        deployment("Qwen/Qwen2.5-7B-Instruct-AWQ", AMPERE, "0.6.6", dtype="bfloat16", quantization="awq"),
        "torch.bfloat16 is not supported for quantization method awq",
    ),
    "context of the model": (
        deployment(AWQ, AMPERE, max_model_len=40961),
        "max_model_len (40961) is greater than the derived max_model_len (40960)",
    ),
    "max_num_batched_tokens >= max_num_seqs": (
        deployment(max_num_batched_tokens=63, max_num_seqs=64, enable_chunked_prefill=True),
        "max_num_batched_tokens (63) must be greater than or equal to max_num_seqs (64).",
    ),
    UNCHUNKED: (
        deployment(max_num_batched_tokens=4095, enable_chunked_prefill=False),
        "max_num_batched_tokens (4095) is smaller than max_model_len (4096).",
    ),
    "multi-step needs another backend": (
        deployment(num_scheduler_steps=8),
        "num_scheduler_steps > 1 is not supported for attention backend: XFORMERS",
    ),
    "block size has a kernel": (deployment(block_size=8, enable_prefix_caching=True), "block_size 8 has no kernel"),
    "fp8 KV cache on this card": (deployment(kv_cache_dtype="fp8", enable_prefix_caching=True), "type fp8e4nv"),
    "fp8 KV cache of this backend": (
        deployment(FP16, AMPERE, "0.24.0", kv_cache_dtype="fp8", attention_backend="TRITON_ATTN"),
        "TRITON_ATTN has no kernel for kv_cache_dtype fp8 on compute capability 8.0",
    ),
    "fp8 KV cache in bfloat16": (
        deployment(FP16, "H200", "0.24.0", kv_cache_dtype="fp8", dtype="half"),
        "For FP16/BF16 input, output must have the same dtype as inputs.",
    ),
    "offloading with one kind of layers": (
        deployment("google/gemma-3-12b-it", AMPERE, "0.17.0", dtype="bfloat16", cpu_offload_gb=4.0),
        "Cannot re-initialize the input batch when CPU weight offloading is enabled.",
    ),
    "asynchronous scheduling alone": (
        deployment(FP16, AMPERE, "0.24.0", async_scheduling=True, speculative_config=NGRAM),
        "Async scheduling is not supported with ngram",
    ),
    "graph settings need graphs": (
        deployment(FP16, AMPERE, "0.24.0", enforce_eager=True, optimization_level=1),
        "enforce_eager leaves out graphs and compilation",
    ),
    "attention backend": (deployment(attention_backend="FLASHINFER"), "Invalid attention backend for cuda"),
    "swap space fits host memory": (
        deployment(num_gpus=2, instances=2, swap_space=23, host_gib=64),
        "Too large swap space. 46.00 GiB out of the 64.00 GiB total CPU memory",
    ),
    "free memory at the start": (
        deployment(gpu="H200", version="0.24.0", used_gib=20),
        "is less than desired GPU memory utilization (0.92, ",
    ),
    "weights fit": (deployment("Qwen/Qwen3-32B"), "CUDA out of memory while loading the weights"),
    "KV cache fits the card": (
        deployment(kv_cache_memory_bytes=900 << 30, gpu=AMPERE, version="0.10.2"),
        "CUDA out of memory while allocating the KV cache: 900.00 GiB",
    ),
    "KV cache has blocks": (deployment(gpu_memory_utilization=0.5), "No available memory for the cache blocks."),
    "KV cache holds one request": (
        deployment(AWQ, max_model_len=32768, max_num_batched_tokens=512, max_num_seqs=8, enable_chunked_prefill=True),
        "The model's max seq len (32768) is larger than the maximum number of tokens that can be stored in KV cache (",
    ),
    "max_num_seqs fits the Mamba cache blocks": (
        deployment(HYBRID, "H200", "0.24.0", num_gpus=2, tensor_parallel_size=2, num_gpu_blocks_override=100),
        "max_num_seqs (1024) exceeds available Mamba cache blocks (100).",
    ),
    "V0 admits a full-length prompt": (_exactly_full(), "starts, but no prompt of"),
    "CUDA graphs fit outside the budget": (
        deployment(gpu_memory_utilization=0.99),
        "CUDA out of memory while capturing graphs",
    ),
    "workload fits the context": (
        deployment(workload_tokens=4097),
        "the workload's longest request has 4097 tokens, max_model_len is 4096",
    ),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_rule_is_broken_first_by_the_candidate_made_for_it(rule: Any) -> None:
    d, words = BROKEN[rule.name]
    violated = check(d)
    assert violated[0].name == rule.name
    assert words in violated[0].message
    assert violated[0].excess > 0
    assert RULES[int(violations(d, 1)[0])] is rule


def test_weights_that_are_not_quantised_are_not_called_so() -> None:
    found = {one.name: one.message for one in check(deployment(num_gpus=3, tensor_parallel_size=3))}
    assert found["shards align"].endswith("is not divisible by 3 (tensor parallel size)")


def test_the_same_deployment_without_the_fault_starts() -> None:
    assert check(deployment()) == ()
    assert check(deployment(AWQ, max_model_len=1024, max_num_batched_tokens=512, max_num_seqs=8,
                            enable_chunked_prefill=True)) == ()  # fmt: skip


@pytest.mark.parametrize(
    "kept",
    [
        deployment(max_num_batched_tokens=64, max_num_seqs=64, enable_chunked_prefill=True),
        deployment(max_num_batched_tokens=4096, enable_chunked_prefill=False),
        deployment(block_size=8, enable_prefix_caching=False),
        deployment(block_size=32, enable_chunked_prefill=True),
        deployment(kv_cache_dtype="fp8_e5m2", enable_prefix_caching=True),
        deployment(kv_cache_dtype="fp8", enable_prefix_caching=False, enable_chunked_prefill=False),
        deployment(num_gpus=2, instances=2, swap_space=22, host_gib=64),
        deployment(workload_tokens=4096),
        deployment(dtype="auto", version="0.9.2"),
        deployment("Qwen/Qwen3-14B", AMPERE, dtype="auto", max_model_len=40960),
        deployment(AWQ, num_gpus=8, tensor_parallel_size=8),
        deployment(FP16, AMPERE, "0.24.0", kv_cache_dtype="fp8"),  # FlashInfer reads it
        deployment(FP16, "H100 80GB", "0.24.0", kv_cache_dtype="fp8", attention_backend="FLASH_ATTN", dtype="bfloat16"),
        deployment(FP16, AMPERE, "0.24.0", speculative_config=NGRAM),  # asynchronous scheduling goes off by itself
        deployment(FP16, AMPERE, "0.24.0", async_scheduling=False, speculative_config=NGRAM),
        deployment(FP16, AMPERE, "0.24.0", enforce_eager=True, optimization_level=0),
        deployment(FP16, AMPERE, "0.24.0", optimization_level=1, max_cudagraph_capture_size=1024),
        deployment(FP16, AMPERE, "0.11.2", attention_backend="TRITON_ATTN"),
        *(
            deployment(HYBRID, "H200", version, num_gpus=2, tensor_parallel_size=2, num_gpu_blocks_override=100, **more)
            for version, more in (
                ("0.24.0", {"max_num_seqs": 100}),
                ("0.24.0", {"enforce_eager": True}),
                ("0.19.1", {}),
            )
        ),
    ],
)
def test_rules_are_kept_at_their_very_limit(kept: Deployment) -> None:
    assert check(kept) == ()


def test_gptq_groups_and_vocabularies_limit_tensor_parallelism() -> None:
    """Qwen2.5-72B's MLP is 231 groups of 128 wide, so an unpadded 4-bit form cannot be split."""
    config = {**shipped_config("Qwen/Qwen2.5-72B"), "quantization_config": {"quant_method": "gptq", "bits": 4}}
    rule = next(rule for rule in RULES if rule.name == "shards align")
    card = find_gpu(AMPERE)
    for tp, is_broken in ((1, False), (2, True), (8, True)):
        spec = spec_from_config({**config, "intermediate_size": 29568}, "m")
        engine = resolve({"dtype": "half", "tensor_parallel_size": tp}, spec, card, parse_version("0.8.5"))
        assert (rule.excess(Deployment.of(spec, Placement(card, 8), engine)) > 0) is is_broken


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.parent.name)
def test_the_whole_grid_is_judged_as_each_candidate_is(path: Path) -> None:
    study = load_study(path)
    problem = Problem.of(study)
    grid, predicted = grid_of(problem), grid_of(problem).predicted()
    rows = np.random.default_rng(0).choice(len(grid.indices), min(200, len(grid.indices)), replace=False)
    for row in rows:
        candidate = problem.choices.candidate(problem.choices.params(grid.indices[row]))
        violated = check(problem.deployment(candidate))
        assert (violated[0].name if violated else None) == (RULES[grid.rule[row]].name if grid.rule[row] >= 0 else None)
        for name, value in forecast_of(problem).predicted(candidate).items():
            assert value == pytest.approx(predicted[name][row])
        assert problem.row_of(candidate) == row
    assert 0 < len(grid.feasible_rows) < len(grid.indices) or not grid.removed_by()
    assert sum(grid.removed_by().values()) + len(grid.feasible_rows) == len(grid.indices)


def test_risks_of_a_deployment_that_starts() -> None:
    d = deployment(max_model_len=20480, swap_space=20, host_gib=40, gpu_memory_utilization=0.96, num_gpus=1)
    found = " | ".join([*dangers(d), *hints(d)])
    assert "possibly too large: swap space pins 20 GiB of host memory out of 40 GiB" in found
    assert "max_seq_len_to_capture (8192) runs without CUDA graphs" in found
    assert "memory outside the budget is tight" in found
    calm = deployment("Qwen/Qwen3-0.6B", swap_space=0, max_num_seqs=8)
    assert dangers(calm) == hints(calm) == []


def test_swap_space_is_said_to_have_no_effect() -> None:
    assert "never swaps" in no_effect(deployment().engine, parse_version("0.8.5"))["swap_space"]
    assert "no swapping" in no_effect(deployment(gpu=AMPERE).engine, parse_version("0.8.5"))["swap_space"]


# --- what may go wrong ---


def test_a_small_shared_memory_is_a_danger_to_several_ranks_only() -> None:
    alone = deployment(shm_mib=64)
    two = deployment(num_gpus=2, tensor_parallel_size=2, shm_mib=64)
    assert not any("shared by" in text for text in dangers(alone))
    assert any("shared by" in text for text in dangers(two))
    assert not any("shared by" in t for t in dangers(deployment(num_gpus=2, tensor_parallel_size=2, shm_mib=2048)))


def test_host_memory_holds_offloaded_weights_and_the_processes() -> None:
    enough = deployment(AWQ, AMPERE, host_gib=64, cpu_offload_gb=40)
    short = deployment(AWQ, AMPERE, host_gib=32, cpu_offload_gb=40)
    assert not any("host memory" in text for text in dangers(enough))
    assert any("40 GiB offloaded weights" in text for text in dangers(short))


@pytest.mark.parametrize(
    ("version", "counts_all"), [("0.13.0", False), ("0.14.0", True), ("0.16.0", True), ("0.17.0", False)]
)
def test_some_versions_ask_a_pipeline_stage_for_every_layers_cache(version: str, counts_all: bool) -> None:
    """vLLM's pull request 33698: a stage had to hold a request's cache of the whole model."""
    d = deployment(FP16, "RTX 3090", version, num_gpus=3, pipeline_parallel_size=3, max_model_len=40960)
    tight = replace(d, memory=replace(d.memory, num_blocks=int(d.memory.request_blocks) + 1))
    assert ("KV cache holds one request" in {c.name for c in check(tight)}) == counts_all
