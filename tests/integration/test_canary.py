"""Canaries: a study whose engine tells everybody its key and token, and neither of them in any byte that is written.

Engines, processes, HTTP and files are real; of the engine only the computing is simulated (tests/faults/telltale.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import get_args

import psutil
import pytest
import yaml

from planner.service.export.kinds import ExportKind
from tests.integration.studies import PLANNER, trials_of

ROOT = Path(__file__).parents[2]
TELLTALE = ROOT / "tests" / "faults" / "telltale.py"
EVALUATION = """
import json, os, sys, urllib.request
print("environment", dict(os.environ))
request = urllib.request.Request(
    os.environ["BASE_URL"] + "/v1/models", headers={"authorization": "Bearer " + os.environ["VLLM_API_KEY"]}
)
with urllib.request.urlopen(request) as answer:
    json.load(answer)
print("asked with", os.environ["VLLM_API_KEY"])
"""

RUNS = """
import json, sys
from planner.cli.main import main
codes = []
for argv in json.loads(sys.argv[1]):
    try:
        main(argv)
    except SystemExit as ended:
        codes.append(ended.code)
print("codes", *codes)
"""


class Canaries:
    """Values in the environment, and who was seen with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        mark = uuid.uuid4().hex
        self.secrets = {
            "VLLM_API_KEY": f"sk-canary-{mark}",
            "HF_TOKEN": f'hf_canary"{mark}/+x',  # written otherwise in JSON and in a URL
            "PLANNER_ODD_NAME": f"canary-by-name-{mark}",  # secret only because the study passes it on
            "PGPASSWORD": f"canary-{mark}",  # from here on, what no engine may see at all
            "GITHUB_PAT": f"canary-{mark}",
            "HTTPS_PROXY": f"http://planner:canary-{mark}@127.0.0.1:9",
            "DATABASE_URL": f"postgresql://planner:canary-{mark}@127.0.0.1:9/x",
            "PLANNER_WEBHOOK": f"https://127.0.0.1:9/canary-{mark}",
            "SOME_SETTING": f"canary-{mark}",
        }
        self.needle = mark.encode()
        self.argvs: list[str] = []
        self.exposed: set[str] = set()
        self.said = b""

    @property
    def env(self) -> dict[str, str]:
        """All that a program writes stays in the folder, where it is searched."""
        places = {name: str(self.folder / name) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
        for place in places.values():
            Path(place).mkdir(exist_ok=True)
        return {**os.environ, **places, **self.secrets, "PYTHONPATH": str(ROOT)}

    def run(self, *commands: list[str]) -> list[int]:
        """Commands of planner, one after the other in one process: their exit codes."""
        done = subprocess.run(
            [sys.executable, "-c", RUNS, json.dumps(commands)],
            env=self.env, capture_output=True, check=False, timeout=850, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.said += done.stdout + done.stderr
        *_, codes = done.stdout.decode().splitlines() or [""]
        assert codes.startswith("codes "), (done.stdout + done.stderr).decode()
        return list(map(int, codes.split()[1:]))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look at every process's arguments and at what any other user could read, again and again."""
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(0.1):
                for process in psutil.process_iter():
                    with suppress(psutil.Error):
                        self.argvs.append(" ".join(process.cmdline()))
                self.exposed |= {str(path) for path, mode in self.seen() if mode & 0o077}

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def found(self) -> list[Path]:
        return [path for path, _ in self.seen()]

    def seen(self) -> Iterator[tuple[Path, int]]:
        """Files that hold a canary, each with the mode of the very file that was read: a log is replaced meanwhile."""
        for path in self.folder.rglob("*"):
            with suppress(FileNotFoundError):  # a database's journal comes and goes
                if path.is_file():
                    with path.open("rb") as file:
                        mode, content = os.fstat(file.fileno()).st_mode, file.read()
                    if self.needle in content:
                        yield path, mode


@pytest.fixture
def study(tmp_path: Path) -> Path:
    evaluation = tmp_path / "evaluate.py"
    evaluation.write_text(EVALUATION)
    command = [sys.executable, str(TELLTALE), "serve", "--gpu", "RTX 2080 Ti 22GB", "--vllm-version", "0.8.5"]
    path = tmp_path / "study.yaml"
    model = {"path": "Qwen/Qwen3-8B-AWQ"}
    path.write_text(
        yaml.safe_dump(
            {
                "name": f"canary-{uuid.uuid4().hex[:8]}",
                "models": {
                    "slow": {**model, "settings": {"max_num_seqs": 1}},
                    "fp8": {**model, "settings": {"kv_cache_dtype": "fp8_e5m2"}},
                    "dead": {**model, "settings": {"max_num_seqs": 16}},
                    "echo": {**model, "settings": {"max_num_seqs": 32}},
                },
                "hardware": {"gpu": "RTX 2080 Ti 22GB", "num_gpus": 1, "host_memory": "64GiB"},
                "engine": {
                    "version": "0.8.5",
                    "settings": {"dtype": "half", "max_model_len": 4096},
                    "pass_env": ["VLLM_API_KEY", "HF_TOKEN", "PLANNER_ODD_NAME"],
                    "command": [*command, "--speedup", "200", "--model"],
                },
                "container": {"image": "vllm/vllm-openai:v0.8.5"},
                "search_space": {"search": {}},
                "workload": {"concurrency": 8, "num_requests": 24, "input_tokens": 64, "output_tokens": 16},
                "quality": {"command": [sys.executable, str(evaluation)]},
            }
        )
    )
    return path


def test_no_secret_is_written_anywhere(study: Path) -> None:
    canaries, folder = Canaries(study.parent), study.parent
    tune = ["tune", str(study), "--trials", "4", "--no-finals"]
    with canaries.watched():
        assert canaries.run([*tune, "--backend", "process"]) == [0], canaries.said.decode()
    by_model = {trial.candidate.model: trial for trial in trials_of(study)}
    outcomes = {model: trial.outcome for model, trial in by_model.items()}
    assert outcomes == {"slow": "measured", "fp8": "measured", "dead": "failed", "echo": "failed"}
    words = [trial.failure.message for trial in by_model.values() if trial.failure is not None]
    assert any("the token <VLLM_API_KEY> is not known" in word for word in words), words
    assert any("http 500: no route for Authorization: Bearer <API_KEY>" in word for word in words), words
    assert "quality: answers passed:" in canaries.said.decode()
    assert any("telltale.py" in argv for argv in canaries.argvs), "the engines were looked at"

    logs = {model: folder / "logs" / f"trial-{trial.number}-0.log" for model, trial in by_model.items()}
    log = logs["slow"].read_text()
    assert "'VLLM_API_KEY': '<VLLM_API_KEY>'" in log, "it did tell"
    assert "'PLANNER_ODD_NAME': '<PLANNER_ODD_NAME>'" in log
    told = folder / "told.log"
    told.write_text(logs["dead"].read_text().replace("<VLLM_API_KEY>", canaries.secrets["VLLM_API_KEY"]))
    told.chmod(0o600)
    reports = [["report", str(study), *options] for options in ([], ["--json"], ["--html"])]
    reports.append(["report", str(study), "--jsonl", "-o", str(folder / "trials.jsonl")])
    exports = {kind: folder / f"export-{kind}" for kind in get_args(ExportKind)}
    written = [["export", str(study), "--kind", kind, "-o", str(path)] for kind, path in exports.items()]
    others = [["candidates", str(study)], *([*tune, "--dry-run", "--backend", name] for name in ("process", "docker"))]
    assert set(canaries.run(*reports, *written, *others)) == {0}, canaries.said.decode()
    read = [["log", str(path), *options] for path in (*logs.values(), told) for options in ([], ["--json"])]
    doctors = [["doctor", str(study), "--json", "--backend", backend] for backend in ("process", "docker")]
    assert set(canaries.run(*read, *doctors)) <= {0, 3}, canaries.said.decode()
    assert canaries.said.count(b"the token <VLLM_API_KEY> is not known") >= 6, (
        "from the redacted log and from the raw one"
    )
    assert all("VLLM_API_KEY" in path.read_text() for path in exports.values()), "by name"
    told.unlink()

    assert canaries.found() == []
    assert canaries.exposed == set(), "not even while an engine ran could others read it"
    assert canaries.needle not in canaries.said
    assert not [argv for argv in canaries.argvs if canaries.needle.decode() in argv]


def test_a_killed_planners_logs_are_redacted_by_the_next(study: Path) -> None:
    canaries = Canaries(study.parent)
    words = ["tune", str(study), "--trials", "1", "--backend", "process", "--no-finals"]
    first = subprocess.Popen([*PLANNER, *words], env=canaries.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not canaries.found() and time.monotonic() < deadline:
        time.sleep(0.05)
    first.kill()
    first.wait()
    assert [path.stat().st_mode & 0o077 for path in canaries.found()] == [0]
    assert canaries.run(words) == [3], "its one trial fails, so there is nothing to deploy"
    assert canaries.found() == []
