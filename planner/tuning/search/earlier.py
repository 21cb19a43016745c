"""Earlier studies on the same cards, which a new one learns from: `taught_by(forecast, paths, workspace)`.

In: a study's forecast, the paths of earlier studies. Out: `Taught`, with the provenance and the weight of each. The
launches of an earlier study are points of the new study's search space; the process that a search has of the speed
model's errors is asked for the error that they make likely at each of its candidates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from planner.engine import FIELDS
from planner.errors import InputError
from planner.study import MODEL, Candidate, Forecast, Problem, Workspace, load
from planner.trials import Trial, launch_noise, shared_effects
from planner.tuning.search.gaussian_process import Array, _learned, _Predicted
from planner.tuning.search.lessons import SHARE, Taught, is_switch
from planner.tuning.search.speed_doubts import SpeedDoubts
from planner.tuning.search.stored import stored_trials
from planner.tuning.search.surrogate import Surrogate

OPTION = "--learn-from"


def taught_by(
    forecast: Forecast, paths: Sequence[Path], workspace: Workspace, storage: str | None = None
) -> Taught | None:
    """What the studies at these paths say of the cards of `forecast`; None without any.

    Simulated trials teach simulated studies only. `storage`: where all of them are kept; None: each in its own folder.
    Raises InputError where one has other cards or another generation of vLLM's engine, has measured nothing that could
    be compared, or is the study itself.
    """
    if not paths:
        return None
    problem = forecast.problem
    if problem.spec.sampler.name != "planner":
        raise InputError(f"{OPTION}: only the sampler planner learns from earlier studies; leave out one")
    found, words = [], []
    for path in paths:
        spec, folder = load(path)
        if folder.resolve() == workspace.study_folder.resolve():
            raise InputError(f"{OPTION} {path}: is this study itself; allowed is another one on the same cards")
        earlier, trials = stored_trials(spec, folder, workspace.simulated, storage)
        if (kind := cards_of_model(earlier)) != (here := cards_of_model(problem)):
            raise InputError(f"{OPTION} {path}: is of {kind}; allowed are studies of {here}")
        taught = taught_of(forecast, Forecast(earlier), trials)
        if taught is None:
            raise InputError(
                f"{OPTION} {path}: no trial was measured to its end with values that this study searches; allowed is a "
                "study with such trials"
            )
        found.append(taught)
        weight = f"{SHARE:.0%} of its errors are expected here until launches say more"
        words.append(f"{path}, {taught.words[0]}, on {here}: {weight}")
    names = set.intersection(*(set(taught.shifts) for taught in found))
    return Taught({name: np.mean([one.shifts[name] for one in found], axis=0) for name in sorted(names)}, tuple(words))


def taught_of(forecast: Forecast, earlier: Forecast, trials: Sequence[Trial]) -> Taught | None:
    """What the trials of one earlier study say of the candidates of `forecast`; None if none can be compared.

    The level is left out: under another load or with another model it is another one. What counts is which candidates
    are faster than predicted beside the others.
    """
    problem, objective = forecast.problem, forecast.problem.objective
    names = [name for name in (*objective.powers, *objective.limits_at_load) if name in forecast.grid.predicted()]
    whole = [t for t in trials if t.outcome == "measured" and t.stopped_at is None]
    pairs = [(t, here) for t in whole if (here := as_here(problem, earlier.problem, t.candidate)) is not None]
    told = {name: [(t, here) for t, here in pairs if t.metrics.get(name, 0.0) > 0] for name in names}
    shifts = {name: _shift(forecast, earlier, name, each) for name, each in told.items() if each}
    if not shifts:
        return None
    count = len({trial.candidate.key for trial, _ in pairs})
    return Taught(shifts, (f"{count} candidate{'s' if count > 1 else ''} measured in {len(pairs)} launches",))


def as_here(problem: Problem, earlier: Problem, candidate: Candidate) -> Candidate | None:
    """The earlier study's candidate with its values of what this study searches; None if it has a word not among them.

    Of a study of several models only those of the same name are told apart.
    """
    values = {}
    for name, allowed in problem.choices.searched.items():
        value = earlier.choices.value_of(candidate, name)
        if value is None and name in FIELDS:
            value = getattr(earlier.deployment(candidate).engine, name, None)
        if is_switch(allowed) and value not in allowed:
            if name != MODEL:
                return None
            value = problem.default.model
        values[name] = value
    return problem.choices.candidate(values)


def _shift(forecast: Forecast, earlier: Forecast, name: str, pairs: Sequence[tuple[Trial, Candidate]]) -> Array:
    """Likely error of a metric's logarithm at each row of the grid and at the default, less its mean over the grid."""
    here, before = Surrogate(forecast), Surrogate(earlier)
    trials, known = [trial for trial, _ in pairs], np.array([here.features_of(candidate) for _, candidate in pairs])
    default, every = forecast.problem.default, np.arange(len(forecast.grid.indices))
    seen, points = before.predicted(trials), np.vstack([here.grid_features(), here.features_of(default)])
    alone = {metric: np.array([value]) for metric, value in forecast.predicted(default).items()}
    slopes = {metric: slope[None, :] for metric, slope in SpeedDoubts(forecast).of(default).items()}
    expected = here.predicted_grid.at(every).before(_Predicted(alone, slopes))
    level = math.exp(fmean(np.log(seen.metrics[name])) - fmean(np.log(expected.metrics[name])))
    expected = _Predicted({name: expected.metrics[name] * level}, {name: expected.slopes[name]})
    values = np.log([trial.metrics[name] for trial in trials])
    noise = launch_noise(trials, earlier.problem.spec.repeats), shared_effects(trials)
    found = _learned({name: 1.0}, known, values, seen, points, expected, noise, here.switches)
    errors = found.mean - np.log(expected.metrics[name])
    return np.asarray(errors - errors[forecast.grid.feasible_rows].mean())


def cards_of_model(problem: Problem) -> str:
    """What the speed model's coefficients belong to: `RTX 2080 Ti 22GB with V0`."""
    return f"{problem.gpu.name} with {problem.deployment(problem.default).engine.generation}"
