"""How many times as fast as real time engines are simulated, beside the step-by-step reference.

    python tests/benchmarks/simulator.py [--requests 23608] [--reference 1200] [--instances 8] [--pairs 3] [--json FILE]

The work is like Mooncake's conversation trace: 6.5 requests a second for an hour, 7 190 tokens in and 177 out in the
mean, blocks of 512 tokens of which four in ten were seen before; 8 instances of Qwen3-32B, each on two H200, vLLM 0.24.
A pair is the reference over the first `--reference` requests, then the simulator over these and over all of them. Times
are processor seconds of one core; memory is the most that the process held.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from packaging.version import Version

from planner.engine.defaults import resolve
from planner.estimate.memory.per_gpu import estimate_memory
from planner.estimate.speed.step import StepModel
from planner.hardware.by_name import find_gpu
from planner.hardware.placement import Placement
from planner.model.catalog import load_model
from planner.simulated import load as planned
from planner.simulated.scheduler import SimulatedEngine
from planner.workload.shapes import OpenLoop
from planner.workload.workload import PromptBlocks, RequestPlan
from tests import stepwise

RATE_PER_S = 6.5
BLOCK_TOKENS = 512
INPUT_TOKENS, OUTPUT_TOKENS = 7190, 177
SEEN_BEFORE = 0.4
"""Share of a prompt's blocks that an earlier prompt had too, in the mean."""


def work(num_requests: int) -> list[RequestPlan]:
    """Requests whose prompts continue an earlier one's, or begin anew."""
    draw, ids, plans = random.Random(7), 0, list[RequestPlan]()
    for index in range(num_requests):
        tokens = max(64, min(100_000, round(INPUT_TOKENS * draw.lognormvariate(-0.32, 0.8))))
        count = -(-tokens // BLOCK_TOKENS)
        earlier = plans[draw.randrange(max(0, index - 2000), index)].blocks if index else None
        shared = [] if earlier is None else list(earlier.ids[: round(count * draw.uniform(0, 2 * SEEN_BEFORE))])
        own = count - len(shared)
        plan_ids = (*shared, *range(ids, ids + own))
        ids += own
        output = max(1, min(2000, round(OUTPUT_TOKENS * draw.lognormvariate(-0.32, 0.8))))
        plans.append(RequestPlan(index, tokens, output, 0, blocks=PromptBlocks(plan_ids, BLOCK_TOKENS)))
    return plans


def times_real(loop: Any, plans: list[RequestPlan]) -> float:
    """Virtual seconds in a processor second."""
    began_s = time.process_time()
    records = loop.run(plans, OpenLoop(RATE_PER_S), 1)
    spent_s = time.process_time() - began_s
    assert all(record.error is None for record in records)
    return float(max(record.finished_s for record in records) / spent_s)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=23_608)
    parser.add_argument("--reference", type=int, default=1200)
    parser.add_argument("--instances", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    model, card, version = load_model("Qwen/Qwen3-32B"), find_gpu("H200"), Version("0.24.0")
    settings = {"tensor_parallel_size": 2, "enable_prefix_caching": True}
    engine = resolve(settings, model, card, version)
    placement = Placement(card, 2, "nvlink")
    num_blocks = int(estimate_memory(model, placement, engine).num_blocks)
    steps, plans = StepModel(model, placement, engine), work(asked.requests)

    def quick() -> Any:
        return planned._Loop([SimulatedEngine(steps, num_blocks, seed) for seed in range(asked.instances)])

    rows = []
    for _ in range(asked.pairs):
        row = {}
        if asked.reference:
            engines = [stepwise.StepwiseEngine(steps, num_blocks, seed) for seed in range(asked.instances)]
            row["reference"] = times_real(stepwise._Loop(engines), plans[: asked.reference])
            row["same_requests"] = times_real(quick(), plans[: asked.reference])
            row["ratio"] = row["same_requests"] / row["reference"]
        row["all_requests"] = times_real(quick(), plans)
        row["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows.append(row)
        print(json.dumps(row), flush=True)
    print(json.dumps({name: statistics.median(row[name] for row in rows) for name in rows[0]}))
    if asked.json is not None:
        asked.json.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
