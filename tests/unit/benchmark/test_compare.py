"""Two results side by side: one estimator for columns and differences, and what --fail-on calls a failure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from planner.benchmark.compare import Tolerance, compare_documents, parse_tolerances
from planner.benchmark.metric import Metric
from planner.benchmark.run import EXIT_LIMITS_BROKEN, compare_files
from planner.errors import InputError


def document(throughputs: Sequence[float], **changes: Any) -> dict[str, Any]:
    """A result whose pooled figures are far from the means of its repeats, as a long repeat makes them."""
    return {
        "output_throughput": 3 * max(throughputs), "p95_ttft_ms": 900.0, "workload": {"name": "x"},
        "repeats": [{"output_throughput": value, "p95_ttft_ms": 10_000 / value} for value in throughputs],
        **changes,
    }  # fmt: skip


def result(tmp_path: Path, name: str, throughputs: Sequence[float], **changes: Any) -> Path:
    path = tmp_path / name
    path.write_text(json.dumps(document(throughputs, **changes)))
    return path


def test_a_difference_and_none(tmp_path: Path) -> None:
    before = result(tmp_path, "a.json", [100.0, 101.0, 99.0])
    same = result(tmp_path, "b.json", [101.0, 99.5, 99.9])
    faster = result(tmp_path, "c.json", [120.0, 121.5, 119.0])
    (table,) = compare_files(before, same).tables
    assert {row[-1] for row in table.rows} == {"no significant difference"}
    (table,) = compare_files(before, faster).tables
    assert table.rows[0] == (
        "output throughput", "100.0 tok/s", "120.2 tok/s",
        "+20.2 tok/s (+19.4 tok/s to +20.9 tok/s)", "better by 20.2%",
    )  # fmt: skip


@pytest.mark.parametrize("runs", [(3, 3), (2, 2), (1, 1), (3, 1), (1, 3)])
def test_columns_and_difference_are_of_one_estimator(runs: tuple[int, int]) -> None:
    a, b = document([100.0, 103.0, 99.0][: runs[0]]), document([80.0, 84.0, 79.0][: runs[1]])
    for one in compare_documents(a, b):
        assert one.difference.value == pytest.approx(one.second - one.first)
        assert one.change == pytest.approx(one.second / one.first - 1)
        assert one.is_judged == (min(runs) > 1)


def test_intervals_of_one_run_each_are_used() -> None:
    intervals = {"output_throughput": {"value": 100.0, "low": 98.0, "high": 102.0}}
    (rate, *_) = compare_documents(document([100.0], intervals=intervals), document([90.0], intervals=intervals))
    assert rate.is_judged
    assert rate.difference.high == pytest.approx(-10 + 2 * 2**0.5)
    assert rate.verdict == "worse by 10.0%"


def test_lower_latency_is_better() -> None:
    a = {"mean_ttft_ms": 100.0, "repeats": [{"mean_ttft_ms": v} for v in (99.0, 100.0, 101.0)]}
    b = {"mean_ttft_ms": 80.0, "repeats": [{"mean_ttft_ms": v} for v in (79.0, 80.0, 81.0)]}
    assert compare_documents(a, b)[0].verdict == "better by 20.0%"
    assert compare_documents(b, a)[0].verdict == "worse by 25.0%"
    assert compare_documents(a, b)[0].first == pytest.approx(0.1), "seconds"


def test_vllms_own_files_are_read_but_one_run_says_little(tmp_path: Path) -> None:
    for name, value in (("v1.json", 10.0), ("v2.json", 12.0)):
        (tmp_path / name).write_text(json.dumps({"output_throughput": value, "p99_ttft_ms": 5.0}))
    (table,) = compare_files(tmp_path / "v1.json", tmp_path / "v2.json").tables
    assert [row[-1] for row in table.rows] == ["one sample each: not known"] * 2
    (tmp_path / "bad.json").write_text("[")
    with pytest.raises(InputError, match="is not a result of a benchmark"):
        compare_files(tmp_path / "v1.json", tmp_path / "bad.json")


def test_a_regression_fails_only_where_it_is_sure(tmp_path: Path) -> None:
    before = result(tmp_path, "a.json", [100.0, 101.0, 99.0])
    slower = result(tmp_path, "b.json", [90.0, 91.5, 88.5])
    noisy = result(tmp_path, "c.json", [60.0, 120.0, 90.0])
    rate = "output_throughput"
    assert compare_files(before, slower, [f"{rate}:5%"]).exit_code == EXIT_LIMITS_BROKEN
    assert compare_files(before, slower, [f"{rate}:9.5%"]).exit_code == 0, "the interval begins below that"
    assert compare_files(before, noisy, [f"{rate}:5%"]).exit_code == 0, "not surely worse"
    assert compare_files(slower, before, [f"{rate}:0%", "ttft_p95:0%"]).exit_code == 0, "better"
    outcome = compare_files(before, slower, [f"{rate}:50%", "ttft_p95:5%"])
    assert outcome.exit_code == EXIT_LIMITS_BROKEN
    assert [one["failed"] for one in outcome.documents[0]["fail_on"]] == [False, True]
    assert "--fail-on ttft_p95:5%: FAILED: worse by 11.1%, surely worse by " in outcome.tables[0].notes[-1]
    assert "--fail-on output_throughput:50%: kept" in outcome.tables[0].notes[-2]


def test_one_run_each_is_judged_as_it_is(tmp_path: Path) -> None:
    before, after = result(tmp_path, "a.json", [100.0]), result(tmp_path, "b.json", [80.0])
    outcome = compare_files(before, after, ["output_throughput:5%"])
    assert outcome.exit_code == EXIT_LIMITS_BROKEN
    assert outcome.tables[0].notes[-1].endswith("worse by 20.0%, without an interval, judged as it is")


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("ttft:5%", "'ttft' is no metric that is compared"),
        ("ttft_p96:5%", "did you mean ttft_p9"),
        ("ttft_p95", "allowed is METRIC:PERCENT, for example ttft_p95:5%"),
        ("ttft_p95:5", "allowed is METRIC:PERCENT"),
        ("ttft_p95:-5%", "allowed is METRIC:PERCENT"),
        ("ttft_p95:nan%", "allowed is METRIC:PERCENT"),
        ("", "'' is no metric"),
        ("tpot_p95:5%", "the two results do not both have tpot_p95"),
    ],
)
def test_what_cannot_be_judged_is_one_line(tmp_path: Path, written: str, words: str) -> None:
    paths = [result(tmp_path, name, [1.0, 2.0]) for name in ("a.json", "b.json")]
    with pytest.raises(InputError, match="--fail-on") as caught:
        compare_files(*paths, [written])
    assert words in str(caught.value)


def test_a_tolerance_is_read() -> None:
    assert parse_tolerances(["ttft_p95:5%", "output_throughput:0.5%"]) == [
        Tolerance(Metric("ttft", "p95"), 0.05), Tolerance(Metric("output_throughput"), 0.005),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "damage",
    [
        {"repeats": 3}, {"repeats": [1, None, {}]}, {"repeats": [{"output_throughput": "x"}]}, {"intervals": [1]},
        {"intervals": {"output_throughput": {"low": 3, "high": 1}}}, {"repeats": [{"output_throughput": 1e308}] * 3},
        {"repeats": [{"output_throughput": True}]}, {"repeats": [{"output_throughput": 0.0}] * 2},
    ],
)  # fmt: skip
def test_a_damaged_document_is_no_traceback(tmp_path: Path, damage: dict[str, Any]) -> None:
    whole, hurt = result(tmp_path, "a.json", [1.0, 2.0]), result(tmp_path, "b.json", [1.0, 2.0], **damage)
    for pair in ((whole, hurt), (hurt, whole), (hurt, hurt)):
        assert compare_files(*pair, ["output_throughput:5%"]).tables[0].rows
