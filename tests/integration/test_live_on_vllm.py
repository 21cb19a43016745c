"""Limits turned in a running scheduler, on the real vLLM: the same steps as a fresh one; the same winner in a study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import docker
import pytest

from planner.launch.live import planner_live
from tests.integration.conftest import MODEL
from tests.integration.studies import trials_of

pytestmark = [pytest.mark.container, pytest.mark.vllm]


def test_a_turned_scheduler_takes_the_steps_of_a_fresh_one(
    docker_client: docker.DockerClient, vllm_image: str, tmp_path: Path
) -> None:
    """Without a model, on vLLM's own Scheduler and AsyncScheduler, with prompts that share prefixes."""
    for source in (Path(planner_live.__file__), Path(__file__).with_name("step_equality.py")):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    said = docker_client.containers.run(
        vllm_image,
        ["/code/step_equality.py", MODEL],
        entrypoint="python3",
        volumes={str(tmp_path): {"bind": "/code", "mode": "ro"}},
        environment={"PYTHONPATH": "/opt/vllm:/code", "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1"},
        remove=True,
        stderr=False,
    )
    found: list[dict[str, Any]] = json.loads(said.decode().strip().splitlines()[-1])
    assert len(found) == 14
    assert {one["base"] for one in found if one["async"]} == {"AsyncScheduler"}
    assert {one["base"] for one in found if not one["async"]} == {"Scheduler"}
    for one in found:
        assert (one["said"]["state"], list(one["said"]["values"].values())) == ("set", one["limits"])
        assert one["same"], one
    assert len({one["steps"] for one in found if not one["async"]}) > 4  # the limits really bind


def test_containers_measured_other_settings_by_the_way(tuned: Path) -> None:
    trials = trials_of(tuned)
    points = [(trial, point) for trial in trials for point in trial.live.points]
    assert points, [trial.live.ended for trial in trials]
    for trial, point in points:
        assert point.candidate.key not in {one.candidate.key for one in trials}
        assert point.candidate.engine.enable_prefix_caching == trial.candidate.engine.enable_prefix_caching
        assert point.metrics["output_throughput"] > 0
    assert all(trial.live.seconds > 0 for trial, _ in points)
    assert not list(tuned.parent.rglob("*-live")), "the folders of knobs are gone"
