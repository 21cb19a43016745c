"""Faults of studies on the real engine: vLLM's CPU build in containers, a tiny model of random weights, real requests.

Few, since each start takes half a minute: what the simulated engine cannot show. The scene is that of in_containers.py;
the load is seen in vLLM's own metrics.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import httpx
import yaml

from planner.launch.runs import TRIAL_LABEL
from tests.faults.door import DoorToDocker
from tests.faults.in_containers import (
    BASE_IMAGE,
    DockerFault,
    Met,
    Scene,
    met_in,
    planner_killed_under_load,
    unreachable_under_load,
)
from tests.faults.inject import FAULTY_SEQS
from tests.integration.studies import signal_engine_core, write_cpu_study

MAKE_MODEL = Path(__file__).resolve().parents[1] / "images" / "make_model.py"
REQUESTS = 48
"""Ten seconds of load on two idle cores."""
LIMIT_S = 900.0
RUNNING = "vllm:num_requests_running"


def is_under_load(scene: Scene) -> bool:
    """Whether the second trial's engine has requests running."""
    for container in scene.containers():
        bindings = container.attrs["NetworkSettings"]["Ports"].get("8000/tcp")
        if container.labels[TRIAL_LABEL] == "1" and bindings:
            with contextlib.suppress(httpx.TransportError):
                page = httpx.get(f"http://127.0.0.1:{bindings[0]['HostPort']}/metrics", trust_env=False).text
                samples = [line.split()[-1] for line in page.splitlines() if line.startswith(RUNNING)]
                return any(float(sample) > 0 for sample in samples)
    return False


def engine_killed(scene: Scene) -> None:
    scene.wait_for_load()
    signal_engine_core(scene.container, signal.SIGKILL)


VLLM_FAULTS = {
    fault.name: fault
    for fault in (
        DockerFault("vLLM killed under load", engine_killed, "", "", outcome="failed"),
        DockerFault("vLLM under load, Docker Engine away", unreachable_under_load(False, False), "", ""),
        DockerFault("vLLM under load, planner killed", planner_killed_under_load, "", "", -9),
    )
}
REPRESENTATIVE = "vLLM under load, planner killed"
"""What `make prove` injects; `make faults` all."""


def write_study(folder: Path) -> Path:
    model = folder / "model"
    subprocess.run([sys.executable, str(MAKE_MODEL), str(model)], check=True)
    study = write_cpu_study(folder / "study", BASE_IMAGE, model, requests=REQUESTS)
    data = yaml.safe_load(study.read_text("utf-8"))
    data |= {
        "search_space": {"search": {"max_num_seqs": [FAULTY_SEQS]}},
        "repeats": 1,
        "quality": None,
        "racing": False,
    }
    data["engine"]["compile_cache"] = False
    study.write_text(yaml.safe_dump(data, sort_keys=False), "utf-8")
    return study


@contextlib.contextmanager
def scene_of(folder: Path) -> Iterator[Scene]:
    with contextlib.closing(docker.from_env()) as client, DoorToDocker() as door:
        yield Scene(
            write_study(folder), client, door, BASE_IMAGE, num_trials=2, limit_s=LIMIT_S, is_under_load=is_under_load
        )


def meet(fault: DockerFault, folder: Path) -> Met:
    with scene_of(folder) as scene:
        return met_in(scene, fault)
