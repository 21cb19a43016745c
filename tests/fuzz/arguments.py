"""Argument lists over all commands: none may end in a traceback. `python -m tests.fuzz.arguments --draws 100000`.

A seed gives a row of lists, the same in every run; `--first 40000` goes on at its 40 000th, so that a long run can be
stopped and continued. A list takes about 10 ms of processor time: all run in one process, after the first imports.

Lists are drawn from the commands' own options, so that a new option is among them. What would start an engine, measure
a server for long, follow a log or change the user's shell is left out by construction: see `harmless`.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import io
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import typer.main

EXIT_CODES = {0, 1, 2, 3, 4, 5}
STUDY = """
name: tiny
models:
  small: {path: Qwen/Qwen3-8B}
hardware: {gpu: RTX 2080 Ti 22GB, num_gpus: 2, host_memory: 64GiB}
engine: {version: 0.8.5, settings: {dtype: half, max_model_len: 4096}}
container: {image: "vllm/vllm-openai:v0.8.5"}
search_space: {search: {layout: [2xtp1, 1xtp2], max_num_seqs: [8, 32]}}
workload: {concurrency: 4, num_requests: 6, input_tokens: 64, output_tokens: 16}
"""
FILES = {
    "study.yaml": STUDY,
    "named/study.yaml": STUDY.replace("tiny", "named"),
    "empty.txt": "",
    "list.yaml": "- 1\n",
    "half.json": '{"id": 1',
    "requests.jsonl": '{"id": 1, "model": "Qwen/Qwen3-8B", "gpu": {"name": "L4"}, "vllm_version": "0.33.0"}\n{"id"\n',
    "engine.log": "INFO 11-22 07:10:00 [core.py:12] Initializing a V1 LLM engine (v0.24.0) with config: x\n",
    "broken/ladder.yaml": "rungs: 5\n",
}
PATHS = (*FILES, "named", ".", "..", "nowhere", "nowhere/x", "/dev/null", "/proc/self/mem", "-", "~", "a" * 5000)
ODD = (
    "", " ", "-", "--", "---", "-1", "0", "1", "2", "7", "-0", "1e308", "1e400", "nan", "inf", "-inf", "0x10",
    "1_000", "9" * 30, "9" * 5000, "0.5", "1.5", "true", "false", "auto", "none", "null", "all", "latest", "{}", "[]",
    '{"a": 1}', "[" * 2000, "a=b", "=", "a,b", ",", ",,", "..", "1..2", "1,2,3", "max_num_seqs=1..4",
    "pipeline_parallel_size=1..64", "max_model_len", "\u3000", "\u2014max", "\uff18", "\U0001f600", "\x1b[2J", "a\nb",
    "%s", "{x}", "[red]x[/red]", "[/]", "ttft_p95=2s", "ttft_p95", "ttft_p95=", "2s", "5min", "24GiB", "1xtp2", "C:\\x",
    "$HOME", "*", "'", '"', "\\", "$", "^", "`", "#", "A=1", "A=1 ", "export A=1;", "vllm serve 'x", "$ vllm serve",
    "vllm serve Qwen/Qwen3-8B --port 1", "# a\n$ vllm serve o/m \\\n # b\n --x 1", "o/m --port", "--model o/m --port 1",
    "--port 80", "A=1 o/m", "docker run", "docker run x", "bash -c", "bash -c ''", "```\n```", "&&", "a && b; c",
)  # fmt: skip
GOOD = {
    "--model": ("Qwen/Qwen3-8B", "Qwen/Qwen3-0.6B", "qwen3-8b"),
    "--gpu": ("RTX 4090", "H200", "RTX 2080 Ti 22GB", "CPU", "3090"),
    "--num-gpus": ("1", "2", "3", "37", "1000000"),
    "--interconnect": ("pcie", "nvlink", "nvlink-pairs", "none"),
    "--vllm-version": ("0.33.0", "0.11.0", "0.8.5", "0.34.0", "latest", "0.6.6", "v0.24"),
    "--backend": ("docker", "process", "simulated"),
    "--levers": ("all", "scheduler", "layout,numerics"),
    "--sampler": ("grid", "tpe", "random"),
    "--fit": ("max_model_len", "pipeline_parallel_size", "max_num_seqs"),
    "--sweep": ("pipeline_parallel_size=1..64", "max_num_seqs=1..8", "block_size=16,32"),
    "--compare": ("small,Qwen/Qwen3-0.6B", "small"),
    "--storage": ("sqlite:///kept.db", "sqlite://", "postgresql://u:p@127.0.0.1:notaport/db", "mysql://x", "x://y"),
    "--requests": ("requests.jsonl",),
    "--workload": ("chat", "nothing"),
    "--objective": ("tpot_p50", "output_throughput=1,ttft_p95=0.3"),
    "--fail-on": ("ttft_p95:5%", "output_throughput:0%"),
    "--slo": ("ttft_p95=2s", "e2el_p95=30s,queue_p99=1s"),
}
URLS = (
    "http://",
    "http://127.0.0.1:9",
    "127.0.0.1:9",
    "ftp://x",
    "http://[::1",
    "http://127.0.0.1:99999",
    "http://a b",
)
"""Servers of `bench`: none of them answers."""
FLAGS = ("--max-num-seqs", "--max-model-len", "--pipeline-parallel-size", "-tp", "--dtype", "--enforce-eager",
         "--no-enable-prefix-caching", "--kv-cache-dtype", "--port", "--gpu-memory-utilization")  # fmt: skip
COUNTS = ("1", "2", "4096", "auto", "0.9")
FOLLOWING = {"--follow", "-f"}
SHARES_ODD, SHARE_MISSING = (0.05, 0.4), 0.03
"""Share of values that are odd in a list, and of options whose value is left out."""
LIMIT_S = 600.0
"""Seconds after which a list counts as one that does not end: only a hang takes as long, also on a busy machine."""
OFTEN = ("estimate", "tune", "doctor", "bench", "report") * 2
"""Commands that are drawn more often than the others: they have the most options."""


BLOCK = 500
"""Lists that are drawn from one generator; each block has its own, so that a run may begin at any of them."""
LISTED = 12
"""Shipped models that `planner models` lists here: all 258 take half a second, and the unit tests read them all."""
LAST = {"tune": ("--dry-run",), "simulate": ("--speedup", "0")}
"""Words at the end of a command's list with which it launches nothing, and serves nothing."""


