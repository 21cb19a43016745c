"""Studies the integration tests run, and ways to run them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import docker
import msgspec
import optuna
from docker.models.containers import Container

from planner.launch.runs import STUDY_LABEL
from planner.study.loading import load_study
from planner.trials.trial import Trial
from planner.tuning.search.store import RECORD

PLANNER = [sys.executable, "-c", "from planner.cli.main import main; main()"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


ONE_THREAD = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
"""For vLLM's CPU build: threads that wait for each other on busy cores take many times as long."""


def write_cpu_study(
    folder: Path, image: str, model: Path, requests: int = 48, env: Mapping[str, str] | None = None
) -> Path:
    """The real vLLM-CPU in Docker over max_num_seqs x max_num_batched_tokens x prefix caching."""
    env = {**(ONE_THREAD if env is None else env), "VLLM_CPU_KVCACHE_SPACE": "1"}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "study.yaml"
    path.write_text(
        textwrap.dedent(f"""\
        name: cpu-{uuid.uuid4().hex[:8]}
        models:
          tiny: {{path: {str(model)!r}}}
        hardware: {{gpu: CPU, interconnect: none}}
        engine:
          version: 0.32.0
          settings: {{max_model_len: 1024, enforce_eager: true}}
          env: {json.dumps(env)}
          start_timeout: 10min
        container: {{image: {image!r}, runtime: null, ulimits: {{}}}}
        serve: {{name: tiny-{uuid.uuid4().hex[:6]}, host_port: {free_port()}, restart: "no"}}
        search_space:
          search:
            max_num_seqs: [2, 16]
            max_num_batched_tokens: [256, 2048]
            enable_prefix_caching: [true, false]
        workload:
          concurrency: 8
          num_requests: {requests}
          warmup_requests: 8
          input_tokens: 128
          output_tokens: {{low: 12, high: 20}}
          shared_prefix_tokens: 96
        """)
    )
    return path


def write_simulated_server_study(folder: Path, speedup: int = 2000) -> Path:
    """The simulated engine as a real HTTP server, started by the process backend."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "study.yaml"
    command = [sys.executable, "-m", "planner.simulated", "serve", "--gpu", "RTX 2080 Ti 22GB", "--num-gpus", "2"]
    command += ["--vllm-version", "0.8.5", "--speedup", str(speedup), "--model"]
    path.write_text(
        textwrap.dedent(f"""\
        name: sim-{uuid.uuid4().hex[:8]}
        models:
          awq: {{path: Qwen/Qwen3-8B-AWQ}}
        hardware: {{gpu: RTX 2080 Ti 22GB, num_gpus: 2, host_memory: 64GiB}}
        engine:
          version: 0.8.5
          settings: {{dtype: half, max_model_len: 4096}}
          start_timeout: 60s
          command: {command!r}
        container: {{image: "vllm/vllm-openai:v0.8.5"}}
        search_space:
          search:
            layout: [1xtp2, 2xtp1]
            max_num_seqs: [7, 64]
            gpu_memory_utilization: [0.8, 0.9]
        workload: {{concurrency: 8, num_requests: 24, input_tokens: 256, output_tokens: 32}}
        """)
    )
    return path


def tune(
    study: Path, trials: int, backend: str, timeout_s: float = 850, options: tuple[str, ...] = ("--no-finals",)
) -> subprocess.CompletedProcess[str]:
    """Run `planner tune` to its end, by default that of the search."""
    return subprocess.run(
        [*PLANNER, "tune", str(study), "--trials", str(trials), "--backend", backend, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        stdin=subprocess.DEVNULL,
    )


def tune_until(study: Path, trials: int, backend: str, seen: str, number: signal.Signals) -> tuple[int, str]:
    """Run `planner tune` until a line of its output contains `seen`, then send a signal; exit code and output."""
    process = subprocess.Popen(
        [*PLANNER, "tune", str(study), "--trials", str(trials), "--backend", backend, "--no-finals"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    output = ""
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            output += line
            if seen in line:
                process.send_signal(number)
                break
        output += process.stdout.read()
    return process.returncode, output


def containers_of(client: docker.DockerClient, study: Path) -> list[str]:
    label = f"{STUDY_LABEL}={load_study(study).name}"
    return [container.name for container in client.containers.list(all=True, filters={"label": label})]


def trials_of(study: Path) -> list[Trial]:
    """The finished trials, read as any Optuna user would."""
    name = load_study(study).name
    stored = optuna.load_study(study_name=name, storage=f"sqlite:///{study.parent / 'study.db'}")
    return [msgspec.json.decode(t.user_attrs[RECORD], type=Trial) for t in stored.trials if RECORD in t.user_attrs]


def signal_engine_core(container: Container, number: signal.Signals) -> None:
    """To the process of vLLM's engine core, from within its container."""
    script = (
        "import os, pathlib\n"
        "found = [int(p.parent.name) for p in pathlib.Path('/proc').glob('[0-9]*/comm')\n"
        "         if 'EngineCor' in p.read_text()]\n"
        f"[os.kill(pid, {int(number)}) for pid in found]\n"
        "print(len(found))"
    )
    code, output = container.exec_run(["python3", "-c", script])
    assert (code, output.split()) == (0, [b"1"]), output


TRIAL_SCRIPT = "trial-1.sh"
TOLERANCE = "95"
"""In per cent: engine, client and other processes share few cores, so that flags and memory are evidence, not speed."""


def export_trial(study: Path) -> None:
    """Export trial 1 beside the study: its flags are all written out."""
    export = [*PLANNER, "export", str(study), "--trial", "1", "-o", str(study.parent / TRIAL_SCRIPT)]
    subprocess.run(export, check=True, capture_output=True, timeout=600)


def verify(script: Path, *options: str) -> tuple[int, str, str]:
    command = [*PLANNER, "verify", str(script), "--tolerance", TOLERANCE, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=850, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


def checks_of(document: dict[str, Any]) -> dict[str, Any]:
    """The checks of a verification by name."""
    return {check["name"]: check for check in document["checks"]}
