"""`planner verify`: starts the exported script as it is, benchmarks it, compares it with its trial, and stops it again.

In: a run.sh and the study it came from. Out: a `Verification`: whether it reproduces the trial, and what differs.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from planner.benchmark import OnStage
from planner.engine import flag, read_settings, read_start_facts
from planner.errors import BackendError, BenchmarkError, EngineError, InputError
from planner.estimate import real_figures
from planner.files import read_text, redact
from planner.launch import NamedContainers, service_runs, serving, sigterm_as_interrupt
from planner.service.verify.reproduction import (
    ReproductionCheck,
    compare_arguments,
    compare_memory,
    compare_metrics,
    compare_runs,
    launches_of,
)
from planner.study import STUDIES_FOLDER, STUDY_FILE, Problem, StudySpec, Workspace, judge, load
from planner.terminal import BenchTable
from planner.trials import Repeats, Trial, as_measured, chosen_trial
from planner.tuning import STARTING, Measurement, measure_server, stored_trials
from planner.units import format_duration

LEAST_REPEATS = 2
"""Fewest repeats of a verification."""
FRESH = 5000
"""Number of the first repeat of a verification, above every repeat of search and finals."""
EXIT_DIFFERS = 3
LOUD = 0.25
"""Noise, as a share, above which a verification says little."""
SCRIPT_ENDS_S = 30.0
"""Seconds that an interrupted script may go on, so that what it has started is known by its name."""
_HEAD = re.compile(r"^# study (?P<study>\S+), trial (?P<trial>\d+), ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """What an exported script says about itself."""

    path: Path
    study: str | None
    trial: int | None
    containers: tuple[str, ...]
    simulated: bool
    ports: tuple[int, ...] = ()
    """Ports of the engines that it starts as processes, where it starts no containers."""
    words: tuple[str, ...] = ()
    text: str = ""

    def written(self, name: str) -> str | None:
        """The value of an engine's flag as the script writes it; None if it does not."""
        word = flag(name)
        inline = next((one.partition("=")[2] for one in self.words if one.startswith(f"{word}=")), None)
        return next((value for before, value in pairwise(self.words) if before == word), inline)


def read_script(path: Path, *, takes_processes: bool = False) -> Script:
    """The facts in a script. Raises InputError if it starts no container whose name can be read.

    `takes_processes`: scripts with `vllm serve ... --port N` are read too.
    """
    text = read_text(path)
    try:
        words = shlex.split(text.replace("\\\n", " "), comments=True)
    except ValueError as error:
        raise InputError(f"{path}: is no shell script: {error}") from None
    names = [word.removeprefix("--name=") for word in words if word.startswith("--name=")]
    names += [words[i + 1] for i, word in enumerate(words[:-1]) if word == "--name"]
    starts_containers = {"docker", "run"} <= set(words)
    ports: list[int] = []
    if takes_processes and not starts_containers:
        pairs = pairwise(words)
        ports = [int(value) for word, value in pairs if word == "--port" and value.isdecimal()]
    if not ports and (not names or not starts_containers or any("$" in name for name in names)):
        raise InputError(f"{path}: starts no container by docker run --name NAME; planner export writes such scripts")
    head = _HEAD.search(text)
    study, number = (head["study"], int(head["trial"])) if head else (None, None)
    return Script(path, study, number, tuple(names), "\n# SIMULATED" in text, tuple(ports), tuple(words), text)


