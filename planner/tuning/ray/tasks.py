"""What a host of a Ray cluster does for a study: `launch` one work, `judge` the answers, `look` at itself."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import platformdirs
import psutil
import ray

from planner.errors import BackendError, InputError
from planner.hardware import Cards, GpuFacts, held_cards, read_gpus
from planner.launch import Backend, cards_of, machine_of, make_backend, no_engine_left
from planner.study import Problem, StudySpec, Workspace
from planner.trials import QualityVerdict, Trial, judged
from planner.tuning.executor import LocalExecutor, Work
from planner.tuning.measure import measure_here
from planner.tuning.quality_gate import Gate
from planner.tuning.ray.own_cores import on_own_cores
from planner.units import GIB
from planner.version import __version__

NOTHING = "none"
"""What a host reports for a thing that it does not have."""
LOG_BYTES = 1 << 20
"""Bytes at the end of each log that are sent to the driver; the whole log stays on the host."""


@dataclass(frozen=True, slots=True)
class Order:
    """What every host is told about the study."""

    spec: StudySpec
    backend: str


@dataclass(frozen=True, slots=True)
class Result:
    trial: Trial | None
    logs: Mapping[str, bytes]
    """End of each log, by file name."""
    fault: str | None = None
    """What is wrong with the host if it could not launch; else None."""


def _workspace(order: Order) -> Workspace:
    """Workspace in which a host keeps logs and compiled code."""
    return Workspace(Path(platformdirs.user_cache_dir("planner")) / "hosts" / order.spec.name, simulated=False)


def _on_these_cards(spec: StudySpec) -> StudySpec:
    """The study on the cards that Ray gave this task."""
    cards = tuple(int(card) for card in ray.get_runtime_context().get_accelerator_ids().get("GPU", []))
    return msgspec.structs.replace(spec, hardware=msgspec.structs.replace(spec.hardware, gpu_ids=cards or None))


@dataclass(frozen=True, slots=True)
class _Site:
    """Backend, cards and log folder of a task's engines."""

    backend: Backend
    cards: Cards
    log_dir: Path


@contextmanager
def _site(order: Order, problem: Problem) -> Iterator[_Site]:
    """Context that holds this task's cards and in which engines can be launched on them; none is left afterwards."""
    workspace = _workspace(order)
    backend, cards = make_backend(problem, workspace, order.backend), cards_of(problem, order.backend)
    with held_cards(cards.cards), no_engine_left(backend, order.spec.name):
        yield _Site(backend, cards, workspace.log_dir)


@ray.remote(max_retries=0, max_calls=1)
def launch(order: Order, work: Work, host: str) -> Result:
    """Launch one work on this host."""
    try:
        with ExitStack() as own:
            problem = Problem.of(on_own_cores(_on_these_cards(order.spec), own))
            machine = replace(machine_of(problem, order.backend), host=host)
            with _site(order, problem) as site:
                measure = measure_here(problem, site.backend, site.cards)
                executor = LocalExecutor(problem, measure, _no_stage, order.backend, machine)
                executor.begin(work)
                trial = executor.next()
    except (BackendError, InputError, OSError) as error:
        return Result(None, {}, str(error))
    logs = site.log_dir.glob(f"trial-{work.number}-*.log")
    return Result(trial, {log.name: log.read_bytes()[-LOG_BYTES:] for log in logs})


def _no_stage(stage: str, done: int, total: int) -> None: ...


class _Copy:
    """A study as one host sees it."""

    def __init__(self, problem: Problem, trials: Sequence[Trial], verdicts: Sequence[QualityVerdict]) -> None:
        self._problem, self._trials, self._verdicts = problem, trials, list(verdicts)

    def trials(self) -> list[Trial]:
        return judged(self._problem, self._trials, self._verdicts)

    def verdicts(self) -> list[QualityVerdict]:
        return self._verdicts

    def keep_verdicts(self, verdicts: Sequence[QualityVerdict]) -> None:
        self._verdicts = list(verdicts)


@ray.remote(max_retries=0, max_calls=1)
def judge(
    order: Order, trials: Sequence[Trial], verdicts: Sequence[QualityVerdict]
) -> tuple[list[QualityVerdict], list[str], str | None]:
    """Run the quality gate on this host. Returns verdicts, the lines it said, and the host's fault or None."""
    said: list[str] = []
    problem = Problem.of(_on_these_cards(order.spec))
    copy = _Copy(problem, trials, verdicts)
    try:
        with _site(order, problem) as site:
            Gate(problem, copy, site.backend, site.log_dir, said.append).judge_all()
    except (BackendError, InputError, OSError) as error:
        return copy.verdicts(), said, str(error)
    return copy.verdicts(), said, None


@ray.remote(max_retries=0, max_calls=1, num_cpus=0)
def look(order: Order) -> dict[str, str]:
    """What trials on this host depend on, by name; `fault` if it cannot launch. Removes leftovers of dead planners."""
    try:
        problem = Problem.of(order.spec)
        make_backend(problem, _workspace(order), order.backend).clean_up()
        machine = machine_of(problem, order.backend)
    except (BackendError, InputError, OSError) as error:
        return {"fault": str(error)}
    gpus = GpuFacts() if problem.gpu.is_cpu else read_gpus()
    return {
        "planner": __version__,
        "processor": f"{psutil.cpu_count()} x {platform.machine()} {_processor()}",
        "host memory": f"{psutil.virtual_memory().total / GIB:.0f} GiB",
        "cards": ", ".join(f"{card.name} {card.total_bytes / GIB:.1f} GiB" for card in gpus.cards) or NOTHING,
        "interconnect": gpus.interconnect,
        "driver": machine.driver or NOTHING,
        "image": machine.image_digest or NOTHING,
        "models": ", ".join(f"{name} {_files(variant.path)}" for name, variant in order.spec.models.items()),
    }


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _files(path: str) -> str:
    """Number and bytes of the files in a model's folder: enough to detect an incomplete copy."""
    folder = Path(path).expanduser()
    files = [one for one in sorted(folder.rglob("*")) if one.is_file()] if folder.is_dir() else []
    return f"({len(files)} files, {sum(one.stat().st_size for one in files)} bytes)"
