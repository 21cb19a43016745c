"""Turn a study into the setup that an estimate takes: its default deployment with settings on top, calibrated.

In: a StudySpec and settings. Out: an `estimate.Setup`. `explore` and `compare` answer many questions at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from platformdirs import user_data_path

from planner.benchmark import MAX_MODEL_LEN
from planner.engine import SWITCHES, EngineConfig, settings
from planner.errors import InputError
from planner.estimate import Fit, Setup, SideBySide, Sweep, calibration_key, fit, layouts_of, sweep, unknown_flags
from planner.study.workspace import CALIBRATION_FILE

if TYPE_CHECKING:
    from planner.study.candidate import Candidate
    from planner.study.forecast import Forecast
    from planner.study.places import Places
    from planner.study.problem import Problem
    from planner.study.spec import StudySpec


# --- a study ---


def setup_of(spec: StudySpec, given: EngineConfig, model: str | None = None) -> Setup:
    """Setup of the study's default candidate with the command line's flags on top, without the study's workload.

    `model` is one of its variants, by default the first, or any model by name or path. Raises InputError.
    """
    from planner.study.candidate import LAYOUT, MODEL, Layout
    from planner.study.loading import with_settings
    from planner.study.problem import Problem
    from planner.study.spec import ModelVariant

    if model is not None and model not in spec.models:
        spec = msgspec.structs.replace(spec, models={**spec.models, model: ModelVariant(path=model)})
    problem = Problem.of(with_settings(spec, given))
    params: dict[str, Any] = {MODEL: model or problem.default.model, LAYOUT: str(problem.default.layout)}
    if given.tensor_parallel_size or given.pipeline_parallel_size:
        params[LAYOUT] = str(Layout(1, given.tensor_parallel_size or 1, given.pipeline_parallel_size or 1))
    return _setup(problem, problem.choices.candidate(params))


def setup_of_default(forecast: Forecast) -> Setup:
    """Setup of the problem's default candidate, calibrated as the forecast is, without the study's workload."""
    return replace(_setup(forecast.problem, forecast.problem.default), calibrations=forecast.calibrations)


def way_out(forecast: Forecast, places: Places) -> str | None:
    """The nearest change with which the problem's default starts, in one line; None if there is none."""
    from planner.estimate import nearest_fixes

    setup = setup_of_default(forecast)
    fixes = (fix for fix in nearest_fixes(setup, setup.answer()) if fix.makes_it_start)
    return next((fix.words(places.spelling) for fix in fixes), None)


def _setup(problem: Problem, candidate: Candidate) -> Setup:
    passed = settings(candidate.engine)
    if problem.passed.is_context_auto:
        passed.pop(MAX_MODEL_LEN, None)
    pool = problem.deployment(candidate).engine.kv_cache_memory_bytes
    passed |= {name: value.strip() for name, value in candidate.env if name in SWITCHES}
    return Setup(
        model=problem.models[candidate.model],
        placement=problem.placement,
        version=problem.version,
        settings=passed if pool is None else {**passed, "kv_cache_memory_bytes": pool},  # an environment variable's too
        instances=candidate.layout.instances,
        refused=tuple(unknown_flags(passed, problem.version)),
        flags=replace(problem.passed, doubts=problem.doubts(candidate)),
    )


def calibrated(setup: Setup, folder: Path | None, log: Path | None) -> Setup:
    """The setup with the calibrations from starts on this machine; a start-up `log` adds one, which is kept.

    They are kept in the `folder` of a study that was named, else in the user's data folder. Raises InputError.
    """
    path = (folder if folder is not None and folder.is_dir() else user_data_path("planner")) / CALIBRATION_FILE
    if log is None and not path.exists():
        return setup
    from planner.engine import read_start_facts
    from planner.estimate import calibrate, load_calibrations, real_figures, save_calibrations
    from planner.files import read_text

    known = load_calibrations(path)
    if log is not None:
        deployment = setup.deployment()
        real = real_figures(read_start_facts(read_text(log)))
        learned = calibrate(deployment.memory, real, f"the start in {log.name}") if real is not None else None
        if learned is None:
            raise InputError(f"{log}: names no KV cache: is it the log of a start of vLLM that succeeded?")
        known[calibration_key(setup.placement, deployment.engine)] = learned
        save_calibrations(path, known)
    return replace(setup, calibrations=known)


def compare(spec: StudySpec, given: EngineConfig, models: str | None, layouts: bool) -> SideBySide:
    """Compare the study's variants or any shipped models, on every layout or the default one. Raises InputError."""
    names = [name.strip() for name in models.split(",")] if models is not None else [None]
    if "" in names or len(set(names)) < len(names):
        raise InputError(f"--compare {models}: write different names, separated by commas, for example awq,fp16")
    rows = []
    for name in names:
        setup = setup_of(spec, given, name)
        shown = name or next(iter(spec.models))
        for one in layouts_of(setup) if layouts else [setup]:
            answer = one.answer()
            engine = answer.deployment.engine
            pipeline = f"pp{engine.pipeline_parallel_size}" if engine.pipeline_parallel_size > 1 else ""
            rows.append((shown, f"{one.instances}xtp{engine.tensor_parallel_size}{pipeline}", answer))
    return SideBySide(tuple(rows))


# --- the command's options ---


def explore(
    spec: StudySpec, given: EngineConfig, fitted: str | None, swept: Sequence[str], models: str | None, layouts: bool
) -> Fit | Sweep | SideBySide | None:
    """Answer what `planner estimate` was asked beyond one estimate; None if nothing was. Raises InputError."""
    compared = models is not None or layouts
    given_options = {"--fit": fitted is not None, "--sweep": bool(swept), "--compare or --layouts": compared}
    asked = [option for option, is_given in given_options.items() if is_given]
    if len(asked) > 1:
        raise InputError(f"{' and '.join(asked)}: one question at a time")
    if fitted is not None:
        return fit(setup_of(spec, given), fitted)
    if swept:
        return sweep(setup_of(spec, given), swept)
    return compare(spec, given, models, layouts) if compared else None
