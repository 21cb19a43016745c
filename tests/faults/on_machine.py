"""Faults of the machine: a full disk, a clock that jumps, a power cut, a storage of another version.

The engines are simulated ones, as processes (tests/faults/engine.py). The disk is a small one of its own in memory, the
clock is changed by clock.c for planner and engines, a power cut is a copy of all files of a study while every
process that writes them stands still: what is not in the files then was lost.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import sqlite3
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from planner.trials.trial import Trial
from tests.faults.engine import BALLAST, DONE
from tests.faults.inject import LIMIT_S, PLANNER, TRIALS, processes_of, trials_of, write_study

DISK_BYTES = 4 << 20
JUMP_EVERY_S = 0.7
HOUR_S = 3600
JUMPS_S = [HOUR_S * hours for hours in random.Random(0).sample(range(-200 * 24, 200 * 24), 200)]
"""Hours apart, so that no two trials end in the same hour by chance."""
CUTS = 5
"""Copies that go on to the end; all are opened."""
LONGEST_S = 120.0
"""Of a start or a load in these studies, by far; a clock's jump would make it hours, or negative."""


@dataclass(frozen=True, slots=True)
class Endured:
    """What a fault did to a study."""

    name: str
    times: int
    says: str
    """The run's line, or what was counted."""
    seconds: float
    lost: int
    wrong: list[str]


@dataclass(frozen=True, slots=True)
class Run:
    code: int
    output: str

    @property
    def says(self) -> str:
        told = [line for line in self.output.split("\n") if line.startswith("planner: ")]
        return told[0].removeprefix("planner: ") if told else ""

    def wrong(self, code: int) -> list[str]:
        checks = {
            f"ended with {self.code}: {self.output[-2000:]}": self.code == code,
            "a traceback": "Traceback" not in self.output,
            f"{self.output.count('planner: ')} lines of error": (self.says == "") == (code == 0),
        }
        return [words for words, is_well in checks.items() if not is_well]


def tune(study: Path, trials: int = TRIALS, env: Mapping[str, str] | None = None) -> Run:
    with running(study, trials, env) as (process, output):
        process.wait(LIMIT_S)
        return Run(process.returncode, output())


@contextlib.contextmanager
def running(
    study: Path, trials: int = TRIALS, env: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """A planner that tunes, killed at the end where it still runs; and what it has written."""
    with tempfile.TemporaryFile() as file:
        process = subprocess.Popen(
            [
                *PLANNER,
                "tune",
                str(study),
                "--trials",
                str(trials),
                "--backend",
                "process",
                "--no-finals",
                "--no-checks",
            ],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
        )

        def output() -> str:
            return os.pread(file.fileno(), 1 << 24, 0).decode("utf-8", "replace")

        try:
            yield process, output
        finally:
            process.kill()
            process.wait()


def told_wrong(before: list[Trial], after: list[Trial], count: int) -> list[str]:
    lost = [f"trial {trial.number} lost" for trial in before if trial not in after]
    numbers = [trial.number for trial in after]
    return lost + ([] if numbers == list(range(count)) else [f"trials {numbers}"])


def integrity(db: Path) -> str:
    with contextlib.closing(sqlite3.connect(db)) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])


# --- disk -------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of a few MiB. Raises CalledProcessError where none may be mounted."""
    folder.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    subprocess.run(argv, check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def disk_is_full(name: str, folder: Path) -> Endured:
    """The engine of one candidate fills it; room is made when the run has ended."""
    with small_disk(folder / "disk") as disk:
        study = write_study(disk, name)
        began = time.monotonic()
        met = tune(study)
        seconds = time.monotonic() - began
        first = trials_of(study)
        full = tune(study)  # nothing was mended
        wrong = met.wrong(1) + full.wrong(1) + [f"left: {left}" for left in processes_of(study)]
        if (state := integrity(disk / "study.db")) != "ok":
            wrong.append(state)
        (disk / BALLAST).unlink(missing_ok=True)
        for log in (disk / "logs").iterdir():
            log.unlink()
        wrong += tune(study).wrong(0)
        trials = trials_of(study)
        wrong += told_wrong(first, trials, TRIALS)
        return Endured(
            name, 1, met.says.replace(str(disk), "..."), seconds, len([t for t in first if t not in trials]), wrong
        )


# --- clock ------------------------------------------------------------------------------------------------------------


def clock_jumps(folder: Path) -> Endured:
    """Hours forth and back, months too, every second or so."""
    study, clock, library = write_study(folder / "study", "none"), folder / "clock", folder / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, Path(__file__).with_name("clock.c")], check=True)
    clock.write_bytes(struct.pack("l", 0))
    env = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(clock)}
    is_over, jumps = threading.Event(), 0

    def jump() -> None:
        nonlocal jumps
        while not is_over.wait(JUMP_EVERY_S):
            with clock.open("r+b") as file:
                file.write(struct.pack("l", JUMPS_S[jumps % len(JUMPS_S)]))
            jumps += 1

    thread = threading.Thread(target=jump)
    thread.start()
    began = time.monotonic()
    try:
        run = tune(study, env=env)
    finally:
        is_over.set()
        thread.join()
    seconds = time.monotonic() - began
    trials = trials_of(study)
    wrong = run.wrong(0) + told_wrong([], trials, TRIALS)
    if len({trial.provenance.finished_at[:13] for trial in trials}) == 1:
        wrong.append("the clock did not jump")
    for trial in trials:
        durations = {"start": trial.start_s, "benchmark": trial.benchmark_s}
        durations |= {
            name: value for name, value in trial.metrics.items() if re.search("ttft|tpot|itl|e2el|duration", name)
        }
        odd = {name: value for name, value in durations.items() if not 0 <= value < LONGEST_S}
        wrong += [f"trial {trial.number}, {trial.outcome}: {odd}"] if odd or trial.outcome != "measured" else []
    report = [*PLANNER, "report", str(study), "--html"]
    done = subprocess.run(report, capture_output=True, text=True, check=False)
    wrong += [] if done.returncode == 0 else [done.stderr]
    return Endured("clock jumps", jumps, "every trial measured, no duration odd", seconds, 0, wrong)


