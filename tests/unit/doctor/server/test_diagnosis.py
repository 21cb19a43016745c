"""A running server diagnosed from start to end: on the simulated server, by the library and by the command."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from planner.benchmark import STOPPED, SilentWatcher, send_load, target_of
from planner.benchmark.ask import BenchAsk
from planner.benchmark.run import run_bench
from planner.doctor.server.diagnosis import diagnose
from planner.engine import EngineConfig
from planner.simulated.server import build_app
from planner.study import Problem, StudySource, read_study
from planner.workload import ClosedLoop, Workload, plan_requests
from tests.unit.simulated.test_load import make, settled
from tests.unit.simulated.test_server import NEWER
from tests.unit.simulated.test_server import url as url

Run = Callable[[str], tuple[int, str, str]]


def test_the_simulated_server_under_load(url: str, tmp_path: Path) -> None:
    """The load begins and ends within the window, so that its lengths are counted."""
    load = tmp_path / "load.yaml"
    load.write_text("concurrency: 4\nnum_requests: 40\nwarmup_requests: 0\ninput_tokens: 1200\noutput_tokens: 20\n")
    sent = threading.Thread(
        target=run_bench,
        args=(BenchAsk(url=url, workload=str(load), repeats=1), lambda *_: None, lambda _: None, datetime(2026, 1, 2)),
    )

    def meanwhile(_: float) -> None:
        if not sent.ident:
            sent.start()
        sent.join()

    source = StudySource(model="Qwen/Qwen3-8B", gpu="RTX 4090", version="0.14.1")
    problem = Problem.of(read_study(source, EngineConfig(max_model_len=16_384)).spec)
    found = diagnose([url], 0.2, problem, meanwhile)
    assert found.load is not None
    assert found.load.mean_output_tokens == pytest.approx(20, rel=0.2)
    assert found.load.mean_input_tokens == pytest.approx(1200, rel=0.2)
    assert found.weighed is not None
    assert found.silence == ""


def test_the_command_says_it_in_words_and_in_json(run: Run, url: str) -> None:
    code, out, err = run(f"doctor {url} --for 100ms")
    assert (code, err) == (0, "")
    assert "bound by  nothing: no request was there in 0 s" in out
    assert "cannot say: name the cards with --gpu" in out
    code, out, _ = run(f"doctor {url.removeprefix('http://')} --for 100ms --gpu H200 --model Qwen/Qwen3-8B --json")
    document = json.loads(out)
    assert (code, document["bound"], document["predicted"]) == (0, "idle", None)
    assert "no request ended" in document["not_predicted_because"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("http://127.0.0.1:9 --for 1s", "http://127.0.0.1:9 does not answer"),
        ("http://127.0.0.1:9 --for 0s", "--for 0s: nothing is seen in no time; allowed is a duration above 0, as 30s"),
        ("http://127.0.0.1:9 --for soon", "--for: "),
        ("http://127.0.0.1:9 --backend process", "--backend: is where engines would be launched"),
        ("http://127.0.0.1:9 --model Qwen/Qwen3-8B", "--model: on which cards? name them with --gpu"),
        ("http://127.0.0.1:9 --max-num-seqs 4", "--max-num-seqs: on which cards? name them with --gpu"),
        ("--for 3s", "--for: is how long a running server is watched; name its URL in place of a study"),
    ],
)
def test_what_makes_no_sense_is_one_line(run: Run, words: str, message: str) -> None:
    code, _, err = run(f"doctor {words}")
    assert code == (1 if "does not answer" in message else 2)
    assert message in err
    assert err.count("\n") == 1


# --- made states of the simulated server: its gauges are read in real time, so an idle machine is wanted


class _Until(SilentWatcher):
    """Lets a load run until it is over."""

    def __init__(self, is_over: threading.Event) -> None:
        self._is_over = is_over

    def stop_reason(self, moment: Any) -> str | None:  # noqa: ARG002
        return STOPPED if self._is_over.is_set() else None


@contextmanager
def serving(num_blocks: int = 10_000, **settings: Any) -> Iterator[str]:
    """A simulated server, twenty times as fast as it would be."""
    settings = {"max_model_len": 16_384, "enable_prefix_caching": False, **settings}
    app = build_app("simulated", settled(NEWER, **settings), make(NEWER, num_blocks=num_blocks, **settings), 20.0)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@contextmanager
def loaded(url: str, in_flight: int, input_tokens: int, output_tokens: int) -> Iterator[None]:
    """A closed loop of so many requests, from before the context until its end."""
    load = Workload(
        concurrency=in_flight,
        num_requests=2_000_000 // (input_tokens + output_tokens),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
    )
    is_over, target = threading.Event(), target_of([url], "simulated", load, 32_000)
    sent = threading.Thread(
        target=send_load, args=(target, plan_requests(load), ClosedLoop(in_flight), _Until(is_over))
    )
    sent.start()
    time.sleep(2.0)
    yield
    is_over.set()
    sent.join()


@pytest.mark.prove
@pytest.mark.parametrize(
    ("kind", "settings", "load"),
    [
        ("client", {}, (3, 200, 60)),
        ("sequences", {"max_num_seqs": 4}, (12, 200, 200)),
        ("kv cache", {"num_blocks": 200}, (16, 300, 400)),
        ("prefill", {"max_num_batched_tokens": 512, "max_num_seqs": 256}, (32, 6000, 2)),
    ],
)
def test_a_made_state_of_the_simulated_server(kind: str, settings: dict[str, Any], load: tuple[int, int, int]) -> None:
    with serving(**settings) as url, loaded(url, *load):
        found = diagnose([url], 6.0)
    assert found.bound.kind == kind, found.bound
    assert found.bound.missing == () or kind == "client"


@pytest.mark.prove
def test_one_simulated_server_of_two_is_starved() -> None:
    with serving() as busy, serving() as poor, loaded(busy, 12, 200, 200):
        found = diagnose([busy, poor], 5.0)
    assert found.bound.kind == "instance", found.bound
    assert poor in found.bound.sentence
