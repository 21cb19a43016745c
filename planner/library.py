"""planner from Python: the functions behind the commands, exported by `planner/__init__.py`.

Nothing is computed here: each function finds the study as its command does and calls what the command calls. Where a
command prints an error in one line, its function raises it: InputError for wrong input, BackendError for Docker or a
driver, BenchmarkError for a load that gave no figures; all are PlannerErrors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from planner.engine import EngineConfig, convert_settings
from planner.study import (
    STUDIES_FOLDER,
    FoundStudy,
    StudySource,
    StudySpec,
    continued,
    read_loaded,
    read_study,
    with_sampler,
)
from planner.study import load_study as _load_study

if TYPE_CHECKING:
    from planner.benchmark import BenchAsk, BenchOutcome
    from planner.estimate import Answer
    from planner.trials import Trial


Study: TypeAlias = StudySpec | Path | str
"""A loaded study, or the path of its file or folder."""
Setting: TypeAlias = str | int | float | bool
"""Value of one vLLM setting, passed under vLLM's own name: `max_num_seqs=64`."""


def load_study(path: Path | str) -> StudySpec:
    """Read a study.yaml (or its folder) and the files it refers to. Raises InputError with file and key."""
    return _load_study(Path(path))


def estimate_memory(
    study: Study | None = None,
    *,
    model: str | None = None,
    gpu: str | None = None,
    num_gpus: int | None = None,
    interconnect: str | None = None,
    vllm_version: str | None = None,
    name: str | None = None,
    **settings: Setting,
) -> Answer:
    """Estimate the memory of one GPU without a launch, and whether vLLM will start: what `planner estimate` prints.

    Takes a study, or a `model` (directory, config.json or name) and a `gpu` (a name of `planner gpus`); no other study
    is read. Beside a study `gpu`, `num_gpus`, `interconnect` and `vllm_version` override its own; without one they are
    by default 1, pcie and the newest version that planner knows. The answer has
    `verdict`, `reasons`, `kv_tokens_total`, and `document(name)`: a dict in GiB and tokens (docs/formats.md). Sizes in
    `deployment.memory` are bytes. Raises InputError.
    """
    from planner.study import calibrated, setup_of

    given = convert_settings(dict(settings), "estimate_memory")
    source = _source(study, model, gpu, num_gpus, interconnect, vllm_version, name)
    found = _found(study, source, given)
    return calibrated(setup_of(found.spec, given), found.folder if found.is_read else None, None).answer()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """Result of a finished tuning run."""

    study_name: str
    """`study_name` for `optuna.load_study`."""
    storage: str
    """`storage` for `optuna.load_study`: the URL of the database."""
    folder: Path
    """Folder that holds run.sh, the ladder and the logs."""
    trials: tuple[Trial, ...]
    """All trials of the study, oldest first, including the finals. Metrics in seconds and per second."""
    best: Trial | None
    """The trial to deploy; None if no trial kept every limit."""
    default: Trial | None
    """The trial of the engine's own default settings; None if there is none."""
    simulated: bool
    """Whether the figures come from a model of the engine instead of a measurement."""


