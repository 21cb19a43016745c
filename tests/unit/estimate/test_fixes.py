"""The nearest fixes: what they change, what they buy, that they keep their word and their bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version

from planner.engine.command.meaning import read_flags
from planner.errors import InputError
from planner.estimate.answer import Setup, unknown_flags
from planner.estimate.fixes import Fix, Spelling, nearest_fixes
from planner.estimate.moves import BOUNDS
from planner.hardware.by_name import find_gpu, interconnect_of
from planner.hardware.placement import Placement
from planner.model.catalog import load_model
from planner.units import GIB, to_gib

TARGET = {"tensor_parallel_size": 4, "dtype": "half", "max_model_len": 32768}


def setup_for(model: str = "Qwen/Qwen3-32B-AWQ", gpu: str = "RTX 2080 Ti 22GB", num_gpus: int = 4,
              version: str = "0.8.5", host_gib: int | None = None, **settings: Any) -> Setup:  # fmt: skip
    return Setup(
        model=load_model(model),
        placement=Placement(find_gpu(gpu), num_gpus, "pcie", None if host_gib is None else host_gib * GIB),
        version=Version(version),
        settings=settings,
        refused=tuple(unknown_flags(settings, Version(version))),
    )


def anew(setup: Setup, fix: Fix) -> Setup:
    """The setup that a person would ask about who follows the fix; `model`, `gpu` and so on are not settings."""
    named = {name: value for name, value in {**setup.settings, **fix.changes}.items() if value is not None}
    model = load_model(named.pop("model")) if "model" in named else setup.model
    card = find_gpu(named.pop("gpu")) if "gpu" in named else setup.placement.gpu
    links = setup.placement.interconnect if card == setup.placement.gpu else interconnect_of(card.name)
    placement = replace(
        setup.placement, gpu=card, interconnect=links, num_gpus=named.pop("num_gpus", setup.placement.num_gpus)
    )
    instances = named.pop("instances", setup.instances)
    return Setup(
        model=model,
        placement=placement,
        version=setup.version,
        settings=named,
        instances=instances,
        refused=tuple(unknown_flags(named, setup.version)),
        flags=setup.flags,
    )


def keeps_its_word(setup: Setup, fix: Fix) -> bool:
    """Whether a start with the changes made is judged as the fix says."""
    answer = anew(setup, fix).answer()
    tokens = (answer.deployment.memory.kv_tokens, fix.answer.deployment.memory.kv_tokens)
    return answer.verdict == fix.answer.verdict and tokens[0] == tokens[1] and answer.dangers == fix.answer.dangers


def is_sensible(setup: Setup, fix: Fix) -> bool:
    """Whether no change ends beyond its bounds, but for a value that the model, its states or the engine's rule set."""
    for name, bounds in BOUNDS.items():
        value, now = fix.changes.get(name), fix.before.get(name)
        if value is None:
            continue
        least: float = bounds.least
        if name == "max_model_len":
            asked = setup.settings.get(name)
            least = min(max(least, bounds.least_share * (asked or 0)), setup.model.max_context_tokens)
        elif name == "max_num_seqs" and fix.base.deployment.memory.has_states:
            least = min(least, max(1, int(fix.base.deployment.memory.num_blocks) // 2))
        if not min(least, now) <= value <= max(bounds.most, now):
            return False
    return True


CASES: dict[str, dict[str, Any]] = {
    "wastes": {**TARGET, "max_num_seqs": 256, "max_num_batched_tokens": 2048, "enable_chunked_prefill": True},
    "outside": {**TARGET, "max_num_seqs": 64, "gpu_memory_utilization": 0.98},
    "tight": {**TARGET, "max_num_seqs": 64, "gpu_memory_utilization": 0.96},
    "no blocks": {**TARGET, "max_num_seqs": 64, "gpu_memory_utilization": 0.3},
    "batched": {**TARGET, "max_num_seqs": 64, "max_num_batched_tokens": 4096},
    "dtype and batched": {**TARGET, "dtype": "bfloat16", "max_num_batched_tokens": 4096},
    "swap": {**TARGET, "max_num_seqs": 64, "swap_space": 128.0, "host_gib": 512},
    "cards": {"tensor_parallel_size": 8, "dtype": "half", "max_model_len": 32768},
    "flag": {**TARGET, "version": "0.24.0", "max_num_seqs": 32, "swap_space": 4.0, "attention_backend": "TRITON_ATTN"},
    "flashinfer": {**TARGET, "version": "0.20.2", "max_num_seqs": 64},
    "context": {"model": "Qwen/Qwen3-8B", "gpu": "RTX 4090", "num_gpus": 1},
    "weights": {"model": "Qwen/Qwen3-32B", "gpu": "RTX 4090", "num_gpus": 4, "version": "0.10.0",
                "max_model_len": 8192},
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_every_fix_helps_and_is_what_a_new_estimate_says(case: str) -> None:
    setup = setup_for(**CASES[case])
    base, fixes = setup.answer(), nearest_fixes(setup)
    assert 1 <= len(fixes) <= 5
    assert len({fix.text for fix in fixes}) == len(fixes)
    for fix in fixes:
        assert fix.answer.verdict != "will not start"
        assert keeps_its_word(setup, fix)
        if base.verdict != "will not start":
            fewer_dangers = len(base.dangers) - len(fix.answer.dangers)
            assert fewer_dangers >= 0
            assert fewer_dangers or fix.gained_tokens >= 0.02 * base.deployment.memory.kv_tokens


def test_fewer_sequences_give_back_the_samplers_memory() -> None:
    """At 2048 batched tokens the sampler's sort over 256 rows is the peak; from 64 on the dequantised MLP is."""
    fixes = {tuple(fix.changes.items()): fix for fix in nearest_fixes(setup_for(**CASES["wastes"]))}
    assert to_gib(fixes[("max_num_seqs", 64),].gained_bytes) == pytest.approx(0.92, abs=0.02)
    half = fixes[("max_num_seqs", 128),]
    assert to_gib(half.gained_bytes) == pytest.approx(0.69, abs=0.02)
    assert half.gained_tokens == pytest.approx(11_264, rel=0.01)
    assert half.text.startswith("max_num_seqs 256 -> 128: +0.69 GiB, +11 264 tokens; predicted speed +")
    assert half.text.endswith("; at most 128 requests run at once, more wait")


@pytest.mark.parametrize(
    ("case", "changes"),
    [
        ("outside", {"gpu_memory_utilization"}),
        ("tight", {"gpu_memory_utilization"}),
        ("no blocks", {"gpu_memory_utilization"}),
        ("batched", {"enable_chunked_prefill"}),
        ("dtype and batched", {"dtype", "enable_chunked_prefill"}),
        ("swap", {"swap_space"}),
        ("cards", {"tensor_parallel_size"}),
        ("flag", {"swap_space"}),
        ("flashinfer", {"attention_backend"}),
        ("context", {"max_model_len"}),
        ("weights", {"tensor_parallel_size", "gpu_memory_utilization"}),
    ],
)
def test_the_first_fix(case: str, changes: set[str]) -> None:
    assert set(nearest_fixes(setup_for(**CASES[case]))[0].changes) == changes


def test_a_flag_the_version_does_not_know_is_left_out() -> None:
    (fix,) = nearest_fixes(setup_for(**CASES["flag"]))
    assert fix.text.startswith("without --swap-space: starts")
    assert fix.changes == {"swap_space": None}


def test_a_fix_names_what_a_person_can_type() -> None:
    half = next(fix for fix in nearest_fixes(setup_for(**CASES["wastes"])) if fix.changes == {"max_num_seqs": 128})
    assert half.words(Spelling.OPTIONS).startswith("--max-num-seqs 128 (now 256): +0.69 GiB, ")
    assert half.words(Spelling.KEYS) == half.text
    (swap,) = nearest_fixes(setup_for(**CASES["flag"]))
    assert swap.words(Spelling.OPTIONS) == swap.text


def test_cards_and_models_are_options_of_planner_or_words() -> None:
    fixes = nearest_fixes(setup_for(model="Qwen/Qwen3-32B", gpu="RTX 4090", num_gpus=1, version="0.10.0"))
    options = " | ".join(fix.words(Spelling.OPTIONS) for fix in fixes)
    assert "--model Qwen/Qwen3-32B-AWQ, --" in options
    assert "--num-gpus 4 (now 1), --tensor-parallel-size " in options
    assert "--gpu '" in options
    assert " -> " not in options
    command = " | ".join(fix.words(Spelling.COMMAND) for fix in fixes)
    assert "cards 4 (now 1), --tensor-parallel-size " in command
    assert "--gpu" not in command


def first_texts(**case: Any) -> list[str]:
    return [fix.text for fix in nearest_fixes(setup_for(**case))]


def test_a_checkpoint_that_is_far_too_large_is_quantised_or_gets_other_cards() -> None:
    texts = first_texts(model="Qwen/Qwen3-32B", gpu="RTX 4090", num_gpus=1, version="0.10.0")
    assert any(text.startswith("model Qwen/Qwen3-32B-AWQ, ") for text in texts)
    assert any(text.startswith("num_gpus 1 -> 4, tensor_parallel_size 1 -> ") for text in texts)
    assert any(text.startswith("gpu RTX 4090 -> ") for text in texts)


def test_a_7b_model_that_misses_its_card_by_little_is_quantised() -> None:
    first, second, *_ = first_texts(model="Qwen/Qwen2.5-7B-Instruct", gpu="RTX 4080", num_gpus=1, version="0.24.0")
    assert first.startswith("model Qwen/Qwen2.5-7B-Instruct-AWQ: starts, ")
    assert second.startswith("quantization none -> fp8: starts, ")
    assert "predicted: " in first


def test_three_cards_serve_a_model_in_stages() -> None:
    """64 heads do not divide by 3 (vllm's issue 11147: its maintainers advise pipeline stages)."""
    fix = nearest_fixes(setup_for(model="Qwen/Qwen2.5-72B-Instruct-AWQ", gpu="RTX 3090", num_gpus=3, version="0.10.0",
                                  tensor_parallel_size=3, max_model_len=8192))[0]  # fmt: skip
    assert dict(fix.changes) == {"tensor_parallel_size": 1, "pipeline_parallel_size": 3}
    assert fix.answer.deployment.memory.kv_tokens == pytest.approx(62_400, rel=0.02)


def test_a_risk_is_not_swapped_for_another() -> None:
    setup = setup_for(model="Qwen/Qwen3-32B", **TARGET, max_num_seqs=64, gpu_memory_utilization=0.96)
    base = setup.answer()
    names = {danger.name for danger in base.dangers}
    assert names == {"memory outside the budget", "KV cache"}
    for fix in nearest_fixes(setup, base):
        assert {danger.name for danger in fix.answer.dangers} <= names
        if "memory outside the budget" in {danger.name for danger in fix.answer.dangers}:
            assert fix.answer.deployment.memory.spare_outside_bytes >= base.deployment.memory.spare_outside_bytes


def test_an_unknown_architecture_gets_no_advice() -> None:
    setup = setup_for()
    unknown = replace(setup, model=replace(setup.model, is_known=False))
    assert unknown.answer().verdict == "cannot say"
    assert nearest_fixes(unknown) == []


MODELS = ("Qwen/Qwen3-8B", "Qwen/Qwen3-32B", "Qwen/Qwen3-30B-A3B", "Qwen/Qwen3-Next-80B-A3B-Instruct",
          "meta-llama/Llama-3.3-70B-Instruct", "google/gemma-3-27b-it", "openai/gpt-oss-120b")  # fmt: skip
CARDS = (
    "T4",
    "V100 32GB",
    "RTX 2080 Ti 22GB",
    "RTX 3090",
    "RTX 4080",
    "RTX 4090",
    "RTX 5090",
    "A100 40GB",
    "H100 80GB",
)
LENGTHS = (None, 2048, 8192, 32768)
SEQS = (None, 16, 512)
UTILIZATIONS = (None, 0.5, 0.85, 0.99)


@settings(max_examples=12, derandomize=True)
@given(
    st.tuples(
        *map(st.sampled_from, (MODELS, CARDS, (1, 2, 3, 4, 8), ("0.8.5", "0.10.2", "0.14.1", "0.20.0", "0.26.0")))
    ),
    st.tuples(*map(st.sampled_from, (LENGTHS, SEQS, UTILIZATIONS, (None, 1, 2, 3)))),
)
def test_every_fix_of_any_question_starts_within_its_bounds(where: tuple[Any, ...], asked: tuple[Any, ...]) -> None:
    names = ("max_model_len", "max_num_seqs", "gpu_memory_utilization", "tensor_parallel_size")
    said = {name: value for name, value in zip(names, asked, strict=True) if value is not None}
    setup = setup_for(*where, **said)
    for fix in nearest_fixes(setup):
        assert fix.answer.verdict in {"starts", "at risk"}, fix.text
        assert keeps_its_word(setup, fix), fix.text
        assert is_sensible(setup, fix), fix.text
        assert ("at risk (" in fix.text) == (fix.makes_it_start and fix.answer.verdict == "at risk")


MTP = '{"method": "mtp", "num_speculative_tokens": 3}'
EAGLE = '{"method": "eagle3", "model": "a/eagle3", "num_speculative_tokens": 3}'
DRAFT = '{"method": "draft_model", "model": "Qwen/Qwen3-0.6B", "num_speculative_tokens": 3}'
NGRAM = '{"method": "ngram", "num_speculative_tokens": 3}'
FEATURES: tuple[tuple[dict[str, Any], list[str], float], ...] = (
    ({}, ["--enable-lora", "--max-loras", "8", "--max-lora-rank", "128"], 0.0),
    ({}, ["--enable-sleep-mode"], 0.0),
    ({}, [], 3.0),
    ({"speculative_config": NGRAM}, [], 0.0),
    ({"speculative_config": EAGLE}, [], 0.0),
    ({"speculative_config": DRAFT}, [], 0.0),
    ({"speculative_config": MTP, "max_num_seqs": 1024}, [], 0.0),
    ({"data_parallel_size": 2, "enable_expert_parallel": True}, [], 0.0),
    ({"cpu_offload_gb": 8.0}, [], 0.0),
    ({"kv_cache_memory_bytes": 30 * GIB}, [], 0.0),
    ({"kv_cache_dtype": "fp8"}, [], 0.0),
    ({"kv_cache_dtype": "nvfp4"}, [], 0.0),
    ({"kv_cache_dtype": "int8_per_token_head"}, [], 0.0),
    ({"kv_cache_dtype": "turboquant_4bit_nc"}, [], 0.0),
    ({}, ["--compilation-config", '{"cudagraph_mode": "PIECEWISE"}'], 0.0),
)
"""Settings, flags beside them, memory that others hold in GiB."""
SERVED = ("Qwen/Qwen3-14B", "Qwen/Qwen3-30B-A3B", "Qwen/Qwen3.6-27B-FP8", "google/gemma-3-27b-it")
PLACES = ("RTX 4090", "RTX 5090", "RTX 3090 + A100 40GB", "H100 80GB")
RELEASES = ("0.8.5", "0.11.0", "0.24.0", "0.28.0", "0.32.0")


@settings(max_examples=12, derandomize=True, deadline=None)
@given(*map(st.sampled_from, (FEATURES, SERVED, PLACES, RELEASES)), st.sampled_from((1, 2)))
def test_every_fix_starts_whatever_else_takes_memory(
    feature: tuple[dict[str, Any], list[str], float], model: str, place: str, version: str, num_gpus: int
) -> None:
    said, words, used_gib = feature
    plain = setup_for(model, place, num_gpus, version, max_model_len=16384, **said)
    try:
        flags = read_flags(words, plain.version)
    except InputError:  # a release that lacks the flag
        return
    setup = replace(plain, flags=flags, placement=replace(plain.placement, used_bytes=round(used_gib * GIB)))
    for fix in nearest_fixes(setup):
        assert fix.answer.verdict in {"starts", "at risk"}, fix.text
        assert keeps_its_word(setup, fix), fix.text
        assert is_sensible(setup, fix), fix.text


def test_going_without_a_drafter_is_a_fix_where_it_takes_the_room() -> None:
    draft = DRAFT.replace("0.6B", "4B")
    fixes = nearest_fixes(
        setup_for("Qwen/Qwen3-8B", "RTX 4090", 1, "0.24.0", max_model_len=16384, speculative_config=draft)
    )
    without = [fix for fix in fixes if "speculative_config" in fix.changes]
    assert without
    assert all(fix.answer.deployment.engine.speculation is None for fix in without)
    assert "no drafter" in without[0].text


def test_an_fp8_kv_cache_is_offered_only_where_it_is_served() -> None:
    def offered(**case: Any) -> bool:
        return any("kv_cache_dtype" in fix.changes for fix in nearest_fixes(setup_for(**case)))

    small = {"model": "Qwen/Qwen3-8B", "num_gpus": 1, "max_model_len": 8192}
    assert offered(**small, gpu="H100 80GB", version="0.10.2")
    assert not offered(**small, gpu="A100 40GB", version="0.10.2")
    assert not offered(**small, gpu="A100 40GB", version="0.20.0")


def test_a_fix_as_a_document() -> None:
    fix = nearest_fixes(setup_for(**CASES["wastes"]))[-1]
    keys = {"changes", "verdict", "dangers", "kv_cache_gib_gained", "kv_tokens_gained", "predicted", "text"}
    assert set(fix.document()) == keys


def test_too_many_sequences_for_the_states_are_cut_below_the_blocks() -> None:
    hybrid = setup_for("Qwen/Qwen3-Next-80B-A3B-Instruct", "H200", 2, "0.24.0", tensor_parallel_size=2,
                       max_model_len=4096, num_gpu_blocks_override=100)  # fmt: skip
    changes = [fix.changes for fix in nearest_fixes(hybrid) if fix.makes_it_start]
    assert {"max_num_seqs": 64} in changes
