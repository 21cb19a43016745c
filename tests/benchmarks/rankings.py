"""How well candidates are ranked before any launch: by the closed form, and by simulating the very load.

    python tests/benchmarks/rankings.py [--metrics output_throughput,ttft_p95,tpot_p95,e2el_p95] [LANDSCAPE ...]

For each landscape under tests/golden/landscapes, over all its recorded candidates that start: Kendall's tau-b between
what was measured, in the mean over launches, and what `predict` says; and what a simulated engine shows. Neither has
seen the measurements. Times are processor milliseconds for a candidate.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from statistics import fmean
from typing import Any

from planner.benchmark.metrics import summarize
from planner.errors import EngineError
from planner.simulated.load import simulate_load
from planner.simulated.start import start_engine
from planner.statistics import kendall_tau
from tests.forecasts import forecast_of
from tests.race.landscapes import FOLDER, LAUNCHES_FILE, Landscape, load


def rankings(landscape: Landscape, metrics: list[str]) -> dict[str, Any]:
    problem, forecast = landscape.problem, forecast_of(landscape.problem)
    measured, closed, simulated = [], [], []
    spent_s = {"closed": 0.0, "simulated": 0.0}
    for records in landscape.by_candidate.values():
        results = [result.metrics for record in records for result in record.results]
        if not results:
            continue
        candidate = records[0].candidate
        deployment = forecast.deployment(candidate)
        try:
            engines = [start_engine(deployment, seed) for seed in range(deployment.instances)]
        except EngineError:
            continue
        measured.append({name: fmean(result[name] for result in results) for name in metrics if name in results[0]})
        began_s = time.process_time()
        closed.append(forecast.predicted(candidate))
        spent_s["closed"] += time.process_time() - began_s
        began_s = time.process_time()
        simulated.append(summarize(simulate_load(engines, problem.workload)[0]).metrics)
        spent_s["simulated"] += time.process_time() - began_s
    found: dict[str, Any] = {"landscape": landscape.name, "candidates": len(measured)}
    for name in metrics:
        if all(name in one for one in measured):
            truth = [one[name] for one in measured]
            found[name] = {
                "closed": round(kendall_tau([one[name] for one in closed], truth), 2),
                "simulated": round(kendall_tau([one[name] for one in simulated], truth), 2),
            }
    return found | {f"{name}_ms": round(1000 * spent / len(measured), 1) for name, spent in spent_s.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("landscapes", nargs="*")
    parser.add_argument("--metrics", default="output_throughput,ttft_p95,tpot_p95,e2el_p95")
    asked = parser.parse_args()
    for path in sorted(FOLDER.glob(f"*/{LAUNCHES_FILE}")):
        if not asked.landscapes or path.parent.name in asked.landscapes:
            print(json.dumps(rankings(load(path.parent), asked.metrics.split(","))), flush=True)


if __name__ == "__main__":
    sys.exit(main())