def find_study_of(script: Script, given: Path | None) -> tuple[StudySpec, Path]:
    """The study that is given, or the one whose folder has the script, or the one under studies/ that its head names.

    Raises InputError.
    """
    folder = script.path.absolute().parent
    places = [folder, folder.parent, *([Path(STUDIES_FOLDER) / script.study] if script.study else [])]
    found = given or next((place for place in places if (place / STUDY_FILE).exists()), None)
    if found is None:
        raise InputError(f"{script.path}: is in no study's folder; name its study with --study")
    spec, where = load(found)
    if script.study not in (None, spec.name):
        raise InputError(
            f"{script.path}: is of study {script.study}, and {found} is {spec.name}; name the right --study"
        )
    return spec, where


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    study: str
    trial: Trial
    checks: tuple[ReproductionCheck, ...]
    failure: str | None = None
    """Why there are no numbers: the engine did not serve, or the requests failed."""
    notes: tuple[str, ...] = ()
    start_s: float = 0.0
    simulated: bool = False

    @property
    def differing(self) -> list[ReproductionCheck]:
        return [check for check in self.checks if check.verdict == "differs"]

    @property
    def reproduced(self) -> bool:
        """Whether at least one number was compared and nothing differs."""
        compared = any(check.kind == "metric" and check.verdict == "same" for check in self.checks)
        return compared and self.failure is None and not self.differing

    @property
    def passed(self) -> bool:
        return self.reproduced

    def document(self) -> dict[str, Any]:
        """The verification as JSON: shares as numbers, everything else in the words of the table."""
        return {
            "study": self.study,
            "trial": self.trial.number,
            "reproduced": self.reproduced,
            "simulated": self.simulated,
            "failure": self.failure,
            "start_s": round(self.start_s, 3),
            "checks": [asdict(check) for check in self.checks],
            "notes": list(self.notes),
        }

    def table(self) -> BenchTable:
        rows = [
            (
                check.name,
                check.expected,
                check.found,
                "" if check.change is None else f"{check.change:+.2%}",
                "" if check.noise is None else f"{check.noise:.1%}",
                check.verdict,
            )
            for check in self.checks
        ]
        columns = ("", f"trial {self.trial.number}", "script", "change", "may differ by", "verdict")
        return BenchTable(f"{self.study}: the script against its trial", columns, tuple(rows), self._conclusion())

    def _conclusion(self) -> tuple[str, ...]:
        lines = list(self.notes)
        if not any(check.kind == "setting" for check in self.checks):
            lines.insert(0, "settings: as exported")
        if any(check.kind == "metric" and (check.noise or 0.0) > LOUD for check in self.checks):
            lines.append(
                "the repeats differ so much that little can be said: verify on an idle machine, with more --repeats"
            )
        if self.failure is not None:
            lines.append(f"no numbers: {self.failure}")
        if self.reproduced:
            return (*lines, f"reproduced: settings, memory and numbers are those of trial {self.trial.number}")
        names = ", ".join(dict.fromkeys(check.name for check in self.differing))
        return (*lines, f"not reproduced: {names or 'the trial has no numbers to compare'}")


def verify_script(
    path: Path,
    study: Path | None,
    num_repeats: int | None,
    tolerance: float,
    storage: str | None,
    on_stage: OnStage,
) -> Verification:
    """Start the script, benchmark it, stop it. Raises InputError, BackendError; KeyboardInterrupt after stopping it."""
    script = read_script(path)
    spec, folder = find_study_of(script, study)
    if script.simulated and path.absolute().parent == (folder / "simulated").absolute():
        raise InputError(
            f"{path}: its numbers are SIMULATED, there is nothing to reproduce; tune on real engines first"
        )
    problem, trials = stored_trials(spec, folder, is_simulated=False, storage=storage)
    trial = _trial_of(script, problem, trials)
    workspace = Workspace(folder, simulated=False)
    count = num_repeats or max(LEAST_REPEATS, spec.repeats)
    on_stage(STARTING, 0, 0)
    with workspace.locked(), sigterm_as_interrupt():
        return _verify(script, problem, trials, trial, Repeats(FRESH, count), tolerance, workspace.log_dir, on_stage)


def _trial_of(script: Script, problem: Problem, trials: Sequence[Trial]) -> Trial:
    """The trial that the script's head names, else the one exported by default. Raises InputError."""
    trial = (
        chosen_trial(problem, trials)
        if script.trial is None
        else next((trial for trial in trials if trial.number == script.trial), None)
    )
    if trial is None:
        raise InputError(f"{script.path}: the study has no trial {script.trial}; name the right --study or --storage")
    if trial.outcome != "measured":
        raise InputError(f"{script.path}: trial {trial.number} has no numbers to reproduce: {trial.outcome}")
    if script.simulated and not trial.provenance.simulated:
        raise InputError(f"{script.path}: its numbers are SIMULATED, those of trial {trial.number} are not")
    return trial


