"""A soak's answer in words; and the whole, on a simulated engine as a process with a planted growth of memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from planner.service.verify.growth import Growth, GrowthVerdict
from planner.service.verify.script import read_script
from planner.service.verify.soak import Sent, Soak
from planner.units import GIB, MIB
from tests.integration.studies import free_port, write_simulated_server_study

Run = Callable[[str], tuple[int, str, str]]
LEAKY = """
import sys, threading, time

kept, mib = [], float(sys.argv[1])

def grow():
    while True:
        kept.append(bytearray(b"x") * int(mib * 2**20 / 20))
        time.sleep(0.05)

if mib:
    threading.Thread(target=grow, daemon=True).start()
from planner.simulated.__main__ import main
sys.exit(main(sys.argv[2:]))
"""
SPEEDUP = 5000


def script(folder: Path, mib_a_second: float) -> Path:
    """A serve.sh beside its study: the simulated engine, which keeps so much more memory each second."""
    write_simulated_server_study(folder)
    (folder / "leaky.py").write_text(LEAKY, "utf-8")
    words = f"--speedup {SPEEDUP} --port {free_port()} --served-model-name vllm --max-model-len 1024 --max-num-seqs 8"
    cards = "--gpu 'RTX 2080 Ti 22GB' --num-gpus 2 --vllm-version 0.8.5 --tensor-parallel-size 2 --dtype half"
    path = folder / "serve.sh"
    path.write_text(
        f"#!/usr/bin/env bash\nset -euo pipefail\nexec {sys.executable} leaky.py {mib_a_second} serve {cards} {words} "
        "--model Qwen/Qwen3-8B-AWQ\n",
        "utf-8",
    )
    return path


def test_a_script_of_processes_is_read_for_a_soak_alone(tmp_path: Path, run: Run) -> None:
    path = script(tmp_path, 0)
    found = read_script(path, takes_processes=True)
    assert (len(found.ports), found.containers, found.written("max_num_seqs")) == (1, (), "8")
    assert found.written("kv_cache_dtype") is None
    code, _, err = run(f"verify {path}")
    assert (code, "starts no container by docker run" in err) == (2, True)


def test_planted_growth_is_found(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    path = script(tmp_path, 40)
    monkeypatch.chdir(tmp_path)
    code, out, err = run("verify serve.sh --soak 6s --json")
    assert code == 3, err
    found = json.loads(out)
    (host,) = found["memory"]
    assert (host["name"], host["verdict"], found["passed"]) == ("host memory", "grows", False)
    assert host["bytes_per_hour_low"] > 0
    assert host["full_in_s"] > 0
    assert (found["errors"], found["failure"]) == ({}, None)
    assert found["load"].startswith("prompts of 896 tokens and answers of 128 (the whole context), in turn with 8")
    assert path.exists()


@pytest.mark.prove
def test_a_clean_one_passes(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path, 0)
    monkeypatch.chdir(tmp_path)
    code, out, err = run("verify serve.sh --soak 3min")
    assert code == 0, out + err
    assert "sound: no memory grows, and nothing failed" in out


@pytest.mark.prove
def test_an_engine_that_dies_under_load_is_a_failure(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    path = script(tmp_path, 0)
    leaky = tmp_path / "leaky.py"
    dying = "import os, threading\nthreading.Timer(25, os._exit, [137]).start()\n"
    leaky.write_text(dying + LEAKY, "utf-8")
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("verify serve.sh --soak 2min")
    assert code == 3
    assert "not sound: " in out
    assert path.exists()


def growth(verdict: GrowthVerdict) -> Growth:
    return Growth(
        first_bytes=GIB, last_bytes=GIB, peak_bytes=2 * GIB, least_free_bytes=3 * GIB, slope=MIB / 3600, low=0.0,
        high=2 * MIB / 3600, seconds=1200.0, verdict=verdict,
    )  # fmt: skip


def soak(verdict: GrowthVerdict = "steady", completed: int = 9, failure: str | None = None, errors: int = 0) -> Soak:
    sent = Sent(completed=completed, errors={"status 500": errors} if errors else {}, failure=failure)
    return Soak(
        study="s",
        script=Path("run.sh"),
        seconds=1800.0,
        load="x",
        growth={"card 0": growth(verdict)},
        sent=sent,
        preemptions=4,
    )


@pytest.mark.parametrize(
    ("found", "passed", "words"),
    [
        (soak(), True, "sound: no memory grows, and nothing failed"),
        (soak("grows slowly"), True, "sound: no memory grows, and nothing failed"),
        (soak("grows"), False, "not sound: card 0 grows"),
        (soak("cannot tell"), False, "cannot tell: too few readings of memory; give it more time"),
        (soak(completed=0), False, "cannot tell: no request was answered; give it more time"),
        (soak(errors=3), False, "not sound: 3 requests failed"),
        (soak(failure="the engine ended: out of memory"), False, "not sound: the engine ended: out of memory"),
    ],
)
def test_the_answer_in_words(found: Soak, passed: bool, words: str) -> None:
    assert found.passed is passed
    assert found.table().notes[-1] == words
    assert found.document()["passed"] is passed
    assert json.dumps(found.document())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run.sh --soak 30min --repeats 3 --tolerance 0.1", "--soak compares with no trial: leave out --repeats and"),
        ("run.sh --soak 1s", "--soak 1s: shows no trend; allowed is a duration of at least 5 s, as 30min"),
        ("run.sh --soak soon", "--soak: "),
    ],
)
def test_what_makes_no_sense_is_one_line(run: Run, words: str, message: str) -> None:
    code, _, err = run(f"verify {words}")
    assert (code, err.count("\n")) == (2, 1)
    assert message in err
