"""A running server diagnosed from start to end: on the simulated server, by the library and by the command."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from planner.benchmark.ask import BenchAsk
from planner.benchmark.run import run_bench
from planner.doctor.server.diagnosis import diagnose
from planner.engine import EngineConfig
from planner.study import Problem, StudySource, read_study
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
