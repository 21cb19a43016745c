"""How much a benchmark's client costs and distorts: ours, vLLM's own request function and httpx, in one run.

    python tests/benchmarks/client.py [--clients planner,vllm,httpx] [--concurrency 64,256,512] [--json FILE]
    python tests/benchmarks/client.py --clients planner --processes 1,2 --events 16 --concurrency 512

A server of known speed on one core (truth_server.py), each client on one other core, a closed loop of three requests a
place. vLLM's function needs vLLM's benchmark code: VLLM_PACKAGES names a folder with it (by default what
tests/images/build.py made). A client of several processes may use every core, the server's too. With --events the
server sends so many tokens at once, which loads the client and hardly the server.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
VLLM_PACKAGES = Path(os.environ.get("VLLM_PACKAGES", Path.home() / ".cache/planner/build/context/packages"))
NUM_TOKENS, ROUNDS = 128, 3
TRUE_TTFT_S, TRUE_ITL_S = 0.2, 0.02
TRUE_E2EL_S = TRUE_TTFT_S + (NUM_TOKENS - 1) * TRUE_ITL_S
Seen = tuple[float, list[float]]
"""Send, arrivals: of one request, in seconds."""


def planner(url: str, concurrency: int, events: int, processes: int, ramp_s: float = 0.0) -> tuple[list[Seen], float]:
    from planner.benchmark.load.send import send_load
    from planner.benchmark.load.target import Target
    from planner.workload.shapes import ClosedLoop
    from planner.workload.workload import RequestPlan

    plans = [RequestPlan(i, 8, NUM_TOKENS * events, 0) for i in range(ROUNDS * concurrency)]
    target = Target(base_urls=(url,), model="truth", vocab_size=1000)
    load = send_load(target, plans, ClosedLoop(concurrency, ramp_s), num_processes=processes)
    assert not [record.error for record in load.records if record.error]
    print(
        json.dumps({"loop_lag_ms": load.client.loop_lag_mean_s * 1e3, "fraction": load.client.cpu_fraction}),
        file=sys.stderr,
    )
    return [(record.started_s, list(record.chunk_s)) for record in load.records], load.client.cpu_s


def in_a_loop(send: Callable[[], Awaitable[Seen]], concurrency: int) -> Callable[[], Awaitable[list[Seen]]]:
    """As vLLM's benchmark: all requests at once, behind a semaphore."""

    async def run() -> list[Seen]:
        places = asyncio.Semaphore(concurrency)

        async def one() -> Seen:
            async with places:
                return await send()

        return list(await asyncio.gather(*(one() for _ in range(ROUNDS * concurrency))))

    return run


def vllm(url: str, concurrency: int) -> tuple[list[Seen], float]:
    import aiohttp
    from vllm.benchmarks.lib.endpoint_request_func import RequestFuncInput, async_request_openai_completions

    asked = RequestFuncInput(
        prompt=list(range(8)), api_url=url + "/v1/completions", prompt_len=8, output_len=NUM_TOKENS, model="truth",
        ignore_eos=True,
    )  # fmt: skip

    async def main() -> tuple[list[Seen], float]:
        connector = aiohttp.TCPConnector(limit=concurrency, limit_per_host=concurrency, keepalive_timeout=60)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=600)) as session:

            async def send() -> Seen:
                output = await async_request_openai_completions(asked, session)
                assert output.success, output.error
                return output.start_time, (output.start_time + output.ttft + np.cumsum([0.0, *output.itl])).tolist()

            cpu_s = time.process_time()
            seen = await in_a_loop(send, concurrency)()
            return seen, time.process_time() - cpu_s

    return asyncio.run(main())


def httpx(url: str, concurrency: int) -> tuple[list[Seen], float]:
    import httpx as library

    body = {"model": "truth", "prompt": list(range(8)), "max_tokens": NUM_TOKENS, "stream": True}

    async def main() -> tuple[list[Seen], float]:
        limits = library.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        async with library.AsyncClient(limits=limits, timeout=600, trust_env=False) as client:

            async def send() -> Seen:
                started_s, arrivals = time.perf_counter(), []
                async with client.stream("POST", url + "/v1/completions", json=body) as response:
                    async for line in response.aiter_lines():
                        if line.startswith("data: {") and json.loads(line[6:])["choices"]:
                            arrivals.append(time.perf_counter())
                return started_s, arrivals

            cpu_s = time.process_time()
            seen = await in_a_loop(send, concurrency)()
            return seen, time.process_time() - cpu_s

    return asyncio.run(main())


CLIENTS: dict[str, Callable[[str, int], tuple[list[Seen], float]]] = {"vllm": vllm, "httpx": httpx}