def commands() -> dict[str, Any]:
    from planner.cli.main import app

    group: Any = typer.main.get_command(app)
    return dict(group.commands)


def drawn(random_: random.Random, known: dict[str, Any]) -> list[str]:
    """An argument list of a command with some of its options, in any order."""
    if random_.random() < 0.02:
        return [random_.choice(["", "-h", "--help", "nothing", "--", "--version", *ODD]) for _ in range(2)]
    name = random_.choice([*known, *OFTEN]) if random_.random() < 0.9 else random_.choice(OFTEN)
    share_odd = random_.choice(SHARES_ODD)
    words: list[list[str]] = []
    options = [parameter for parameter in known[name].params if parameter.param_type_name == "option"]
    for parameter in known[name].params:
        if parameter.param_type_name == "argument" and random_.random() < 0.6:
            words.append([random_.choice(URLS if name == "bench" else (*PATHS, *ODD))])
    if name in {"estimate", "tune", "doctor"} and random_.random() < 0.5:
        words += [[option, _value(random_, option, share_odd)] for option in ("--model", "--gpu")]
    for parameter in random_.choices(options, k=random_.choice([0, 1, 1, 2, 3, 5]) if options else 0):
        words.append(_option(random_, parameter, share_odd))
    if random_.random() < 0.3:
        words.append([random_.choice(FLAGS), random_.choice(ODD if random_.random() < share_odd else COUNTS)])
    if random_.random() < 0.1:
        words.append([random_.choice(ODD)])
    random_.shuffle(words)
    return harmless([name, *(word for part in words for word in part)])


def _option(random_: random.Random, parameter: Any, share_odd: float) -> list[str]:
    option = random_.choice([*parameter.opts, *parameter.secondary_opts])
    if parameter.is_flag or random_.random() < SHARE_MISSING:
        return [option]
    values = [_value(random_, option, share_odd) for _ in range(parameter.nargs)]
    return [f"{option}={values[0]}"] if parameter.nargs == 1 and random_.random() < 0.2 else [option, *values]


def _value(random_: random.Random, option: str, share_odd: float) -> str:
    good = GOOD.get(option, PATHS)
    return random_.choice(ODD) if random_.random() < share_odd else random_.choice(good)


def harmless(words: list[str]) -> list[str]:
    """The list without what would run for long or change more than the folder it runs in."""
    words = [word for word in words if word not in FOLLOWING]
    if words[0] == "init":  # else it writes beside the folder
        words = [word for word in words if word != ".."]
    return [*words, *LAST.get(words[0], ())]


