"""How long `planner estimate` takes from process start to table, and one million candidates take to judge.

    python tests/benchmarks/estimate.py

Compare figures of one run only: the empty interpreter is timed beside it, as a measure of the machine.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from planner.engine.defaults import resolve
from planner.engine.versions import parse_version
from planner.estimate.deployment import Deployment
from planner.estimate.rules import violations
from planner.hardware.by_name import find_gpu
from planner.hardware.placement import Placement
from planner.model.catalog import load_model
from planner.units import GIB

RUNS = 11
NUM_CANDIDATES = 1_000_000
ESTIMATE = ["-c", "from planner.cli.main import main; main()", "estimate", "--model", "Qwen/Qwen3-32B-AWQ"]
ESTIMATE += ["--gpu", "RTX 2080 Ti 22GB", "--num-gpus", "4", "--max-model-len", "32768"]


def seconds(run: Callable[[], object], runs: int = RUNS) -> list[float]:
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return times


def start_python(*args: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, *args], check=True, stdout=subprocess.DEVNULL, env=environment)


def judge_candidates() -> None:
    """The first study's model and cards, every numeric setting drawn at random."""
    rng, n = np.random.default_rng(0), NUM_CANDIDATES
    settings = {
        "dtype": "half",
        "tensor_parallel_size": 4,
        "max_model_len": rng.integers(1024, 40960, n),
        "max_num_seqs": rng.integers(1, 512, n),
        "max_num_batched_tokens": rng.integers(256, 65536, n),
        "gpu_memory_utilization": rng.uniform(0.7, 0.98, n),
        "enable_chunked_prefill": rng.random(n) < 0.5,
        "enable_prefix_caching": rng.random(n) < 0.5,
        "block_size": rng.choice([8, 16, 32], n),
        "swap_space": rng.uniform(0, 64, n),
    }
    model, gpu = load_model("Qwen/Qwen3-32B-AWQ"), find_gpu("RTX 2080 Ti 22GB")
    engine = resolve(settings, model, gpu, parse_version("0.8.5"))
    violations(Deployment.of(model, Placement(gpu, 4, "pcie", 512 * GIB), engine), n)


def main() -> None:
    for name, run in {
        "an empty interpreter": lambda: start_python("-c", "pass"),
        "import numpy": lambda: start_python("-c", "import numpy"),
        "planner estimate, start to table": lambda: start_python(*ESTIMATE),
        f"{NUM_CANDIDATES} candidates judged": judge_candidates,
    }.items():
        times = seconds(run)
        print(f"{name:36} median {statistics.median(times):.3f} s, least {min(times):.3f} s")


if __name__ == "__main__":
    main()
