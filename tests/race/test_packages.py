"""The table that answers for an engine, and what the packages did with it. The packages are not run here."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.race import page, table_engine
from tests.race.landscapes import load_all
from tests.race.package_runs import as_run, candidate_of, chance, mean_regret, read_results
from tests.race.packages import can_race
from tests.race.runs import run

LANDSCAPES = {landscape.name: landscape for landscape in load_all()}
RESULTS = read_results()
METRICS = {"output_throughput": 321.0, "completed": 7, "failed": 0}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    table = {"seed": 0, "default": {"max_num_seqs": "8", "enforce_eager": "false"}}
    records = {"8 false": [{"metrics": METRICS}], "16 true": [{"error": "ValueError: too much"}]}
    (tmp_path / table_engine.TABLE_FILE).write_text(json.dumps({**table, "records": records}), "utf-8")
    monkeypatch.setenv(table_engine.FOLDER_ENV, str(tmp_path))
    return tmp_path


@pytest.fixture
def port(folder: Path) -> Iterator[int]:  # noqa: ARG001
    """Of a table engine that was started as `vllm serve` without flags."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
    argv = [sys.executable, "-I", table_engine.__file__, "serve", "a-model", "--port", str(number)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as engine:
        while engine.poll() is None:
            try:
                urlopen(f"http://127.0.0.1:{number}/health")
                break
            except URLError:
                time.sleep(0.05)
        yield number
        engine.terminate()


def test_answers_come_at_the_recorded_speed_whatever_delays_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock of its own, on which each wait takes longer than was asked for."""
    now_s, rng = 1000.0, random.Random(0)

    def sleep(wait_s: float) -> None:
        nonlocal now_s
        now_s += wait_s * rng.uniform(1, 5)

    monkeypatch.setattr(table_engine, "time", SimpleNamespace(monotonic=lambda: now_s, sleep=sleep))
    pace = table_engine.Pace(300.0)
    pace.restart()
    began_s, tokens = now_s, 0
    for _ in range(20):
        tokens += pace.answer()
        assert abs(tokens - 300.0 * (now_s - began_s)) <= 0.5


def test_a_client_is_answered_with_tokens(port: int) -> None:
    urlopen(f"http://127.0.0.1:{port}/v1/models")
    answer = urlopen(f"http://127.0.0.1:{port}/v1/completions", json.dumps({"prompt": "a"}).encode()).read()
    usage = json.loads(answer.split(b"\n")[0].removeprefix(b"data: "))["usage"]
    assert 0 < usage["completion_tokens"] == usage["total_tokens"]


@pytest.mark.prove
def test_a_client_measures_the_recorded_speed(port: int) -> None:
    """On the machine's clock, so the machine should be idle."""
    urlopen(f"http://127.0.0.1:{port}/v1/models")
    began_s, tokens = time.monotonic(), 0
    for _ in range(20):
        answer = urlopen(f"http://127.0.0.1:{port}/v1/completions", json.dumps({"prompt": "a"}).encode()).read()
        tokens += json.loads(answer.split(b"\n")[0].removeprefix(b"data: "))["usage"]["completion_tokens"]
    speed = tokens / (time.monotonic() - began_s)
    assert speed == pytest.approx(METRICS["output_throughput"] * table_engine.TOKENS_FACTOR, rel=0.2)


def test_bench_serve_reports_what_was_recorded(port: int, folder: Path) -> None:
    where = ["--host", "127.0.0.1", "--port", str(port), "--result-dir", str(folder), "--result-filename", "r.json"]
    assert table_engine.main(["bench", "serve", "--model", "a-model", *where, "--save-result"]) == 0
    result = json.loads((folder / "r.json").read_text("utf-8"))
    assert result == {**METRICS, "num_prompts": 7, "model_id": "a-model"}


@pytest.mark.parametrize(
    ("flags", "words"),
    [(["--max-num-seqs", "16", "--enforce-eager"], "too much"), (["--max-num-seqs", "9"], "never measured")],
)
def test_what_failed_or_was_not_recorded_does_not_start(
    folder: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    assert table_engine.main(["serve", "a-model", *flags]) == 1
    assert words in capsys.readouterr().err
    line = json.loads((folder / table_engine.LAUNCHES_FILE).read_text("utf-8"))
    assert line["values"][0] == flags[1]
    assert line["metrics"] is None


def test_flags_are_read_as_vllm_spells_them() -> None:
    argv = ["--max-num-seqs", "8", "--enforce-eager", "--no-enable-prefix-caching", "--port", "8000"]
    expected = {"max_num_seqs": "8", "enforce_eager": "true", "enable_prefix_caching": "false", "port": "8000"}
    assert table_engine.flags_of(argv) == expected


def test_the_packages_launched_what_the_tables_hold() -> None:
    assert {one.landscape for one in RESULTS.runs} == {one.name for one in LANDSCAPES.values() if can_race(one)}
    for one in RESULTS.runs:
        landscape = LANDSCAPES[one.landscape]
        metric = landscape.problem.spec.objective.metric
        candidates = [candidate_of(landscape, one, values) for values in one.launches]
        assert candidates[0] == landscape.problem.default
        assert candidate_of(landscape, one, one.exported) in candidates
        for candidate, seen in zip(candidates, one.seen, strict=True):
            recorded = [
                record.results[0] if record.results else None for record in landscape.by_candidate[candidate.key]
            ]
            assert seen in [None if result is None else result.metrics[metric] for result in recorded]


@pytest.mark.prove
@pytest.mark.parametrize("package", ["vllm-tuner", "vllm-optimizer"])
def test_the_emulation_does_what_the_package_does(package: str) -> None:
    """Or else means this far apart would be rare."""
    itself, emulated = {}, {}
    for name in {one.landscape for one in RESULTS.runs}:
        landscape = LANDSCAPES[name]
        itself[name] = [mean_regret(as_run(landscape, one), 20) for one in RESULTS.of(name, package)]
        emulated[name] = [mean_regret(run(landscape, package, seed, 20), 20) for seed in range(12)]
    assert chance(itself, emulated) > 0.01


def test_chance_is_small_only_between_different_groups() -> None:
    low, high = {"a": [0.1, 0.2, 0.1, 0.2, 0.1]}, {"a": [0.5, 0.6, 0.5, 0.7, 0.6]}
    assert chance(low, high) < 0.02
    assert chance(low, low) == 1.0


def test_the_page_shows_these_runs() -> None:
    kept = (Path(__file__).parents[2] / "docs" / "search.md").read_text("utf-8")
    section = page.packages_section({Path(name): one for name, one in LANDSCAPES.items()}, {}, RESULTS, 20)
    for line in section.splitlines():
        assert ", itself" not in line or line in kept, "run: make race-packages"
