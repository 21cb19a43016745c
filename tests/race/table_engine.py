"""The `vllm` that other tuners find first on PATH: it answers from a table of recorded launches. REPLAYED, no engine.

`vllm serve MODEL --flags` looks the searched flags up in `table.json` and listens, or exits with the recorded error.
Of several recorded repeats of a candidate one is drawn for each launch, as in planner's replay. A client of its
completions measures TOKENS_FACTOR times the recorded throughput. `vllm bench serve` reports the metrics that were
recorded for the running candidate, so every benchmark of one launch says the same.

Both find their folder in RACE_FOLDER, and add a line per launch to `launches.jsonl` there. Standard library only: a
launch costs a tenth of a second.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

FOLDER_ENV = "RACE_FOLDER"
TABLE_FILE, LAUNCHES_FILE = "table.json", "launches.jsonl"
PERIOD_S = 0.05
"""Between two answers."""
TOKENS_FACTOR = 10
"""An answer has whole tokens: few of them would be a coarse measure."""
NOT_RECORDED = "RuntimeError: Engine core initialization failed. See root cause above. (REPLAYED: was never measured)"


def flags_of(argv: list[str]) -> dict[str, str]:
    """`--a-b 3 --c --no-d` as {"a_b": "3", "c": "true", "d": "false"}."""
    flags: dict[str, str] = {}
    for word, following in zip(argv, [*argv[1:], "--"], strict=True):
        if word.startswith("--"):
            name = word[2:].replace("-", "_")
            if not following.startswith("--"):
                flags[name] = following
            elif name.startswith("no_"):
                flags[name.removeprefix("no_")] = "false"
            else:
                flags[name] = "true"
    return flags


class Pace:
    """Answers leave one after the other. Each has the tokens that the speed makes in the time since the one before, so
    a busy machine, where answers leave late, does not change what a client measures."""

    def __init__(self, tokens_per_s: float) -> None:
        self._tokens_per_s = tokens_per_s
        self._lock = threading.Lock()
        self._began_s = time.monotonic()
        self._tokens = 0
        self.running = 0

    def restart(self) -> None:
        self._began_s = time.monotonic()
        self._tokens = 0

    def answer(self) -> int:
        """Wait for the turn; the tokens of this answer."""
        self.running += 1
        with self._lock:
            time.sleep(PERIOD_S)
            before, self._tokens = self._tokens, round(self._tokens_per_s * (time.monotonic() - self._began_s))
            self.running -= 1
            return self._tokens - before


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body in one packet
    model: str
    metrics: dict[str, float]
    pace: Pace

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self.pace.restart()  # vllm-tuner's client asks this just before its load
            self._send(json.dumps({"object": "list", "data": [{"id": self.model, "object": "model"}]}))
        elif self.path == "/metrics":
            gauges = {"running": self.pace.running, "waiting": 0}
            self._send("".join(f"vllm:num_requests_{name} {value}\n" for name, value in gauges.items()), "text/plain")
        elif self.path == "/recorded":
            self._send(json.dumps(self.metrics))
        else:
            self._send("", "text/plain", 200 if self.path == "/health" else 404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        tokens = self.pace.answer()
        choice = {"index": 0, "text": " REPLAYED", "finish_reason": "length"}
        usage = {"prompt_tokens": 0, "completion_tokens": tokens, "total_tokens": tokens}
        chunk = {"object": "text_completion", "model": body.get("model"), "choices": [choice], "usage": usage}
        self._send(f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n", "text/event-stream")

    def _send(self, text: str, kind: str = "application/json", status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002


def serve(model: str, flags: dict[str, str]) -> int:
    folder = Path(os.environ[FOLDER_ENV])
    table = json.loads((folder / TABLE_FILE).read_text("utf-8"))
    values = [flags.get(name, default) for name, default in table["default"].items()]
    key = " ".join(values)
    known = table["records"].get(key, [{"error": NOT_RECORDED}])
    ledger = folder / LAUNCHES_FILE
    number = len(ledger.read_text("utf-8").splitlines()) if ledger.exists() else 0
    record = random.Random(f"{table['seed']} {number} {key}").choice(known)
    with ledger.open("a", encoding="utf-8") as lines:
        print(json.dumps({"values": values, "metrics": record.get("metrics")}), file=lines)
    if "error" in record:
        print(record["error"], file=sys.stderr)
        return 1
    Handler.model, Handler.metrics = model, record["metrics"]
    Handler.pace = Pace(record["metrics"]["output_throughput"] * TOKENS_FACTOR)
    ThreadingHTTPServer.request_queue_size = 128
    with ThreadingHTTPServer((flags.get("host", "127.0.0.1"), int(flags.get("port", 8000))), Handler) as server:
        print(f"REPLAYED vLLM API server on http://{server.server_address[0]}:{server.server_port}", flush=True)
        server.serve_forever()
    return 0


def bench(argv: list[str]) -> int:
    """What `vllm bench serve --save-result` writes, from what the running launch has drawn."""
    parser = argparse.ArgumentParser()
    for name in ("--host", "--port", "--model", "--result-dir", "--result-filename"):
        parser.add_argument(name, required=True)
    options, _ = parser.parse_known_args(argv)
    with urlopen(f"http://{options.host}:{options.port}/recorded") as answer:
        metrics = json.load(answer)
    requests = {name: int(metrics[name]) for name in ("completed", "failed")}
    result = {**metrics, **requests, "num_prompts": sum(requests.values()), "model_id": options.model}
    Path(options.result_dir, options.result_filename).write_text(json.dumps(result), "utf-8")
    return 0


def main(argv: list[str]) -> int:
    if argv[:2] == ["bench", "serve"]:
        return bench(argv[2:])
    if argv[:1] == ["serve"] and len(argv) > 1:
        return serve(argv[1], flags_of(argv[2:]))
    print("REPLAYED vllm: serve MODEL, or bench serve", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
