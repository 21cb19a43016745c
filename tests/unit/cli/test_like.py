"""`--like URL`: a running server's settings and traffic become a study, by tune and by init."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

import planner.benchmark
from planner.benchmark.ask import BenchAsk
from planner.benchmark.run import run_bench
from planner.benchmark.watched import watch_server
from planner.study import Problem, load_study
from planner.workload import Workload
from tests.unit.simulated.test_server import url as url

Run = Callable[[str], tuple[int, str, str]]
LIKE = "--model Qwen/Qwen3-8B --gpu 'RTX 4090' --max-num-seqs 24"


@pytest.fixture
def busy(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The server, which serves a load while it is watched, however long that takes."""
    load = tmp_path / "load.yaml"
    load.write_text("concurrency: 4\nnum_requests: 40\nwarmup_requests: 0\ninput_tokens: 1200\noutput_tokens: 20\n")

    def meanwhile(_: float) -> None:
        asked = BenchAsk(url=url, workload=str(load), repeats=1)
        sent = threading.Thread(target=run_bench, args=(asked, lambda *_: None, lambda _: None, datetime(2026, 1, 2)))
        sent.start()
        sent.join()

    monkeypatch.setattr(planner.benchmark, "watch_server", lambda where, s: watch_server(where, s, meanwhile))
    return url


def test_init_writes_the_study_and_its_traffic_and_tune_starts_from_them(run: Run, busy: str) -> None:
    code, out, err = run(f"init mine --like {busy} {LIKE}")
    assert (code, out.splitlines()[0]) == (0, "wrote mine/study.yaml")
    assert "the baseline to beat is --max-model-len 16384 --max-num-seqs 24" in err
    assert "no server tells --max-num-batched-tokens, --tensor-parallel-size" in err
    spec = load_study(Path("mine"))
    assert isinstance(spec.workload, Workload)
    assert spec.workload.request_rate is None
    assert spec.workload.mean_output_tokens == pytest.approx(20, rel=0.2)
    assert "workload: traffic.yaml" in Path("mine/study.yaml").read_text("utf-8")
    problem = Problem.of(spec)
    assert (problem.default.engine.max_num_seqs, problem.default.engine.max_model_len) == (24, 16_384)
    code, out, _ = run("tune mine --backend simulated --trials 2 --no-finals")
    assert code == 0
    assert "baseline settings first" in out
    assert "against baseline settings" in out or "baseline's settings" in out or "baseline settings: " in out
    code, _, err = run(f"init mine --like {busy} {LIKE}")
    assert (code, "exists already" in err) == (2, True)


def test_tune_does_the_same_and_goes_on(run: Run, busy: str) -> None:
    line = f"tune --like {busy} {LIKE} --backend simulated --trials 1 --no-finals"
    code, out, err = run(line)
    assert code == 0, err
    assert "baseline settings first" in out
    (folder,) = Path("studies").iterdir()
    code, _, err = run(line)
    assert (code, err.count("\n")) == (2, 1)
    assert f"planner tune {folder} goes on with it" in err
    assert run(f"tune {folder} --backend simulated --trials 1 --no-finals")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("tune --for 3s --model Qwen/Qwen3-8B --gpu L4", "--for: is how long the server of --like is watched"),
        ("tune STUDY --like http://127.0.0.1:9", "--like http://127.0.0.1:9: makes a study, and STUDY is one"),
        ("tune --like http://127.0.0.1:9 --gpu L4 --workload chat --for 3s", "--for: the load is that of --workload"),
        ("tune --like x --gpu L4", "--like x: is no URL of one server"),
        ("tune --like http://a:1,http://b:1 --gpu L4", "is no URL of one server"),
        ("tune --like http://127.0.0.1:9 --gpu L4 --for 0s", "--for 0s: nothing is served in no time"),
        ("tune --like http://127.0.0.1:9 --gpu L4 --replay x.jsonl", "--replay and --like contradict each other"),
        ("init --like http://127.0.0.1:9 --gpu L4", "http://127.0.0.1:9 does not answer"),
    ],
)
def test_what_makes_no_sense_is_one_line(run: Run, words: str, message: str) -> None:
    code, _, err = run(words)
    assert code == (1 if "does not answer" in message else 2)
    assert message in err
    assert err.count("\n") == 1
