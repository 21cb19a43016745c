"""The commands as a person types them: what they print, and their exit codes."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner.service.ladder import load_ladder
from tests.places import ROOT

TARGET = str(ROOT / "studies" / "qwen3-32b-awq-4x2080ti")
Run = Callable[[str], tuple[int, str, str]]


def test_estimate_of_the_real_start_says_what_its_log_said(run: Run) -> None:
    code, out, _ = run(f"estimate {TARGET} --max-num-seqs 64 --gpu-memory-utilization 0.96")
    assert code == 0
    for figure in ("4.58", "2.74", "0.20", "21.48 GiB"):  # weights, activation peak, non-torch, the card
        assert figure in out
    assert "verdict" in out


def test_json_is_one_document_that_parses(run: Run) -> None:
    code, out, _ = run(f"estimate {TARGET} --max-num-seqs 64 --gpu-memory-utilization 0.96 --json")
    assert code == 0
    assert set(_numbers(json.loads(out))) >= {4.58, 2.74, 0.2}


def _numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for item in value.values() for number in _numbers(item)]
    return [round(value, 2)] if isinstance(value, (int, float)) else []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"estimate {TARGET} --gpu-memory-utilization 0.2", "No available memory for the cache blocks"),
        (f"estimate {TARGET} --max-num-batched-tokens 4096", "is smaller than max_model_len"),
        (f"estimate {TARGET} --tensor-parallel-size 8", "8 GPUs are needed, 4 are there"),
        ("estimate --model Qwen/Qwen3-32B --gpu 'RTX 4090' --max-model-len 4096", "out of memory"),
        (
            "estimate --model Qwen/Qwen3-8B --gpu 'RTX 4090' --num-gpus 37 --pipeline-parallel-size 37",
            "pipeline_parallel_size (37) is above the model's number of layers (36)",
        ),
    ],
)
def test_what_will_not_start_exits_3_and_says_why(run: Run, line: str, reason: str) -> None:
    code, out, err = run(line)
    assert (code, err) == (3, "")
    assert reason in " ".join(out.split())
    code, out, _ = run(f"{line} --json")
    assert code == 3
    assert reason in json.dumps(json.loads(out))


BAD_CONFIG = "estimate --gpu H200 --model garbage"
BAD_INPUTS = [
    ("estimate", "no study.yaml here"),
    ("estimate nowhere", "nowhere: no such study"),
    ("tune nowhere/study.yaml", "no such study"),
    ("candidates nowhere", "no such study"),
    ("export nowhere", "no such study"),
    ("estimate --model Qwen/Qwen3-8B --gpu 'RTX 2090'", "GPU 'RTX 2090' is not known; near names: "),
    ("estimate --model Qwen/Qwen9-8B --gpu H200", "model 'Qwen/Qwen9-8B': no such directory"),
    ("estimate --model Qwen/Qwen3-8B", "--model and --gpu go together"),
    ("estimate --gpu H200", "--model and --gpu go together"),
    (f"estimate {TARGET} --model Qwen/Qwen3-8B --gpu H200", "not both"),
    ("estimate --model Qwen/Qwen3-8B --gpu H200 --vllm-version newest", "'newest' is not a version"),
    ("estimate --model Qwen/Qwen3-8B --gpu H200 --interconnect string", "Invalid enum value 'string'"),
    (f"estimate {TARGET} --max-num-seqs many", "argument --max-num-seqs: invalid int value: 'many'"),
    (f"estimate {TARGET} --max-num-seqs", "argument --max-num-seqs: expected one argument"),
    (f"estimate {TARGET} --gpu-memory-utilization 1.2", "gpu_memory_utilization: Expected `float` <= 1.0"),
    (f"estimate {TARGET} --dtype int3", "dtype: Invalid enum value 'int3'"),
    (f"tune {TARGET} --backend cloud", "--backend cloud: allowed: docker, process, simulated"),
    (f"tune {TARGET} --backend simulated --sampler genetic", "--sampler: name: Invalid enum value 'genetic'"),
    ("gpus --max-num-seqs 8", "only doctor, estimate, init, simulate, tune take vLLM's flags"),
    ("schema trial", "schema 'trial': allowed: study, search-space, workload, hardware"),
    ("guard nowhere", "nowhere: no such ladder; planner tune writes a ladder.yaml"),
    ("guard study.yaml", "study.yaml: is no ladder"),
    ("guard typo.yaml", "typo.yaml: is no ladder"),
    ("guard .", "ladder.yaml: no such ladder; planner tune writes a ladder.yaml"),
    ("estimate --model Qwen/Qwen3-8B --gpu H200 --vllm-version 99.0.0", "99.0.0: not a release that planner can judge"),
    ("estimate --model Qwen/Qwen3-8B --gpu H200 --vllm-version 9!0.8.5", "no release of vLLM has an epoch"),
    ("estimate --model Qwen/Qwen3-8B --gpu H200 --vllm-version 0.1.0", "too old; planner knows vLLM 0.6.0 to"),
    (f"estimate {TARGET} --model Qwen/Qwen3-8B", "not both; the models of qwen3-32b-awq-4x2080ti are awq"),
    (f"estimate {TARGET} --name 'a b'", "--name: allowed: letters A to Z, digits, _ . and -, a letter or digit first"),
    ("tune --name x", "to go on with one write its path: studies/x"),
    ("doctor --num-gpus 2", "--num-gpus: of which study?"),
    ("doctor --max-num-seqs 2", "--max-num-seqs: of which study?"),
    ("estimate --requests study.yaml --num-gpus 2 --max-num-seqs 3", "leave out --num-gpus, --max-num-seqs"),
    ("estimate study.yaml --calibrate x.log --layouts", "--calibrate learns for one estimate; leave out --layouts"),
    ("tune study.yaml --backend simulated --num-gpus 1", "hardware.num_gpus: 2 -> 1: differs from its study.yaml"),
    ("tune study.yaml --replay x --ray auto", "--replay launches nothing: leave out --ray"),
    ("tune study.yaml --backend simulated --quality-prompts none.jsonl", "none.jsonl: no such file"),
    ("guard", "no study.yaml here"),
    (
        "export study.yaml --kind helm",
        "--kind helm: allowed: script, ladder, compose, systemd, kubernetes, serve, config",
    ),
    ("estimate typo.yaml", "typo.yaml: unknown key `gpus`"),
    ("estimate garbage.yaml", "garbage.yaml: is not YAML: "),
    ("estimate list.yaml", "list.yaml: Expected `object`, got `array`"),
    ("estimate binary.yaml", "binary.yaml: cannot be read: "),
    ("estimate empty.yaml", "empty.yaml: Expected `object`, got `null`"),
    (f"{BAD_CONFIG}/json", "config.json: is not JSON"),
    (f"{BAD_CONFIG}/list", "config.json: is not a JSON object"),
    (f"{BAD_CONFIG}/type", "hidden_size: None is not a positive whole number"),
    (f"{BAD_CONFIG}/empty", "num_hidden_layers: None is no number; looked for"),
    (f"{BAD_CONFIG}/shape", "num_hidden_layers: 'many' is not a positive whole number"),
    (f"{BAD_CONFIG}/none", "garbage/none: a directory without config.json"),
    ("estimate --gpu H200 --model garbage/Qwen3-8B", "garbage/Qwen3-8B: a directory without config.json"),
    ("tune --gpu H200 --model garbage/Qwen3-8B --backend simulated", "a directory without config.json"),
    ("export study.yaml", "no trials yet: run planner tune first"),
    ("export study.yaml --simulated", "no trials yet: run planner tune first"),
    ("tune study.yaml --backend simulated --storage nonsense", "storage nonsense: cannot be opened"),
]


@pytest.mark.parametrize(("line", "message"), BAD_INPUTS, ids=[line.replace(TARGET, "T") for line, _ in BAD_INPUTS])
def test_bad_input_exits_2_with_one_line(run: Run, tmp_path: Path, request: Any, line: str, message: str) -> None:
    _write_bad_files(tmp_path)
    if "study.yaml" in line and "nowhere" not in line:
        request.getfixturevalue("study")
    code, _, err = run(line)
    assert code == 2
    assert err.startswith("planner: ")
    assert err.count("\n") == 1
    assert message in err


def _write_bad_files(folder: Path) -> None:
    files = {
        "typo.yaml": b"name: a\ngpus: 4\n",
        "garbage.yaml": b"name: [a\nb: {c",
        "list.yaml": b"- a\n- b\n",
        "binary.yaml": b"\xff\xfe\x00\x01",
        "empty.yaml": b"",
        "garbage/json/config.json": b"{nope",
        "garbage/list/config.json": b"[1, 2]",
        "garbage/type/config.json": b'{"model_type": "mamba"}',
        "garbage/empty/config.json": b"{}",
        "garbage/shape/config.json": b'{"model_type": "llama", "num_attention_heads": 8, "hidden_size": 64, '
        b'"max_position_embeddings": 64, "num_hidden_layers": "many"}',
        "garbage/none/readme.txt": b"",
        "garbage/Qwen3-8B/readme.txt": b"",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def test_tune_writes_everything_and_the_same_words_continue(run: Run, study: Path) -> None:
    code, out, err = run("tune --backend simulated --trials 3 --no-finals")
    assert (code, err) == (0, "")
    assert "SIMULATED" in out
    assert "Finals" not in out
    assert "trial 0 (1/3): engine defaults" in out
    script = study.parent / "simulated" / "run.sh"
    assert script.stat().st_mode & 0o111
    assert "SIMULATED" in script.read_text("utf-8").splitlines()[1]
    ladder = study.parent / "simulated" / "ladder.yaml"
    assert load_ladder(ladder)[0].source.startswith("SIMULATED")
    code, out, _ = run("tune --backend simulated --trials 4 --all")
    assert code == 0
    assert "trial 3 (4/13)" in out, "with the finals of three"
    assert "finals: trials " in out
    assert "Finals: measured again in turn, on fresh prompts" in out
    assert "(1/4)" not in out
    code, out, _ = run("export --simulated --trial 2 -o two.sh")
    assert (code, out) == (0, "wrote two.sh\n")
    assert "trial 2," in Path("two.sh").read_text("utf-8")
    for kind, name, words in (
        ("ladder", "ladder.yaml", "rungs:"),
        ("compose", "compose.yaml", "healthcheck:"),
        ("systemd", "planner-guard-vllm.service", f'guard "{ladder}"'),
        ("kubernetes", "kubernetes.yaml", "kind: Deployment"),
        ("serve", "serve.sh", "vllm serve"),
        ("config", "engine.yaml", "max-model-len: 4096"),
    ):
        code, out, _ = run(f"export --simulated --kind {kind}")
        assert (code, out) == (0, f"wrote simulated/{name}\n")
        assert words in (study.parent / "simulated" / name).read_text("utf-8")
    code, _, err = run("export --simulated --trial 99")
    assert (code, err.count("\n")) == (2, 1)
    assert "no trial 99" in err
    assert not (study.parent / "study.db").exists()  # nothing here was measured


def test_a_dry_run_shows_the_first_launch_and_writes_nothing(run: Run, study: Path) -> None:
    before = sorted(study.parent.iterdir())
    code, out, _ = run("tune --backend docker --dry-run")
    assert code == 0
    assert "docker run -d \\\n  --runtime" in out, "in lines that can be pasted"
    commands = out.replace("\\\n", " ").splitlines()
    launches = [shlex.split(line) for line in commands if line.startswith("docker run")]
    assert len(launches) == 2
    assert all(words[-2:] == ["--max-model-len", "4096"] for words in launches)
    assert sorted(study.parent.iterdir()) == before


def test_a_flag_fixes_what_would_be_searched(run: Run, study: Path) -> None:  # noqa: ARG001
    code, out, _ = run("tune --backend simulated --dry-run --max-num-seqs 16")
    assert code == 0
    assert "--max-num-seqs 16" in out
    assert "candidates  4:" in out  # of 8


def test_candidates_counts(run: Run) -> None:
    code, out, _ = run(f"candidates {TARGET}")
    assert code == 0
    assert "candidates  20 160: " in out
    assert "by rule: max_num_batched_tokens >= max_model_len without chunked prefill" in out


@pytest.mark.parametrize("kind", ["study", "search-space", "workload", "hardware"])
def test_schemas_are_json(run: Run, kind: str) -> None:
    code, out, _ = run(f"schema {kind}")
    assert code == 0
    assert json.loads(out)["$schema"].startswith("https://json-schema.org/")


def test_models_and_gpus_are_listed(run: Run) -> None:
    assert "Qwen/Qwen3-32B-AWQ " in run("models")[1]
    code, out, _ = run("gpus")
    assert code == 0
    assert "RTX 2080 Ti 22GB" in out
    assert "visible here: " in out


def test_help_is_quick_because_it_imports_nothing_heavy() -> None:
    code = """
