"""The guard's loop on real containers of the SIMULATED engine, which starts in seconds: so much can be tried."""

from __future__ import annotations

import http.server
import json
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import docker
import httpx
import msgspec
import pytest

from planner.engine.config import EngineConfig
from planner.files.structured import encode
from planner.launch.container import GUARD_LABEL, ContainerRun
from planner.service.guard.events import METRICS
from planner.service.ladder import Ladder, Policy, Rung
from planner.study.workspace import LADDER_FILE
from planner.units import Seconds
from tests.faults.door import DoorToDocker
from tests.integration.guards import PATIENCE_S, Guard
from tests.integration.studies import free_port

pytestmark = pytest.mark.container

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "planner-simulated:test"
POLICY = Policy(
    every=Seconds(0.3), probe_every=Seconds(1), unhealthy_after=Seconds(60), first_wait=Seconds(0.5), quiet=Seconds(4)
)
SOON_UNHEALTHY = msgspec.structs.replace(POLICY, unhealthy_after=Seconds(3))
FITS = {"gpu_memory_utilization": 0.9}
TOO_MUCH = {"gpu_memory_utilization": 0.995}
"""No room for CUDA graphs: the simulated engine ends as vLLM would, out of memory."""


@pytest.fixture(scope="session")
def simulated_image(docker_client: docker.DockerClient, vllm_image: str) -> str:
    """Python and its packages from the image of the tests, the engine from this checkout."""
    start = '["python3", "-m", "planner.simulated", "serve", "--gpu", "RTX 2080 Ti 22GB", "--num-gpus", "2"]'
    text = f"FROM {vllm_image}\nENV PYTHONPATH=/checkout:/opt/vllm\nENTRYPOINT {start}\n"
    docker_client.images.build(fileobj=BytesIO(text.encode()), tag=IMAGE, rm=True)
    return IMAGE


@pytest.fixture
def make_guard(
    docker_client: docker.DockerClient, simulated_image: str, tmp_path: Path
) -> Iterator[Callable[..., Guard]]:
    made: list[Guard] = []

    def make(*rungs: dict[str, Any], policy: Policy = POLICY, copies: int = 1, **changes: Any) -> Guard:
        name = f"planner-guarded-{uuid.uuid4().hex[:8]}"
        run = ContainerRun(
            image=simulated_image,
            name=name,
            command=("--model", "Qwen/Qwen3-8B-AWQ", "--served-model-name", name),
            volumes={str(ROOT): "/checkout"},
            host_ip="127.0.0.1",
            host_port=free_port(),
            container_port=8000,
        )
        ladder = Ladder(
            name=name,
            version="0.8.5",
            containers=[
                msgspec.structs.replace(run, name=f"{name}-{i}", host_port=free_port(), **changes)
                if i
                else msgspec.structs.replace(run, **changes)
                for i in range(copies)
            ],
            extra_args=["--vllm-version", "0.8.5", "--host", "0.0.0.0", "--speedup", "100"],  # noqa: S104  (in the container)
            rungs=[
                Rung(name=f"rung {i}", settings=EngineConfig(max_model_len=4096, dtype="half", **settings))
                for i, settings in enumerate(rungs)
            ],
            policy=policy,
        )
        (tmp_path / LADDER_FILE).write_text(encode(ladder), "utf-8")
        made.append(Guard(ladder, tmp_path, docker_client))
        return made[-1]

    yield make
    for guard in made:
        guard.clean_up()


def test_it_steps_down_climbs_fails_and_climbs_again(make_guard: Callable[..., Guard]) -> None:
    guard = make_guard(TOO_MUCH, FITS).start()
    guard.wait_for("climb_failed")
    told = [name for name in guard.names() if name not in ("launched", "guard_started")]
    assert told[:7] == ["failed", "failed", "stepped_down", "serving", "climbing", "failed", "climb_failed"]
    assert [e["evidence"]["kind"] for e in guard.events() if e["event"] == "failed"] == ["out of memory"] * 3
    assert "CUDA out of memory" in guard.wait_for("failed")["reason"]
    since = len(guard.events())
    assert guard.wait_for("serving", since)["rung"] == 1
    assert guard.complete() == 4
    guard.wait_for("climbing", since)
    quiet = [e for e in guard.events() if e["event"] == "climbing"]
    assert [e["reason"] for e in quiet] == [f"{s} s without a failure, no request runs" for s in (4, 8)]


def test_a_second_guard_is_refused_and_so_is_a_name_that_is_anothers(
    make_guard: Callable[..., Guard], docker_client: docker.DockerClient, simulated_image: str
) -> None:
    guard = make_guard(FITS)
    other = docker_client.containers.create(simulated_image, name=guard.name)
    try:
        assert guard.start().process.wait(PATIENCE_S) == 1
        assert (
            f"container {guard.name} has not the label {GUARD_LABEL}={guard.name}: it is left alone" in guard.errors()
        )
        assert docker_client.containers.get(guard.name).id == other.id
        assert guard.names() == []
    finally:
        other.remove()
    guard.start().wait_for("serving")
    second = Guard(guard.ladder, guard.folder, docker_client)
    assert second.start().process.wait(PATIENCE_S) == 1
    assert f"another guard (pid {guard.process.pid}) has it" in guard.errors()
    assert guard.complete() == 4


