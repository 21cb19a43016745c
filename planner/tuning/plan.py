"""Plan a session before its first launch: the backend, the number of launches, their duration, the first commands.

In: a study and the options given. Out: a `Plan`. Nothing is launched, stored or printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from planner.benchmark import CAPACITY_RATE
from planner.errors import BackendError, InputError
from planner.estimate import load_calibrations
from planner.hardware import find_gpu, read_gpus
from planner.launch import ContainerRun, engine_answers, make_backend, refused_live, trial_runs
from planner.study import Forecast, Problem, StudySpec, Workspace
from planner.trials import Trial, expected_heats
from planner.tuning.budget import Budget, Clock, budget_of
from planner.tuning.replay import BACKEND as REPLAY
from planner.tuning.replay import Record, limited_to, read_records
from planner.tuning.search.live_choice import settings_a_launch
from planner.units import format_duration
from planner.workload import at_capacity_level

if TYPE_CHECKING:
    from planner.tuning.search.lessons import Taught

BACKENDS = ("docker", "process", "simulated")
START_BASE_S = 45.0
"""Seconds of a start besides reading the weights (imports, profiling, graph capture), as seen on real starts."""
LEVELS_OF_A_LAUNCH = 5
"""Levels that a launch usually takes to find its most load, as seen on the simulated engine."""
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
    launch_s: float = 0.0
    """The same also where a launch only says how long it takes: what a budget is reckoned with."""
    has_finals: bool = True
    """Whether the best trials and the default are measured again at the end."""
    until: float | None = None
    """Expected gain, as a share, below which the search ends before its target; None: it does not."""
    is_live: bool = False
    """Whether each launch measures other settings too, by turning its scheduler's limits."""
    taught: Taught | None = None
    """What earlier studies on the same cards showed of the speed model; None: its coefficients' priors are used."""
    budget: Budget = Budget()  # noqa: RUF009  (a frozen value)
    """Most time for all launches, the finals included."""

    @property
    def num_finals(self) -> int:
        """Launches of the finals that are expected: the rounds in which all finalists run."""
        return self._finals_after(self.num_expected)

    def _finals_after(self, launches: int) -> int:
        return expected_heats(self.problem, launches)[0] if self.has_finals else 0

    @property
    def num_expected(self) -> int:
        """Launches of the search that the budget is expected to have room for beside the finals; at least the first."""
        most_s = self.budget.launches_s(self.problem.spec.hardware.num_gpus)
        fits = (n for n in range(self.target, 1, -1) if self.launch_s * (n + self._finals_after(n)) <= most_s)
        return next(fits, 1)

    def clock(self, past: Sequence[Trial]) -> Clock | None:
        """What says how much of the budget is left after these trials of earlier runs; None without a budget."""
        return Clock(self.problem, self.budget, self.launch_s, past, self.has_finals) if self.budget.is_set else None

    @property
    def problem(self) -> Problem:
        return self.forecast.problem

    @property
    def time_words(self) -> str:
        if self.backend == REPLAY:
            return "seconds"
        if not self.expected_trial_s:
            return "seconds for each trial: no engine is launched"
        count = self.num_expected
        search_s, finals_s = self.expected_trial_s * count, self.expected_trial_s * self.num_finals
        fewer = f" of {self.target}, as far as the budget reaches" if count < self.target else ""
        trials = f"{count} trial{'s' if count > 1 else ''}{fewer}"
        if not self.num_finals:
            return f"about {format_duration(search_s)} for {trials}"
        most = expected_heats(self.problem, count)[1]
        until = f", up to {most} until the answer is sure" if most > self.num_finals else ""
        finals = f"finals {format_duration(finals_s)} ({self.num_finals} launches{until})"
        return f"about {format_duration(search_s + finals_s)}: {trials} {format_duration(search_s)}, {finals}"

    @property
    def budget_words(self) -> str | None:
        """The budget in one line, with a warning if nothing can be compared in it; None without one."""
        if not self.budget.is_set:
            return None
        words = f"{self.budget.words} for all launches, earlier runs and the finals included"
        least = 2 + self._finals_after(2)
        if self.num_expected > 1 or self.target == 1:
            return words
        return (
            f"{words}: too little to compare anything: the default, one other and their finals are {least} launches "
            f"of about {format_duration(self.launch_s)}"
        )

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
    launch_s = expected_trial_s(forecast)
    return Plan(
        forecast=forecast,
        target=target,
        backend=backend,
        workspace=workspace,
        hosts=hosts,
        expected_trial_s=0.0 if backend == "simulated" else launch_s,
        launch_s=launch_s,
        has_finals=has_finals,
        budget=budget_of(spec),
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
        launch_s=expected_trial_s(forecast),
        has_finals=has_finals,
        budget=budget_of(spec),
    )


def with_live(plan: Plan) -> Plan:
    """The plan with further settings measured in each launch. Raises InputError where that cannot be done."""
    problem = plan.problem
    reasons = (
        ("a replay launches nothing", plan.backend == REPLAY),
        ("it works on this machine alone, without --ray", plan.hosts is not None),
        ("it goes with the sampler planner", problem.spec.sampler.name != "planner"),
        ("the most load inside limits is searched in each launch already", problem.objective.seeks_load),
        ("recorded prompts would be found in the prefix cache", problem.workload.prompts is not None),
        ("no launch is needed to know this objective", problem.objective.is_known),
    )
    reason = next((words for words, holds in reasons if holds), None) or refused_live(problem, problem.default)
    if reason is not None:
        raise InputError(f"--live: {reason}; leave it out")
    start_s, load_s = expected_s(plan.forecast)
    launch_s = start_s + load_s * (1 + settings_a_launch(start_s, load_s))
    return replace(plan, is_live=True, launch_s=launch_s, expected_trial_s=launch_s if plan.expected_trial_s else 0.0)


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


def expected_trial_s(forecast: Forecast) -> float:
    """Rough guess of one trial's seconds."""
    return sum(expected_s(forecast))


def expected_s(forecast: Forecast) -> tuple[float, float]:
    """Rough guess of a trial's seconds: its start by the size of the weights, its load by the model's prediction."""
    problem, workload, objective = forecast.problem, forecast.problem.workload, forecast.problem.objective
    metrics = forecast.predicted(problem.default)
    if objective.seeks_load:
        level = at_capacity_level(workload, max(1e-3, metrics[objective.name]), objective.by_rate)
        requests = LEVELS_OF_A_LAUNCH * level.num_requests + workload.num_warmup_requests
        load_s = requests / max(metrics[CAPACITY_RATE], 1e-6)
    else:
        requests = workload.num_requests * problem.spec.repeats + workload.num_warmup_requests
        load_s = requests * workload.mean_output_tokens / max(metrics["output_throughput"], 1e-6)
    start_s = START_BASE_S + forecast.deployment(problem.default).memory.weight_bytes / LOAD_BYTES_PER_S
    return float(start_s), float(load_s)
