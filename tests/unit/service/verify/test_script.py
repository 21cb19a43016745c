"""What `planner verify` compares: the script's words, the log's, memory and numbers. Containers: tests/integration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec import structs
from typer.testing import CliRunner

from planner.cli.main import app
from planner.engine.log.settings import read_settings
from planner.errors import InputError
from planner.estimate.memory.per_gpu import MemoryFigures
from planner.launch.runs import service_runs
from planner.service.export.docker_script import run_sh
from planner.service.verify.reproduction import (
    ReproductionCheck,
    compare_arguments,
    compare_memory,
    compare_metrics,
    compare_runs,
)
from planner.service.verify.script import Verification, find_study_of, read_script
from planner.study.objective import Objective
from planner.study.problem import Problem
from planner.trials.trial import Rerun, Trial
from tests.places import GOLDEN

Make = Callable[..., Problem]
NAMESPACE = (
    "INFO 11-22 07:18:53 [api_server.py:1044] args: Namespace(subparser='serve', model_tag='/models/Qwen3-8B', "
    "lora_modules=None, allowed_origins=['*'], task='auto', load_format='dummy', config_format=<ConfigFormat.AUTO: "
    "'auto'>, dtype='half', max_model_len=4096, max_num_seqs=16, gpu_memory_utilization=0.9, enforce_eager=False, "
    "dispatch_function=<function ServeSubcommand.cmd at 0x7f0c1c0b8d60>)\n"
)
"""As vLLM 0.8.5 writes it (tests/golden/logs/vllm-0.8.5-v0-h200, where the line is cut), shortened."""


# --- the script


@pytest.fixture
def exported(make_problem: Make, launch: Any, tmp_path: Path) -> tuple[Problem, Path]:
    problem = make_problem(engine__env={"NOTE": "--name 'not this' \"$x\""}, serve={"name": "svc"})
    folder = tmp_path / "studies" / "tiny"
    folder.mkdir(parents=True)
    path = folder / "run.sh"
    path.write_text(run_sh(problem, replace(launch(problem)[0], number=7), None), "utf-8")
    return problem, path


def test_a_script_says_whose_it_is_and_what_it_starts(exported: tuple[Problem, Path]) -> None:
    script = read_script(exported[1])
    assert (script.study, script.trial, script.containers, script.simulated) == ("tiny", 7, ("svc", "svc-1"), True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("echo hello\n", "starts no container by docker run --name NAME"),
        ("docker run -d image\n", "starts no container"),
        ('docker run --name "$NAME" image\n', "starts no container"),
        ("docker run --name 'svc image\n", "is no shell script: No closing quotation"),
    ],
)
def test_other_scripts_are_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.sh"
    path.write_text(text)
    result = CliRunner().invoke(app, ["verify", str(path)])
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)


def test_its_study_is_found_beside_it_or_by_its_name(
    exported: tuple[Problem, Path], study_data: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = read_script(exported[1])
    folder = exported[1].parent
    with pytest.raises(InputError, match="is in no study's folder; name its study with --study"):
        find_study_of(script, None)
    (folder / "study.yaml").write_text(yaml.safe_dump(study_data()))
    assert find_study_of(script, None)[1] == folder
    monkeypatch.chdir(folder.parents[1])
    moved = replace(script, path=folder.parents[1] / "run.sh")
    assert find_study_of(moved, None)[1] == Path("studies/tiny")
    other = folder.parent / "other"
    other.mkdir()
    (other / "study.yaml").write_text(yaml.safe_dump(study_data(name="other")))
    with pytest.raises(InputError, match=r"is of study tiny, and .*other is other"):
        find_study_of(script, other)


def test_simulated_numbers_are_nothing_to_reproduce(
    exported: tuple[Problem, Path], study_data: Callable[..., dict[str, Any]]
) -> None:
    folder = exported[1].parent
    (folder / "study.yaml").write_text(yaml.safe_dump(study_data()))
    (folder / "simulated").mkdir()
    moved = exported[1].rename(folder / "simulated" / "run.sh")
    result = CliRunner().invoke(app, ["verify", str(moved)])
    assert "SIMULATED, there is nothing to reproduce" in str(result.exception)


# --- settings


def names(checks: list[ReproductionCheck]) -> dict[str, tuple[str, str]]:
    assert {check.verdict for check in checks} <= {"differs"}
    return {check.name: (check.expected, check.found) for check in checks}


def test_the_same_run_has_no_differences(make_problem: Make) -> None:
    problem = make_problem()
    (run, _) = service_runs(problem, problem.default)
    published_elsewhere = structs.replace(
        run, name="x", host_port=9, restart="no", labels={"a": "b"}, host_ip="127.0.0.1"
    )
    assert compare_runs(run, published_elsewhere) == []


def test_every_changed_word_is_named(make_problem: Make) -> None:
    problem = make_problem(engine__env={"A": "1", "B": "2"})
    (run, _) = service_runs(problem, problem.default)
    run = structs.replace(run, command=(*run.command, "--gpu-memory-utilization", "0.90", "--enable-prefix-caching"))
    words = " ".join(run.command).replace("4096", "2048").replace("--enable-prefix", "--no-enable-prefix")
    words = words.replace("0.90", "0.9") + " --enforce-eager --seed=3"
    found = structs.replace(
        run,
        command=tuple(words.split()),
        image="vllm/vllm-openai:v0.9.0",
        env={**run.env, "B": "3", "C": "4"},
        volumes={"/elsewhere": "/data", **run.volumes},
        gpu_ids=(1,),
        ipc="private",
        ulimits={"memlock": 1, "stack": 67108864},
    )
    assert names(compare_runs(run, found)) == {
        "image": ("vllm/vllm-openai:v0.8.5", "vllm/vllm-openai:v0.9.0"),
        "--gpus": ('"device=0"', '"device=1"'),
        "-v /data": ("nothing", "/elsewhere"),
        "--ulimit memlock": ("-1", "1"),
        "--ipc": ("host", "private"),
        "-e B": ("2", "3"),
        "-e C": ("nothing", "4"),
        "--max-model-len": ("4096", "2048"),
        "--enable-prefix-caching": ("true", "false"),
        "--enforce-eager": ("nothing", "true"),
        "--seed": ("nothing", "3"),
    }


def test_the_log_tells_what_was_asked() -> None:
    newer = read_settings((GOLDEN / "logs" / "vllm-0.24.0-v1-h200" / "q8_n8192_s32_fp8kv.log").read_text())
    assert not newer.has_all
    assert (newer.asked["kv_cache_dtype"], newer.asked["max_num_seqs"]) == ("fp8", 32)
    older = read_settings(NAMESPACE)
    assert older.has_all
    assert older.asked["gpu_memory_utilization"] == 0.9
    cut = (GOLDEN / "logs" / "vllm-0.8.5-v0-h200" / "seed_tp4.log").read_text()
    assert read_settings(cut).asked == {}


def test_settings_that_were_not_asked_so_are_named(make_problem: Make) -> None:
    engine = structs.replace(make_problem().default.engine, max_num_seqs=16, gpu_memory_utilization=0.90)
    assert compare_arguments(engine, read_settings(NAMESPACE)) == [], "dtype half, 0.90; defaults are not judged"
    other = NAMESPACE.replace("max_num_seqs=16", "max_num_seqs=256")
    assert names(compare_arguments(engine, read_settings(other))) == {"--max-num-seqs": ("16", "256")}
    unusual = "non-default args: {'max_model_len': 4096, 'dtype': 'float16', 'block_size': 32, 'port': 8000}\n"
    assert names(compare_arguments(engine, read_settings(unusual))) == {"--block-size": ("nothing", "32")}


# --- memory and numbers


@pytest.mark.parametrize(
    ("expected", "found", "verdict"),
    [
        (MemoryFigures(kv_tokens=279_408), MemoryFigures(kv_tokens=279_360), "same"),
        (MemoryFigures(kv_tokens=279_408), MemoryFigures(kv_tokens=270_000), "differs"),
        (MemoryFigures(num_blocks=100, kv_tokens=1600), MemoryFigures(num_blocks=100), "same"),
        (MemoryFigures(kv_tokens=1600), MemoryFigures(num_blocks=100), "not known"),
        (None, MemoryFigures(num_blocks=100), "not known"),
    ],
)
def test_the_kv_cache_is_as_large(expected: MemoryFigures | None, found: MemoryFigures, verdict: str) -> None:
    assert [check.verdict for check in compare_memory(expected, found)] == [verdict]


OBJECTIVE = Objective(metric="output_throughput", slo={"ttft_p95": 2.0})  # type: ignore[dict-item]


def measured(trial: Trial, throughput: float, ttft: float = 1.0, **changes: Any) -> Trial:
    metrics = {"output_throughput": throughput, "ttft_p95": ttft}
    return replace(trial, outcome="measured", value=throughput, repeat_values=(throughput,), metrics=metrics, **changes)


def verdicts(trials: list[Trial], now: list[float], ttft: float = 1.0, tolerance: float = 0.0) -> list[str]:
    repeats = [{"output_throughput": value, "ttft_p95": ttft} for value in now]
    return [check.verdict for check in compare_metrics(trials[0], trials, OBJECTIVE, repeats, tolerance)]


def test_numbers_are_held_against_the_noise(make_problem: Make, launch: Any) -> None:
    trial = measured(launch(make_problem())[0], 100.0)
    assert verdicts([trial], [97.0, 95.0]) == ["same", "same"]
    assert verdicts([trial], [86.0, 85.0]) == ["differs", "same"]
    assert verdicts([trial], [116.0, 115.0]) == ["differs", "same"], "faster is not the same either"
    assert verdicts([trial], [99.0, 98.0], ttft=1.1) == ["same", "same"], "latencies are noisier"
    assert verdicts([trial], [99.0, 98.0], ttft=1.4) == ["same", "differs"]
    assert verdicts([trial], [86.0, 85.0], tolerance=0.1) == ["same", "same"]
    assert verdicts([trial], [110.0, 60.0]) == ["same", "same"], "repeats that differ so much tell little"
    assert verdicts([replace(trial, metrics={})], [100.0]) == ["not known", "not known"]


def test_the_finals_are_the_trials_numbers(make_problem: Make, launch: Any) -> None:
    trial = measured(launch(make_problem())[0], 120.0)
    again = [
        measured(trial, value, number=10 + i, rerun=Rerun(of=0, series="0", round=i))
        for i, value in enumerate([100, 101])
    ]
    assert verdicts([trial, *again], [100.0, 99.0]) == ["same", "same"]
    assert verdicts([trial, *again], [120.0, 119.0]) == ["differs", "same"], "the search flattered it"


def test_a_verdict_needs_a_number(make_problem: Make, launch: Any) -> None:
    trial = measured(launch(make_problem())[0], 100.0)
    same = ReproductionCheck(
        kind="metric", name="output_throughput", expected="1", found="1", verdict="same", change=0.0, noise=0.1
    )
    found = Verification(study="tiny", trial=trial, checks=(same,))
    assert found.reproduced
    assert found.table().notes == (
        "settings: as exported",
        "reproduced: settings, memory and numbers are those of trial 0",
    )
    flag = ReproductionCheck(kind="setting", name="--seed", expected="nothing", found="3", verdict="differs")
    for other in (
        replace(found, checks=()),
        replace(found, checks=(same, flag)),
        replace(found, failure="died"),
        replace(found, checks=(replace(same, verdict="not known"),)),
    ):
        assert not other.reproduced
        assert other.document()["reproduced"] is False
        assert other.table().notes[-1].startswith("not reproduced: ")
    assert replace(found, checks=(same, flag)).table().notes[-1] == "not reproduced: --seed"
    assert "little can be said" in replace(found, checks=(replace(same, noise=0.4),)).table().notes[1]
