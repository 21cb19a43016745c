"""The whole loop on real processes: the simulated engine as an HTTP server, started by the process backend."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import psutil
import pytest
import yaml

from planner.launch.process import STUDY_ENV
from planner.study.loading import load_study
from planner.trials.trial import searched
from tests.integration.studies import trials_of, tune, tune_until, write_simulated_server_study


def processes_of(study: Path) -> list[int]:
    name = load_study(study).name
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(STUDY_ENV) == name:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_tune_measures_over_http(tmp_path: Path) -> None:
    study = write_simulated_server_study(tmp_path)
    done = tune(study, 4, "process")
    assert done.returncode == 0, done.stdout + done.stderr
    trials = trials_of(study)
    assert [trial.outcome for trial in trials] == ["measured"] * 4
    assert {str(trial.candidate.layout) for trial in trials} == {"1xtp2", "2xtp1"}
    for trial in trials:
        assert trial.metrics["output_throughput"] > 0
        assert trial.failed_requests == 0
        assert trial.real_memory is not None
        # The log says what was predicted, but for its two decimals, on which later trials are calibrated.
        assert trial.real_memory.num_blocks == pytest.approx(trial.predicted_memory.num_blocks, rel=0.002)
    assert processes_of(study) == []


@pytest.mark.prove
def test_the_finals_measure_again_over_http(tmp_path: Path) -> None:
    study = write_simulated_server_study(tmp_path)
    done = tune(study, 4, "process", options=("--all",))
    assert done.returncode == 0, done.stdout + done.stderr
    trials = trials_of(study)
    again = [trial for trial in trials if trial.rerun is not None]
    assert len(searched(trials)) == 4
    if again:  # else the default was the best, and nothing came near it
        assert "Finals: measured again in turn, on fresh prompts" in done.stdout
        rounds = {trial.rerun.round for trial in again if trial.rerun}
        assert rounds == set(range(len(rounds)))
        assert 3 <= len(rounds) <= 6
        assert {len(trial.repeat_values) for trial in again} == {2}
        assert all(trial.outcome == "measured" for trial in again)
    else:
        assert "keep them" in done.stdout
    assert processes_of(study) == []


@pytest.mark.parametrize(
    "number", [*(pytest.param(one, marks=pytest.mark.prove) for one in (signal.SIGINT, signal.SIGTERM)), signal.SIGKILL]
)
def test_stopped_in_the_middle_and_run_again(tmp_path: Path, number: signal.Signals) -> None:
    study = write_simulated_server_study(tmp_path, speedup=20)
    code, output = tune_until(study, 4, "process", "(3/4)", number)
    assert code == (-signal.SIGKILL if number is signal.SIGKILL else 130), output
    first = trials_of(study)
    assert len(first) in (2, 3), "a signal may come late on a busy machine"
    if number is not signal.SIGKILL:
        assert f"{len(first)} of 4 trials are kept" in output
        assert processes_of(study) == []

    again = tune(study, 4, "process")
    assert again.returncode == 0, again.stdout + again.stderr
    trials = trials_of(study)
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert trials[: len(first)] == first
    assert len({trial.candidate.key for trial in trials}) == 4
    assert processes_of(study) == []


def test_a_finished_study_launches_nothing_more(tmp_path: Path) -> None:
    study = write_simulated_server_study(tmp_path)
    assert tune(study, 2, "process").returncode == 0
    first = trials_of(study)
    again = tune(study, 2, "process")
    assert again.returncode == 0
    assert trials_of(study) == first


def test_a_winner_whose_answers_are_refused_is_not_exported(tmp_path: Path) -> None:
    """The user's own evaluation, run against the launched engines: first it refuses the fp8 cache, then it passes."""
    study = write_simulated_server_study(tmp_path, speedup=30)
    evaluation = tmp_path / "evaluate.py"
    evaluation.write_text(EVALUATION)
    data = yaml.safe_load(study.read_text())
    model = {"path": "Qwen/Qwen3-8B-AWQ"}
    data["models"] = {
        "slow": {**model, "settings": {"max_num_seqs": 1}},
        "fp8": {**model, "settings": {"kv_cache_dtype": "fp8_e5m2"}},
    }
    data["search_space"] = {"search": {}}
    data["quality"] = {"command": [sys.executable, str(evaluation), "refuse"]}
    study.write_text(yaml.safe_dump(data, sort_keys=False))

    refused = tune(study, 2, "process")
    assert refused.returncode == 0, refused.stdout + refused.stderr
    default, fp8 = trials_of(study)[:2]
    assert fp8.value is not None
    assert default.value is not None
    assert fp8.value > 1.5 * default.value, "the default serves one request at a time"
    assert "quality: answers failed:" in refused.stdout
    assert f"saw {load_study(study).serve.name}" in refused.stdout
    assert "fp8_e5m2" not in (tmp_path / "run.sh").read_text()

    data["quality"]["command"][-1] = "pass"
    study.write_text(yaml.safe_dump(data, sort_keys=False))
    passed = tune(study, 2, "process")
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert "quality: answers passed:" in passed.stdout
    script = (tmp_path / "run.sh").read_text()
    assert "--kv-cache-dtype fp8_e5m2" in script
    assert "# answers passed:" in script
    assert processes_of(study) == []


EVALUATION = """
import json, os, sys, urllib.request
with urllib.request.urlopen(os.environ["BASE_URL"] + "/v1/models") as answer:
    names = [model["id"] for model in json.load(answer)["data"]]
assert os.environ["MODEL"] in names
print("saw", *names)
sys.exit(0 if sys.argv[1] == "pass" else 1)
"""


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    study = write_simulated_server_study(tmp_path)
    study.write_text(study.read_text().replace("- -m", "- -m").replace("command: [", "command: ['no-such-vllm', "))
    done = tune(study, 2, "process")
    assert done.returncode == 1
    assert done.stderr.startswith("planner: no-such-vllm: not found on PATH")


def test_a_slow_candidate_is_given_up_over_http(tmp_path: Path) -> None:
    """One request at a time against 31: the load ends long before its last request, and the engine with it."""
    study = write_simulated_server_study(tmp_path, speedup=30)
    data = yaml.safe_load(study.read_text())
    data["search_space"] = {"search": {"max_num_seqs": [1, 31]}}  # 32 are alike the default
    data["workload"] |= {"concurrency": 32, "num_requests": 192}
    data |= {"repeats": 2, "also_at": [4]}
    study.write_text(yaml.safe_dump(data, sort_keys=False))
    done = tune(study, 3, "process", options=("--no-finals", "--all"))
    assert done.returncode == 0, done.stdout + done.stderr
    trials = {trial.candidate.engine.max_num_seqs: trial for trial in trials_of(study)}
    assert trials[None].stopped_at is None
    slow = trials[1]
    assert slow.stopped_at is not None
    assert slow.stopped_at < 1, "how early is up to the clock: test_racing.py has one of its own"
    assert (slow.outcome, slow.failed_requests, slow.repeat_values) == ("measured", 0, ())
    assert [[at.load for at in trials[seqs].at_loads] for seqs in (None, 1)] == [[4.0], []]
    assert "At other loads than 32" in done.stdout
    assert f"given up after {slow.stopped_at:.0%} of the load" in done.stdout
    assert processes_of(study) == []
