"""Workloads by name, and what recorded traffic tells of itself before anything is launched."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from planner.errors import InputError
from planner.workload.loading import load_workload, predictable, window_note
from planner.workload.shapes import ClosedLoop, OpenLoop, Replay, shape_of, workload_at
from planner.workload.workload import Lengths, Workload, plan_requests
from tests.places import ROOT

TRACES = ROOT / "tests" / "golden" / "traces"


def test_a_file_of_traffic_is_a_workload_and_so_is_a_file_that_names_it(tmp_path: Path) -> None:
    direct = load_workload("mooncake.jsonl", TRACES, 20)
    assert (direct.num_requests, direct.window, direct.prompts) == (20, "busiest", str(TRACES / "mooncake.jsonl"))
    (tmp_path / "traffic.csv").write_bytes((TRACES / "azure-2024.csv").read_bytes())
    (tmp_path / "mine.yaml").write_text("concurrency: 4\nnum_requests: 8\nprompts: traffic.csv\nwindow: typical\n")
    named = load_workload("mine.yaml", tmp_path)
    assert (named.prompts, named.window) == (str(tmp_path / "traffic.csv"), "typical")
    assert load_workload("chat", tmp_path).prompts is None


def test_arrivals_are_replayed_and_predicted_at_their_rate() -> None:
    asked = predictable(load_workload("azure-2023.csv", TRACES))
    assert asked.request_rate is not None
    assert asked.replay is True
    assert shape_of(asked) == Replay(1.0)
    plans = plan_requests(asked)
    assert asked.request_rate == pytest.approx(11 / (plans[-1].due_s or 0))
    assert isinstance(asked.input_tokens, Lengths)
    assert asked.input_tokens.high == max(plan.input_tokens for plan in plans)
    assert predictable(asked) == asked
    faster = workload_at(asked, 2 * asked.request_rate)
    assert (shape_of(faster), faster.num_requests) == (Replay(2.0), asked.num_requests)


def test_without_arrivals_or_without_replay_it_is_no_trace() -> None:
    plain = predictable(load_workload("vllm-custom.jsonl", TRACES))
    assert shape_of(plain) == ClosedLoop(16)
    held = msgspec.structs.replace(load_workload("azure-2023.csv", TRACES), replay=False)
    assert shape_of(predictable(held)) == ClosedLoop(16)
    rated = msgspec.structs.replace(held, replay=None, request_rate=3.0)
    assert shape_of(predictable(rated)) == OpenLoop(3.0)
    with pytest.raises(InputError, match="replay: true sends requests when they arrived"):
        predictable(msgspec.structs.replace(load_workload("vllm-custom.jsonl", TRACES), replay=True))


def test_what_is_shared_is_predicted() -> None:
    asked = predictable(load_workload("mooncake.jsonl", TRACES))
    assert asked.mean_seen_tokens / asked.mean_input_tokens == pytest.approx(0.47, abs=0.05)


def test_a_candidate_gets_the_same_window_and_every_repeat_other_texts(tmp_path: Path) -> None:
    path = tmp_path / "talks.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"question {i}", "arrival_s": i}) + "\n" for i in range(10)))
    asked = predictable(Workload(concurrency=2, num_requests=4, prompts=str(path)))
    first = [plan.prompt for plan in plan_requests(asked)]
    assert first == [plan.prompt for plan in plan_requests(asked)]
    assert not set(first) & {plan.prompt for plan in plan_requests(asked, 1)}
    third = plan_requests(asked, 2)
    assert [plan.prompt for plan in third] == ["question 8", "question 9", "question 0", "question 1"]
    assert [plan.due_s for plan in third] == [0, 1, 2, 3]


def test_the_note_is_of_a_part_alone() -> None:
    assert window_note(load_workload("mooncake.jsonl", TRACES)) == ""
    assert window_note(load_workload("mooncake.jsonl", TRACES, 10)).startswith("busiest window of 10 of 60 requests")
    assert window_note("chat") == ""
