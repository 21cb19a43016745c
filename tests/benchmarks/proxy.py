"""What the front door costs: the same load sent to a server of known speed, directly and through the proxy, in turn.

    python tests/benchmarks/proxy.py [--streams 1,64,256] [--rounds 5] [--json FILE]

The server (truth_server.py) has one core, the client another, the proxy whichever the system gives it. Each round sends
the load both ways, every second round the other way round; the table has the medians over the rounds of the
differences and ratios within a round. Requests begin one after the other, spread over the length of an answer: all at
once, the last would wait for the proxy to have read all the others.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import client  # noqa: E402


def serve(port: int, base_url: str) -> None:
    from planner.service.proxy.app import Proxy
    from planner.service.proxy.server import serve_proxy

    serve_proxy(Proxy([base_url], context_tokens=32_768, also=("/truth",)), "127.0.0.1", port)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def one_run(port: int, streams: int, core: int) -> dict[str, Any]:
    argv = [sys.executable, str(HERE / "client.py"), "--one", "planner", "--url", f"http://127.0.0.1:{port}"]
    argv += ["--concurrency", str(streams), "--core", str(core), "--ramp", str(client.TRUE_E2EL_S)]
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for(port: int) -> None:
    for _ in range(100):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/truth"):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"nothing answers at {port}")


def run_all(levels: list[int], rounds: int) -> list[dict[str, Any]]:
    cores = sorted(os.sched_getaffinity(0))
    direct, proxied = free_port(), free_port()
    truth = [sys.executable, str(HERE / "truth_server.py"), str(direct), str(cores[0])]
    door = [sys.executable, __file__, "--serve", str(proxied), f"http://127.0.0.1:{direct}"]
    rows = []
    with subprocess.Popen(truth) as server, subprocess.Popen(door) as proxy:
        try:
            wait_for(proxied)
            for streams in levels:
                for number in range(rounds):
                    runs: dict[int, dict[str, Any]] = {}
                    for port in (direct, proxied) if number % 2 == 0 else (proxied, direct):
                        began_s = cpu_s(proxy.pid)
                        runs[port] = one_run(port, streams, cores[-1]) | {"proxy_cpu_s": cpu_s(proxy.pid) - began_s}
                    rows.append(row_of(streams, runs[direct], runs[proxied]))
                    print(rows[-1], file=sys.stderr, flush=True)
        finally:
            server.terminate()
            proxy.terminate()
    return rows


def row_of(streams: int, direct: dict[str, Any], through: dict[str, Any]) -> dict[str, Any]:
    num_chunks = 3 * streams * 128
    return {
        "streams": streams,
        "ttft_p50_ms": through["ttft_p50_ms"] - direct["ttft_p50_ms"],
        "ttft_mean_ms": through["ttft_mean_ms"] - direct["ttft_mean_ms"],
        "ttft_p99_ms": through["ttft_p99_ms"] - direct["ttft_p99_ms"],
        "throughput": through["throughput"] / direct["throughput"],
        "direct_throughput": direct["throughput"] / direct["true_throughput"],
        "itl_p99_ms": through["itl_p99_ms"] - direct["itl_p99_ms"],
        "us_per_chunk": through["proxy_cpu_s"] / num_chunks * 1e6,
    }


COLUMNS = {
    "streams": "{streams}", "TTFT p50, ms more": "{ttft_p50_ms:+.2f}", "mean": "{ttft_mean_ms:+.2f}",
    "p99": "{ttft_p99_ms:+.1f}", "throughput, of direct": "{throughput:.1%}",
    "direct, of true": "{direct_throughput:.1%}",
    "ITL p99, ms more": "{itl_p99_ms:+.1f}", "the proxy's CPU, µs a chunk": "{us_per_chunk:.0f}",
}  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    for streams in dict.fromkeys(row["streams"] for row in rows):
        own = [row for row in rows if row["streams"] == streams]
        middle = {key: median(row[key] for row in own) for key in own[0]}
        lines.append(f"| {' | '.join(text.format(**middle) for text in COLUMNS.values())} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", default="1,64,256")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", nargs=2)
    given = parser.parse_args()
    if given.serve:
        serve(int(given.serve[0]), given.serve[1])
        return
    rows = run_all([int(level) for level in given.streams.split(",")], given.rounds)
    print(table(rows))
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