# --- power ------------------------------------------------------------------------------------------------------------


def power_cuts(folder: Path, times: int = CUTS, seed: int = 0) -> Endured:
    """Cuts at random moments of one run; each copy opens and goes on to its end with all that was told before."""
    study, rng = write_study(folder / "study", "none"), random.Random(seed)
    copies: list[tuple[Path, int]] = []
    began = time.monotonic()
    with running(study) as (process, output):
        while process.poll() is None:
            time.sleep(rng.uniform(0.05, 0.6))
            copy = folder / f"copy-{len(copies)}"
            told = output().count("; best ")  # of trials that the planner said to be finished
            if has_been_cut(process.pid, study.parent, copy):
                copies.append((copy, told))
    seconds = time.monotonic() - began
    written = [(copy, told) for copy, told in copies if (copy / "study.db").exists()]
    in_the_middle = [pair for pair in written if (pair[0] / "study.db-journal").exists()]
    wrong = [] if process.returncode == 0 else [output()]
    lost = 0
    for copy, told in written:
        if (state := integrity_of_copy(copy)) != "ok":
            wrong.append(f"{copy.name}: {state}")
        kept = trials_of(copy / "study.yaml")
        lost += max(0, told - len(kept))
    # Those cut in the middle of a write say the most.
    for copy, told in [*in_the_middle, *rng.sample(written, len(written))][:times]:
        kept = trials_of(copy / "study.yaml")
        wrong += tune(copy / "study.yaml").wrong(0) + told_wrong(kept, trials_of(copy / "study.yaml"), TRIALS)
        lost += 0 if len(kept) >= told else 1
    wrong += [f"{lost} trials lost"] if lost else []
    went_on = min(times, len(written))
    says = f"{len(written)} copies open, {len(in_the_middle)} of them cut in a write; {went_on} went on to the end"
    return Endured("power cut", len(written), says, seconds, lost, wrong)


def has_been_cut(pid: int, folder: Path, copy: Path) -> bool:
    """A copy of all files while planner and engines stand still; False where the planner ended meanwhile."""
    try:
        planner = psutil.Process(pid)
        planner.send_signal(signal.SIGSTOP)  # first: it may be waiting for a child that has not begun its program yet
        while planner.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
            time.sleep(0.001)
        all_of_them = [planner, *planner.children(recursive=True)]
        for process in all_of_them[1:]:
            process.send_signal(signal.SIGSTOP)
        shutil.copytree(folder, copy)
        for process in reversed(all_of_them):
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGCONT)
    except psutil.Error:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        return False
    return True


def integrity_of_copy(copy: Path) -> str:
    """Of the storage after SQLite has rolled back what was not finished, in a copy of the copy."""
    with tempfile.TemporaryDirectory() as folder:
        for file in copy.glob("study.db*"):
            shutil.copy(file, folder)
        return integrity(Path(folder) / "study.db")


# --- storage ----------------------------------------------------------------------------------------------------------


def older_storage(folder: Path) -> Endured:
    """Tables that an earlier Optuna made: refused with the command that brings them up to date."""
    study = write_study(folder / "study", "none")
    began = time.monotonic()
    wrong = tune(study, 1).wrong(0)
    db = folder / "study" / "study.db"
    with contextlib.closing(sqlite3.connect(db)) as connection, connection:
        (version,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        connection.execute("UPDATE alembic_version SET version_num = 'v3.0.0.d'")
        connection.execute("UPDATE version_info SET library_version = '3.0.0'")
    before = db.read_bytes()
    refused = tune(study, 2)
    wrong += refused.wrong(2)
    wrong += [] if "optuna storage upgrade --storage sqlite:///" in refused.says else [refused.says]
    wrong += [] if db.read_bytes() == before else ["the refused storage was changed"]
    with contextlib.closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    wrong += tune(study, 2).wrong(0)
    says = refused.says.replace(str(folder), "...")
    return Endured("storage of an older Optuna", 1, says, time.monotonic() - began, 0, wrong)


def second_planner(folder: Path) -> Endured:
    """On a study that one runs already, whose load lasts until the second one has ended."""
    study = write_study(folder / "study", "waits under load")
    began = time.monotonic()
    with running(study, 4) as (process, output):
        while not (folder / "study" / "met.load").exists() and process.poll() is None:
            time.sleep(0.05)
        second = tune(study, 4)
        (folder / "study" / f"met{DONE}").touch()
        wrong = second.wrong(1)
        wrong += [] if f"another planner (pid {process.pid})" in second.says else [second.says]
        process.wait(LIMIT_S)
        wrong += Run(process.returncode, output()).wrong(0)
    wrong += told_wrong([], trials_of(study), 4)
    says = second.says.replace(str(folder), "...").replace(str(process.pid), "1234")
    return Endured("a second planner on the study", 1, says, time.monotonic() - began, 0, wrong)


MACHINE_FAULTS: dict[str, Callable[[Path], Endured]] = {
    "disk full under load": lambda folder: disk_is_full("disk full under load", folder),
    "disk filled by an engine's log": lambda folder: disk_is_full("disk filled by an engine's log", folder),
    "clock jumps": clock_jumps,
    "power cut": power_cuts,
    "storage of an older Optuna": older_storage,
    "a second planner on the study": second_planner,
}
REPRESENTATIVE = ("disk full under load", "a second planner on the study")
"""What CI injects; `make prove` all."""
