"""A study on the nodes of Ray's own multi-node test cluster: in parallel, and with a node killed in the middle."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import psutil
import pytest

from planner.study.loading import load_study
from planner.study.problem import Problem
from planner.trials.host_speeds import neighbours, on_par, speeds_by_host
from planner.trials.ranking import best_trial
from planner.trials.trial import searched
from planner.tuning.loop import run_study
from planner.tuning.ray import executor as ray_hosts
from planner.tuning.search.search import Search
from tests.faults.inject import gone_within, launchers_of, processes_of
from tests.forecasts import forecast_of
from tests.integration.studies import PLANNER, containers_of, trials_of, write_cpu_study, write_simulated_server_study

Cluster = pytest.importorskip("ray.cluster_utils").Cluster
TRIALS = 4


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head that launches nothing; nodes are added by the test. It notices a dead node within seconds.

    Dead is a node that refuses five looks in a row. One that is only slow has Ray's own ten seconds for each answer.
    """
    often = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500}
    head = {"num_cpus": 0, "num_gpus": 0, "include_dashboard": False, "_system_config": often}
    made = Cluster(initialize_head=True, head_node_args=head)
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


@pytest.mark.prove
@pytest.mark.container
@pytest.mark.vllm
def test_the_real_engine_on_two_nodes_of_which_one_is_killed(
    cluster: Any, docker_client: docker.DockerClient, vllm_image: str, tiny_model: Path, tmp_path: Path
) -> None:
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    study, log = write_cpu_study(tmp_path / "study", vllm_image, tiny_model, requests=16), tmp_path / "log"
    study.write_text(study.read_text().replace("gpu: CPU,", "gpu: CPU, cpu_cores: 1,"))
    with tuning(study, cluster, log, "--no-finals", trials=3) as process:
        wait_for(process, log, lambda: len(containers_of(docker_client, study)) == 2)
        bound = [
            docker_client.api.inspect_container(name)["HostConfig"] for name in containers_of(docker_client, study)
        ]
        assert len({config["CpusetCpus"] for config in bound} - {""}) == 2, "each has a core of its own"
        wait_for(process, log, lambda: len(trials_of(study)) >= 2 and len(containers_of(docker_client, study)) == 2)
        cluster.remove_node(nodes[0], allow_graceful=False)
        assert process.wait(850) == 0, log.read_text()
    trials = trials_of(study)
    assert sorted(trial.number for trial in trials) == list(range(len(trials)))
    assert [trial.outcome for trial in searched(trials)] == ["measured"] * 3, log.read_text()
    assert len({trial.candidate for trial in trials}) == 3
    assert len({trial.provenance.machine.host for trial in trials}) == 2
    assert containers_of(docker_client, study) == [], "the dead node's are removed too"


def test_an_interrupt_stops_what_the_hosts_are_doing(cluster: Any, tmp_path: Path) -> None:
    for _ in range(2):
        cluster.add_node(num_cpus=1, num_gpus=2)
    study, log = write_simulated_server_study(tmp_path / "study", speedup=5), tmp_path / "log"
    with tuning(study, cluster, log, "--backend", "process") as process:
        wait_for(process, log, lambda: len(processes_of(study)) >= 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(850) == 130, log.read_text()
    assert "the same command continues" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert processes_of(study) == []


@pytest.mark.prove
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
        deadline = time.monotonic() + 600
        while processes_of(study):
            assert time.monotonic() < deadline, processes_of(study)
            time.sleep(0.2)


def test_no_cluster_there(tmp_path: Path) -> None:
    study, log = write_simulated_server_study(tmp_path / "study"), tmp_path / "log"
    with log.open("wb") as output:
        argv = [*PLANNER, "tune", str(study), "--ray", "127.0.0.1:1"]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, timeout=850)
    assert done.returncode == 1
    assert "Ray: no cluster at 127.0.0.1:1" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_a_host_that_cannot_keep_logs_is_left_out(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the place of a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    cluster.add_node(num_cpus=1, num_gpus=2)
    study, log = write_simulated_server_study(tmp_path / "study"), tmp_path / "log"
    with tuning(study, cluster, log, "--backend", "process") as process:
        assert process.wait(850) == 1, log.read_text()
    assert "no host is left that can launch" in log.read_text()
    assert "Not a directory" in log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.mark.prove
def test_a_node_is_killed_in_the_middle(cluster: Any, tmp_path: Path) -> None:
    nodes = [cluster.add_node(num_cpus=1, num_gpus=2) for _ in range(2)]
    study, log = write_simulated_server_study(tmp_path / "study", speedup=20), tmp_path / "log"
    with tuning(study, cluster, log, "--backend", "process", "--no-finals") as process:
        wait_for(process, log, lambda: len(processes_of(study)) >= 2)
        wait_for(process, log, lambda: len(trials_of(study)) >= 1 and len(processes_of(study)) >= 2)
        cluster.remove_node(nodes[1], allow_graceful=False)
        assert process.wait(850) == 0, log.read_text()
    trials = trials_of(study)
    assert len(searched(trials)) == TRIALS
    assert sorted(trial.number for trial in trials) == list(range(len(trials)))
    assert len({trial.candidate for trial in trials}) == TRIALS
    hosts = Counter(trial.provenance.machine.host for trial in trials)
    assert None not in hosts
    assert "raylet" not in log.read_text().lower(), "what Ray prints of it is nothing for the user"
    assert log.read_text().count("the study goes on without it") == 1
    assert gone_within(lambda: processes_of(study))[1] == []
    assert (study.parent / "logs" / "trial-0-0.log").stat().st_size, "logs come home"


# --- nodes with an environment of their own: how fast their engine is, and whether they have one ---

ENGINE = f"""\
#!/bin/sh
exec {sys.executable} -m planner.simulated serve --gpu "RTX 2080 Ti 22GB" --num-gpus 2 --vllm-version 0.8.5 \\
  --speedup $VLLM_SPEEDUP --model "$@"
"""


def add_node(cluster: Any, tmp_path: Path, name: str, speedup: float, num_gpus: int = 2) -> Path:
    """Its engine, a program that only this node has on its PATH."""
    programs = tmp_path / name
    programs.mkdir()
    engine = programs / "engine"
    engine.write_text(ENGINE)
    engine.chmod(0o755)
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "VLLM_SPEEDUP": str(speedup), "NODE": name}
    cluster.add_node(num_cpus=1, num_gpus=num_gpus, env_vars=env)
    return engine


