"""What the tests share: a small study that can be changed key by key, and problems and searches made of it."""

from __future__ import annotations

import os
import shlex
import signal
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, settings

from tests.forecasts import forecast_of, grid_of

# A busy machine is slow at drawing inputs, which is no fault of a test.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("prove", settings.get_profile("patient"), max_examples=2000)
settings.load_profile("patient")

# A background job ignores Ctrl-C, and so would every planner that a test starts in order to interrupt it.
signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks the real Hub
os.environ.setdefault("COLUMNS", "200")  # rich and typer break lines at the terminal's width

ON_DOCKER = (
    "tests/faults/test_in_containers.py",
    "tests/faults/test_on_vllm.py",
    "tests/integration/test_*_on_docker.py",
    "tests/integration/test_*_on_vllm.py",
    "tests/integration/test_compile_cache.py",
    "tests/integration/test_container_of_planner.py",
    "tests/integration/test_docker_tune.py",
    "tests/integration/test_guard_loop.py",
    "tests/integration/test_image_digest.py",
    "tests/integration/test_log_of_container.py",
)
"""Files of tests in containers: of several workers one has them all, since they share a Docker Engine and engines."""


def is_on_docker(nodeid: str) -> bool:
    return any(fnmatch(nodeid.partition("::")[0], pattern) for pattern in ON_DOCKER)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if (
            item.get_closest_marker("container")
            and not item.get_closest_marker("prove")
            and not is_on_docker(item.nodeid)
        ):
            raise pytest.UsageError(
                f"{item.nodeid} starts containers: its file belongs to ON_DOCKER in tests/conftest.py"
            )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Each file is one worker's, in order, and the files of ON_DOCKER are together. (xdist's own groups do nothing with
    pytest 9.2: they are told by changed names of tests, which that no longer lets change.)"""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "in containers" if is_on_docker(nodeid) else nodeid.partition("::")[0]

    return ByFile(config, log)


STUDY = """
name: tiny
models:
  small: {path: Qwen/Qwen3-8B}
hardware: {gpu: RTX 2080 Ti 22GB, num_gpus: 2, host_memory: 64GiB}
engine: {version: 0.8.5, settings: {dtype: half, max_model_len: 4096}}
container: {image: "vllm/vllm-openai:v0.8.5"}
search_space:
  search:
    layout: [2xtp1, 1xtp2]
    max_num_seqs: [2, 3]
    block_size: [16, 32]
workload: {concurrency: 4, num_requests: 6, input_tokens: 64, output_tokens: 16}
"""


@pytest.fixture
def study_data() -> Callable[..., dict[str, Any]]:
    """The study above as YAML data; `engine.settings={...}` and the like replace one key."""

    def build(**changes: Any) -> dict[str, Any]:
        data = yaml.safe_load(STUDY)
        for path, value in changes.items():
            *parents, last = path.split("__")
            section = data
            for key in parents:
                section = section.setdefault(key, {})
            section[last] = value
        return data

    return build


@pytest.fixture
def make_problem(study_data: Callable[..., dict[str, Any]]) -> Callable[..., Any]:
    """A `Problem` of the study above; `engine__version="0.9.2"` replaces a key."""
    from planner.files.structured import convert
    from planner.study.problem import Problem
    from planner.study.spec import StudySpec

    return lambda **changes: Problem.of(convert(study_data(**changes), StudySpec, "study.yaml"))


@pytest.fixture(scope="session")
def kept() -> dict[str, Any]:
    """What is made once, by the test that asks for it first, and changed by none."""
    return {}


@pytest.fixture
def storage() -> Iterator[str]:
    """A study's database, shared by all who open it while the test runs. In memory: SQLite's disk writes are slow."""
    name = f"file:{uuid.uuid4().hex}?mode=memory&cache=shared"
    keeper = sqlite3.connect(name, uri=True)
    yield f"sqlite:///{name}&uri=true"
    keeper.close()


class Watcher:
    """An observer that remembers what it was told."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, Any]] = []
        self.stages: list[str] = []
        self.trials: list[Any] = []

    def started(self, number: int, candidate: Any) -> None:
        self.asked.append((number, candidate))

    def stage(self, stage: str, done: int, total: int) -> None:  # noqa: ARG002
        self.stages.append(stage)

    def finished(self, trial: Any) -> None:
        self.trials.append(trial)


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture
def tune(storage: str) -> Callable[..., list[Any]]:
    """Run a study on the simulated engine up to `target` launches; a second call continues it, as a second run does."""

    def run(problem: Any, target: int, measure: Any = None, observer: Watcher | None = None) -> list[Any]:
        from planner.tuning.executor import LocalExecutor
        from planner.tuning.loop import run_study
        from planner.tuning.measure import simulated
        from planner.tuning.search.search import Search

        observer = observer or Watcher()
        executor = LocalExecutor(problem, measure or simulated(forecast_of(problem)), observer.stage, "simulated")
        return run_study(problem, Search.open(forecast_of(problem), storage), executor, target, observer)

    return run


@pytest.fixture
def launch() -> Callable[..., list[Any]]:
    """The default and the first feasible combinations of a study, measured on the simulated engine, stored nowhere."""

    def run(problem: Any, count: int = 1) -> list[Any]:
        from planner.trials.trial import Provenance
        from planner.tuning.evaluation import evaluate
        from planner.tuning.measure import simulated

        provenance = Provenance(
            planner_version="0.1.0",
            backend="simulated",
            simulated=True,
            vllm_version=str(problem.version),
            image=None,
            gpu=problem.gpu.name,
            workload_seed=0,
            finished_at="2026-01-02T03:04:05+00:00",
        )
        rows = grid_of(problem).feasible_rows[: count - 1]
        params = [problem.choices.params(grid_of(problem).indices[row]) for row in rows]
        candidates = [problem.default, *map(problem.choices.candidate, params)]
        return [
            evaluate(
                forecast_of(problem), candidate, number, simulated(forecast_of(problem)), lambda *_: None, provenance
            )
            for number, candidate in enumerate(candidates)
        ]

    return run


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], tuple[int, str, str]]:
    """Run a command line in an empty folder: exit code, stdout, stderr."""
    from planner.cli.main import main

    monkeypatch.chdir(tmp_path)

    def call(line: str) -> tuple[int, str, str]:
        code = 0
        try:
            main(shlex.split(line))
        except SystemExit as ended:
            code = int(ended.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def study(tmp_path: Path, study_data: Callable[..., dict[str, Any]]) -> Path:
    """The study above as study.yaml in the folder of `run`."""
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study_data()), "utf-8")
    return path
