"""`planner bench` on the real vLLM in a container; in `make prove` beside `vllm bench serve`, turn and turn about."""

from __future__ import annotations

import json
import math
import subprocess
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from planner.benchmark.capacity.loads import LevelLoader
from planner.benchmark.capacity.search import Capacity, find_capacity
from planner.benchmark.client.server import probe_server
from planner.benchmark.records import RequestRecord
from planner.benchmark.run import BenchAsk, run_bench, workload_of
from planner.benchmark.session import BenchOptions
from planner.statistics import compare
from planner.workload.shapes import ClosedLoop
from tests.integration.studies import PLANNER

pytestmark = [pytest.mark.container, pytest.mark.vllm]

MODEL, INPUT, OUTPUT, CONCURRENCY, REQUESTS, ROUNDS = "/models/tiny", 128, 24, 4, 32, 3
ATTEMPTS = 2
COMPARED = ("output_throughput", "request_throughput", "mean_ttft_ms", "mean_tpot_ms", "mean_e2el_ms")
MARGIN = 0.15
"""What two clients on this machine of few cores may differ by without its being a fault of either: one runs inside the
container, the other outside."""
WORKLOAD = [
    "--concurrency", str(CONCURRENCY), "--num-requests", str(REQUESTS), "--input-tokens", str(INPUT),
    "--output-tokens", str(OUTPUT),
]  # fmt: skip


def by_planner(url: str, seed: int, folder: Path) -> dict[str, Any]:
    path = folder / f"planner-{seed}.json"
    command = [*PLANNER, "bench", url, *WORKLOAD, "--repeats", "1", "--seed", str(seed), "--json", "-o", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=850)
    assert done.returncode in (0, 5), done.stdout + done.stderr  # 5: engine and client share these few cores
    return dict(json.loads(path.read_text()))


def by_vllm(container: Any, seed: int) -> dict[str, Any]:
    command = [
        "vllm", "bench", "serve", "--backend", "openai", "--base-url", "http://127.0.0.1:8000", "--model", MODEL,
        "--dataset-name", "random", "--random-input-len", str(INPUT), "--random-output-len", str(OUTPUT),
        "--num-prompts", str(REQUESTS), "--max-concurrency", str(CONCURRENCY), "--num-warmups", str(CONCURRENCY),
        "--ignore-eos", "--temperature", "0", "--percentile-metrics", "ttft,tpot,itl,e2el", "--seed", str(seed),
        "--save-result", "--result-dir", "/tmp",  # noqa: S108  (in the container)
        "--result-filename", f"{seed}.json",
    ]  # fmt: skip
    code, output = container.exec_run(command)
    assert code == 0, output.decode()[-3000:]
    code, content = container.exec_run(["cat", f"/tmp/{seed}.json"])  # noqa: S108  (in the container)
    assert code == 0
    return dict(json.loads(content))


@pytest.mark.prove
def test_it_agrees_with_vllms_own_benchmark(engine: tuple[Any, str], tmp_path: Path) -> None:
    """In turn, on cores that engine and client share. One disagreement in twenty is chance: a second one is not."""
    container, url = engine
    disagreements = []
    for attempt in range(ATTEMPTS):
        ours, theirs = [], []
        for seed in range(ROUNDS * attempt, ROUNDS * (attempt + 1)):
            if attempt % 2:  # the other order, in case the engine gets faster or slower meanwhile
                theirs.append(by_vllm(container, 100 + seed))
            ours.append(by_planner(url, seed, tmp_path))
            if not attempt % 2:
                theirs.append(by_vllm(container, 100 + seed))
        missing = set(theirs[0]) - set(ours[0])
        assert not missing, f"keys of vllm bench serve that planner does not write: {missing}"
        for document in (*ours, *theirs):
            assert (document["completed"], document["total_output_tokens"]) == (REQUESTS, REQUESTS * OUTPUT)
        apart, lines = disagreement(ours, theirs)
        print(*lines, sep="\n")
        if not apart:
            return
        disagreements += lines
    pytest.fail("\n".join(disagreements))


