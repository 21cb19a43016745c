"""A study on the nodes of Ray's own multi-node test cluster: in parallel, and with a node killed in the middle."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.inject import processes_of
from tests.integration.studies import PLANNER, trials_of, write_simulated_server_study

Cluster = pytest.importorskip("ray.cluster_utils").Cluster
TRIALS = 6


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head that launches nothing; nodes are added by the test."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0, "include_dashboard": False})
    yield made
    made.shutdown()


def tune(study: Path, cluster: Any, log: Path, *more: str) -> subprocess.Popen[bytes]:
    argv = [*PLANNER, "tune", str(study), "--trials", str(TRIALS), "--ray", cluster.address, *more]
    with log.open("wb") as output:
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )


def test_a_node_is_killed_in_the_middle(cluster: Any, tmp_path: Path) -> None:
    nodes = [cluster.add_node(num_cpus=1, num_gpus=2) for _ in range(2)]
    study, log = write_simulated_server_study(tmp_path / "study", speedup=10), tmp_path / "log"
    process = tune(study, cluster, log, "--backend", "process", "--no-finals")
    while len(processes_of(study)) < 2:
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
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