def tune(
    study: Study | None = None,
    *,
    trials: int = 30,
    backend: str | None = None,
    storage: str | None = None,
    folder: Path | None = None,
    levers: str | None = None,
    sampler: str | None = None,
    seed: int | None = None,
    learn_from: Sequence[Path] = (),
    until: str | None = None,
    keep_going: bool = False,
    hours: float | None = None,
    budget: float | None = None,
    finals: bool = True,
    checks: bool = True,
    quiet: bool = True,
    model: str | None = None,
    gpu: str | None = None,
    num_gpus: int | None = None,
    interconnect: str | None = None,
    vllm_version: str | None = None,
    name: str | None = None,
    **settings: Setting,
) -> Tuned:
    """Launch, benchmark and search: what `planner tune` does. A second call continues, up to `trials` launches in all.

    `backend` is docker, process or simulated. Results go to `folder`, by default the folder of the study's file, else
    studies/NAME; a folder that holds another study is refused. `checks`: whether the machine is checked before the
    first launch, as `planner doctor` does. The search ends by itself once the best of all that is left is expected to
    gain less than `until` ("0.5%" with the sampler planner), unless `keep_going`. `hours` of wall clock and a `budget`
    of GPU hours bound all launches of the study, earlier calls and the finals included. `learn_from`: earlier studies
    on the same cards, whose launches correct the speed model from the start. `quiet` suppresses what the
    command prints. Call it from the main thread: SIGTERM and Ctrl-C stop the engines and then raise KeyboardInterrupt;
    finished trials are kept. Raises InputError, BackendError.
    """
    from planner.doctor import check_before_launch
    from planner.launch import with_version_here
    from planner.report import TerminalSession, in_short, plan_view, where_words
    from planner.service import start_command, write_exports
    from planner.terminal import make_console
    from planner.trials import chosen_trial, default_trial
    from planner.tuning import (
        NobodyWatches,
        budget_of,
        choose_backend,
        make_plan,
        taught_by,
        tune_study,
        until_of,
        write_study,
    )

    given = convert_settings(dict(settings), "tune")
    source = _source(study, model, gpu, num_gpus, interconnect, vllm_version, name)
    asked = _found(study, with_version_here(source, backend)[0], given, levers, launches=True)
    if folder is not None and folder != asked.folder:
        asked = replace(asked, folder=folder, is_read=False)
    asked = continued(asked)
    spec = with_sampler(asked.spec, sampler, seed)
    plan = make_plan(spec, asked.folder, trials, choose_backend(spec, backend), has_finals=finals)
    until_share = None if keep_going else until_of(spec, until)
    taught = taught_by(plan.forecast, learn_from, plan.workspace, storage)
    plan = replace(plan, until=until_share, taught=taught, budget=budget_of(spec, hours, budget))
    problem, workspace = plan.problem, plan.workspace
    console = make_console()
    if not quiet:
        console.print(plan_view(plan.forecast, str(workspace.folder), plan.time_words, plan.backend, plan.target))
    write_study(spec, workspace.study_folder)
    observer = NobodyWatches() if quiet else TerminalSession(console)

    def check() -> None:
        for line in check_before_launch(spec, workspace.study_folder, plan.backend, not source.is_described):
            observer.say(line)

    needs_checks = checks and plan.backend != "simulated"
    outcome = tune_study(plan, observer, storage, before_launch=check if needs_checks else None)
    if outcome.interrupted:
        raise KeyboardInterrupt
    found = outcome.trials
    write_exports(outcome.forecast, found, workspace)
    if not quiet:
        where = where_words(workspace.study_folder, workspace.simulated, storage)
        command = start_command(problem, found, workspace, where)
        console.print(in_short(outcome.forecast, found, command, f"planner report {where} --all"))
    return Tuned(
        study_name=spec.name,
        storage=storage or workspace.default_storage,
        folder=workspace.folder,
        trials=tuple(found),
        best=chosen_trial(problem, found),
        default=default_trial(problem, found),
        simulated=workspace.simulated,
    )


def bench(asked: BenchAsk | str, on_line: Callable[[str], None] = lambda line: None) -> BenchOutcome:  # noqa: ARG005
    """Measure an OpenAI-compatible server: what `planner bench` does.

    `asked` is a URL, or a `BenchAsk` with the command's options. The outcome's `documents` have the keys of `vllm bench
    serve` (latencies in ms, throughput per second) and ours (docs/bench.md), one for each level of a sweep; `exit_code`
    is 3 if a limit is broken, 5 if the client was the bottleneck. `on_line` is called with a line of text for each
    finished level. Raises InputError, BenchmarkError.
    """
    from planner.benchmark import BenchAsk, run_bench

    options = BenchAsk(url=asked) if isinstance(asked, str) else asked
    return run_bench(options, lambda stage, done, total: None, on_line, datetime.now())  # noqa: ARG005


def _source(
    study: Study | None,
    model: str | None,
    gpu: str | None,
    num_gpus: int | None,
    interconnect: str | None,
    version: str | None,
    name: str | None,
) -> StudySource:
    """What a call says; of a study that is loaded already the path is not needed."""
    return StudySource(
        study=Path() if isinstance(study, StudySpec) else None if study is None else Path(study),
        model=model,
        gpu=gpu,
        num_gpus=num_gpus,
        interconnect=interconnect,
        version=version,
        name=name,
    )


def _found(
    study: Study | None, source: StudySource, given: EngineConfig, levers: str | None = None, *, launches: bool = False
) -> FoundStudy:
    """The study and its result folder, as the commands find them; the folder of a loaded study is studies/NAME."""
    if isinstance(study, StudySpec):
        loaded = FoundStudy(study, Path(STUDIES_FOLDER) / study.name, is_read=True)
        return read_loaded(loaded, source, given, levers, launches=launches)
    return read_study(source, given, levers, launches=launches)
