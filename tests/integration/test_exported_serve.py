"""serve.sh as a person runs it, with simulated engines in vLLM's place: both instances answer, and both end."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import pytest

import planner
from planner.service.export.kinds import exported
from planner.study import Forecast
from planner.study.problem import Problem
from tests.integration.studies import free_port, write_simulated_server_study

STARTS_S = 600.0


def test_two_instances_serve_and_end_together(tmp_path: Path) -> None:
    spec = planner.load_study(write_simulated_server_study(tmp_path))
    port = free_port_pair()
    spec = msgspec.structs.replace(spec, serve=msgspec.structs.replace(spec.serve, host_port=port))
    tuned = planner.tune(spec, trials=6, finals=False, backend="simulated", folder=tmp_path)
    trial = next(trial for trial in tuned.trials if trial.candidate.layout.instances == 2)
    script = tmp_path / "serve.sh"
    script.write_text(exported("serve", Forecast(Problem.of(spec)), trial, None, tmp_path / "ladder.yaml"), "utf-8")
    urls = [f"http://127.0.0.1:{port + i}" for i in range(2)]
    with subprocess.Popen(["bash", str(script)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for url in urls:
                wait_until(lambda url=url: answers(url))
            asked = planner.BenchAsk(
                url=urls[1], input_tokens=64, output_tokens=8, concurrency=4, num_requests=8, repeats=1
            )
            (document,) = planner.bench(asked).documents
            assert (document["completed"], document["failed"]) == (8, 0)
            assert document["model_id"] == spec.serve.name
        finally:
            process.terminate()
        process.wait(600)
    wait_until(lambda: not any(map(answers, urls)))


def free_port_pair() -> int:
    """A port that is free, and the next one too."""
    for _ in range(50):
        port = free_port()
        if port < 65000 and not answers(f"http://127.0.0.1:{port + 1}"):
            return port
    pytest.fail("no two ports side by side")


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=60).status_code == 200
    except httpx.TransportError:
        return False


def wait_until(is_so: Callable[[], bool]) -> None:

    until = time.monotonic() + STARTS_S
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.2)
