"""The live doctor and `init --like` on the real vLLM in a container, in states that are made."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest

from planner.benchmark import STOPPED, SilentWatcher, send_load, target_of
from planner.study import Problem, load_study
from planner.workload import ClosedLoop, Workload, plan_requests
from tests.integration.conftest import CONTEXT, MODEL, wait_ready
from tests.integration.studies import ONE_THREAD, PLANNER

pytestmark = [pytest.mark.prove, pytest.mark.container, pytest.mark.vllm]

SEQS = 4
"""Largest batch of the engine here, as many as a load can exceed on a few cores."""
VOCABULARY = 4096
"""Of the tests' tiny model."""


@pytest.fixture(scope="module")
def small(docker_client: docker.DockerClient, vllm_image: str) -> Iterator[str]:
    """The URL of a real engine of at most SEQS sequences."""
    flags = ["--max-model-len", str(CONTEXT), "--max-num-seqs", str(SEQS), "--enforce-eager", "--dtype", "float32"]
    container = docker_client.containers.run(
        vllm_image,
        ["--model", MODEL, *flags, "--port", "8000"],
        detach=True,
        ipc_mode="host",
        environment={**ONE_THREAD, "VLLM_CPU_KVCACHE_SPACE": "1"},
        ports={"8000/tcp": ("127.0.0.1", None)},
        labels={"org.planner.test": "engine"},
    )
    try:
        yield wait_ready(container)
    finally:
        container.remove(force=True)


class _Until(SilentWatcher):
    def __init__(self, is_over: threading.Event) -> None:
        self._is_over = is_over

    def stop_reason(self, moment: Any) -> str | None:  # noqa: ARG002
        return STOPPED if self._is_over.is_set() else None


@contextmanager
def loaded(url: str, in_flight: int) -> Iterator[None]:
    """A closed loop of so many requests while the context is open."""
    load = Workload(concurrency=in_flight, num_requests=2000, input_tokens=128, output_tokens=32)
    is_over, target = threading.Event(), target_of([url], MODEL, load, VOCABULARY)
    sent = threading.Thread(
        target=send_load, args=(target, plan_requests(load), ClosedLoop(in_flight), _Until(is_over))
    )
    sent.start()
    try:
        yield
    finally:
        is_over.set()
        sent.join()


def diagnosed(*options: str) -> dict[str, Any]:
    done = subprocess.run(
        [*PLANNER, "doctor", *options, "--json"], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize(("in_flight", "kind"), [(0, "idle"), (2, "client"), (3 * SEQS, "sequences")])
def test_each_made_state_is_told(small: str, in_flight: int, kind: str) -> None:
    if not in_flight:
        found = diagnosed(small, "--for", "10s")
    else:
        with loaded(small, in_flight):
            found = diagnosed(small, "--for", "20s")
    assert found["bound"] == kind, found


def test_a_study_is_like_the_real_server(small: str, tiny_model: Path, tmp_path: Path) -> None:
    options = ["--like", small, "--for", "20s", "--gpu", "CPU", "--model", str(tiny_model), "--max-num-seqs", str(SEQS)]
    with loaded(small, 6):
        done = subprocess.run(
            [*PLANNER, "init", "mine", *options], capture_output=True, text=True, check=False, timeout=600, cwd=tmp_path
        )
    assert done.returncode == 0, done.stdout + done.stderr
    spec = load_study(tmp_path / "mine")
    assert spec.engine.version == "0.32.0"
    assert isinstance(spec.workload, Workload)
    assert spec.workload.mean_output_tokens == pytest.approx(32, rel=0.3)
    assert spec.workload.concurrency in range(4, 9)
    own = Problem.of(spec).default.engine
    assert (own.max_num_seqs, own.max_model_len) == (SEQS, CONTEXT)