import sys
from planner.cli.main import main
try:
    main(["--help"])
finally:
    heavy = {"optuna", "docker", "httpx", "numpy", "sqlalchemy", "yaml", "requests"} & set(sys.modules)
    print("HEAVY", sorted(heavy))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in result.stdout
    for command in ("estimate", "tune", "candidates", "export", "guard", "schema", "gpus", "models"):
        assert command in result.stdout


def test_one_estimate_needs_no_numpy() -> None:
    code = """
import sys
from planner.cli.main import main
try:
    main(["estimate", "--model", "Qwen/Qwen3-8B", "--gpu", "H200", "--json"])
finally:
    print("HEAVY", sorted({"optuna", "docker", "httpx", "numpy", "sqlalchemy", "requests"} & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "HEAVY []" in result.stdout, result.stderr


LANDSCAPE = ROOT / "tests" / "golden" / "landscapes" / "vllm-0.24-h200-qwen3-4b-chat"


def test_a_replay_says_so_finds_the_best_and_keeps_nothing(run: Run, tmp_path: Path) -> None:
    tuned = f"tune {LANDSCAPE} --replay {LANDSCAPE / 'launches.jsonl'} --trials 24 --sampler random"
    code, out, _ = run(f"{tuned} --no-finals")
    assert code == 0
    assert "nearest to engine defaults: 10 161.4 tok/s; the best is +7.7%" in out
    code, out, _ = run(tuned)
    assert code == 0
    assert "as good: " in out or "within the noise of it" in out
    code, out, _ = run(f"{tuned} --all")
    assert code == 0
    assert out.startswith("REPLAYED: ")
    assert out.rstrip().endswith("nothing is launched")
    assert "output_throughput 10 940.5 tok/s" in out
    assert "in the search" in out
    assert "deploy trial" in out or "keep them" in out
    assert not list(tmp_path.iterdir())
    assert {path.name for path in LANDSCAPE.iterdir()} == {"study.yaml", "launches.jsonl"}


def test_a_reported_study_is_replayed_without_launching(run: Run, study: Path) -> None:
    run(f"tune {study} --backend simulated --trials 3")
    code, out, _ = run(f"report {study} --simulated")
    assert (code, out.count("tok/s") >= 3) == (0, True)
    assert run(f"report {study} --simulated --jsonl -o trials.jsonl") == (0, "", "wrote trials.jsonl\n")
    code, out, _ = run(f"report {study} --simulated --jsonl")
    assert (code, out) == (0, Path("trials.jsonl").read_text("utf-8"))
    code, out, _ = run(f"tune {study} --replay trials.jsonl")
    assert code == 0
    assert "REPLAYED" in out
    assert "SIMULATED" in out  # when they were recorded


def test_a_study_is_reported_as_a_page(run: Run, study: Path) -> None:
    run(f"tune {study} --backend simulated --trials 3")
    assert run(f"report {study} --simulated --html") == (0, f"wrote {study.parent}/simulated/report.html\n", "")
    assert run(f"report {study} --simulated --html -o page.html --pareto tpot_p50,ttft_p95")[0] == 0
    assert "Trials that none beats in tpot_p50 and ttft_p95" in Path("page.html").read_text("utf-8")
    code, out, _ = run(f"report {study} --simulated --all")
    assert code == 0
    assert "progress: the best of the search" in out
    assert "obtained with planner" in out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("report {study} --html -o none/x --simulated --storage sqlite://", "--output none/x: no such folder"),
        ("report {study} --html --jsonl", "--html, --json and --jsonl: one at a time"),
        ("report {study} --no-script", "--no-script is about the page: add --html"),
        ("tune {study} --replay none.jsonl", "none.jsonl: cannot be read"),
        ("tune {study} --replay {study}", "study.yaml:1: is not JSON"),
        ("tune {study} --replay x --backend docker", "--replay launches nothing: leave out --backend"),
        ("tune {study} --sampler best", "--sampler: name: Invalid enum value 'best'"),
        ("report {study}", "no trials yet: run planner tune first; for simulated ones add --simulated"),
        ("report {study} --simulated --jsonl -o none/x --storage sqlite://", "--output none/x: no such folder"),
    ],
)
def test_what_cannot_be_replayed_or_reported(run: Run, study: Path, line: str, message: str) -> None:
    code, _, err = run(line.format(study=study))
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


STAGES = "estimate --model Qwen/Qwen3-8B --gpu 'RTX 4090' --num-gpus 64"


@pytest.mark.parametrize(
    "line",
    [
        f"{STAGES} --fit pipeline_parallel_size --tensor-parallel-size 1",
        f"{STAGES} --sweep pipeline_parallel_size=1..64 --tensor-parallel-size 1",
        f"{STAGES} --layouts",
        f"{STAGES} --pipeline-parallel-size 64 --layouts",
    ],
)
def test_more_stages_than_layers_are_judged_everywhere(run: Run, line: str) -> None:
    code, out, err = run(line)
    assert (code in {0, 3}, err) == (True, "")
    assert "Error" not in out


def test_nothing_to_deploy_ends_with_3_and_a_way_out(run: Run, study: Path) -> None:
    described = "tune --model Qwen/Qwen3-8B --gpu 'RTX 4090' --num-gpus 3 --vllm-version 0.33.0 --backend simulated"
    code, out, _ = run(f"{described} --dry-run")
    assert (code, "first launch" in out) == (3, False)
    assert "what would start: --tensor-parallel-size 1 (now 3)" in " ".join(out.split())
    code, _, err = run(f"{described} --trials 2 --quiet")
    assert (code, err.startswith("nothing to deploy: no combination can start: ")) == (3, True)
    study.write_text(study.read_text("utf-8") + "\nobjective: {slo: {ttft_p95: 1us}}\n", "utf-8")
    code, out, err = run(f"tune {study} --backend simulated --trials 2 --no-finals --json --quiet")
    assert (code, json.loads(out)["deploy"]) == (3, None)
    assert json.loads(out)["nothing_to_deploy"] in err
    assert "the nearest is trial " in err


# --- levers ---


def test_levers_choose_what_is_searched(run: Run) -> None:
    described = "tune --model Qwen/Qwen3-8B --gpu 'RTX 3090' --num-gpus 2 --backend simulated --dry-run"
    code, out, _ = run(f"{described} --vllm-version 0.24.0 --levers layout,numerics")
    assert code == 0
    assert "1xtp2, 2xtp1" in out
    assert "auto, fp8" in out
    assert "max_num_seqs" not in out.partition("candidates")[0]
    code, out, _ = run(f"{described} --vllm-version 0.10.2 --levers engine")
    assert code == 0
    assert "left out    optimization_level: vLLM 0.10.2 does not know them" in out


def test_an_unknown_group_is_one_line(run: Run, study: Path) -> None:
    code, _, err = run(f"candidates {study} --levers speed")
    assert (code, err.count("\n")) == (2, 1)
    assert "--levers speed: 'speed' is no group; allowed: scheduler, layout, numerics, engine or all" in err


@pytest.mark.parametrize("version", ["0.6.6", "0.8.5", "0.11.0", "0.14.1", "0.24.0", "0.33.0"])
@pytest.mark.parametrize("gpu", ["RTX 2080 Ti 22GB", "A100 80GB", "H200", "CPU"])
def test_every_shipped_space_has_candidates_for_every_group(run: Run, gpu: str, version: str) -> None:
    """Nothing is searched that the version does not know, whatever is asked for."""
    code, out, err = run(
        f"tune --model Qwen/Qwen3-8B --gpu '{gpu}' --vllm-version {version} --levers all --backend simulated --dry-run"
    )
    assert code == 0, err
    assert not re.search(r": 0 feasible", out), out


# --- files that are none ---


def test_a_log_that_nobody_writes_to_is_empty(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    code, out, err = run("log pipe")
    assert (code, out, err) == (2, "", "planner: pipe: is empty\n")


@pytest.mark.parametrize("port", ["99999", "0", "-1"])
def test_a_port_of_a_ladder_is_a_port(run: Run, study: Path, port: str) -> None:
    assert run(f"tune {study} --backend simulated --trials 2 --no-finals --quiet")[0] == 0
    ladder = study.parent / "simulated" / "ladder.yaml"
    Path("mine.yaml").write_text(re.sub(r"host_port: \d+", f"host_port: {port}", ladder.read_text("utf-8"), count=1))
    code, out, err = run("guard mine.yaml")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "host_port: Expected `int`" in err
