"""What bench is asked: an option that would change nothing is an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from planner.benchmark.ask import BenchAsk, refuse_contradictions, refuse_other_loads, workload_of
from planner.benchmark.session import plans_of
from planner.errors import InputError
from planner.workload import shape_of


def _judge(asked: BenchAsk) -> None:
    workload, prompts = workload_of(asked)
    refuse_other_loads(asked, shape_of(workload, plans_of(workload, 1, prompts)[1][0]), prompts)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start_rate": 5.0, "concurrency": 4}, "--start-rate: says nothing about a closed loop"),
        ({"burstiness": 0.5}, "--burstiness: says nothing about a closed loop"),
        ({"max_concurrency": 5}, "--max-concurrency: says nothing about a closed loop"),
        ({"trace_speed": 2.0}, "--trace-speed: says nothing about a closed loop"),
        ({"trace_speed": 2.0, "request_rate": 1.0}, "--trace-speed: says nothing about a load at a rate"),
        ({"workload": "trace.jsonl", "ramp": "1s"}, "--ramp: says nothing about a trace"),
        ({"workload": "trace.jsonl", "burstiness": 2.0}, "--burstiness: says nothing about a trace"),
        ({"workload": "trace.jsonl", "input_tokens": 2}, "--input-tokens: says nothing about recorded prompts"),
        ({"timeout": "0"}, "--timeout 0: no request can end in no time"),
    ],
)
def test_an_option_of_another_load_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [{"prompt": "a b", "output_tokens": 2, "arrival_s": number} for number in range(3)]
    Path("trace.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InputError) as caught:
        _judge(BenchAsk(url="http://host", **options))
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sweep": "1,2", "finds_capacity": True}, "--sweep and --find-capacity: each is a measurement of its own"),
        ({"preset": "stress-32k", "sweep": "1"}, "--preset and --sweep: each"),
        ({"preset": "stress-32k", "slo": "ttft_p95=1s"}, "--slo: says nothing about --preset"),
        ({"preset": "stress-32k", "workload": "chat"}, "--workload: says nothing about --preset"),
        ({"finds_capacity": True, "repeats": 5}, "--repeats: says nothing about --find-capacity"),
        ({"sweep": "1,2", "ramp": "3s"}, "--ramp: says nothing about --sweep"),
        ({"label": "x"}, "--label: is written into the JSON document only; add --json"),
        ({"detailed": True}, "--save-detailed: is written into the JSON document only"),
        ({"insecure": True, "ca_file": "x"}, "--ca-file: says nothing about --insecure"),
    ],
)
def test_contradictions_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        refuse_contradictions(BenchAsk(url="http://host", **options), has_json=False, has_csv=False)
    assert str(caught.value).startswith(words)
