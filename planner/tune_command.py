"""`planner tune`, `report` and `export`: plan, run or replay, conclude, write the script."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console, RenderableType
from rich.text import Text

from planner.backends.docker import engine_answers
from planner.calibration import load_calibrations, save_calibrations
from planner.claims import is_shared, shown
from planner.container import trial_runs
from planner.crew import Crew, Here
from planner.crews import Hosts, MakeCrew, crews, no_gate
from planner.errors import BackendError, InputError
from planner.estimate import pretty_json
from planner.export.kinds import SCRIPTS, ExportKind, exported, file_name
from planner.files import encode
from planner.finals import chosen_trial, heats, measured_again
from planner.hardware import find_gpu
from planner.host import make_backend
from planner.hosts import hosts_words
from planner.landscape import BACKEND as REPLAY
from planner.landscape import limit_to_records, read_records, replayed
from planner.live import terminal_observer
from planner.nvml import read_gpus
from planner.pareto import front
from planner.problem import Problem
from planner.report import conclusion, further_facts, loads_table, pareto_table, plan_view, trials_table
from planner.search import Search, storage_kept
from planner.spec import StudySpec
from planner.study import Observer, run_checks, run_finals, run_study
from planner.summary import plan_document, summary
from planner.terminal import make_console, working
from planner.trial import Trial, default_trial, num_launched, searched
from planner.units import format_duration
from planner.whole_files import write_whole
from planner.workspace import STUDY_FILE, Workspace

BACKENDS = ("docker", "process", "simulated")


def choose_backend(spec: StudySpec, backend: str | None) -> str:
    """The backend asked for, or docker where it can work. Raises InputError, BackendError naming what is missing."""
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


def tune_study(
    spec: StudySpec,
    folder: Path,
    target: int,
    backend: str | None,
    storage: str | None,
    dry_run: bool,
    has_finals: bool = True,
    quiet: bool = False,
    as_json: bool = False,
    hosts: Hosts | None = None,
) -> None:
    """Plan, run, measure the best again, conclude, export; with JSON all but the conclusion goes to stderr."""
    console = make_console(stderr=as_json, quiet=quiet)
    if hosts is not None:
        backend = hosts.backend(backend)
    else:
        backend = choose_backend(spec, backend or ("docker" if dry_run else None))  # a plan needs no Engine and no card
    workspace = Workspace(folder, simulated=backend == "simulated")
    problem = Problem(spec, load_calibrations(workspace.calibration_path))
    expected_s = expected_trial_s(problem, backend)
    seconds = f"about {format_duration(expected_s * target)} for {target} trials" if expected_s else "under a minute"
    console.print(plan_view(problem, str(workspace.folder), seconds, backend, target))
    if dry_run:
        commands = _first_launch(problem, workspace, backend)
        if as_json:
            _print_json({**plan_document(problem), "first_launch": commands})
        else:
            _print_commands(make_console(), commands)
        return
    write_study(spec, folder)
    with nullcontext() if is_shared(storage) else workspace.locked(), storage_kept():
        search = Search(problem, storage or workspace.default_storage)
        try:
            with crews(console, problem, search, workspace, backend, hosts, target) as (make_crew, gate):
                _search_and_finals(console, problem, search, make_crew, gate, target, expected_s, has_finals)
        except KeyboardInterrupt:
            finished = num_launched(searched(search.trials()))
            make_console(stderr=as_json).print(
                f"\nstopped; {finished} of {target} trials are kept, the same command continues"
            )
            raise SystemExit(130) from None
        finally:
            if problem.calibrations:
                save_calibrations(workspace.calibration_path, problem.calibrations)
        _conclude(problem, search.trials(), workspace, as_json)


def replay_study(
    spec: StudySpec,
    target: int,
    path: Path,
    storage: str | None,
    dry_run: bool,
    has_finals: bool = True,
    quiet: bool = False,
    as_json: bool = False,
) -> None:
    """The same loop on recorded launches: nothing is launched, and without a storage nothing is kept."""
    console = make_console(stderr=as_json, quiet=quiet)
    problem = Problem(spec)
    records = read_records(path, problem)
    limit_to_records(problem, records)
    console.print(plan_view(problem, shown(storage) if storage else "not kept", "seconds", REPLAY, target))
    if dry_run:
        return
    search = Search(problem, storage)
    measure = replayed(problem, records)

    def make_crew(observer: Observer) -> Crew:
        return Here(problem, measure, observer.stage, REPLAY)

    _search_and_finals(console, problem, search, make_crew, no_gate, target, 0.0, has_finals)
    trials = search.trials()
    if as_json:
        _print_json(summary(problem, trials))
    else:
        make_console().print(trials_table(problem, trials), conclusion(problem, trials), sep="\n")


def _search_and_finals(
    console: Console,
    problem: Problem,
    search: Search,
    make_crew: MakeCrew,
    gate: Callable[[], None],
    target: int,
    expected_trial_s: float,
    has_finals: bool,
) -> None:
    with terminal_observer(console, problem, searched(search.trials()), target, expected_trial_s) as observer:
        crew = make_crew(observer)
        if num_launched(searched(search.trials())) < target:
            run_checks(problem, search, crew, observer)
            for line in hosts_words(problem, search.trials()):
                console.print(line, markup=False, soft_wrap=True)
        run_study(problem, search, crew, target, observer)
    if num_launched(searched(search.trials())) < target:
        console.print("the search ends early: no feasible combination is left that may win")
    with search.alone_for("quality"):
        gate()
    trials = search.trials()
    to_do = heats(problem, trials) if has_finals else []
    if not to_do:
        return
    names = " ".join(str(number) for number in sorted({heat.trial.number for heat in to_do}))
    console.print(f"finals: trials {names} again, {len(to_do)} launches in turn, on fresh prompts")
    with terminal_observer(console, problem, trials, num_launched(trials) + len(to_do), expected_trial_s) as observer:
        run_finals(problem, search, make_crew(observer), observer)


def expected_trial_s(problem: Problem, backend: str) -> float:
    """A first guess of one trial's seconds: start-up by the size of the weights, load by the model's prediction."""
    if backend == "simulated":
        return 0.0
    workload = problem.workload
    predicted = max(problem.predicted(problem.default)["output_throughput"], 1e-6)
    requests = workload.num_requests * problem.spec.repeats + workload.num_warmup_requests
    load_s = requests * workload.mean_output_tokens / predicted
    start_s = START_BASE_S + problem.deployment(problem.default).memory.weight_bytes / LOAD_BYTES_PER_S
    return float(start_s + load_s)


START_BASE_S = 45.0
"""Imports, profiling, graph capture: seconds before and after the weights are read, as seen on real starts."""
LOAD_BYTES_PER_S = 0.5e9
"""Weights per GPU and second, from disk."""


def _first_launch(problem: Problem, workspace: Workspace, backend: str) -> list[list[str]]:
    if backend == "process":
        return [list(argv) for argv in make_backend(problem, workspace, backend).commands(problem.default, 0)]
    return [run.argv() for run in trial_runs(problem, problem.default, 0)]


def _print_commands(console: Console, commands: list[list[str]]) -> None:
    console.print("first launch:")
    for argv in commands:
        console.print(shlex.join(argv), soft_wrap=True, markup=False)


def write_study(spec: StudySpec, folder: Path) -> None:
    """Keep a study that was described by flags, so that the same words continue it."""
    path = folder / STUDY_FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, encode(spec))


def _conclude(problem: Problem, trials: list[Trial], workspace: Workspace, as_json: bool) -> None:
    console = make_console()
    if not as_json:
        console.print(*_tables(problem, trials), conclusion(problem, trials), sep="\n")
    best = chosen_trial(problem, trials)
    kinds = WRITTEN if best is not None and problem.spec.container is not None else ()
    written = [write_export(kind, problem, trials, best, workspace) for kind in kinds if best is not None]
    if as_json:
        _print_json({**summary(problem, trials), "wrote": [str(path) for path in written]})
        return
    for path in written:
        console.print(Text(f"wrote {path}"))


def _print_json(document: Mapping[str, Any]) -> None:
    make_console().print(pretty_json(document), soft_wrap=True, markup=False)


def _tables(problem: Problem, trials: list[Trial]) -> list[RenderableType]:
    further = loads_table(problem, trials)
    return [trials_table(problem, trials), *([] if further is None else [further])]


WRITTEN: tuple[ExportKind, ...] = ("script", "ladder")
"""What every run writes anew."""


def write_export(
    kind: ExportKind,
    problem: Problem,
    trials: list[Trial],
    trial: Trial,
    workspace: Workspace,
    path: Path | None = None,
) -> Path:
    """Write one kind for a trial, by default into the study's folder."""
    path = path or workspace.folder / file_name(kind, problem)
    default = default_trial(problem, trials)
    default = None if default is None else measured_again(problem, trials, default)
    text = exported(kind, problem, measured_again(problem, trials, trial), default, workspace.ladder_path)
    try:
        write_whole(path, text, 0o755 if kind in SCRIPTS else None)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    return path


