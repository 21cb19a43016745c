"""Words that wait for the version."""

from __future__ import annotations

from packaging.version import Version

from planner.engine.command.typed import TypedWords, sizes_of, tensor_parallel_words


def test_the_version_decides_what_words_mean() -> None:
    words = TypedWords(("-O3",))
    assert words.read(Version("0.24.0")).settings.optimization_level == 3
    assert words.read(Version("0.10.0")).settings.optimization_level is None


def test_variables_of_the_engine_come_along_and_others_do_not() -> None:
    env = {"VLLM_USE_V1": "0", "HF_HOME": "/x", "VLLM_API_KEY": "k", "CUDA_VISIBLE_DEVICES": "0", "NCCL_DEBUG": "$X"}
    assert TypedWords((), env).read(Version("0.8.5")).env == {"VLLM_USE_V1": "0"}


def test_the_attention_backend_of_the_environment_is_a_setting() -> None:
    words = TypedWords((), {"VLLM_ATTENTION_BACKEND": "flashinfer"})
    assert words.read(Version("0.10.0")).settings.attention_backend == "FLASHINFER"


def test_flags_are_named_as_they_were_typed() -> None:
    assert TypedWords(("--max_num_seqs=4", "--max-model-len", "-1", "-tp", "2")).names == [
        "--max_num_seqs",
        "--max-model-len",
        "-tp",
    ]


def test_sizes_are_multiplied() -> None:
    line = ("-tp", "4", "-pp=2", "--nonsense")
    assert sizes_of(line, Version("0.24.0")) == (4, 8)
    assert sizes_of(("-dp", "2", "-tp", "$N"), Version("0.24.0")) == (None, 2)
    assert tensor_parallel_words() == ("--tensor-parallel-size", "1")
