"""A planner killed by SIGKILL at random, again and again: `sweep(SWEEPS[...], folder, kills) -> Swept`.

A study is killed, the same command follows, is killed in its turn, and so on until a run ends before its kill; then the
next study begins, until there were so many kills. Moments are uniform over the seconds that an undisturbed run takes,
or over the commits to its storage, each of which is cut in the middle. In: how often, and a seed. Out: what was lost,
counted twice, or left. Every other kill is followed by the same command at once, in a race with the watchdog; after the
others the watchdog alone must have removed everything first.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import docker
import optuna
from optuna.trial import TrialState

from planner.launch.runs import STUDY_LABEL
from planner.study.loading import load_study
from planner.trials.trial import Trial
from tests.faults import in_containers, inject
from tests.faults.inject import LIMIT_S, PLANNER, gone_within, killed_in_commit, processes_of, trials_of

COMMITS = 100
"""Of a study of four trials, some more."""


@dataclass(frozen=True, slots=True)
class Sweep:
    name: str
    backend: str
    kills: int = 30
    """What `make faults` injects."""
    is_in_commits: bool = False


SWEEPS = {
    one.name: one
    for one in (
        Sweep("planner killed at random moments", "process"),
        Sweep("planner killed in random commits", "process", is_in_commits=True),
        Sweep("planner killed at random moments, in containers", "docker", kills=8),
    )
}


@dataclass
class Swept:
    kills: int = 0
    with_engine: int = 0
    """Kills that met an engine, starting, under load or ending."""
    studies: int = 0
    trials: int = 0
    seconds: float = 0.0
    lost: int = 0
    left: int = 0
    gone_s: float = 0.0
    """The longest that something was there after a kill, without another run."""
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the engines of a study are."""

    study: Path
    num_trials: int
    left: Callable[[], list[str]]


@contextlib.contextmanager
def place(backend: str, folder: Path) -> Iterator[Place]:
    if backend == "process":
        study = inject.write_study(folder, "none")
        yield Place(study, inject.TRIALS, lambda: processes_of(study))
        return
    with contextlib.closing(docker.from_env()) as client:
        study = in_containers.write_study(folder, in_containers.IMAGE, "none")
        wanted = {"label": f"{STUDY_LABEL}={load_study(study).name}"}

        def left() -> list[str]:
            return [one.name for one in client.containers.list(all=True, filters=wanted, ignore_removed=True)]

        yield Place(study, in_containers.TRIALS, left)


def sweep(kind: Sweep, folder: Path, kills: int, seed: int = 0) -> Swept:
    if kind.backend == "docker":
        with contextlib.closing(docker.from_env()) as client:
            in_containers.build_image(client)
    rng, swept, began = random.Random(seed), Swept(), time.monotonic()
    with place(kind.backend, folder / "undisturbed") as first:
        _run(kind, first, {}, None)
    life_s = time.monotonic() - began
    while swept.kills < kills:
        with place(kind.backend, folder / f"study-{swept.studies}") as there:
            _kill_until_it_ends(kind, there, rng, life_s, swept)
        swept.studies += 1
    swept.seconds = time.monotonic() - began
    return swept


def _kill_until_it_ends(kind: Sweep, there: Place, rng: random.Random, life_s: float, swept: Swept) -> None:
    folder, kept, output, code = there.study.parent, {}, "", -signal.SIGKILL
    while code == -signal.SIGKILL:
        number, after_s = rng.randint(1, COMMITS), rng.uniform(0, life_s)
        env = killed_in_commit(folder, there.study, number) if kind.is_in_commits else {}
        code, output, left = _run(kind, there, env, None if kind.is_in_commits else after_s)
        if code == -signal.SIGKILL:
            swept.kills += 1
            swept.with_engine += bool(left)
            if rng.random() < 0.5:
                gone_s, left = gone_within(there.left)
                swept.gone_s, swept.left = max(swept.gone_s, gone_s), swept.left + len(left)
        now = {trial.number: trial for trial in trials_of(there.study)}
        swept.lost += sum(now.get(trial.number) != trial for trial in kept.values())
        kept = now
    swept.trials += len(kept)
    swept.left += len(there.left())
    swept.wrong += _wrong(there, list(kept.values()), code, output)


def _wrong(there: Place, trials: list[Trial], code: int, output: str) -> list[str]:
    stored = optuna.load_study(
        study_name=load_study(there.study).name, storage=f"sqlite:///{there.study.parent}/study.db"
    )
    running = [trial.number for trial in stored.trials if trial.state == TrialState.RUNNING]
    candidates = {trial.candidate.key for trial in trials}
    checks = {
        f"ended with {code}: {output[-2000:]}": code == 0,
        "a traceback": "Traceback" not in output,
        f"{len(trials)} trials of {len(candidates)} candidates": len(trials) == len(candidates) == there.num_trials,
        f"numbers {[trial.number for trial in trials]}": [t.number for t in trials] == list(range(there.num_trials)),
        f"trials {running} never told": not running,
        f"disturbed: {[trial.disturbances for trial in trials]}": not any(trial.disturbances for trial in trials),
        f"outcomes {[trial.outcome for trial in trials]}": all(trial.outcome == "measured" for trial in trials),
    }
    return [f"{there.study.parent.name}: {words}" for words, is_well in checks.items() if not is_well]


def _run(kind: Sweep, there: Place, env: Mapping[str, str], killed_after_s: float | None) -> tuple[int, str, list[str]]:
    """The command, killed after some seconds; exit code, output, and the engines that were there just after its end."""
    argv = [*PLANNER, "tune", str(there.study), "--trials", str(there.num_trials), "--backend", kind.backend]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [*argv, "--no-finals", "--no-checks"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **env},
        )
        try:
            process.wait(LIMIT_S if killed_after_s is None else killed_after_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        left = there.left()
        output.seek(0)
        return process.returncode, output.read().decode("utf-8", "replace"), left
