"""Faults, and what became of a study that met one: `inject(FAULTS[...], folder) -> Injected`.

In: a fault of an engine or of the planner. Out: how the study ended, in how many seconds, which trials were lost, what
was left behind. The study is small and its engine is simulated (tests/faults/engine.py);
processes, signals, sockets, locks and files are real.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import optuna
import psutil

from planner.launch.process import STUDY_ENV
from planner.study.loading import load_study
from planner.trials.trial import Trial
from planner.tuning.search.store import RECORD

ENGINE = Path(__file__).with_name("engine.py")
PLANNER = [sys.executable, "-c", "from planner.cli.main import main; main()"]
TRIALS = 4
START_TIMEOUT_S, NEVER_STARTS_S, REQUEST_TIMEOUT_S = 300, 15, 60
"""Of engines on a machine that may be busy, and of a study in which one never starts."""
FAULTY_SEQS = 6
LIMIT_S = 600
"""A run that takes longer hangs."""
GONE_WITHIN_S = 120.0
"""After a planner was killed: its watchdog's time, and more on a busy machine."""


GIVEN_UP, REFUSED = "given up", "measured, refused"
"""A load that stopped early because the candidate was surely not the best; numbers that break the study's limits."""


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    outcome: str
    """What becomes of the trial that meets it."""
    words: str = ""
    """Part of what the trial says of it."""
    ends: int = 0
    """Exit code of the run that meets it."""
    start_timeout_s: int = START_TIMEOUT_S

    @property
    def is_raced(self) -> bool:
        """Whether a load may be given up: by speed, and so by what else the machine does."""
        return self.outcome == GIVEN_UP


ENGINE_FAULTS = (
    Fault("out of memory at start", "failed", "CUDA out of memory"),
    Fault("killed at start", "failed", "killed (exit code -9)"),
    Fault("hangs at start", "failed", "not ready in time", start_timeout_s=NEVER_STARTS_S),
    Fault("never healthy", "failed", "not ready in time", start_timeout_s=NEVER_STARTS_S),
    Fault("out of memory under load", "failed", "CUDA out of memory"),
    Fault("killed under load", "failed", "killed (exit code -9)"),
    Fault("hangs under load", GIVEN_UP),
    Fault("stopped under load", GIVEN_UP),
    Fault("HTTP 500", "failed", "none of 24 requests completed; most often: http 500: boom"),
    Fault("HTTP 500 now and then", REFUSED, "of the requests failed"),
    Fault("garbage", "failed", "most often: bad event"),
    Fault("empty answers", "failed", "most often: no usage"),
    Fault("cut streams", "failed", "most often: cut stream"),
    Fault("no usage", "failed", "most often: no usage"),
    Fault("a log of 300 MB", "measured"),
)
COMMITS = {"record": 1, "figures": 8, "state": 15}
"""Of a measured trial's storing, which are so many."""
KILLED_BEFORE_LAUNCH = "planner killed before an engine starts"
KILLED_STORING = {f"planner killed while it stores a trial's {what}": commit for what, commit in COMMITS.items()}
PLANNER_FAULTS = (
    Fault(KILLED_BEFORE_LAUNCH, "measured", ends=-9),
    Fault("planner killed while an engine starts", "measured", ends=-9),
    Fault("planner killed under load", "measured", ends=-9),
    Fault("planner killed while an engine ends", "measured", ends=-9),
    *(Fault(name, "measured", ends=-9) for name in KILLED_STORING),
    Fault("planner stopped twice while an engine starts", "measured", ends=130),
    Fault("planner told to end under load", "measured", ends=130),
    Fault("planner told to end again and again", "measured", ends=130),
    Fault("terminal closed under load", "measured", ends=130),
)
FAULTS = {fault.name: fault for fault in (*ENGINE_FAULTS, *PLANNER_FAULTS)}
REPRESENTATIVE = (
    "out of memory at start",
    "hangs under load",
    "planner killed under load",
    "planner killed while it stores a trial's figures",
)
"""What CI injects; `make prove` all."""


