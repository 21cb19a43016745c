"""What the command line asks in place of the study's own question."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner.errors import InputError
from planner.study.question import Question, with_question

Make = Callable[..., Any]
Run = Callable[[str], tuple[int, str, str]]


def test_nothing_asked_changes_nothing(make_problem: Make) -> None:
    spec = make_problem().spec
    assert with_question(spec, Question()) is spec


def test_each_part_replaces_the_studys(make_problem: Make) -> None:
    spec = make_problem(objective={"metric": "ttft_p95", "slo": {"tpot_p95": "1s"}}).spec
    limits = with_question(spec, Question(slo="ttft_p95=2s,output_throughput=500")).objective
    assert limits.limits == {"ttft_p95": 2.0, "output_throughput": 500.0}
    assert limits.metric == "ttft_p95", "the goal stays"
    goal = with_question(spec, Question(objective="tpot_p50")).objective
    assert (goal.metric, goal.limits) == ("tpot_p50", {"tpot_p95": 1.0})
    weights = with_question(spec, Question(objective="output_throughput=1,ttft_p95=0.3")).objective
    assert (weights.metric, weights.weights) == (None, {"output_throughput": 1.0, "ttft_p95": 0.3})
    assert with_question(spec, Question(image="mine:1")).container.image == "mine:1"
    assert with_question(spec, Question(workload="chat")).workload.name == "chat"


def test_another_concurrency_keeps_the_requests_for_each(make_problem: Make) -> None:
    spec = make_problem().spec
    before = spec.workload
    after = with_question(spec, Question(concurrency=2 * before.concurrency)).workload
    assert (after.concurrency, after.num_requests) == (2 * before.concurrency, 2 * before.num_requests)
    rated = make_problem(workload={"concurrency": 2, "num_requests": 8, "request_rate": 3.0, "start_rate": 1.0})
    closed = with_question(rated.spec, Question(concurrency=5)).workload
    assert (closed.concurrency, closed.request_rate, closed.start_rate) == (5, None, None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--slo ttft=2s", "slo.ttft: is no metric with a limit; did you mean ttft_p95?"),
        ("--slo ttft_p95=soon", "slo.ttft_p95: 'soon' is not a duration"),
        ("--slo ttft_p95", "is not NAME=LIMIT"),
        ("--slo ,", "--slo: names no limit"),
        ("--objective nothing", "metric 'nothing': allowed: "),
        ("--objective ttft_p95=", "'ttft_p95' has no weight"),
        ("--objective ttft_p95=0", "weights.ttft_p95: 0 is not a number above 0"),
        ("--workload nothing", "nothing: no such file"),
        ("--workload trace.yaml", "trace.jsonl: cannot be read: No such file"),
        ("--concurrency 0", "'--concurrency'"),
        ("--image ' '", "image"),
        ("--image --privileged", "--image"),
    ],
)
def test_what_yaml_would_refuse_is_refused(run: Run, study: Path, options: str, words: str) -> None:
    Path("trace.yaml").write_text("concurrency: 2\nnum_requests: 2\nprompts: trace.jsonl\n", "utf-8")
    code, _, err = run(f"tune {study} --dry-run {options}")
    assert (code, err.count("\n")) == (2, 1)
    assert words in err


def test_the_plan_shows_what_was_asked(run: Run, study: Path) -> None:
    code, out, _ = run(f"tune {study} --dry-run --slo ttft_p95=2s --objective tpot_p50 --image mine:2 --json --quiet")
    assert code == 0
    plan = json.loads(out)
    assert plan["objective"] == "tpot_p50"
    assert plan["limits"] == {"ttft_p95": 2.0}
    assert "mine:2" in plan["first_launch"][0]


def test_an_image_without_containers_is_refused(make_problem: Make) -> None:
    spec = make_problem(container=None).spec
    with pytest.raises(InputError, match="has no container section"):
        with_question(spec, Question(image="mine"))
