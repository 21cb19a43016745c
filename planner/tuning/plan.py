"""Plan a session before its first launch: the backend, the number of launches, their duration, the first commands.

In: a study and the options given. Out: a `Plan`. Nothing is launched, stored or printed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from planner.errors import BackendError, InputError
from planner.estimate import load_calibrations
from planner.hardware import find_gpu, read_gpus
from planner.launch import ContainerRun, engine_answers, make_backend, trial_runs
from planner.study import Forecast, Problem, StudySpec, Workspace
from planner.trials import expected_heats
from planner.tuning.replay import BACKEND as REPLAY
from planner.tuning.replay import Record, limited_to, read_records
from planner.units import format_duration

BACKENDS = ("docker", "process", "simulated")
START_BASE_S = 45.0
"""Seconds of a start besides reading the weights (imports, profiling, graph capture), as seen on real starts."""
LOAD_BYTES_PER_S = 0.5e9
"""Speed of reading weights from disk, in bytes per second and GPU."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """Settings for a Ray cluster, on whose hosts trials are launched instead of here."""

    address: str
    is_exclusive: bool = False
    """Whether each host runs only one trial at a time, even if it has cards for more."""
    may_differ: bool = False

    @property
    def words(self) -> str:
        """`Ray at auto, one trial at a time on each, may differ`."""
        parts = [f"Ray at {self.address}"]
        parts += ["one trial at a time on each"] if self.is_exclusive else []
        return ", ".join([*parts, "may differ: speeds are measured"] if self.may_differ else parts)

    def backend(self, asked: str | None) -> str:
        if asked not in {None, "docker", "process"}:
            raise InputError(f"--backend {asked}: over --ray allowed: docker, process")
        return asked or "docker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a session will do."""

    forecast: Forecast
    """The problem, judged with what earlier runs learned of memory."""
    target: int
    """Total number of launches of the search, including those of earlier runs."""
    backend: str
    """docker, process or simulated; `replay.BACKEND` for a replay."""
    workspace: Workspace
    hosts: Hosts | None = None
    records: tuple[Record, ...] = ()
    """Recorded launches that a replay answers from; empty if engines are launched."""
    expected_trial_s: float = 0.0
    """Expected seconds of one launch and its load; 0 if no engine is launched."""
    has_finals: bool = True
    until: float | None = None
    """Expected gain, as a share, below which the search ends before its target; None: it does not."""
    """Whether the best trials and the default are measured again at the end."""

    @property
    def num_finals(self) -> int:
        """Launches of the finals that are expected: the rounds in which all finalists run."""
        return expected_heats(self.problem, self.target)[0] if self.has_finals else 0

    @property
    def problem(self) -> Problem:
        return self.forecast.problem

    @property
    def time_words(self) -> str:
        if self.backend == REPLAY:
            return "seconds"
        if not self.expected_trial_s:
            return "seconds for each trial: no engine is launched"
        search_s, finals_s = self.expected_trial_s * self.target, self.expected_trial_s * self.num_finals
        if not self.num_finals:
            return f"about {format_duration(search_s)} for {self.target} trials"
        most = expected_heats(self.problem, self.target)[1]
        until = f", up to {most} until the answer is sure" if most > self.num_finals else ""
        trials = f"{self.target} trials {format_duration(search_s)}"
        finals = f"finals {format_duration(finals_s)} ({self.num_finals} launches{until})"
        return f"about {format_duration(search_s + finals_s)}: {trials}, {finals}"

    @property
    def first_launch(self) -> list[list[str]]:
        """Command lines of the default's engines, one per instance; empty for a replay."""
        if self.backend == REPLAY:
            return []
        if self.backend == "process":
            backend = make_backend(self.problem, self.workspace, self.backend)
            return [list(argv) for argv in backend.commands(self.problem.default, 0)]
        return [run.argv() for run in self.first_runs]

    @property
    def first_runs(self) -> list[ContainerRun]:
        """The default's containers, one per instance; empty where none would be launched."""
        return [] if self.backend in {"process", REPLAY} else trial_runs(self.problem, self.problem.default, 0)


def make_plan(
    spec: StudySpec, folder: Path, target: int, backend: str, hosts: Hosts | None = None, has_finals: bool = True
) -> Plan:
    """Plan a study whose results are kept in `folder`. `backend` is one of BACKENDS. Raises InputError."""
    workspace = Workspace(folder, simulated=backend == "simulated")
    forecast = Forecast(Problem.of(spec), load_calibrations(workspace.calibration_path))
    return Plan(
        forecast=forecast,
        target=target,
        backend=backend,
        workspace=workspace,
        hosts=hosts,
        expected_trial_s=expected_trial_s(forecast, backend),
        has_finals=has_finals,
    )


def plan_replay(spec: StudySpec, folder: Path, target: int, path: Path, has_finals: bool = True) -> Plan:
    """Plan the same loop on the launches recorded in `path`. Raises InputError."""
    problem = Problem.of(spec)
    records = read_records(path, problem)
    forecast = limited_to(problem, records)
    workspace = Workspace(folder, simulated=False)
    return Plan(
        forecast=forecast,
        target=target,
        backend=REPLAY,
        workspace=workspace,
        records=tuple(records),
        has_finals=has_finals,
    )


def choose_backend(spec: StudySpec, backend: str | None) -> str:
    """The backend asked for, or docker if it can work. Raises InputError, or BackendError naming what is missing."""
    if backend is not None:
        if backend not in BACKENDS:
            raise InputError(f"--backend {backend}: allowed: {', '.join(BACKENDS)}")
        return backend
    hint = "use --backend simulated for a try-out without GPUs (or --backend process with vllm on PATH)"
    if not engine_answers():
        raise BackendError(f"no Docker Engine answers here: start it, or {hint}")
    if not find_gpu(spec.hardware.gpu).is_cpu and not read_gpus().cards:
        raise BackendError(f"no NVIDIA GPU is visible here (planner doctor says why): {hint}")
    return "docker"


def expected_trial_s(forecast: Forecast, backend: str) -> float:
    """Rough guess of one trial's seconds: start-up from the size of the weights, load from the model's prediction."""
    if backend == "simulated":
        return 0.0
    problem, workload = forecast.problem, forecast.problem.workload
    predicted = max(forecast.predicted(problem.default)["output_throughput"], 1e-6)
    requests = workload.num_requests * problem.spec.repeats + workload.num_warmup_requests
    load_s = requests * workload.mean_output_tokens / predicted
    start_s = START_BASE_S + forecast.deployment(problem.default).memory.weight_bytes / LOAD_BYTES_PER_S
    return float(start_s + load_s)
