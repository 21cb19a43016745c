"""Engines as child processes: `vllm serve` from PATH, each in a process group of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import psutil

from planner.errors import BackendError
from planner.files import is_private, private_log, redact, redact_log
from planner.launch.backend import Ending, Server, serving
from planner.launch.environment import given
from planner.launch.kept_logs import keep_earlier_log
from planner.launch.live.knobs import PATHS, Knobs
from planner.launch.ownership import LAUNCHER, is_left_over
from planner.launch.runs import cache_env, engine_args, engine_env, gpu_ids
from planner.study import Candidate, Problem

STOP_TIMEOUT_S = 15.0
LOG_TAIL_BYTES = 4 << 20
STUDY_ENV = "PLANNER_STUDY"
LAUNCHER_ENV = "PLANNER_LAUNCHER"
"""Set in every engine's environment, so that leftovers of a killed run are recognised."""


class ProcessInstance:
    def __init__(
        self, argv: list[str], env: dict[str, str], port: int, log_path: Path, passed: Sequence[str] = ()
    ) -> None:
        """`passed`: variables whose values are removed from its log."""
        self._port = port
        self._log_path = log_path
        self._passed = passed
        keep_earlier_log(log_path)
        with open(private_log(log_path), "wb") as log:
            try:
                self._process = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, start_new_session=True
                )
            except OSError as error:
                raise BackendError(f"{argv[0]}: cannot be started: {error.strerror}") from None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def is_running(self) -> bool:
        return self._process.poll() is None

    def log_text(self) -> str:
        with self._log_path.open("rb") as log:
            log.seek(max(0, self._log_path.stat().st_size - LOG_TAIL_BYTES))
            return redact(log.read().decode("utf-8", "replace"), self._passed)

    def ending(self) -> Ending:
        return Ending(self._process.poll())

    def stop(self) -> None:
        """Send SIGTERM to the group, and SIGKILL to what is left of it after the time-out."""
        _stop_group(self._process.pid, self._process)
        redact_log(self._log_path, self._passed)


def _stop_group(group: int, process: subprocess.Popen[bytes] | None = None) -> None:
    members = _group_members(group)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
    psutil.wait_procs(members, timeout=STOP_TIMEOUT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    if process is not None:
        process.wait()


def _group_members(group: int) -> list[psutil.Process]:
    members = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) == group:
                members.append(process)
    return members


class ProcessBackend:
    name = "process"

    def __init__(self, problem: Problem, log_dir: Path, cache_dir: Path) -> None:
        self._problem = problem
        self._log_dir = log_dir
        self._cache_dir = cache_dir.absolute()
        self._program = problem.spec.engine.command
        if shutil.which(self._program[0]) is None:
            raise BackendError(f"{self._program[0]}: not found on PATH; install vLLM or use --backend docker")

    def commands(self, candidate: Candidate, number: int) -> list[list[str]]:  # noqa: ARG002
        return [self._argv(candidate, 8000 + i) for i in range(candidate.layout.instances)]

    def _argv(self, candidate: Candidate, port: int, knobs: Knobs | None = None) -> list[str]:
        path = self._problem.spec.models[candidate.model].path
        model = str(Path(path).expanduser()) if self._problem.spec.models[candidate.model].is_directory else path
        address = ["--host", "127.0.0.1", "--port", str(port)]
        live = [] if knobs is None else knobs.args
        return [*self._program, model, *address, *engine_args(self._problem, candidate), *live]

    def _env(self, candidate: Candidate, instance: int, knobs: Knobs | None) -> dict[str, str]:
        cache = cache_env(self._problem, str(self._cache_dir))
        marks = {STUDY_ENV: self._problem.spec.name, LAUNCHER_ENV: LAUNCHER.id}
        given_env = given(self._problem.spec.engine.pass_env)
        env = {**cache, **given_env, **engine_env(self._problem, candidate), **marks}
        cards = gpu_ids(self._problem, candidate, instance)
        if cards is not None and not self._problem.gpu.is_cpu:
            env["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, cards))
        return env if knobs is None else env | knobs.env(instance, env.get(PATHS))

    def serve(self, candidate: Candidate, number: int, live: bool = False) -> AbstractContextManager[Server]:
        count = candidate.layout.instances
        knobs = Knobs(self._log_dir / f"trial-{number}-live", count) if live else None
        logs = [self._log_dir / f"trial-{number}-{i}.log" for i in range(count)]

        def start(index: int) -> ProcessInstance:
            port = _free_port()
            passed = self._problem.spec.engine.pass_env
            argv, env = self._argv(candidate, port, knobs), self._env(candidate, index, knobs)
            return ProcessInstance(argv, env, port, logs[index], passed)

        return serving([start] * count, self._problem.spec.engine.start_timeout, (), knobs)

    def clean_up(self) -> int:
        """Stop the engines of an earlier, killed run.

        Their logs are redacted, unless an engine of another living planner is among them: that planner redacts its own
        log.
        """
        stopped = stop_left(self._problem.spec.name)
        for log in () if stopped.has_living else filter(is_private, self._log_dir.glob("trial-*.log")):
            redact_log(log, self._problem.spec.engine.pass_env)
        return stopped.num_groups


@dataclass(frozen=True, slots=True)
class Stopped:
    num_groups: int
    has_living: bool
    """Whether a living planner has an engine of the study."""


def stop_left(study: str) -> Stopped:
    """Stop the engines of dead planners of a study, recognised by their environment; those of living planners stay."""
    groups, has_living = set(), False
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            env = process.environ()
            is_ours = env.get(STUDY_ENV) == study and process.pid != os.getpid()
            if is_ours and is_left_over(env.get(LAUNCHER_ENV)):
                groups.add(os.getpgid(process.pid))
            elif is_ours:
                has_living = True
    groups -= {os.getpgrp()}
    for group in groups:
        _stop_group(group)
    return Stopped(len(groups), has_living)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