def measure(
    name: str, url: str, concurrency: int, core: int, events: int, processes: int, ramp_s: float = 0.0
) -> dict[str, Any]:
    """Run one client in this process and hold it against what the server did."""
    if processes == 1:
        os.sched_setaffinity(0, {core})
    seen, cpu_s = (
        planner(url, concurrency, events, processes, ramp_s) if name == "planner" else CLIENTS[name](url, concurrency)
    )
    with urllib.request.urlopen(url + "/truth") as answer:  # noqa: S310  (a server of the benchmark's own)
        truth = json.load(answer)
    num_chunks = sum(len(arrivals) for _, arrivals in seen)
    wall_s = max(arrivals[-1] for _, arrivals in seen) - min(started for started, _ in seen)
    ttfts = np.asarray([arrivals[0] - started for started, arrivals in seen])
    gaps = np.concatenate([np.diff(arrivals[::events]) for _, arrivals in seen])
    return {
        "client": name,
        "concurrency": concurrency,
        "processes": processes,
        "throughput": num_chunks / wall_s,
        "true_throughput": concurrency * NUM_TOKENS * events / TRUE_E2EL_S,
        "ttft_mean_ms": ttfts.mean() * 1e3,
        "ttft_p50_ms": np.percentile(ttfts, 50) * 1e3,
        "ttft_p99_ms": np.percentile(ttfts, 99) * 1e3,
        "server_ttft_p99_ms": np.percentile(truth["ttfts_s"], 99) * 1e3,
        "itl_mean_ms": gaps.mean() * 1e3,
        "itl_p99_ms": np.percentile(gaps, 99) * 1e3,
        "server_itl_p99_ms": np.percentile(truth["itls_s"], 99) * 1e3,
        "server_late_mean_ms": np.mean(truth["late_s"]) * 1e3,
        "cpu_us_per_chunk": cpu_s / num_chunks * 1e6,
        "cpu_fraction": cpu_s / wall_s,
    }


def run_all(clients: list[str], levels: list[int], events: int, processes: list[int]) -> list[dict[str, Any]]:
    """Each client and level in a process of its own, one after the other."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cores = sorted(os.sched_getaffinity(0))
    env = {**os.environ, "PYTHONPATH": str(VLLM_PACKAGES)}
    rows = []
    command = [sys.executable, str(HERE / "truth_server.py"), str(port), str(cores[0]), str(events)]
    with subprocess.Popen(command, env=env) as server:
        try:
            time.sleep(1)
            for level, name, number in itertools.product(levels, clients, processes):
                one = [sys.executable, __file__, "--one", name, "--url", f"http://127.0.0.1:{port}"]
                argv = [*one, "--concurrency", str(level), "--core", str(cores[-1])]
                argv += ["--events", str(events), "--processes", str(number)]
                use = env if name == "vllm" else dict(os.environ)
                done = subprocess.run(argv, env=use, check=True, stdout=subprocess.PIPE, text=True)
                rows.append(json.loads(done.stdout.splitlines()[-1]))
                print(table(rows[-1:]).splitlines()[-1], flush=True)
        finally:
            server.terminate()
    return rows


COLUMNS = {
    "client": "{client}", "processes": "{processes}", "C": "{concurrency}",
    "tok/s (true)": "{throughput:.0f} ({true_throughput:.0f})",
    "error": "{error:+.1%}", "TTFT mean / p99 ms": "{ttft_mean_ms:.0f} / {ttft_p99_ms:.0f}",
    "server's TTFT p99": "{server_ttft_p99_ms:.0f}", "ITL mean / p99 ms": "{itl_mean_ms:.2f} / {itl_p99_ms:.1f}",
    "server's ITL p99": "{server_itl_p99_ms:.1f}", "CPU µs/chunk": "{cpu_us_per_chunk:.1f}",
    "of a core": "{cpu_fraction:.0%}", "server late, ms": "{server_late_mean_ms:.2f}",
}  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    for row in rows:
        shown = {**row, "error": row["throughput"] / row["true_throughput"] - 1}
        lines.append(f"| {' | '.join(text.format(**shown) for text in COLUMNS.values())} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", default="planner,vllm,httpx")
    parser.add_argument("--concurrency", default="64,256,512")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--events", type=int, default=1)
    parser.add_argument("--processes", default="1", help="of planner")
    parser.add_argument("--ramp", type=float, default=0.0, help="of planner: seconds until all places are taken")
    parser.add_argument("--one", choices=["planner", *CLIENTS])
    parser.add_argument("--url")
    parser.add_argument("--core", type=int)
    given = parser.parse_args()
    levels = [int(level) for level in given.concurrency.split(",")]
    if given.one:
        processes = int(given.processes)
        print(json.dumps(measure(given.one, given.url, levels[0], given.core, given.events, processes, given.ramp)))
        return
    rows = run_all(given.clients.split(","), levels, given.events, [int(n) for n in given.processes.split(",")])
    print(table(rows))
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