def _verify(
    script: Script,
    problem: Problem,
    trials: Sequence[Trial],
    trial: Trial,
    repeats: Repeats,
    tolerance: float,
    log_dir: Path,
    on_stage: OnStage,
) -> Verification:
    expected = service_runs(as_measured(problem, trial), trial.candidate)
    checks: list[ReproductionCheck] = []
    logs = [log_dir / f"verify-{i}.log" for i in range(len(script.containers))]
    with started_containers(script) as containers:
        for run, name in zip(expected, script.containers, strict=False):
            checks += compare_runs(run, containers.run_of(name, run.env, run.pass_env))
        if len(expected) != len(script.containers):
            counts = (str(len(expected)), str(len(script.containers)))
            checks.append(
                ReproductionCheck(
                    kind="setting", name="instances", expected=counts[0], found=counts[1], verdict="differs"
                )
            )
        passed = problem.spec.engine.pass_env
        starts = [lambda i: containers.instance(script.containers[i], passed)] * len(script.containers)
        try:
            with serving(starts, problem.spec.engine.start_timeout, logs) as server:
                log = server.instances[0].log_text()
                known = {check.name for check in checks}
                asked = compare_arguments(trial.candidate.engine, read_settings(log))
                checks += [check for check in asked if check.name not in known]
                checks += compare_memory(trial.real_memory, real_figures(read_start_facts(log)))
                measured = measure_server(problem, trial.candidate, server, on_stage, repeats)
        except (EngineError, BenchmarkError) as error:
            return Verification(study=problem.spec.name, trial=trial, checks=tuple(checks), failure=str(error))
    results = [result.metrics for result in measured.results]
    checks += compare_metrics(trial, trials, problem.objective, results, tolerance)
    if measured.simulated != trial.provenance.simulated:
        words = ("SIMULATED" if trial.provenance.simulated else "real", "SIMULATED" if measured.simulated else "real")
        checks.append(
            ReproductionCheck(kind="setting", name="engine", expected=words[0], found=words[1], verdict="differs")
        )
    return Verification(
        study=problem.spec.name,
        trial=trial,
        checks=tuple(checks),
        notes=_notes(problem, trial, trials, measured),
        start_s=measured.start_s,
        simulated=measured.simulated,
    )


def _notes(problem: Problem, trial: Trial, trials: Sequence[Trial], measured: Measurement) -> tuple[str, ...]:
    launches = launches_of(trial, trials)
    of = (
        "the search, which flatters the best"
        if launches == [trial]
        else f"{len(launches)} launches of the finals"
    )  # fmt: skip
    words = f"the trial's numbers are of {of}; the script's of {len(measured.results)} repeats on fresh prompts"
    notes = [f"{words}, ready after {format_duration(measured.start_s)}"]
    worst = {c.name: c for r in measured.results for c in judge(problem.objective, r)[1] if c.excess > 0}
    notes += [f"limit broken: {constraint.message}" for constraint in worst.values()]
    if measured.simulated:
        notes.append("SIMULATED engine: not a measurement")
    return tuple(notes)


@contextmanager
def started_containers(script: Script) -> Iterator[NamedContainers]:
    """Run the script, and remove the containers it named whatever happens. Raises BackendError."""
    containers = NamedContainers(script.containers)
    if there := containers.present():
        raise BackendError(
            f"container {there[0]} is there already; verify starts its own: stop and remove that one first"
        )
    try:
        _run(script.path)
        if missing := sorted(set(script.containers) - set(containers.present())):
            raise BackendError(f"{script.path}: ended without a container {missing[0]}")
        yield containers
    finally:
        containers.remove()


def _run(path: Path) -> None:
    """Run the script as it is, in its own session: an interrupt reaches only planner, which gives it time to end."""
    with subprocess.Popen(
        ["bash", str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            _, complaint = process.communicate()
        except KeyboardInterrupt:
            try:
                process.communicate(timeout=SCRIPT_ENDS_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        last = next((line for line in reversed(complaint.splitlines()) if line.strip() and "--help" not in line), "")
        raise BackendError(f"{path}: exit code {process.returncode}: {redact(last) or 'without a word'}")
