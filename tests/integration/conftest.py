"""What the integration tests need: a Docker Engine, the vLLM-CPU image, the tiny model, a browser.

Where something is missing the tests are skipped and say so; with PLANNER_REQUIRE_CONTAINERS set (as in CI) they fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

IMAGES = Path(__file__).parent.parent / "images"
IMAGE = "planner-vllm-cpu:test"


def _missing(what: str) -> None:
    if os.environ.get("PLANNER_REQUIRE_CONTAINERS"):
        pytest.fail(f"{what}, and PLANNER_REQUIRE_CONTAINERS is set")
    pytest.skip(what)


@pytest.fixture(scope="session")
def docker_client() -> Iterator[docker.DockerClient]:
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        _missing(f"no Docker Engine answers ({error})")
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
        _missing(f"no image {IMAGE}; python tests/images/build.py image makes it")
    return IMAGE


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny qwen3"  # a space: every path must be quoted
    subprocess.run([sys.executable, str(IMAGES / "make_model.py"), str(folder)], check=True)
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser of the distribution; none is downloaded."""
    path = shutil.which("chromium")
    if path is None:
        _missing("no chromium on PATH; apt-get install chromium brings it")
    return str(path)
