"""What a person is told to deploy is what vLLM's command line takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

import pytest

from planner.engine.config import FIELDS
from planner.engine.flags import flag
from planner.study.problem import Problem
from planner.trials.wording import SHORT_NAMES, describe, heading, legend

Make = Callable[..., Problem]


def test_the_words_are_flags_of_the_release(make_problem: Make) -> None:
    search = {
        "layout": ["1xtp1pp2", "2xtp1"], "max_num_seqs": [8, 64], "enable_chunked_prefill": [True, False],
        "gpu_memory_utilization": [0.9, 0.96], "env.VLLM_USE_V1": ["0"],
    }  # fmt: skip
    problem = make_problem(search_space={"search": search})
    chosen = problem.choices.candidate(
        {"layout": "2xtp1", "max_num_seqs": 64, "enable_chunked_prefill": False, "gpu_memory_utilization": 0.96,
         "env.VLLM_USE_V1": "0"}
    )  # fmt: skip
    assert describe(problem, chosen) == (
        "VLLM_USE_V1=0 2 instances, each --tensor-parallel-size 1 --max-num-seqs 64 --gpu-memory-utilization 0.96 "
        "--no-enable-chunked-prefill"
    )
    pipeline = problem.choices.candidate({"layout": "1xtp1pp2", "max_num_seqs": 8})
    assert describe(problem, pipeline) == "--tensor-parallel-size 1 --pipeline-parallel-size 2 --max-num-seqs 8"


def test_json_can_be_pasted_into_a_shell(make_problem: Make) -> None:
    config = '{"method": "ngram", "num_speculative_tokens": 4}'
    search = {"speculative_config": [None, config]}
    problem = make_problem(engine__version="0.9.2", search_space={"search": search})
    chosen = problem.choices.candidate({"speculative_config": config})
    assert shlex.split(describe(problem, chosen)) == ["--speculative-config", config]


def test_no_short_word_of_ours_stands_without_its_flag(make_problem: Make) -> None:
    values = {"max_num_seqs": 8, "max_num_batched_tokens": 4096, "gpu_memory_utilization": 0.9, "swap_space": 4,
              "block_size": 16, "max_seq_len_to_capture": 8192, "enable_prefix_caching": False}  # fmt: skip
    problem = make_problem(search_space={"search": {name: [None, value] for name, value in values.items()}})
    words = describe(problem, problem.choices.candidate(values))
    assert not re.search(r"\w=", words)
    assert {word for word in words.split() if word.startswith("--")} == {
        flag(name).replace("--enable", "--no-enable") for name in values
    }
    explained = legend(SHORT_NAMES)
    for name, short in SHORT_NAMES.items():
        assert f"{short}: {flag(name)}" in explained


@pytest.mark.parametrize("name", [*FIELDS, "model", "env.A"])
def test_every_heading_is_vllms_name_or_explained(name: str) -> None:
    is_plain = heading(name) == name.removeprefix("env.")
    assert is_plain or f"{heading(name)}: {flag(name)}" in legend([name])
    assert legend(["layout"]) == "layout: instances x --tensor-parallel-size"
