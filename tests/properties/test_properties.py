"""What holds for all settings, not only for the examples: monotony of the memory model, round trips, identity."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from planner.engine.command.meaning import read_flags
from planner.engine.config import FIELDS, EngineConfig, KvCacheDtype
from planner.engine.config import settings as settings_of
from planner.engine.defaults import resolve
from planner.engine.flag_table import release_of
from planner.engine.flags import refused_value, serve_args, serve_env
from planner.engine.versions import knows, parse_version
from planner.estimate.memory.allocator import allocated_bytes
from planner.estimate.memory.per_gpu import MemoryEstimate, estimate_memory
from planner.estimate.memory.weights import weight_bytes
from planner.files.redaction import is_secret
from planner.files.structured import decode, encode
from planner.hardware.gpus import GPUS
from planner.hardware.placement import Placement
from planner.model.catalog import load_model
from planner.study.candidate import Candidate, Layout
from planner.study.objective import Objective
from planner.study.space import SearchSpace
from planner.study.spec import ContainerSpec, EngineSpec, HardwareSpec, ModelVariant, SamplerSpec, ServeSpec, StudySpec
from planner.units import Bytes, Seconds, parse_bytes
from planner.workload.workload import Lengths, Workload

MODELS = ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B", "Qwen/Qwen3-8B-AWQ", "meta-llama/Llama-3.1-8B", "Qwen/Qwen2.5-7B")
VERSIONS = ("0.6.6", "0.8.5", "0.10.2", "0.14.1", "0.33.0")
CARDS = [gpu for gpu in GPUS if not gpu.is_cpu]

models, versions, cards = st.sampled_from(MODELS), st.sampled_from(VERSIONS), st.sampled_from(CARDS)
examples = settings(max_examples=40, deadline=None)


def _memory(model: str, card: Any, version: str, **given_settings: Any) -> MemoryEstimate:
    spec = load_model(model)
    engine = resolve({"dtype": "half", "max_model_len": 4096} | given_settings, spec, card, parse_version(version))
    return estimate_memory(spec, Placement(card), engine)


# --- the memory model ---


@examples
@given(models, versions, cards, st.integers(1, 64 << 30))
def test_more_memory_never_means_fewer_blocks(model: str, version: str, card: Any, more: int) -> None:
    from dataclasses import replace

    fixed = {"max_num_seqs": 64, "max_num_batched_tokens": 4096}  # the engine's defaults depend on the card
    larger = replace(card, memory_bytes=card.memory_bytes + more)
    assert _memory(model, larger, version, **fixed).num_blocks >= _memory(model, card, version, **fixed).num_blocks


@examples
@given(models, versions, cards, st.integers(1, 100), st.integers(1, 100))
def test_more_utilisation_never_means_fewer_blocks(model: str, version: str, card: Any, a: int, b: int) -> None:
    less, more = (
        _memory(model, card, version, gpu_memory_utilization=percent / 100).num_blocks for percent in sorted((a, b))
    )
    assert more >= less >= 0


@examples
@given(models, versions, cards, st.integers(256, 65536), st.integers(256, 65536), st.sampled_from([8, 64, 256]))
def test_longer_steps_never_leave_more_blocks(model: str, version: str, card: Any, a: int, b: int, seqs: int) -> None:
    few, many = (
        _memory(model, card, version, max_num_batched_tokens=tokens, max_num_seqs=seqs) for tokens in sorted((a, b))
    )
    assert many.num_blocks <= few.num_blocks
    assert many.activation_bytes >= few.activation_bytes


@examples
@given(models, st.sampled_from([1, 2, 4]), st.sampled_from([1, 2]))
def test_wider_tensor_parallelism_never_means_more_weights(model: str, tp: int, pp: int) -> None:
    spec = load_model(model)
    assert weight_bytes(spec, "float16", 2 * tp, pp) <= weight_bytes(spec, "float16", tp, pp)
    assert weight_bytes(spec, "float16", tp, 2 * pp) <= weight_bytes(spec, "float16", tp, pp)


@examples
@given(models, versions, cards, st.lists(st.integers(1, 512), min_size=1, max_size=6), st.sampled_from([512, 8192]))
def test_a_column_is_its_scalars(model: str, version: str, card: Any, seqs: list[int], tokens: int) -> None:
    column = _memory(model, card, version, max_num_seqs=np.array(seqs), max_num_batched_tokens=tokens)
    for i, number in enumerate(seqs):
        scalar = _memory(model, card, version, max_num_seqs=number, max_num_batched_tokens=tokens)
        assert np.broadcast_to(column.num_blocks, len(seqs))[i] == scalar.num_blocks
        assert np.broadcast_to(column.graph_bytes, len(seqs))[i] == pytest.approx(scalar.graph_bytes)


@examples
@given(st.lists(st.integers(1, 64 << 20), max_size=50))
def test_the_allocator_wastes_little_and_forgets_nothing(tensors: list[int]) -> None:
    total = allocated_bytes(tensors)
    assert sum(tensors) <= total <= sum(tensors) + len(tensors) * (2 << 20)
    assert total % 512 == 0


# --- settings ---

_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "dtype": st.sampled_from(["auto", "half", "float16", "bfloat16", "float32"]),
    "gpu_memory_utilization": st.integers(1, 100).map(lambda percent: percent / 100),
    "optimization_level": st.integers(0, 3),
    "speculative_config": st.integers(1, 8).map(lambda n: f'{{"method": "ngram", "num_speculative_tokens": {n}}}'),
    "swap_space": st.integers(0, 64).map(float),
    "cpu_offload_gb": st.integers(0, 640).map(lambda tenths: tenths / 10),
    "scheduler_delay_factor": st.integers(0, 20).map(lambda tenths: tenths / 10),
    "quantization": st.sampled_from(["awq", "gptq", "fp8", "compressed-tensors", "bitsandbytes"]),
    "load_format": st.sampled_from(["auto", "dummy", "safetensors", "npcache"]),
    "attention_backend": st.from_regex(r"[A-Z][A-Z0-9_]{0,12}", fullmatch=True),
    "kv_cache_dtype": st.sampled_from(get_args(KvCacheDtype)),
}


def _engines() -> st.SearchStrategy[EngineConfig]:
    def value(field: str) -> st.SearchStrategy[Any]:
        if field in _VALUES:
            return _VALUES[field]
        whole = [(most, st.integers(1, most)) for most in (10**9, 10**6, 4096)]  # what each may be at most differs
        for candidate, strategy in [(True, st.booleans()), *whole]:
            try:
                msgspec.convert({field: candidate}, EngineConfig)
            except msgspec.ValidationError:
                continue
            return strategy
        raise AssertionError(field)

    return st.fixed_dictionaries({}, optional={field: value(field) for field in FIELDS}).map(
        lambda values: EngineConfig(**values)
    )


engines = _engines()


def _known(engine: EngineConfig, version: Any) -> EngineConfig:
    """The settings that this version takes, with values that it takes."""
    known = {name: value for name, value in settings_of(engine).items() if knows(version, name)}
    dtype = release_of(version).flag("--kv-cache-dtype")
    if "kv_cache_dtype" in known and refused_value(dtype, known["kv_cache_dtype"]) is not None:
        del known["kv_cache_dtype"]
    return EngineConfig(**known)


@examples
@given(engines, st.sampled_from(["0.9.2", "0.14.1", "0.33.0"]))
def test_flags_are_read_back_as_they_were_written(engine: EngineConfig, text: str) -> None:
    version = parse_version(text)
    engine = _known(engine, version)
    read = read_flags([*serve_args(engine, version), "--seed", "3"], version)
    back = read.settings
    if serve_env(engine, version):
        back = msgspec.structs.replace(back, attention_backend=engine.attention_backend)
    assert back == engine
    assert read.extra_args == ("--seed", "3")


@examples
@given(engines, engines, st.sampled_from(["0.9.2", "0.14.1", "0.33.0"]))
def test_different_settings_are_launched_differently(a: EngineConfig, b: EngineConfig, text: str) -> None:
    version = parse_version(text)
    a, b = _known(a, version), _known(b, version)
    same_words = serve_args(a, version) == serve_args(b, version) and serve_env(a, version) == serve_env(b, version)
    assert same_words is (a == b)


# --- what is written is what is read ---

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)
texts = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp"), exclude_characters="\ufffe\uffff"),
    max_size=20,
)
variables = st.from_regex(r"[A-Z_a-z][A-Z_a-z0-9]{0,9}", fullmatch=True).filter(lambda name: not is_secret(name))
numbers = st.integers(1, 10**6)
lengths = st.one_of(numbers, st.tuples(numbers, numbers).map(lambda pair: Lengths(*sorted(pair))))
workloads = st.builds(
    Workload,
    name=texts,
    concurrency=numbers,
    num_requests=numbers,
    input_tokens=lengths,
    output_tokens=lengths,
    warmup_requests=st.none() | st.integers(0, 9),
    request_timeout=st.floats(0.001, 1e6).map(Seconds),
    seed=st.integers(0, 99),
)
spaces = st.builds(
    SearchSpace,
    name=texts,
    fixed=engines.map(lambda engine: msgspec.structs.replace(engine, max_num_seqs=None)),  # which is searched
    search=st.fixed_dictionaries(
        {},
        optional={
            "max_num_seqs": st.lists(st.none() | numbers, min_size=1, max_size=4, unique=True),
            "layout": st.lists(st.sampled_from(["1xtp4", "2xtp2", "1xtp2pp2"]), min_size=1, unique=True),
            "env.X": st.lists(texts, min_size=1, max_size=3, unique=True),
        },
    ),
)
studies = st.builds(
    StudySpec,
    name=names,
    description=texts,
    models=st.dictionaries(names, st.builds(ModelVariant, path=texts, settings=engines), min_size=1, max_size=2),
    hardware=st.builds(
        HardwareSpec, gpu=texts, num_gpus=numbers, gpu_memory=st.none() | st.integers(2**20, 2**50).map(Bytes)
    ),
    engine=st.builds(EngineSpec, version=texts, settings=engines, env=st.dictionaries(variables, texts, max_size=2)),
    container=st.none() | st.builds(ContainerSpec, image=texts.map(lambda text: f"i{''.join(text.split())}")),
    serve=st.builds(ServeSpec, name=names, restart=st.sampled_from(["no", "always"])),  # a bare no is a YAML boolean
    search_space=texts | spaces,
    workload=texts | workloads,
    objective=st.builds(
        Objective,
        weights=st.dictionaries(st.sampled_from(["e2el_p50", "max_model_len"]), st.floats(0.001, 99.0)),
        slo=st.dictionaries(st.sampled_from(["ttft_p95", "output_throughput"]), st.floats(0.001, 99.0)),
    ),
    sampler=st.builds(SamplerSpec, name=st.sampled_from(["planner", "tpe"])),
)


@examples
@given(studies)
def test_a_study_survives_yaml(study: StudySpec) -> None:
    assert decode(encode(study), StudySpec, "study.yaml") == study


@examples
@given(st.integers(0, 2**60))
def test_a_count_of_bytes_is_itself(count: int) -> None:
    assume(count < 2**53)  # beyond, a float cannot say it
    assert parse_bytes(str(count)) == count


# --- identity ---

candidates = st.builds(
    Candidate,
    model=st.sampled_from(["a", "b"]),
    layout=st.builds(Layout, st.integers(1, 2), st.integers(1, 2), st.integers(1, 2)),
    engine=st.builds(
        EngineConfig,
        max_num_seqs=st.none() | st.integers(1, 2),
        enable_prefix_caching=st.none() | st.booleans(),
        swap_space=st.none() | st.sampled_from([0.0, 1.0]),
    ),
    env=st.sampled_from([(), (("A", "1"),), (("A", "1"), ("B", "2"))]),
)


@settings(max_examples=100, deadline=None)
@given(candidates, candidates)
def test_keys_are_equal_exactly_for_equal_candidates(a: Candidate, b: Candidate) -> None:
    assert (a.key == b.key) is (a == b)
    assert "\n" not in a.key
    assert msgspec.json.decode(msgspec.json.encode(a), type=Candidate) == a