@pytest.mark.prove
def test_a_paused_and_a_removed_container_serve_again(make_guard: Callable[..., Guard]) -> None:
    guard = make_guard(FITS, policy=SOON_UNHEALTHY).start()
    guard.wait_for("serving")
    guard.container.pause()
    since = len(guard.events())
    assert guard.wait_for("failed", since)["evidence"]["kind"] == "unhealthy"
    guard.wait_for("serving", since)
    since = len(guard.events())
    guard.container.remove(force=True)
    failed = guard.wait_for("failed", since)
    assert failed["evidence"]["kind"] in {"gone", "killed"}, "the Engine kills first: a look between the two sees that"
    guard.wait_for("serving", since)
    assert guard.complete() == 4


@pytest.mark.prove
def test_a_port_that_is_taken_is_told_and_tried_again(make_guard: Callable[..., Guard]) -> None:
    blocker = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    guard = make_guard(FITS, {"max_num_seqs": 4}, host_port=blocker.server_port)
    guard.start().wait_for("not_launched")
    blocker.server_close()
    assert guard.wait_for("serving")["rung"] == 0, "no fault of the rung"


@pytest.mark.prove
def test_its_own_death_in_a_start_and_another_ladder(make_guard: Callable[..., Guard]) -> None:
    guard = make_guard(FITS, {"max_num_seqs": 4}, policy=msgspec.structs.replace(POLICY, quiet=Seconds(600))).start()
    guard.wait_for("launched")
    guard.end(signal.SIGKILL)
    since = len(guard.events())
    guard.start().wait_for("serving", since)
    assert guard.names(since) == ["guard_started", "adopted", "serving"], "one container, started once"
    before = guard.container.id
    guard.end()
    changed = msgspec.structs.replace(guard.ladder, rungs=guard.ladder.rungs[1:])
    (guard.folder / LADDER_FILE).write_text(encode(changed), "utf-8")
    since = len(guard.events())
    guard.start().wait_for("serving", since)
    assert guard.names(since) == ["guard_started", "adopted", "ladder_changed", "serving"]
    assert guard.container.id == before, "a service that serves is not stopped for it"
    guard.container.stop(timeout=1)
    since = len(guard.events())
    guard.wait_for("serving", since)
    assert "4" in guard.container.attrs["Args"], "from the next start on"


@pytest.mark.prove
def test_instances_are_guarded_each_for_itself(
    make_guard: Callable[..., Guard], docker_client: docker.DockerClient
) -> None:
    guard = make_guard(FITS, copies=2).start()
    other = guard.ladder.containers[1].name
    guard.wait_for("serving", container=guard.name)
    guard.wait_for("serving", container=other)
    before, since = guard.container.id, len(guard.events())
    docker_client.containers.get(other).kill()
    guard.wait_for("serving", since, container=other)
    assert {event["container"] for event in guard.events()[since:]} == {other}
    assert guard.container.id == before


def test_a_docker_engine_that_is_silent_for_a_while_changes_nothing(make_guard: Callable[..., Guard]) -> None:
    guard = make_guard(FITS)
    with DoorToDocker() as door:
        guard.start(env={"DOCKER_HOST": door.host}).wait_for("serving")
        before, since = guard.container.id, len(guard.events())
        door.close()
        guard.wait_for("docker_silent", since)
        assert guard.complete() == 4
        door.open()
        guard.wait_for("docker_back", since)
        time.sleep(2)
        assert guard.names(since) == ["docker_silent", "docker_back"]
        assert guard.container.id == before


def test_stop_stops_the_service_as_well(make_guard: Callable[..., Guard]) -> None:
    guard = make_guard(FITS).start("--stop")
    guard.wait_for("serving")
    assert guard.end() == 0
    with pytest.raises(docker.errors.NotFound):
        _ = guard.container


class Hook(http.server.BaseHTTPRequestHandler):
    """Takes what is posted; the first post is turned away."""

    posted: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.posted.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(500 if len(self.posted) == 1 else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    posted: list[dict[str, Any]] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Hook,), {"posted": posted}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", posted
    server.shutdown()
    server.server_close()
    thread.join()


def test_metrics_and_webhook(make_guard: Callable[..., Guard], hook: tuple[str, list[dict[str, Any]]]) -> None:
    url, posted = hook
    port = free_port()
    guard = make_guard(FITS).start("--metrics-port", str(port), "--webhook", url)
    guard.wait_for("serving")
    guard.complete()
    deadline = time.monotonic() + PATIENCE_S
    page = ""
    while "planner_guard_up{" not in page or f'up{{container="{guard.name}"}} 1.0' not in page:
        assert time.monotonic() < deadline, page
        with suppress(httpx.TransportError):
            page = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        time.sleep(0.2)
    for name in METRICS:
        assert f"# HELP {name} " in page
    assert f'planner_guard_events_total{{container="{guard.name}",event="serving"}} 1.0' in page
    guard.end()
    events = guard.events()
    assert [event["event"] for event in posted] == [e["event"] for e in events if e["event"] != "webhook_failed"]
    assert posted == [event for event in events if event["event"] != "webhook_failed"]
    assert "500" in next(event["reason"] for event in events if event["event"] == "webhook_failed")
