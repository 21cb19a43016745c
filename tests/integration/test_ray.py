"""A study on the nodes of Ray's own multi-node test cluster: in parallel, and with a node killed in the middle."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest

from studies import PLANNER, containers_of, trials_of, write_cpu_study, write_simulated_server_study
from tests.faults.inject import launchers_of, processes_of

Cluster = pytest.importorskip("ray.cluster_utils").Cluster
TRIALS = 6


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head that launches nothing; nodes are added by the test."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0, "include_dashboard": False})
    yield made
    made.shutdown()


@contextmanager
def tuning(study: Path, cluster: Any, log: Path, *more: str, trials: int = TRIALS) -> Iterator[subprocess.Popen[bytes]]:
    argv = [*PLANNER, "tune", str(study), "--trials", str(trials), "--ray", cluster.address, *more]
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(process: subprocess.Popen[bytes], log: Path, is_so: Callable[[], bool]) -> None:
    while not is_so():
        assert process.poll() is None, log.read_text()
        time.sleep(0.2)


@pytest.mark.container
@pytest.mark.vllm
def test_the_real_engine_on_two_nodes_of_which_one_is_killed(
    cluster: Any, docker_client: docker.DockerClient, vllm_image: str, tiny_model: Path, tmp_path: Path
) -> None:
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    study, log = write_cpu_study(tmp_path / "study", vllm_image, tiny_model, requests=16), tmp_path / "log"
    began = time.monotonic()
    with tuning(study, cluster, log, "--no-finals", trials=4) as process:
        wait_for(process, log, lambda: len(containers_of(docker_client, study)) == 2)
        wait_for(process, log, lambda: len(trials_of(study)) >= 2 and len(containers_of(docker_client, study)) == 2)
        cluster.remove_node(nodes[0], allow_graceful=False)
        assert process.wait(600) == 0, log.read_text()
    took_s = time.monotonic() - began
    trials = trials_of(study)
    assert sorted(trial.number for trial in trials) == list(range(4))
    assert [trial.outcome for trial in trials] == ["measured"] * 4, log.read_text()
    assert len({trial.candidate for trial in trials}) == 4
    assert len({trial.provenance.machine.host for trial in trials}) == 2
    assert containers_of(docker_client, study) == [], "the dead node's are removed too"
    assert sum(trial.start_s + trial.benchmark_s for trial in trials) > took_s, "some were at once"


def test_an_interrupt_stops_what_the_hosts_are_doing(cluster: Any, tmp_path: Path) -> None:
    for _ in range(2):
        cluster.add_node(num_cpus=1, num_gpus=2)
    study, log = write_simulated_server_study(tmp_path / "study", speedup=5), tmp_path / "log"
    with tuning(study, cluster, log, "--backend", "process") as process:
        wait_for(process, log, lambda: len(processes_of(study)) >= 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 130, log.read_text()
    assert "the same command continues" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert processes_of(study) == []


def test_a_killed_driver_and_its_killed_workers_leave_no_engine_on_any_host(cluster: Any, tmp_path: Path) -> None:
    for _ in range(2):
        cluster.add_node(num_cpus=1, num_gpus=2)
    study, log = write_simulated_server_study(tmp_path / "study", speedup=5), tmp_path / "log"
    with tuning(study, cluster, log, "--backend", "process") as process:
        wait_for(process, log, lambda: len(processes_of(study)) >= 2)
        for worker in launchers_of(study):
            worker.kill()  # Ray itself may end them gently
        process.kill()
        process.wait()
        deadline = time.monotonic() + 60
        while processes_of(study):
            assert time.monotonic() < deadline, processes_of(study)
            time.sleep(0.2)


def test_no_cluster_there(tmp_path: Path) -> None:
    study, log = write_simulated_server_study(tmp_path / "study"), tmp_path / "log"
    with log.open("wb") as output:
        argv = [*PLANNER, "tune", str(study), "--ray", "127.0.0.1:1"]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, timeout=120)
    assert done.returncode == 1
    assert "Ray: no cluster at 127.0.0.1:1" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_a_node_is_killed_in_the_middle(cluster: Any, tmp_path: Path) -> None:
    nodes = [cluster.add_node(num_cpus=1, num_gpus=2) for _ in range(2)]
    study, log = write_simulated_server_study(tmp_path / "study", speedup=10), tmp_path / "log"
    with tuning(study, cluster, log, "--backend", "process", "--no-finals") as process:
        wait_for(process, log, lambda: len(processes_of(study)) >= 2)
        time.sleep(3)
        cluster.remove_node(nodes[1], allow_graceful=False)
        assert process.wait(240) == 0, log.read_text()
    trials = trials_of(study)
    assert sorted(trial.number for trial in trials) == list(range(TRIALS))
    assert len({trial.candidate for trial in trials}) == TRIALS
    hosts = Counter(trial.provenance.machine.host for trial in trials)
    assert None not in hosts
    assert processes_of(study) == []
    assert (study.parent / "logs" / "trial-0-0.log").stat().st_size, "logs come home"
