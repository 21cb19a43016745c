"""How fast fleets are simulated and sized, by the number of hosts.

    python tests/benchmarks/fleet.py [--hosts 1,16,256,1024,4096] [--per-host 2] [--busy 0.9] [--search] [--json FILE]

Instances are of a kind that a sweep might have measured: 32 requests in flight, a knee, sizes that vary by half. A run
is one answer to "does a fleet of so many hosts keep the limits?"; with --search also the whole search for the smallest
fleet that serves what keeps so many hosts busy to that share. Times are processor seconds; a process uses one core.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from planner.fleet.demand import Steady
from planner.fleet.instance import MeasuredLevel, fitted
from planner.fleet.sizing import observe_fleet, size_fleet

ENGINE = fitted(
    [MeasuredLevel(in_flight=n, e2el_s=s, ttft_s=s / 30) for n, s in ((1, 4.0), (8, 5.0), (32, 8.0))], 32, 0.5, 0.4
)
LIMITS = {"e2el_p95": 16.0}


def measured(hosts: int, per_host: int, busy: float, searches: bool) -> dict[str, Any]:
    rate = busy * hosts * per_host * ENGINE.capacity
    demand = Steady(rate, rate, 1.0)
    num_requests = sum(load.num_wanted for load in demand.loads(ENGINE, hosts * per_host, 0))
    begin_s = time.process_time()
    observe_fleet(ENGINE, per_host, hosts, demand, LIMITS, "least-loaded", 0)
    run_s = time.process_time() - begin_s
    found = {"hosts": hosts, "requests": num_requests, "run_s": run_s, "requests_per_s": num_requests / run_s}
    if searches:
        tried: list[int] = []
        begin_s = time.process_time()
        sizing = size_fleet(ENGINE, per_host, demand, LIMITS, 1, on_try=tried.append)
        found |= {"search_s": time.process_time() - begin_s, "runs": len(tried), "needed": sizing.num_hosts}
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", default="1,16,256,1024,4096")
    parser.add_argument("--per-host", type=int, default=2)
    parser.add_argument("--busy", type=float, default=0.9)
    parser.add_argument("--search", action="store_true")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = []
    for hosts in map(int, asked.hosts.split(",")):
        rows.append(measured(hosts, asked.per_host, asked.busy, asked.search))
        print(json.dumps(rows[-1]), flush=True)
    if asked.json is not None:
        asked.json.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
