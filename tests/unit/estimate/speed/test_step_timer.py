"""The timer of one engine says what the step model says, to the last bit."""

from __future__ import annotations

import random
from typing import Any

import pytest
from packaging.version import Version

from planner.engine.defaults import resolve
from planner.estimate.speed.step import Step, StepModel
from planner.hardware.by_name import find_gpu
from planner.hardware.placement import Placement
from planner.model.catalog import load_model

ENGINES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("Qwen/Qwen3-32B-AWQ", "RTX 2080 Ti 22GB", "0.8.5", {"tensor_parallel_size": 4, "max_seq_len_to_capture": 2000}),
    ("Qwen/Qwen3-32B-AWQ", "RTX 2080 Ti 22GB", "0.8.5", {"tensor_parallel_size": 4, "enable_chunked_prefill": True}),
    ("Qwen/Qwen3-32B-AWQ", "RTX 2080 Ti 22GB", "0.14.1", {"tensor_parallel_size": 4, "enforce_eager": True}),
    ("Qwen/Qwen3-4B", "H200", "0.24.0", {}),
    ("Qwen/Qwen3-4B", "H200", "0.24.0", {"async_scheduling": False, "max_num_seqs": 24}),
    ("Qwen/Qwen3-30B-A3B", "H200", "0.24.0", {"tensor_parallel_size": 2}),
]


def steps_of(name: str, card: str, version: str, asked: dict[str, Any]) -> StepModel:
    model, gpu = load_model(name), find_gpu(card)
    settings = {"dtype": "half", "max_model_len": 8192, **asked}
    return StepModel(model, Placement(gpu, 4), resolve(settings, model, gpu, Version(version)))


@pytest.mark.parametrize(("name", "card", "version", "asked"), ENGINES)
def test_the_timer_is_the_step_model(name: str, card: str, version: str, asked: dict[str, Any]) -> None:
    steps, draw = steps_of(name, card, version, asked), random.Random(3)
    timer = steps.timer()
    for _ in range(300):
        prefill = draw.choice((0, 0, draw.randint(1, 4000)))
        seqs = draw.choice((0, draw.randint(1, 20), draw.randint(20, 600))) if prefill else draw.randint(1, 600)
        longest = draw.randint(1, 4000) if seqs else 0
        fields = {
            "prefill_tokens": prefill,
            "prefill_pairs": prefill * draw.randint(1, 4000) + prefill * (prefill + 1) / 2,
            "continues_prefix": bool(prefill) and draw.random() < 0.5,
            "sampled_prefills": draw.randint(0, 3) if prefill else 0,
            "decode_seqs": seqs,
            "context_tokens": draw.randint(1, longest) * seqs if seqs else 0,
            "longest_tokens": longest,
        }
        expected = steps.seconds(Step(**fields))
        assert timer.seconds(**fields) == expected
        if prefill:
            continue
        cost = timer.decodes(seqs, longest)
        device_s = cost.fixed_s + fields["context_tokens"] * cost.context_token_s + cost.reduces_s
        assert max(device_s, cost.floor_s) + cost.after_s == expected
        assert longest <= cost.most_tokens


def test_a_run_of_v0_is_cut_where_no_graph_serves_it() -> None:
    timer = steps_of(*ENGINES[0]).timer()
    assert timer.decodes(4, 1999).most_tokens == 2000
    assert timer.decodes(4, 2001).most_tokens > 1e9
    assert timer.decodes(4, 2001).floor_s > timer.decodes(4, 2000).floor_s
