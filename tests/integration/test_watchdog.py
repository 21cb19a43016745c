"""What is left of a planner that is killed: nothing, some seconds later and without another run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from planner.launch.ownership import LAUNCHER
from planner.launch.process import LAUNCHER_ENV, STUDY_ENV
from planner.study.loading import load_study
from tests.faults.inject import GONE_WITHIN_S, processes_of, watchdogs_of
from tests.integration.studies import PLANNER, tune, write_simulated_server_study


@contextlib.contextmanager
def tuning(study: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A planner whose first engine runs, and whose output goes through a pipe, as to `cat`."""
    argv = [*PLANNER, "tune", str(study), "--trials", "4", "--backend", "process", "--no-finals"]
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:
        try:
            wait_for(lambda: bool(processes_of(study)))
            yield process
        finally:
            process.kill()


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + GONE_WITHIN_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def files_of(pid: int) -> list[str]:
    """What its open files are."""
    found = []
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(file))
    return found


def engines_of(study: Path) -> list[psutil.Process]:
    name, found = load_study(study).name, []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(STUDY_ENV) == name:
                found.append(process)
    return found


@contextlib.contextmanager
def engine_of(study_name: str, launcher: str) -> Iterator[subprocess.Popen[bytes]]:
    env = {**os.environ, STUDY_ENV: study_name, LAUNCHER_ENV: launcher}
    with subprocess.Popen(["sleep", "600"], env=env, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_engine_of_a_killed_planner_is_removed_and_no_other(tmp_path: Path) -> None:
    study = write_simulated_server_study(tmp_path, speedup=5)
    with (
        tuning(study) as planner,
        engine_of(load_study(study).name, LAUNCHER.id) as of_a_living_planner,
        engine_of("another-study", "0" * 32) as of_another_study,
    ):
        assert planner.stdout is not None
        pipe = os.readlink(f"/proc/self/fd/{planner.stdout.fileno()}")
        assert pipe in files_of(planner.pid)
        for other in (*engines_of(study), *watchdogs_of(study)):
            assert pipe not in files_of(other.pid), "nobody else holds the pipe"
        os.killpg(planner.pid, signal.SIGKILL)
        output, _ = planner.communicate(timeout=GONE_WITHIN_S)
        assert b"trial 0" in output
        wait_for(lambda: processes_of(study) == ["sleep 600"])
        wait_for(lambda: not watchdogs_of(study))
        assert of_a_living_planner.poll() is None
        assert of_another_study.poll() is None


@pytest.mark.prove
def test_the_next_run_cleans_up_where_the_watchdog_was_killed_too(tmp_path: Path) -> None:
    study = write_simulated_server_study(tmp_path, speedup=20)
    with tuning(study) as planner:
        (watchdog,) = watchdogs_of(study)
        watchdog.kill()
        planner.kill()
        planner.wait()
        left = processes_of(study)
        time.sleep(3)
        assert processes_of(study) == left != []
    done = tune(study, 2, "process")
    assert done.returncode == 0, done.stdout + done.stderr
    assert processes_of(study) == []


@pytest.mark.parametrize("is_interrupted", [False, pytest.param(True, marks=pytest.mark.prove)])
def test_a_run_that_ends_by_itself_ends_its_watchdog(tmp_path: Path, is_interrupted: bool) -> None:
    study = write_simulated_server_study(tmp_path)
    with tuning(study) as planner:
        (watchdog,) = watchdogs_of(study)
        assert watchdog.ppid() != planner.pid
        assert os.getsid(watchdog.pid) != os.getsid(planner.pid)
        if is_interrupted:
            planner.send_signal(signal.SIGTERM)
        planner.communicate(timeout=600)
        assert planner.returncode == (130 if is_interrupted else 0)
        with contextlib.suppress(psutil.NoSuchProcess):
            watchdog.wait(GONE_WITHIN_S)
    assert processes_of(study) == []
