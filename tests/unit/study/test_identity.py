"""Names that differ where questions differ, and differences in words."""

from __future__ import annotations

import re

from planner.study.identity import LONGEST_NAME, changes_between, in_one_line, readable_name
from planner.study.spec import StudySpec

PARTS = ("Qwen/Qwen3-8B", "2xRTX 4090", "v0.33.0")


def test_a_usual_study_has_a_name_without_a_digest() -> None:
    assert readable_name(PARTS, {}) == "qwen-qwen3-8b-2xrtx-4090-v0.33.0"


def test_what_is_unusual_or_too_long_is_in_a_digest() -> None:
    names = {
        readable_name(PARTS, {"max_model_len": 8192}),
        readable_name(PARTS, {"max_model_len": 4096}),
        readable_name(PARTS, {"interconnect": "nvlink"}),
        readable_name(("M" * 90, *PARTS[1:]), {}),
        readable_name(("M" * 91, *PARTS[1:]), {}),
        readable_name(PARTS, {}),
    }
    assert len(names) == 6
    assert all(len(name) <= LONGEST_NAME for name in names)
    assert sum(bool(re.search(r"-[0-9a-f]{6}$", name)) for name in names) == 5
    assert readable_name(PARTS, {"a": 1, "b": 2}) == readable_name(PARTS, {"b": 2, "a": 1})


def test_differences_are_named_with_both_values() -> None:
    before = {"hardware": {"num_gpus": 4, "gpu": "T4"}, "repeats": 1, "objective": {"slo": {}}}
    now = {"hardware": {"num_gpus": 2, "gpu": "T4"}, "repeats": 1, "objective": {"slo": {"ttft_p95": 2.0}}}
    assert changes_between(before, now) == ["hardware.num_gpus: 4 -> 2", "objective.slo.ttft_p95: not set -> 2.0"]
    assert changes_between(now, now) == []
    assert in_one_line([str(number) for number in range(5)]) == "0, 1, 2 and 2 more"
    assert len(changes_between({"a": "x" * 500}, {"a": None})[0]) < 80


def test_the_parts_that_are_asked_are_parts_of_a_study() -> None:
    from planner.study.identity import ASKED, WAITING
    from planner.study.spec import EngineSpec

    assert set(ASKED) <= set(StudySpec.__struct_fields__)
    assert set(WAITING) <= set(EngineSpec.__struct_fields__)
