"""One study, two planners, one PostgreSQL server: each trial is launched once, whoever dies."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import msgspec
import optuna
import pytest
import sqlalchemy

from planner.errors import BackendError
from planner.study.loading import load_study
from planner.trials.trial import Trial
from planner.tuning.search import patience
from planner.tuning.search.claims import Claims
from planner.tuning.search.storage import created, storage_kept
from planner.tuning.search.store import RECORD
from tests.faults.inject import processes_of
from tests.integration.postgresql import away, postgresql
from tests.integration.studies import PLANNER, write_simulated_server_study

TRIALS = 5
HASTY = (
    "import planner.tuning.search.claims as claims; claims.BEAT_S, claims.LOST_AFTER_S = 1.0, 12.0; "
    "from planner.cli.main import main; main()"
)
"""The command with shorter leases: a dead planner's trial is taken over after 12 s, not after 40."""


@pytest.fixture
def url() -> Iterator[str]:
    with postgresql() as url:
        yield url


def start(study: Path, url: str, log: Path, *more: str, program: Sequence[str] = PLANNER) -> subprocess.Popen[bytes]:
    argv = [*program, "tune", str(study), "--trials", str(TRIALS), "--backend", "process", "--keep-going", *more]
    with log.open("wb") as output:
        return subprocess.Popen(
            [*argv, "--storage", url],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def trials_of(study: Path, url: str) -> list[Trial]:
    storage = optuna.storages.RDBStorage(url)
    stored = optuna.load_study(study_name=load_study(study).name, storage=storage).trials
    storage.remove_session()
    storage.engine.dispose()
    return [msgspec.json.decode(t.user_attrs[RECORD], type=Trial) for t in stored if RECORD in t.user_attrs]


def end(processes: Sequence[subprocess.Popen[bytes]], logs: Sequence[Path]) -> None:
    for process, log in zip(processes, logs, strict=True):
        assert process.wait(850) == 0, log.read_text()


def test_two_planners_share_a_study(url: str, tmp_path: Path) -> None:
    study = write_simulated_server_study(tmp_path / "study", speedup=20)
    logs = [tmp_path / f"{i}.log" for i in range(2)]
    end([start(study, url, log) for log in logs], logs)
    trials = trials_of(study, url)
    searched = [trial for trial in trials if trial.rerun is None]
    assert [trial.outcome for trial in searched] == ["measured"] * TRIALS
    assert len({trial.candidate for trial in searched}) == TRIALS
    assert Counter((t.rerun.of, t.rerun.round) for t in trials if t.rerun).most_common(1)[0][1] == 1
    counts = [log.read_text().count("\ntrial ") for log in logs]
    assert min(counts) >= 1, "both took part"
    assert sum(counts) >= len(trials), "both may tell of a trial that one took over from the other"
    assert all("finals" in log.read_text() for log in logs)
    assert processes_of(study) == []


@pytest.mark.prove
def test_one_is_killed_and_the_other_takes_over(url: str, tmp_path: Path) -> None:
    study = write_simulated_server_study(tmp_path / "study", speedup=5)
    logs = [tmp_path / f"{i}.log" for i in range(2)]
    hasty = (sys.executable, "-c", HASTY)
    victim = start(study, url, logs[0], "--no-finals", program=hasty)
    other = start(study, url, logs[1], "--no-finals", program=hasty)
    while not (logs[0].read_text().rstrip().endswith("measuring") and "measuring" in logs[1].read_text()):
        assert victim.poll() is None, "it was to be killed in the middle of a trial"
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    before = trials_of(study, url)
    end([other], logs[1:])
    trials = trials_of(study, url)
    assert sorted(trial.number for trial in trials) == list(range(TRIALS)), "its trial too, under its number"
    assert len({trial.candidate for trial in trials}) == TRIALS
    assert [trial for trial in trials if trial in before] == before
    assert processes_of(study) == [], "its engine is removed"


def test_a_server_that_goes_away_or_holds_a_table_is_waited_for(url: str) -> None:
    study = created(url, "patient", "maximize", nullcontext())
    claims = Claims(url, "patient", lambda _trial, _now: None)
    with claims.alone():
        study.add_trial(optuna.trial.create_trial(value=1.0))
    with away(url, 2.0):
        assert [trial.value for trial in study.trials] == [1.0]
    with away(url, 2.0), claims.alone():
        study.add_trial(optuna.trial.create_trial(value=2.0))
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as other:
        other.execute(sqlalchemy.text("lock table trials in access exclusive mode"))
        timer = threading.Timer(2.0, other.rollback)
        timer.start()
        study.add_trial(optuna.trial.create_trial(value=3.0))
        timer.join()
    assert [trial.value for trial in study.trials] == [1.0, 2.0, 3.0]


def test_a_server_that_stays_away_ends_the_study_in_one_line(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "WAIT_S", 0)
    study = created(url, "patient", "maximize", nullcontext())
    with (
        away(url, None),
        pytest.raises(BackendError, match=r"the study's storage: connection failed.*the same command continues"),
        storage_kept(url),
    ):
        study.add_trial(optuna.trial.create_trial(value=1.0))


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    study = write_simulated_server_study(tmp_path / "study")
    log = tmp_path / "log"
    process = start(study, "postgresql+psycopg://planner:canary-pw@127.0.0.1:1/postgres", log)
    assert process.wait(850) == 1
    words = log.read_text()
    assert "does not answer" in words
    assert "canary-pw" not in words
    assert "Traceback" not in words
