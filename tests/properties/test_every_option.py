"""No option is dropped: each one of estimate, tune and doctor changes the answer, or is refused in one line.

The table names every option, so that a new one cannot be forgotten. `tune` only plans here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main

from planner.cli.main import app

Run = Callable[[str], tuple[int, str, str]]
GROUP: Any = typer.main.get_command(app)
DESCRIBED = "--model Qwen/Qwen3-8B --gpu 'RTX 4090' --vllm-version 0.33.0"
LOG = "start.log"
STUDY_OPTIONS = {
    "study": ("named", "other"),
    "model": (DESCRIBED, DESCRIBED.replace("3-8B", "3-4B")),
    "gpu": (DESCRIBED, DESCRIBED.replace("4090", "3090")),
    "num_gpus": (DESCRIBED, f"{DESCRIBED} --num-gpus 2"),
    "interconnect": (f"{DESCRIBED} --num-gpus 2", f"{DESCRIBED} --num-gpus 2 --interconnect nvlink"),
    "vllm_version": (DESCRIBED, DESCRIBED.replace("0.33.0", "0.11.0")),
    "name": (f"{DESCRIBED} --json", f"{DESCRIBED} --json --name mine"),
}
"""Parameter -> a line, and the same with the option."""
BESIDE = ("--model Qwen/Qwen3-4B", "--gpu H200", "--num-gpus 1", "--interconnect nvlink", "--vllm-version 0.24.0",
          "--name mine --json", "--max-num-seqs 7", "--max-model-len 2048")  # fmt: skip
"""Options beside a study that is named."""
OPTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "estimate": {
        **STUDY_OPTIONS,
        "as_json": ("named", "named --json"),
        "requests": ("", "--requests requests.jsonl"),
        "fit": ("named", "named --fit max_model_len"),
        "sweep": ("named", "named --sweep max_num_seqs=1..8"),
        "compare": ("named", "named --compare small,Qwen/Qwen3-4B"),
        "layouts": ("named", "named --layouts"),
        "log": ("named", "named --calibrate start.log"),
        "output": ("named", "named --output answer.txt"),
    },
    "tune": {
        **STUDY_OPTIONS,
        "trials": ("named", "named --trials 7"),
        "until": ("named", "named --until 2%"),
        "keep_going": ("named", "named --keep-going"),
        "live": (DESCRIBED, f"{DESCRIBED} --live"),
        "hours": ("named", "named --hours 3"),
        "budget": ("named", "named --budget 3"),
        "workload": ("named", "named --workload chat"),
        "concurrency": ("named", "named --concurrency 9"),
        "slo": ("named", "named --slo ttft_p95=2s"),
        "objective": ("named", "named --objective tpot_p50"),
        "image": ("named", "named --image mine:1"),
        "output": ("named", "named --output answer.txt"),
        "backend": ("named", "named --backend simulated"),
        "storage": ("named", "named --storage sqlite:///other.db"),
        "ray": ("named", "named --ray auto"),
        "exclusive": ("named --ray auto", "named --ray auto --exclusive"),
        "mixed": ("named --ray auto", "named --ray auto --mixed"),
        "dry_run": ("named", "named"),
        "like": ("named", "named --like http://127.0.0.1:9"),
        "duration": ("named", "named --for 3s"),
        "levers": ("named", "named --levers layout"),
        "sampler": ("named", "named --sampler tpe"),
        "seed": ("named", "named --seed 3"),
        "learn_from": ("named", "named --learn-from other"),
        "quality_prompts": ("named", "named --quality-prompts prompts.jsonl"),
        "replay": ("named", "named --replay requests.jsonl"),
        "finals": ("named", "named --no-finals"),
        "checks": ("named", "named --no-checks"),
        "show_all": ("named", "named --all"),
        "notify": ("named", "named --notify https://ntfy.sh/topic"),
        "quiet": ("named", "named --quiet"),
        "as_json": ("named", "named --json"),
    },
    "doctor": {
        **STUDY_OPTIONS,
        "backend": ("named", "named --backend process"),
        "duration": ("named", "named --for 3s"),
        "output": ("named", "named --output answer.txt"),
        "quiet": (DESCRIBED.partition(" --vllm")[0], f"{DESCRIBED.partition(' --vllm')[0]} --quiet"),
        "as_json": ("named", "named --json"),
    },
}
VERSIONS = ("0.33.0", "0.11.0", "0.8.5")
LIVE = {"host memory", "CPUs", "/dev/shm", "ulimits", "disk", "ports"}  # noqa: S108  (a check's name)
"""Checks of the doctor whose findings change from one moment to the next."""


@pytest.fixture
def folder(tmp_path: Path, study_data: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, changes in (("named", {}), ("other", {"engine__settings": {"dtype": "half", "max_model_len": 1024}})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "study.yaml").write_text(json.dumps(study_data(name=name, **changes)), "utf-8")
    request = {"id": 1, "model": "Qwen/Qwen3-8B", "gpu": {"name": "L4"}, "vllm_version": "0.33.0"}
    (tmp_path / "requests.jsonl").write_text(json.dumps(request) + "\n", "utf-8")
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "a"}\n', "utf-8")
    (tmp_path / LOG).write_text("INFO nothing of a start\n", "utf-8")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    monkeypatch.setenv("PATH", str(tmp_path))
    for variable in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    return tmp_path


def answer(run: Run, command: str, options: str) -> tuple[int, str, str]:
    """What a command says, without what changes by itself."""
    code, out, err = run(f"{command} {options}{' --dry-run' if command == 'tune' else ''}")
    if command == "doctor" and code != 2:
        lines = [line for line in out.splitlines() if not any(f" {name} " in line for name in LIVE)]
        if out.startswith("{"):
            document = json.loads(out)
            document["checks"] = [check for check in document["checks"] if check["name"] not in LIVE]
            lines = [json.dumps(document)]
        out = "\n".join(lines)
    return code, out, err


def changes_or_is_refused(run: Run, command: str, before: str, after: str) -> None:
    code, out, err = answer(run, command, after)
    if code == 2:
        assert (out, err.count("\n")) == ("", 1)
        assert err.startswith("planner: ")
        return
    assert code in {0, 3}, err
    assert (code, out, err) != answer(run, command, before), f"{command} {after}: says the same as without it"


@pytest.mark.parametrize("command", OPTIONS)
def test_the_table_names_every_option(command: str) -> None:
    ignored = {"help"}
    assert {parameter.name for parameter in GROUP.commands[command].params} - ignored == set(OPTIONS[command])


@pytest.mark.parametrize(
    ("command", "option"),
    [(command, option) for command, options in OPTIONS.items() for option in options if option != "dry_run"],
)
@pytest.mark.usefixtures("folder")
def test_each_option_changes_the_answer_or_is_refused(run: Run, command: str, option: str) -> None:
    changes_or_is_refused(run, command, *OPTIONS[command][option])


@pytest.mark.parametrize("command", OPTIONS)
@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.usefixtures("folder")
def test_an_option_beside_a_study_changes_the_answer_or_is_refused(run: Run, command: str, beside: str) -> None:
    is_json = " --json" in beside
    changes_or_is_refused(run, command, f"named{' --json' if is_json else ''}", f"named {beside}")


@pytest.mark.usefixtures("folder")
def test_a_dry_run_launches_nothing_and_a_run_does_not_say_only_its_plan(run: Run) -> None:
    dry = run("tune named --backend simulated --trials 2 --no-finals --dry-run")
    assert (dry[0], "first launch:" in dry[1]) == (0, True)
    assert not list(Path("named").glob("simulated"))
    real = run("tune named --backend simulated --trials 2 --no-finals")
    assert (real[0], "first launch:" in real[1], "trial 0 (1/2)" in real[1]) == (0, False, True)


@pytest.mark.usefixtures("folder")
def test_a_tuned_folder_changes_no_other_answer(run: Run) -> None:
    """What a run left in the working folder is not read by a question that does not name it."""
    described = "--model Qwen/Qwen3-14B --gpu 'RTX 3090' --num-gpus 2 --vllm-version"
    lines = [(command, f"{described} {version} --json") for command in ("estimate", "doctor") for version in VERSIONS]
    before = [answer(run, *line) for line in lines]
    tuned = f"tune {described} 0.33.0 --max-model-len 8192 --backend simulated --trials 1 --no-finals"
    assert run(tuned)[0] == 0
    assert list(Path("studies").iterdir())
    assert [answer(run, *line) for line in lines] == before
    for version in VERSIONS:
        code, out, _ = run(f"tune {described} {version} --dry-run")
        assert (code, f"vllm/vllm-openai:v{version}" in out) == (0, True)
