"""`planner workload` as a person types it: what it prints, what it writes, what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from planner.files import decode
from planner.workload.loading import load_workload, predictable
from planner.workload.workload import Workload, plan_requests
from tests.places import ROOT

Run = Callable[[str], tuple[int, str, str]]
TRACES = ROOT / "tests" / "golden" / "traces"
MOONCAKE = TRACES / "mooncake.jsonl"


def test_what_is_in_a_trace_is_read_at_a_glance(run: Run) -> None:
    code, out, err = run(f"workload {MOONCAKE} --num-requests 20")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) <= 15
    words = " ".join(out.split())
    assert "mooncake.jsonl: Mooncake, 60 requests in 39 s" in words
    assert "1.49 requests/s, in bursts" in words
    assert "47% of the prompts' tokens were sent before" in words
    assert "busiest window of 20 of 60 requests cannot show the rest" in words


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("burstgpt.csv", "2 entries that failed or have no answer"),
        ("azure-2023.csv", "not known: the file has neither texts nor hash_ids"),
        ("openai-batch.jsonl", "not in the file; a closed loop sends it"),
        ("sharegpt.json", "input tokens, about"),
    ],
)
def test_what_is_not_known_is_said(run: Run, name: str, words: str) -> None:
    code, out, _ = run(f"workload {TRACES / name}")
    assert code == 0
    assert words in " ".join(out.split())


def test_a_file_is_written_that_sends_the_window(run: Run, tmp_path: Path) -> None:
    written = tmp_path / "mine.yaml"
    code, out, err = run(f"workload {MOONCAKE} --window typical --num-requests 10 -o {written} --json")
    assert (code, err) == (0, f"wrote {written}\n")
    document = json.loads(out)
    assert document["format"] == "Mooncake"
    assert document["prefix_hit_rate"]["16"] == pytest.approx(0.47, abs=0.01)
    assert document["workload"]["window"] == "typical"
    asked = predictable(load_workload(written.name, tmp_path))
    assert len(plan_requests(asked)) == 10
    assert all(plan.blocks is not None for plan in plan_requests(asked))
    code, out, _ = run(f"workload {MOONCAKE} --num-requests 10 -o -")
    assert decode(out, Workload, "stdout").num_requests == 10


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("nothing.csv", "nothing.csv: cannot be read"),
        (f"{MOONCAKE} --window noon", "--window noon: is no window; allowed: start, busiest, typical"),
        (f"{MOONCAKE} --for 5min", "--for: is how long a server is watched"),
        (f"{MOONCAKE} -o none/mine.yaml", "--output none/mine.yaml: no such folder"),
        (f"{MOONCAKE} --json -o -", "with -o - the workload itself is on stdout"),
        ("http://127.0.0.1:9 --window start", "--window: is of recorded traffic"),
        ("http://127.0.0.1:9 --for soon", "--for: 'soon' is not a duration"),
        ("http://127.0.0.1:9 --for 0s", "--for 0s: nothing is served in no time"),
    ],
)
def test_what_it_does_not_take_is_one_line(run: Run, options: str, words: str) -> None:
    code, out, err = run(f"workload {options}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


def test_a_server_that_does_not_answer_is_one_line(run: Run) -> None:
    code, out, err = run("workload http://127.0.0.1:9 --for 1s")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("planner: http://127.0.0.1:9 does not answer: ")