# --- report, export ---


def stored_trials(
    spec: StudySpec, folder: Path, is_simulated: bool, storage: str | None
) -> tuple[Problem, list[Trial]]:
    """The trials of a study so far. Raises InputError when there are none."""
    problem = Problem(spec)
    workspace = Workspace(folder, is_simulated)
    if storage is None and not (workspace.folder / "study.db").exists():
        hint = "" if is_simulated else "; for simulated ones add --simulated"
        raise InputError(f"{workspace.folder}: no trials yet: run planner tune first{hint}")
    with working("reading the trials"):
        return problem, Search(problem, storage or workspace.default_storage).trials()


def report_trials(
    spec: StudySpec,
    folder: Path,
    is_simulated: bool,
    storage: str | None,
    jsonl: Path | None,
    pareto: Sequence[str] = (),
) -> None:
    """Print the table and the conclusion, or a Pareto front, or write each trial's record as a line of JSON."""
    problem, trials = stored_trials(spec, folder, is_simulated, storage)
    if jsonl is None and pareto:
        make_console().print(pareto_table(problem, front(problem, trials, pareto), pareto))
        return
    if jsonl is None:
        make_console().print(*_tables(problem, trials), conclusion(problem, trials), sep="\n")
        make_console().print(further_facts(problem, trials))
        return
    text = "".join(msgspec.json.encode(trial).decode() + "\n" for trial in trials)
    try:
        jsonl.write_text(text, "utf-8")
    except OSError as error:
        raise InputError(f"{jsonl}: cannot be written: {error.strerror}") from None


