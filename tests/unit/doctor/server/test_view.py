"""How a diagnosis reads on a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from planner.doctor.server.bound import Bound
from planner.doctor.server.changes import Change, Weighed
from planner.doctor.server.diagnosis import Diagnosis
from planner.doctor.server.view import diagnosis_view
from planner.workload import Workload
from tests.unit.doctor.server.test_bound import window


def shown(weighed: Weighed | None, bound: Bound) -> str:
    load = Workload(concurrency=40, num_requests=160, input_tokens=500, output_tokens=250)
    found = Diagnosis(windows=(window((40, 9, 0.999)),), bound=bound, load=load, weighed=weighed, silence="no card")
    console = Console(file=io.StringIO(), width=200)
    console.print(diagnosis_view(found))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_sentence_its_evidence_and_what_to_try() -> None:
    bound = Bound(kind="kv cache", sentence="the KV cache: it is full", evidence=("12 preemptions in 10 s",))
    weighed = Weighed(
        rate=900.0,
        more_load=0.0,
        worth=(Change("--kv-cache-dtype fp8", "kv_cache_dtype", 0.31),),
        useless=("layout", "max_num_seqs"),
    )
    text = shown(weighed, bound)
    assert "http://a:1, watched for 10 s" in text
    assert "bound by  the KV cache: it is full" in text
    assert "12 preemptions in 10 s" in text
    assert "to try    --kv-cache-dtype fp8: +31% output tokens/s" in text
    assert "no help   layout, --max-num-seqs" in text
    assert "predicted for 40 requests in flight, about 500 tokens in and 250 out; planner tune measures it" in text


def test_what_cannot_be_said_is_said() -> None:
    missing = Bound(kind="client", sentence="the clients", missing=("process_cpu_seconds_total",))
    text = shown(None, missing)
    assert "missing   process_cpu_seconds_total" in text
    assert "to try    cannot say: no card" in text