def disagreement(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Metrics that are surely apart by more than the margin, and all of them in words."""
    apart, lines = [], []
    for key in COMPARED:
        a, b = [one[key] for one in ours], [one[key] for one in theirs]
        difference = compare(b, a)
        lines.append(f"{key}: planner {[round(x, 2) for x in a]}, vllm bench serve {[round(x, 2) for x in b]}")
        if difference.is_significant and abs(difference.value) > MARGIN * sum(b) / len(b):
            apart.append(key)
    return apart, lines


def test_what_the_server_says_is_used(engine: tuple[Any, str], tmp_path: Path) -> None:
    _, url = engine
    found = by_planner(url, 50, tmp_path)
    assert found["model_id"] == MODEL
    assert found["server_version"].startswith("0.32")
    assert found["total_input_tokens"] == REQUESTS * INPUT, "token ids: exactly the planned lengths"
    assert found["server_generation_tokens"] == REQUESTS * OUTPUT, "the engine counted what we counted, and no more"
    assert found["server_drained"] is True


class Turns:
    """Lets two threads take turns, until one of them leaves."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.whose = 0
        self.left: set[int] = set()

    @contextmanager
    def of(self, who: int) -> Iterator[None]:
        with self.condition:
            self.condition.wait_for(lambda: self.whose == who or self.left)
        yield
        with self.condition:
            self.whose = 1 - who
            self.condition.notify_all()

    def leave(self, who: int) -> None:
        with self.condition:
            self.left.add(who)
            self.condition.notify_all()


@pytest.mark.prove
def test_two_searches_agree_on_the_capacity(engine: tuple[Any, str]) -> None:
    """Load by load in turn, so that both meet the same machine, whatever else it does; each within its own interval.

    The limit is what twelve requests at once take here and now, so no speed is assumed.
    """
    _, url = engine
    asked = BenchAsk(url=url, concurrency=12, num_requests=48, input_tokens=INPUT, output_tokens=8, repeats=1)
    (twelve,) = run_bench(asked, lambda *_: None, lambda _: None, datetime.now()).documents
    slo = {"e2el_p90": twelve["p90_e2el_ms"] / 1e3}
    facts, turns = probe_server(url), Turns()

    def search(who: int) -> Capacity:
        workload, _ = workload_of(replace(asked, num_requests=16, seed=1_000_000 * (1 + who)))
        loader = LevelLoader(facts, workload, ClosedLoop(12), slo, BenchOptions(client_processes=1))

        def load(level: float) -> Sequence[RequestRecord]:
            with turns.of(who):
                return loader.load(level)

        try:
            return find_capacity(load, slo, start=4, maximum=128)
        finally:
            turns.leave(who)

    with ThreadPoolExecutor(2) as threads:
        one, two = threads.map(search, (0, 1))
    for found in (one, two):
        print(found.level, (found.low, found.high), [(x.level, x.judgement.verdict) for x in found.levels])
        assert found.low > 0 or found.high < math.inf, "an interval that holds everything says nothing"
    assert one.low < two.high, "the first interval is above the second"
    assert two.low < one.high, "the second interval is above the first"


def test_the_stress_preset_on_the_real_engine(engine: tuple[Any, str]) -> None:
    _, url = engine
    small = BenchAsk(url=url, preset="stress-32k", input_tokens=900, output_tokens=16)
    outcome = run_bench(small, lambda *_: None, lambda _: None, datetime.now())
    assert outcome.exit_code == 0, outcome.documents
    whole = run_bench(BenchAsk(url=url, preset="stress-32k"), lambda *_: None, lambda _: None, datetime.now())
    assert whole.exit_code == 3
    assert {request["answer"] for request in whole.documents[0]["requests"]} == {"refused"}
    assert "1024" in whole.documents[0]["requests"][0]["why"]