@contextlib.contextmanager
def empty_machine() -> Iterator[None]:
    """A folder of its own with FILES, no program on the PATH, no Docker Engine, no Hub, no home."""
    before, folder_before = dict(os.environ), Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        for name, text in FILES.items():
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
        os.environ.update(
            HOME=folder, PATH=folder, DOCKER_HOST="tcp://127.0.0.1:9", HF_HUB_OFFLINE="1", COLUMNS="100",
            XDG_CACHE_HOME=folder, XDG_DATA_HOME=folder,
        )  # fmt: skip
        os.chdir(folder)
        try:
            from planner.model import shipped_sources

            some = list(shipped_sources())[:LISTED]
            with (
                mock.patch("typer.main.get_command", cache(typer.main.get_command)),  # else made for each list
                mock.patch("planner.model.shipped_sources", return_value=some),
            ):
                yield
        finally:
            os.chdir(folder_before)
            os.environ.clear()
            os.environ.update(before)


class DoesNotEnd(BaseException):
    """A list is at work for longer than its limit. No code of planner may catch it, so it is no Exception."""


@contextlib.contextmanager
def limited(limit_s: float) -> Iterator[None]:
    """Raises DoesNotEnd in the main thread after so many seconds, and again each second for code that swallows it.

    Code that never comes back to Python ends the whole process, with a traceback of where it is.
    """

    def over(signum: int, frame: object) -> None:  # noqa: ARG001
        raise DoesNotEnd(f"does not end within {limit_s:g} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, limit_s, 1.0)
    faulthandler.dump_traceback_later(limit_s * 2, exit=True, file=sys.__stderr__ or sys.stderr)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        faulthandler.cancel_dump_traceback_later()


def fault(words: Sequence[str], limit_s: float = LIMIT_S) -> str | None:
    """What is wrong with how planner ends on these words; None if nothing is."""
    from planner.cli.main import main

    out, err, stdin = io.StringIO(), io.StringIO(), sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO())
    code: object = None
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), limited(limit_s):
            main(list(words))
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # noqa: BLE001  (a traceback is what is looked for)
        return traceback.format_exc()
    finally:
        sys.stdin = stdin
    if code not in EXIT_CODES:
        return f"ends with {code!r}: {err.getvalue()[-500:]}"
    if code == 2 and not (err.getvalue().startswith("planner: ") and err.getvalue().count("\n") == 1):
        return f"exit code 2 is not one line: {err.getvalue()[-500:]!r}"
    return None


Told = Callable[[int, list[str], str | None, float], None]
"""Is given each list's number, words, what is wrong with its end, and its seconds."""


def lists_of(seed: int, first: int, last: int) -> Iterator[tuple[int, list[str]]]:
    """The lists of a seed from one number up to, not with, another."""
    known = commands()
    for block in range(first // BLOCK, -(-last // BLOCK)):
        random_ = random.Random(f"{seed}/{block}")
        for number in range(block * BLOCK, min((block + 1) * BLOCK, last)):
            words = drawn(random_, known)
            if number >= first:
                yield number, words


def faults(draws: int, seed: int = 0, told: Told | None = None, first: int = 0) -> list[tuple[list[str], str]]:
    """The argument lists that end badly, each with why."""
    found = []
    with empty_machine():
        for number, words in lists_of(seed, first, draws):
            begun = time.monotonic()
            if (why := fault(words)) is not None:
                found.append((words, why))
            if told is not None:
                told(number, words, why, time.monotonic() - begun)
            if number % BLOCK == BLOCK - 1:
                for name, text in FILES.items():
                    Path(name).write_text(text, "utf-8")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.arguments", description=__doc__)
    parser.add_argument("--draws", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    parser.add_argument("--first", type=int, default=0, help="Number of the list to begin with.")
    given = parser.parse_args()
    slowest: list[tuple[float, list[str]]] = []

    def told(number: int, words: list[str], why: str | None, seconds: float) -> None:
        if why is not None:
            print(words, why, sep="\n", flush=True)
        slowest[:] = sorted([*slowest, (seconds, words)], reverse=True)[:5]
        if number % BLOCK == BLOCK - 1:
            spent = f"{time.process_time():.0f} s of processor time"
            print(f"{number + 1} of {given.draws} lists of seed {given.seed}, {spent}", flush=True)

    found = faults(given.draws, given.seed, told, given.first)
    for seconds, words in slowest:
        print(f"{seconds:.1f} s: {' '.join(words)[:300]!r}")
    print(f"{given.draws - given.first} argument lists of seed {given.seed}, {len(found)} bad ends")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
