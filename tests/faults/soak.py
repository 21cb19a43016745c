"""`python -m tests.faults.soak`: one long study in containers, and whether the planner grows while it runs.

In: trials and requests a trial. Out: the planner's resident memory and open files, of the second quarter of the trials
against the last, and what is left; with --write into docs/reliability.md. Only the engine is simulated.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import docker
import optuna
import psutil

from planner.launch.runs import STUDY_LABEL
from planner.study.loading import load_study
from planner.units import MIB, format_duration
from tests.faults.in_containers import IMAGE, build_image, write_study
from tests.faults.inject import PLANNER, trials_of
from tests.made import begin_of, write_made

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
MADE = "soak"
BEGIN = begin_of(MADE)
"""Of its part of the page."""
WARMUP_REQUESTS = 4
SEARCH = f"{{max_num_seqs: [4, 5, 6, 7], gpu_memory_utilization: {[u / 1000 for u in range(800, 970, 2)]}}}"
"""340 combinations that differ, and the default."""
LOOK_EVERY_S = 0.5
MOST_GROWTH = 0.1
"""Of resident memory from the second quarter to the last: records of trials are kept, some KiB each."""
ENDING_FILES = 3
"""Input, output and errors: what a planner that is ending has still open."""
POOLED_FILES = 10
"""Connections that a client of the Docker Engine keeps at most: they come once, not with each trial."""


@dataclass(frozen=True, slots=True)
class Look:
    """The planner at one moment."""

    trials: int
    resident_bytes: int
    open_files: int
    threads: int


@dataclass(frozen=True, slots=True)
class Soaked:
    code: int
    output: str
    trials: int
    requests: int
    failed_requests: int
    seconds: float
    looks: list[Look]
    left: list[str]

    def quarter(self, which: int) -> Look:
        """Median of its memory, and the fewest files and threads: under load there are more. From 1 to 4."""
        n = self.looks[-1].trials + 1
        of_it = [look for look in self.looks if (which - 1) * n <= 4 * look.trials < which * n]
        return Look(
            trials=of_it[0].trials,
            resident_bytes=round(median(look.resident_bytes for look in of_it)),
            open_files=min(look.open_files for look in of_it),
            threads=min(look.threads for look in of_it),
        )

    def wrong(self) -> list[str]:
        second, last = self.quarter(2), self.quarter(4)
        checks = {
            f"ended with {self.code}": self.code == 0,
            f"left: {', '.join(self.left)}": not self.left,
            f"{self.failed_requests} requests failed": not self.failed_requests,
            f"memory {second} {last}": last.resident_bytes <= second.resident_bytes * (1 + MOST_GROWTH),
            f"open files {second} {last}": last.open_files <= second.open_files + POOLED_FILES,
            f"threads {second} {last}": last.threads <= second.threads,
        }
        return [words for words, is_well in checks.items() if not is_well]

    def text(self) -> str:
        second, last = self.quarter(2), self.quarter(4)
        lines = ["| of the planner | second quarter of the trials | last quarter |", "|---|---|---|"]
        mib = [f"{look.resident_bytes / MIB:.1f} MiB" for look in (second, last)]
        lines += [f"| resident memory, median | {mib[0]} | {mib[1]} |"]
        lines += [f"| open files, fewest | {second.open_files} | {last.open_files} |"]
        lines += [f"| threads, fewest | {second.threads} | {last.threads} |"]
        head = (
            f"{self.trials} trials, each in a container of its own, and {self.requests} requests in "
            f"{format_duration(self.seconds)}; {self.failed_requests} requests failed, "
            f"{len(self.left)} containers were left."
        )
        return f"{head}\n\n" + "\n".join(lines)


def soak(folder: Path, num_trials: int, num_requests: int) -> Soaked:
    with contextlib.closing(docker.from_env()) as client:
        build_image(client)
        study = write_study(folder, IMAGE, "none", search=SEARCH, num_requests=str(num_requests))
        label = f"{STUDY_LABEL}={load_study(study).name}"
        argv = [*PLANNER, "tune", str(study), "--trials", str(num_trials), "--backend", "docker"]
        argv += ["--no-finals", "--no-checks"]
        began = time.monotonic()
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
            looks = watched(process, folder / "output")
        seconds = time.monotonic() - began
        left = [container.name for container in client.containers.list(all=True, filters={"label": label})]
    trials = trials_of(study)
    return Soaked(
        code=process.returncode,
        output=(folder / "output").read_text("utf-8"),
        trials=len(trials),
        requests=len(trials) * (num_requests + WARMUP_REQUESTS),
        failed_requests=sum(trial.failed_requests for trial in trials),
        seconds=seconds,
        looks=looks,
        left=left,
    )


def watched(process: subprocess.Popen[bytes], output: Path) -> list[Look]:
    """Until it ends."""
    planner, looks = psutil.Process(process.pid), []
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            done = len(re.findall(rb"; best ", output.read_bytes()))
            look = Look(done, planner.memory_info().rss, planner.num_fds(), planner.num_threads())
            if look.open_files > ENDING_FILES:
                looks.append(look)
        time.sleep(LOOK_EVERY_S)
    return looks


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--requests", type=int, default=334, help="a trial")
    parser.add_argument("--write", action="store_true", help="the figures into docs/reliability.md")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        soaked = soak(Path(folder), args.trials, args.requests)
    if soaked.code:
        print(soaked.output)
        return 1
    print(soaked.text(), *soaked.wrong(), sep="\n", flush=True)
    if args.write:
        write_made(PAGE, MADE, soaked.text())
    return int(bool(soaked.wrong()))


if __name__ == "__main__":
    sys.exit(main())