def write_page(
    spec: StudySpec,
    folder: Path,
    is_simulated: bool,
    storage: str | None,
    output: Path | None,
    pareto: Sequence[str] = (),
) -> Path:
    """Write the report as a page. Raises InputError."""
    from planner.html.page import rendered  # its packages are for the page only
    from planner.html.sections import study_page

    problem, trials = stored_trials(spec, folder, is_simulated, storage)
    path = output or Workspace(folder, is_simulated).page_path
    try:
        with working("drawing the page"):
            path.write_text(rendered(study_page(problem, trials, pareto)), "utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def report_document(
    spec: StudySpec, folder: Path, is_simulated: bool, storage: str | None, pareto: Sequence[str] = ()
) -> str:
    """The summary with every trial's record, or with those of a Pareto front, as JSON."""
    problem, trials = stored_trials(spec, folder, is_simulated, storage)
    kept = [point.trial for point in front(problem, trials, pareto)] if pareto else trials
    return pretty_json({**summary(problem, trials), "trials": msgspec.to_builtins(kept)})


def export_trial(
    spec: StudySpec,
    folder: Path,
    kind: ExportKind,
    output: Path | None,
    number: int | None,
    is_simulated: bool,
    storage: str | None,
) -> Path:
    """Write one trial as `kind`. Raises InputError when there is no such trial."""
    problem, trials = stored_trials(spec, folder, is_simulated, storage)
    chosen = chosen_trial(problem, trials) if number is None else next((t for t in trials if t.number == number), None)
    if chosen is None:
        raise InputError(f"{folder}: {'no trial kept every limit' if number is None else f'no trial {number}'}")
    return write_export(kind, problem, trials, chosen, Workspace(folder, is_simulated), output)
