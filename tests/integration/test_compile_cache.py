"""What one real engine compiles, the next one finds: the study's volume."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import msgspec
import pytest

from planner.launch.container import COMPILE_CACHE_MOUNT
from planner.launch.docker.backend import DockerBackend
from planner.launch.runs import STUDY_LABEL
from planner.study.loading import load_study
from planner.study.problem import Problem
from tests.integration.studies import write_cpu_study

pytestmark = [pytest.mark.container, pytest.mark.vllm]


@pytest.fixture
def problem(vllm_image: str, tiny_model: Path, tmp_path: Path) -> Problem:
    return Problem.of(load_study(write_cpu_study(tmp_path / "study", vllm_image, tiny_model)))


@pytest.fixture
def volume(docker_client: docker.DockerClient, problem: Problem) -> Iterator[str]:
    """The name of the study's volume; gone afterwards."""
    name = f"planner-{problem.spec.name}-compile-cache"
    yield name
    for left in docker_client.volumes.list(filters={"name": name}):
        left.remove()


def _kept(client: docker.DockerClient, problem: Problem) -> dict[str, str]:
    """The files in the running engine's cache, with the time of their last change."""
    (container,) = client.containers.list(filters={"label": f"{STUDY_LABEL}={problem.spec.name}"})
    code, output = container.exec_run(["find", COMPILE_CACHE_MOUNT, "-type", "f", "-printf", "%T@ %p\\n"])
    assert code == 0, output
    return {path: changed for changed, path in (line.split(" ", 1) for line in output.decode().splitlines())}


@pytest.mark.prove
def test_the_second_engine_sees_what_the_first_one_wrote(
    docker_client: docker.DockerClient, problem: Problem, volume: str, tmp_path: Path
) -> None:
    backend = DockerBackend(problem, tmp_path / "logs")
    with backend.serve(problem.default, 0) as server:
        first, cold_s = _kept(docker_client, problem), server.start_s
    assert any(path.startswith(f"{COMPILE_CACHE_MOUNT}/vllm/") for path in first), first
    backend.clean_up()
    with backend.serve(problem.default, 1) as server:
        second, warm_s = _kept(docker_client, problem), server.start_s
    print(f"start: {cold_s:.1f} s, then {warm_s:.1f} s; {len(first)} files kept")
    assert first.items() <= second.items(), "it is read, not written again"
    (kept,) = docker_client.volumes.list(filters={"label": f"{STUDY_LABEL}={problem.spec.name}"})
    assert kept.name == volume


@pytest.mark.prove
def test_switched_off_nothing_is_kept(docker_client: docker.DockerClient, problem: Problem, tmp_path: Path) -> None:
    spec: Any = problem.spec
    cold = Problem.of(msgspec.structs.replace(spec, engine=msgspec.structs.replace(spec.engine, compile_cache=False)))
    with DockerBackend(cold, tmp_path / "logs").serve(cold.default, 0):
        assert docker_client.volumes.list(filters={"label": f"{STUDY_LABEL}={cold.spec.name}"}) == []