@dataclass(frozen=True, slots=True)
class Injected:
    fault: Fault
    seconds: float
    """Of the run that met the fault."""
    first_code: int
    code: int
    """Of the last run: the same command again where the planner died."""
    output: str
    trials: list[Trial]
    lost: list[str] = field(default_factory=list)
    """Finished trials that a later run no longer has, or has otherwise."""
    left: list[str] = field(default_factory=list)
    """Processes of the study and temporary files after its end."""
    peak_bytes: int = 0
    """Resident memory of the planner that met the fault."""
    gone_s: float = 0.0
    """How long after the planner was killed there was nothing of it, without another run."""

    @property
    def met(self) -> Trial:
        return next(trial for trial in self.trials if trial.candidate.engine.max_num_seqs == FAULTY_SEQS)

    @property
    def outcome(self) -> str:
        if self.met.outcome != "measured":
            return self.met.outcome
        return GIVEN_UP if self.met.stopped_at is not None else "measured" if self.met.is_acceptable else REFUSED

    @property
    def says(self) -> str:
        if self.met.failure is not None:
            return self.met.failure.message
        return "; ".join(c.message for c in self.met.constraints if c.excess > 0)

    def wrong(self) -> list[str]:
        """What should not have happened; empty where all is well."""
        candidates = [trial.candidate.key for trial in self.trials]
        checks = {
            f"the run ended with {self.first_code}": self.first_code == self.fault.ends,
            f"the last run ended with {self.code}": self.code == 0,
            f"{len(self.trials)} of {TRIALS} trials": len(self.trials) == TRIALS,
            "a candidate twice": len({*candidates}) == len(candidates),
            f"lost: {', '.join(self.lost)}": not self.lost,
            f"left: {', '.join(self.left)}": not self.left,
            "a traceback": "Traceback" not in self.output,
        }
        wrong = [words for words, is_well in checks.items() if not is_well]
        if not wrong and (self.outcome != self.fault.outcome or self.fault.words not in self.says):
            wrong.append(f"the trial: {self.outcome}: {self.says}")
        return wrong


