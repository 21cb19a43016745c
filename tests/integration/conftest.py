"""What the integration tests need: a Docker Engine, the vLLM-CPU image, the tiny model, a browser.

Where something is missing the tests are skipped and say so; with PLANNER_REQUIRE_CONTAINERS set (as in CI) they fail.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest

from tests.gears import is_missing
from tests.integration.studies import ONE_THREAD, tune, write_cpu_study

IMAGES = Path(__file__).parent.parent / "images"
IMAGE = "planner-vllm-cpu:test"
MODEL, CONTEXT = "/models/tiny", 1024
READY_S = 600.0
"""Within which an engine must answer: 26 s on two idle cores."""


@pytest.fixture(scope="session")
def docker_client() -> Iterator[docker.DockerClient]:
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        is_missing(f"no Docker Engine answers ({error})")
    before = {volume.name for volume in client.volumes.list()}
    yield client
    for volume in client.volumes.list(filters={"name": "-compile-cache"}):
        if volume.name not in before:
            volume.remove()
    client.close()


@pytest.fixture(scope="session")
def vllm_image(docker_client: docker.DockerClient) -> str:
    try:
        docker_client.images.get(IMAGE)
    except docker.errors.ImageNotFound:
        is_missing(f"no image {IMAGE}; python tests/images/build.py image makes it")
    return IMAGE


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny qwen3"  # a space: every path must be quoted
    subprocess.run([sys.executable, str(IMAGES / "make_model.py"), str(folder)], check=True)
    return folder


@pytest.fixture(scope="session")
def engine(docker_client: docker.DockerClient, vllm_image: str) -> Iterator[tuple[Any, str]]:
    """A container of the real engine that serves, and its URL. In float32: bfloat16 crawls without AVX-512."""
    container = docker_client.containers.run(
        vllm_image,
        ["--model", MODEL, "--max-model-len", str(CONTEXT), "--enforce-eager", "--dtype", "float32", "--port", "8000"],
        detach=True,
        ipc_mode="host",
        environment={**ONE_THREAD, "VLLM_CPU_KVCACHE_SPACE": "1"},
        ports={"8000/tcp": ("127.0.0.1", None)},
        labels={"org.planner.test": "engine"},
    )
    try:
        yield container, wait_ready(container)
    finally:
        container.remove(force=True)


def wait_ready(container: Any) -> str:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        container.reload()
        assert container.status in ("created", "running"), container.logs(tail=20).decode()
        if ports := container.ports.get("8000/tcp"):
            url = f"http://127.0.0.1:{ports[0]['HostPort']}"
            try:
                if httpx.get(f"{url}/health", trust_env=False, timeout=60).status_code == 200:
                    return url
            except httpx.TransportError:
                pass
        time.sleep(0.5)
    pytest.fail(f"vLLM did not become ready: {container.logs(tail=20).decode()}")


@pytest.fixture(scope="session")
def tuned(vllm_image: str, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of the real engine in containers, tuned by `planner tune --live` to its end: two trials, no finals."""
    study = write_cpu_study(tmp_path_factory.mktemp("tuned") / "study", vllm_image, tiny_model, requests=16)
    done = tune(study, 2, "docker", options=("--no-finals", "--live"))
    assert done.returncode == 0, done.stdout + done.stderr
    return study


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser of the distribution; none is downloaded."""
    path = shutil.which("chromium")
    if path is None:
        is_missing("no chromium on PATH; apt-get install chromium brings it")
    return str(path)
