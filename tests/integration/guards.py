"""A `planner guard` that runs as a process, and what it told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import httpx
import msgspec
from docker.models.containers import Container

from planner.files.structured import encode
from planner.launch.runs import bare_runs
from planner.service.ladder import Ladder, Policy, Rung
from planner.study.loading import load_study
from planner.study.problem import Problem
from planner.study.workspace import LADDER_FILE
from tests.integration.studies import PLANNER, signal_engine_core

PATIENCE_S = 600.0
"""For what comes in seconds on an idle machine."""


def write_ladder(study: Path, rungs: dict[str, dict[str, Any]], policy: Policy, **changes: Any) -> Ladder:
    """Beside the study: its container, on each rung the study's settings with these changes."""
    problem = Problem.of(load_study(study))
    default = problem.default
    ladder = Ladder(
        name=problem.spec.serve.name,
        version=str(problem.version),
        containers=[msgspec.structs.replace(run, **changes) for run in bare_runs(problem, default)],
        rungs=[
            Rung(
                name=name,
                settings=msgspec.structs.replace(default.engine, **settings),
                env=dict(default.env),
            )
            for name, settings in rungs.items()
        ],
        policy=policy,
    )
    (study.parent / LADDER_FILE).write_text(encode(ladder), "utf-8")
    return ladder


class Guard:
    """`planner guard` of the ladder in a folder. Ends with the test, and its container with it."""

    def __init__(self, ladder: Ladder, folder: Path, client: docker.DockerClient) -> None:
        self.ladder = ladder
        self.folder = folder
        self.name = ladder.containers[0].name
        self.url = f"http://127.0.0.1:{ladder.containers[0].host_port}"
        self._client = client
        self.process: subprocess.Popen[str] | None = None

    def start(self, *options: str, env: dict[str, str] | None = None) -> Guard:
        port = () if "--metrics-port" in options else ("--metrics-port", "0")
        with (self.folder / "guard.err").open("a") as errors:
            self.process = subprocess.Popen(
                [*PLANNER, "guard", str(self.folder / LADDER_FILE), *port, *options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                text=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            )
        return self

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def clean_up(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.end(signal.SIGKILL)
        for run in self.ladder.containers:
            with suppress(docker.errors.NotFound):
                self._client.containers.get(run.name).remove(force=True)

    @property
    def container(self) -> Container:
        return self._client.containers.get(self.name)

    def errors(self) -> str:
        return (self.folder / "guard.err").read_text("utf-8")

    def events(self) -> list[dict[str, Any]]:
        path = self.folder / "guard" / "events.jsonl"
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []

    def names(self, since: int = 0) -> list[str]:
        return [event["event"] for event in self.events()[since:]]

    def wait_for(self, name: str, since: int = 0, container: str | None = None) -> dict[str, Any]:
        """The first event of this name, and of this container, after so many others."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for event in self.events()[since:]:
                if event["event"] == name and container in (None, event["container"]):
                    return event
            assert self.process is not None
            assert self.process.poll() is None, self.errors()
            time.sleep(0.2)
        raise AssertionError(f"no {name} in {PATIENCE_S:.0f} s: {self.events()}")

    def complete(self, timeout_s: float = PATIENCE_S) -> int:
        """Tokens of a completion, asked as a client of the service would."""
        body = {"model": self.ladder.name, "prompt": "w100 w200", "max_tokens": 4}
        answer = httpx.post(f"{self.url}/v1/completions", json=body, timeout=timeout_s, trust_env=False)
        return int(answer.raise_for_status().json()["usage"]["completion_tokens"])

    def signal_engine(self, number: signal.Signals) -> None:
        signal_engine_core(self.container, number)