def write_study(folder: Path, fault: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    known = FAULTS.get(fault, Fault(fault, "measured"))
    command = [sys.executable, str(ENGINE), fault, str(folder / "met"), "serve", "--gpu", "RTX 2080 Ti 22GB"]
    command += ["--vllm-version", "0.8.5", "--speedup", "2000", "--model"]
    path = folder / "study.yaml"
    path.write_text(
        textwrap.dedent(f"""\
        name: fault-{uuid.uuid4().hex[:8]}
        models: {{awq: {{path: Qwen/Qwen3-8B-AWQ}}}}
        hardware: {{gpu: RTX 2080 Ti 22GB, num_gpus: 1, host_memory: 64GiB}}
        engine:
          version: 0.8.5
          settings: {{dtype: half, max_model_len: 4096}}
          start_timeout: {known.start_timeout_s}s
          command: {command!r}
        container: {{image: "vllm/vllm-openai:v0.8.5"}}
        search_space: {{search: {{max_num_seqs: [5, 7, 6]}}}}
        repeats: 1
        racing: {str(known.is_raced).lower()}
        workload:
          concurrency: 8
          num_requests: 24
          warmup_requests: 4
          input_tokens: 64
          output_tokens: 16
          request_timeout: {REQUEST_TIMEOUT_S}s
        """)
    )
    return path


def inject(fault: Fault, folder: Path) -> Injected:
    """Run a study until it has met the fault, run it again where that ended it, and look at what is left."""
    study = write_study(folder, fault.name)
    began = time.monotonic()
    first_code, output, peak_bytes = run_planner(study, *how_it_is_met(fault, folder))
    seconds = time.monotonic() - began
    gone_s, left = gone_within(lambda: processes_of(study)) if first_code == -signal.SIGKILL else (0.0, [])
    first, code = trials_of(study), first_code
    if first_code:
        code, more, _ = run_planner(study)
        output += more
    trials = trials_of(study)
    lost = [f"trial {trial.number}" for trial in first if trial not in trials]
    left += [*processes_of(study), *(str(path) for path in temporary(study).rglob("*"))]
    return Injected(fault, seconds, first_code, code, output, trials, lost, left, peak_bytes, gone_s)


def how_it_is_met(fault: Fault, folder: Path) -> tuple[list[str], dict[str, str]]:
    """The planner's program and environment: for what an engine cannot do to it."""
    if fault.name == KILLED_BEFORE_LAUNCH:
        return [sys.executable, str(ENGINE.with_name("killed_before_launch.py"))], {}
    if fault.name in KILLED_STORING:
        return PLANNER, killed_in_commit(folder, folder / "met", KILLED_STORING[fault.name])
    return PLANNER, {}


def killed_in_commit(folder: Path, after: Path, number: int) -> dict[str, str]:
    """The environment of a planner that is killed in the middle of the so-manieth commit since a file is there."""
    library = folder / "commit.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, ENGINE.with_name("commit.c")], check=True)
    return {"LD_PRELOAD": str(library), "KILL_AFTER": str(after), "KILL_AT_COMMIT": str(number)}


def gone_within(left: Callable[[], list[str]]) -> tuple[float, list[str]]:
    """Seconds until nothing is left, and what is left nevertheless."""
    began = time.monotonic()
    while (there := left()) and time.monotonic() - began < GONE_WITHIN_S:
        time.sleep(0.1)
    return time.monotonic() - began, there


def run_planner(
    study: Path, planner: Sequence[str] = PLANNER, env: Mapping[str, str] | None = None
) -> tuple[int, str, int]:
    """`planner tune`: exit code, output, peak of its memory in bytes."""
    for number in (signal.SIGINT, signal.SIGHUP):  # ignored in a background job, and so in what that starts
        signal.signal(number, signal.default_int_handler)
    argv = [*planner, "tune", str(study), "--trials", str(TRIALS), "--backend", "process", "--no-finals"]
    temporary(study).mkdir(exist_ok=True)
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(temporary(study)), **(env or {})},
            start_new_session=True,
        )
        limit = threading.Timer(LIMIT_S, process.kill)
        limit.start()
        _, status, usage = os.wait4(process.pid, 0)
        limit.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        return process.returncode, output.read().decode("utf-8", "replace"), usage.ru_maxrss * 1024


def temporary(study: Path) -> Path:
    """Where the planner and its engines put temporary files."""
    return study.parent / "tmp"


def trials_of(study: Path) -> list[Trial]:
    """The finished trials, read as any Optuna user would."""
    path = study.parent / "study.db"
    if not path.exists() or not has_study(path):
        return []
    stored = optuna.load_study(study_name=load_study(study).name, storage=f"sqlite:///{path}")
    return [msgspec.json.decode(t.user_attrs[RECORD], type=Trial) for t in stored.trials if RECORD in t.user_attrs]


def has_study(path: Path) -> bool:
    """Whether the tables were made and the study was begun."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'studies'").fetchall()
        return bool(tables and connection.execute("SELECT study_id FROM studies").fetchall())


def processes_of(study: Path) -> list[str]:
    name = load_study(study).name
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(STUDY_ENV) == name:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def launchers_of(study: Path) -> list[psutil.Process]:
    """The processes that started its engines."""
    name, found = load_study(study).name, []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            parent = process.parent()
            if process.environ().get(STUDY_ENV) == name and parent and parent.environ().get(STUDY_ENV) != name:
                found.append(parent)
    return found


def watchdogs_of(study: Path) -> list[psutil.Process]:
    name, found = load_study(study).name, []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if "planner.launch.watchdog" in words and words[-1] == name:
                found.append(process)
    return found
