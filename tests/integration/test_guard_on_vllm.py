"""A guard keeps the real vLLM up: killed, hung, out of memory, refused; each time a request is served again.

For `make prove`: in CI guards keep simulated engines up (test_guard_loop.py).
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from planner.launch.container import GUARD_LABEL
from planner.service.ladder import Policy
from planner.units import MIB, Seconds
from tests.integration.guards import Guard, write_ladder
from tests.integration.studies import write_cpu_study

pytestmark = [pytest.mark.prove, pytest.mark.container, pytest.mark.vllm]

START_S = 600.0
"""Within which an engine must serve after its launch: 26 s on two idle cores, 180 s seen on two with a load of 15."""
POLICY = Policy(
    every=Seconds(1),
    probe_every=Seconds(2),
    stuck_after=Seconds(60),
    unhealthy_after=Seconds(120),
    start_timeout=Seconds(START_S),
    first_wait=Seconds(1),
    refused=1,
)
MEMORY_LIMIT_BYTES = 2500 * MIB
TOO_MANY_TOKENS = 1 << 28
"""Of a step: vLLM's runner makes an array of 2 GiB for them at its start (v1/worker/gpu_model_runner.py, arange_np)."""


@pytest.fixture(scope="module")
def steady(
    docker_client: docker.DockerClient, vllm_image: str, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guard]:
    """A guard of one rung that works; whatever a test does to it, the next one finds it serving."""
    study = write_cpu_study(tmp_path_factory.mktemp("steady"), vllm_image, tiny_model)
    guard = Guard(
        write_ladder(study, {"winner": {}, "below": {"max_num_seqs": 2}}, POLICY), study.parent, docker_client
    )
    guard.start()
    try:
        guard.wait_for("serving")
        yield guard
    finally:
        guard.clean_up()


def served_again(guard: Guard, since: int) -> list[str]:
    """The names of the events from a fault on, once the service answers again."""
    failed = guard.wait_for("failed", since)
    assert Path(failed["evidence"]["log"]).read_text("utf-8")
    guard.wait_for("serving", since)
    assert guard.complete() == 4
    return guard.names(since)


def test_a_killed_engine_is_started_again_on_its_rung(steady: Guard) -> None:
    since, before = len(steady.events()), steady.container.id
    steady.signal_engine(signal.SIGKILL)
    assert served_again(steady, since) == ["failed", "launched", "serving"]
    failed = steady.events()[since]
    assert failed["evidence"]["kind"] == "crashed"
    assert steady.events()[-1]["rung"] == 0, "a death says nothing against the rung"
    assert steady.container.id != before


def test_a_hung_engine_is_noticed_by_the_probe_and_started_again(steady: Guard) -> None:
    """Its API server still answers /health with 200, and its metrics say that nothing runs."""
    since = len(steady.events())
    steady.signal_engine(signal.SIGSTOP)
    assert served_again(steady, since) == ["failed", "launched", "serving"]
    failed = steady.events()[since]
    assert failed["evidence"]["kind"] == "stuck"
    assert "no token for" in failed["reason"]
    assert steady.events()[-1]["rung"] == 0


def test_a_guard_that_dies_finds_its_container_again_and_touches_no_other(
    steady: Guard, docker_client: docker.DockerClient, vllm_image: str
) -> None:
    other = docker_client.containers.run(
        vllm_image, ["600"], entrypoint="sleep", name=f"planner-other-{steady.name}", detach=True,
        labels={GUARD_LABEL: "another-service"},
    )  # fmt: skip
    try:
        since, before = len(steady.events()), steady.container
        steady.end(signal.SIGKILL)
        assert steady.complete() == 4, "the engine does not need its guard"
        steady.start()
        steady.wait_for("adopted", since)
        time.sleep(5)
        assert steady.names(since) == ["guard_started", "adopted"]
        assert steady.container.id == before.id
        assert steady.container.attrs["State"]["StartedAt"] == before.attrs["State"]["StartedAt"]
        assert steady.end() == 0
        assert steady.names(since)[-1] == "guard_stopped"
        assert steady.complete() == 4, "a guard that is told to end leaves the service as it is"
        steady.start()
        steady.wait_for("adopted", since + 3)
        other.reload()
        assert other.status == "running"
    finally:
        other.remove(force=True)


def test_a_refused_rung_and_one_out_of_memory_end_on_the_rung_that_works(
    docker_client: docker.DockerClient, vllm_image: str, tiny_model: Path, tmp_path: Path
) -> None:
    """The kernel kills the engine at the container's memory limit, twice: only then the guard steps down."""
    study = write_cpu_study(tmp_path, vllm_image, tiny_model)
    rungs = {
        "bad flag": {"quantization": "nonsense"},
        "too large": {"max_num_batched_tokens": TOO_MANY_TOKENS},
        "fits": {},
    }
    ladder = write_ladder(study, rungs, POLICY, memory_limit_bytes=MEMORY_LIMIT_BYTES)
    guard = Guard(ladder, tmp_path, docker_client).start()
    try:
        serving = guard.wait_for("serving")
        assert guard.complete() == 4
        assert serving["rung_name"] == "fits"
        told = [(event["event"], event["rung"]) for event in guard.events()]
        assert told == [
            ("guard_started", 0),
            ("launched", 0), ("failed", 0), ("stepped_down", 1),
            ("launched", 1), ("failed", 1), ("launched", 1), ("failed", 1), ("stepped_down", 2),
            ("launched", 2), ("serving", 2),
        ]  # fmt: skip
        refused, first, second = (event for event in guard.events() if event["event"] == "failed")
        assert refused["evidence"]["kind"] == "refused"
        assert "nonsense" in refused["reason"]
        for failed in (first, second):
            assert failed["evidence"]["kind"] == "out of memory"
            assert failed["evidence"]["oom_killed"]
            assert "the kernel killed a process" in failed["reason"]
        assert guard.end() == 0
    finally:
        guard.clean_up()
