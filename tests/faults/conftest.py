"""Faults in containers need a Docker Engine and the tests' image: skipped without, or failed where CI requires them."""

from __future__ import annotations

import docker
import pytest

from tests.faults.in_containers import BASE_IMAGE
from tests.gears import is_missing


@pytest.fixture(scope="session")
def _containers() -> None:
    missing = None
    try:
        client = docker.from_env()
        client.images.get(BASE_IMAGE)
        client.close()
    except docker.errors.DockerException as error:
        missing = f"no Docker Engine with {BASE_IMAGE} (python tests/images/build.py image makes it): {error}"
    if missing:
        is_missing(missing)