def write_study(folder: Path) -> Path:
    path = write_simulated_server_study(folder)
    text = re.sub("command: .*", "command: [engine]", path.read_text())
    path.write_text(text.replace("max_num_seqs: [7, 64]", "max_num_seqs: [1, 2, 64]").replace(", 2xtp1", ""))
    return path


@pytest.mark.prove
def test_unlike_hosts_are_measured_and_made_comparable(cluster: Any, tmp_path: Path) -> None:
    """One is half as fast, and one has room for two trials at once; a second run measures nothing of that again."""
    add_node(cluster, tmp_path, "slow", 2)
    add_node(cluster, tmp_path, "fast", 4, num_gpus=4)
    study, log = write_study(tmp_path / "study"), tmp_path / "log"
    options = ("--backend", "process", "--no-finals", "--mixed")
    with tuning(study, cluster, log, *options, trials=5) as process:
        assert process.wait(850) == 0, log.read_text()
    problem, trials = Problem.of(load_study(study)), trials_of(study)
    assert [trial.outcome for trial in trials] == ["measured"] * 10
    assert len(searched(trials)) == 5
    speeds = sorted(one.speed for one in speeds_by_host(problem, trials))
    assert 0.3 < speeds[0] / speeds[1] < 0.75, log.read_text()
    assert "hosts: the default's speed against " in log.read_text()
    best = best_trial(problem, on_par(problem, trials))
    assert best is not None
    assert best.candidate.engine.max_num_seqs in {None, 64}
    found = neighbours(problem, trials)
    assert found is not None
    assert found.count == 2
    assert "neighbours: 2 trials at once on " in log.read_text()
    with tuning(study, cluster, log, *options, trials=6) as process:
        assert process.wait(850) == 0, log.read_text()
    assert len(trials_of(study)) == 11


@pytest.mark.prove
def test_a_host_that_loses_its_engine_and_one_that_hangs(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are left out, their trials begin elsewhere, and the study ends well."""
    monkeypatch.setattr(ray_hosts, "LAUNCHES_OF_A_TRIAL", 1)
    monkeypatch.setattr(ray_hosts, "CARDS_FREE_WITHIN_S", 0.0)
    monkeypatch.setattr(ray_hosts, "MOST_LOADS", 1)
    monkeypatch.setattr(ray_hosts, "LOOKED_WITHIN_S", 20.0)
    for name in ("good", "hangs"):
        add_node(cluster, tmp_path, name, 4)
    engine = add_node(cluster, tmp_path, "broken", 4)
    study, said, stopped = write_study(tmp_path / "study"), list[str](), list[psutil.Process]()
    study.write_text(study.read_text().replace("start_timeout: 60s", "start_timeout: 30s"))
    problem = Problem.of(load_study(study))

    def stop_the_next_launch() -> None:
        while not stopped:
            for process in psutil.process_iter():
                try:
                    if process.name() == "ray::launch" and process.environ().get("NODE") == "hangs":
                        process.suspend()
                        stopped.append(process)
                except psutil.Error:
                    continue
            time.sleep(0.1)

    class Watch:
        def started(self, number: int, candidate: Any) -> None: ...

        def stage(self, stage: str, done: int, total: int) -> None: ...

        def finished(self, trial: Any) -> None:  # noqa: ARG002
            engine.unlink(missing_ok=True)

    threading.Thread(target=stop_the_next_launch, daemon=True).start()
    with ray_hosts.ray_executor(
        problem, "process", cluster.address, tmp_path / "logs", False, False, said.append
    ) as executor:
        trials = run_study(problem, Search.open(forecast_of(problem), None), executor, 6, Watch())
    assert [trial.outcome for trial in trials] == ["measured"] * 6
    assert len({trial.candidate for trial in trials}) == 6
    assert sum("no answer for" in line for line in said) == 1, said
    assert sum("not found on PATH" in line for line in said) == 1, said
    assert len(said) == 2
    assert gone_within(lambda: processes_of(study))[1] == [], "nor does the killed task's engine stay"
