"""Choose the feasible combination to launch next, with a Gaussian process on the errors of the speed model.

In: the grid's open rows, the finished trials. Out: one row. The process learns log(measured) - log(predicted). It
includes the doubt about each of the speed model's coefficients (`speed_doubts.py`) and a slope on log(predicted), so
the data overrule a model that ranks wrongly. The row chosen has the largest expected improvement per expected second
of engine time, times the probabilities that the engine starts (`starts.py`) and that the limits are kept. What is
known before a launch is not learned: an objective of max_model_len alone has exact improvements, and the probabilities
lead to the border of the limits. Pure NumPy; knows nothing of optuna.

Source: Jones et al. 1998, Efficient Global Optimization (expected improvement); Gardner et al. 2014, Bayesian
Optimization with Inequality Constraints; Rasmussen & Williams 2006, ch. 2 and 5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.benchmark import Metric
from planner.engine import FIELDS
from planner.estimate import no_effect
from planner.hardware import Machine
from planner.study import Candidate, Forecast
from planner.trials import (
    LAUNCH_NOISE,
    PRIOR_NOISE,
    Trial,
    as_on_one_host,
    as_trials,
    launch_noise,
    live_covariance,
    shared_effects,
)
from planner.tuning.search.gaussian_process import (
    OFFSET_STD,
    Array,
    Switches,
    _expected_change,
    _expected_improvement,
    _learned,
    _log,
    _moved,
    _normal_cdf,
    _Posterior,
    _Predicted,
)
from planner.tuning.search.launch_seconds import expected_start_s
from planner.tuning.search.leaders import leaders_of
from planner.tuning.search.left import expected_gain, expected_left
from planner.tuning.search.lessons import Taught, is_switch
from planner.tuning.search.speed_doubts import SpeedDoubts
from planner.tuning.search.starts import Starts, is_worth_the_risk

LIMIT_NOISE = 0.1
"""Noise of a latency percentile, as a standard deviation of the log."""
RATE_NOISE = math.hypot(PRIOR_NOISE, LAUNCH_NOISE)
"""Noise of a rate from one launch to another, as a standard deviation of the log."""
PROBED_AFTER = 2
"""Measured trials, the default and the model's favourite, after which unlaunched values of switches are checked."""
MOST_WRONG = 0.6
"""Largest loss, as a logarithm, by which the model may be wrong about one value; three times the doubt about it."""
NOTHING_LEFT = 0.0005
"""Expected gain of any launch, as a share, below which a search that goes on tests its model where that is least sure:
what it believes gives no further reason to choose."""
MOST_LEARNED = 128
"""Most trials that are learned from; few studies have more."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the surrogate would launch next, and what it expects of all that is left."""

    row: int
    is_probe: bool = False
    """Whether the row checks a value of a switch or word that was never launched."""
    is_again: bool = False
    """Whether the row was launched before: what the next launch shows of it may change which one is best."""
    gain: float | None = None
    """Expected gain of the most promising row over the best so far, as a share; None if that cannot be said yet, or the
    objective is known before a launch."""
    left: float | None = None
    """Expected gain of the best of all rows over the best so far (`left.py`); None where `gain` is."""


class Surrogate:
    def __init__(self, forecast: Forecast, taught: Taught | None = None) -> None:
        """`taught`: what earlier studies on the same cards showed of the speed model's coefficients."""
        self._forecast, self._problem, self._taught = forecast, forecast.problem, taught
        self._sign = forecast.problem.objective.sign
        self._names = self._relevant_names()
        self._features: Array | None = None
        self._starting: Starts | None = None
        self._speed_doubts = SpeedDoubts(forecast)
        self._beside_grid: dict[str, dict[str, float]] = {}
        self.switches = self._switch_columns()

    def choose(self, rows: NDArray[np.int64], past: Sequence[Trial], pending: Sequence[Candidate] = ()) -> int:
        """The row to launch next; see `outlook`."""
        return self.outlook(rows, past, pending).row

    def outlook(self, rows: NDArray[np.int64], past: Sequence[Trial], pending: Sequence[Candidate] = ()) -> Outlook:
        """The row of largest expected improvement per second; the model's favourite while nothing is measured.

        Improvement is of the mean believed, which a noisy launch moves only a little. A row that was launched before is
        launched again where that may change which one is best, by more than any new one is expected to gain. Where
        neither is expected to give NOTHING_LEFT, the model itself is tested: the row in most doubt is launched.
        `pending` candidates are under way on other engines and count as trials that ended as expected.
        """
        objective = self._problem.objective
        past = self._telling([as_on_one_host(self._problem, trial) for trial in past])
        starts = self._starts(rows, past)
        launched = [trial for trial in past if trial.was_launched]
        safe = np.flatnonzero(is_worth_the_risk(starts, sum(t.outcome == "failed" for t in launched), len(launched)))
        past = [*past, *self._as_believed(pending, past)]
        measured = _measured(past)
        if not measured:
            predicted = self._expected((), rows[safe])[1].metrics
            value = self._sign * _log(objective.powers, predicted)
            return Outlook(int(rows[safe][np.argmax(value + np.log(self._kept(predicted) * starts[safe]))]))
        live = as_trials(self._problem, measured)
        known = np.array([self.features_of(t.candidate) for t in [*measured, *(t for t, _ in live)]])
        points = np.vstack([self.grid_features()[rows], known])  # measured ones may turn out differently next time
        believed, chance = self._learned_from(measured, live, known, rows, points)
        count, acceptable = len(rows), np.array([t.is_acceptable for t in measured])
        again, is_new = chance[count : count + len(measured)], self._are_new(rows, known[: len(measured)])
        every = chance[:count] * starts * is_new  # what is left, though it may be too risky to be the next
        at = safe[is_new[safe]] if is_new[safe].any() else safe
        rows, chance, points = rows[at], chance[at] * starts[at], points[at]
        mean, std = self._sign * believed.mean[at], believed.std[at]
        if not acceptable.any():
            return Outlook(int(rows[np.argmax(chance * np.exp(mean - mean.mean()))]))
        if len(measured) >= PROBED_AFTER:
            probe = self._probe(points, known, mean + np.log(np.maximum(chance, 1e-12)))
            if probe is not None:
                return Outlook(int(rows[probe]), is_probe=True)
        seconds = self._expected_s(rows, measured)
        if objective.is_known:
            gain = expected_gain(np.exp(mean), np.exp(believed.at_known[acceptable]), again[acceptable]) * chance
            return Outlook(int(rows[np.argmax(gain / seconds)]))
        leaders = self._sign * believed.at_known[: len(measured)]
        best = float(leaders[acceptable].max())
        share = math.expm1(float((_expected_improvement(mean, std, best) * chance).max()))
        leader = count + int(np.flatnonzero(acceptable)[np.argmax(leaders[acceptable])])
        left = expected_left(believed, self._sign, every, leader)
        shown = _expected_improvement(mean, _moved(std, believed.noise), best) * chance / seconds
        old, ones = leaders_of(self._problem, measured, pending)
        doubt = believed.doubt_at_known[np.ix_(ones, ones)]
        change = _expected_change(leaders[ones], doubt, believed.noise) * again[ones]
        if share < NOTHING_LEFT and change.max(initial=0.0) < NOTHING_LEFT:
            return Outlook(int(rows[np.argmax(std * chance / seconds)]), gain=share, left=left)
        if not len(old):
            return Outlook(int(rows[np.argmax(shown)]), gain=share, left=left)
        change = change / self._expected_s(old, measured)
        is_again = change.max() > shown.max()
        row = int(old[np.argmax(change)] if is_again else rows[np.argmax(shown)])
        return Outlook(row, is_again=bool(is_again), gain=share, left=left)

    def _learned_from(
        self,
        measured: Sequence[Trial],
        live: Sequence[tuple[Trial, float]],
        known: Array,
        rows: NDArray[np.int64],
        points: Array,
    ) -> tuple[_Posterior, Array]:
        """What is believed of the objective at the points, which are those of the rows and then the known ones, and the
        chance that the limits are kept there. Known are the measured ones, then what was measured live beside them.
        """
        noise, every = launch_noise(measured, self._problem.spec.repeats), [*measured, *(t for t, _ in live)]
        objective = self._problem.objective
        seen, predicted = self._expected(every, rows)
        predicted = predicted.before(seen)
        shared = shared_effects(every) + live_covariance(measured, live)

        def posterior(powers: Mapping[str, float], values: Sequence[float], noise: float) -> _Posterior:
            return _learned(powers, known, np.log(values), seen, points, predicted, (noise, shared), self.switches)

        chance = np.ones(len(points))
        for name, limit in objective.limits_at_load.items():
            if all(t.metrics.get(name, 0.0) > 0 for t in every):
                metric = Metric.parse(name)
                spread = RATE_NOISE if metric.is_rate else LIMIT_NOISE
                limited = posterior({name: 1.0}, [t.metrics[name] for t in every], spread)
                room = metric.sign * (limited.mean - math.log(limit))
                chance = chance * _normal_cdf(room / np.hypot(limited.std, spread))
        return posterior(objective.powers, [t.value or 1.0 for t in every], noise), chance

    def believed(self, rows: NDArray[np.int64], past: Sequence[Trial], metric: str | None = None) -> Array:
        """Logarithm of the objective, or of a metric, at these rows of the grid, as learned from all measured trials.

        # (len(rows),)
        """
        return self._believed(rows, [as_on_one_host(self._problem, trial) for trial in past], metric)

    def _believed(self, rows: NDArray[np.int64], past: Sequence[Trial], metric: str | None = None) -> Array:
        powers = self._problem.objective.powers if metric is None else {metric: 1.0}
        measured = [t for t in _measured(past) if metric is None or t.metrics.get(metric, 0.0) > 0]
        seen, predicted = self._expected(measured, rows)
        if not measured:
            return _log(powers, predicted.metrics)
        known = np.array([self.features_of(t.candidate) for t in measured])
        values = [(t.value or 1.0) if metric is None else t.metrics[metric] for t in measured]
        noises = launch_noise(measured, self._problem.spec.repeats), shared_effects(measured)
        points = self.grid_features()[rows]
        return _learned(powers, known, np.log(values), seen, points, predicted, noises, self.switches).mean

    def _telling(self, past: Sequence[Trial]) -> list[Trial]:
        """Trials to learn from: all, or if there are too many the default, the best and the latest.

        A process costs the cube of its points. Source: Rasmussen & Williams 2006, ch. 8.3.1 (subset of data).
        """
        if len(past) <= MOST_LEARNED:
            return list(past)
        share = MOST_LEARNED // 2
        best = sorted(_measured(past), key=lambda trial: -self._sign * (trial.value or 0.0))[:share]
        kept = {trial.number for trial in (past[0], *best, *past[-share:])}
        return [trial for trial in past if trial.number in kept]

    def _as_believed(self, pending: Sequence[Candidate], past: Sequence[Trial]) -> list[Trial]:
        """`pending` as trials that ended as expected: they teach nothing new, but less doubt there spreads the batch.

        Source: Ginsbourger, Le Riche & Carraro 2010, Kriging Is Well-Suited to Parallelize Optimization (believer).
        """
        measured = _measured(past)
        candidates = [candidate for candidate in pending if self._problem.row_of(candidate) is not None]
        if not measured or not candidates:
            return []
        rows = np.array([self._problem.row_of(candidate) for candidate in candidates])
        values = np.exp(self._believed(rows, past))
        limits = {name: np.exp(self._believed(rows, past, name)) for name in self._problem.objective.limits_at_load}
        return [
            replace(
                measured[-1],
                candidate=candidate,
                value=float(values[i]),
                repeat_values=(),
                constraints=(),
                start_s=0.0,
                provenance=replace(measured[-1].provenance, machine=Machine()),
                metrics={
                    **self._forecast.predicted(candidate),
                    **{name: float(limit[i]) for name, limit in limits.items()},
                },
            )
            for i, candidate in enumerate(candidates)
        ]

    @cached_property
    def predicted_grid(self) -> _Predicted:
        """What the speed model says of every row of the grid."""
        return _Predicted(self._forecast.grid.predicted(), self._speed_doubts.grid)

    def predicted(self, trials: Sequence[Trial]) -> _Predicted:
        """What the speed model says of the trials' candidates."""
        if not trials:
            return self.predicted_grid.at(np.array([], dtype=np.int64))
        metrics = [self._metrics_of(trial.candidate) for trial in trials]
        slopes = [self._speed_doubts.of(trial.candidate) for trial in trials]
        return _Predicted(
            {name: np.array([each[name] for each in metrics]) for name in metrics[0]},
            {name: np.stack([each[name] for each in slopes]) for name in slopes[0]},
        )

    def _expected(self, measured: Sequence[Trial], rows: NDArray[np.int64]) -> tuple[_Predicted, _Predicted]:
        """Predictions of measured trials and of these rows, as earlier studies correct them."""
        both = self.predicted(measured), self.predicted_grid.at(rows)
        return both if self._taught is None else self._taught.corrected(self._problem, measured, rows, *both)

    def _metrics_of(self, candidate: Candidate) -> Mapping[str, float]:
        row = self._problem.row_of(candidate)
        if row is not None:
            return {name: float(column[row]) for name, column in self.predicted_grid.metrics.items()}
        if candidate.key not in self._beside_grid:
            self._beside_grid[candidate.key] = self._forecast.predicted(candidate)
        return self._beside_grid[candidate.key]

    def _kept(self, predicted: Mapping[str, Array]) -> Array:
        """Probability that all limits are kept, by the speed model alone."""
        chance = np.ones(1)
        for name, limit in self._problem.objective.limits_at_load.items():
            room = Metric.parse(name).sign * (_log({name: 1.0}, predicted) - math.log(limit)) / OFFSET_STD
            chance = chance * _normal_cdf(room)
        return np.maximum(chance, 1e-12)

    def _starts(self, rows: NDArray[np.int64], past: Sequence[Trial]) -> Array:
        """Probability that each row serves.  # (len(rows),)"""
        if self._starting is None:
            self._starting = Starts(self._forecast, self.grid_features(), self.features_of)
        return self._starting.chances(rows, past)

    def _expected_s(self, rows: NDArray[np.int64], measured: Sequence[Trial]) -> Array:
        """Expected engine seconds of a launch: its start, and its load, which takes longer at lower throughput."""
        expected = [self._metrics_of(trial.candidate)["output_throughput"] for trial in measured]
        loads = [t.benchmark_s * throughput for t, throughput in zip(measured, expected, strict=True)]
        throughput = self.predicted_grid.metrics["output_throughput"][rows]
        return expected_start_s(self._forecast, rows, measured) + fmean(loads) / np.maximum(throughput, 1e-9)

    def _probe(self, points: Array, known: Array, worth: Array) -> int | None:
        """The best point with a value of a switch or word that no measured one has; None if there is none to check.

        What nobody launched cannot correct the model, and where the model is wrong about one switch every launch lands
        on the same side of it. A value believed to lose more than MOST_WRONG is left out.
        """
        best: dict[int, float] = {}
        for columns in map(list, self.switches):
            seen = {point.tobytes() for point in known[:, columns]}
            for value in np.unique(points[:, columns], axis=0):
                if value.tobytes() in seen:
                    continue
                having = np.flatnonzero((points[:, columns] == value).all(axis=1))
                favourite = int(having[np.argmax(worth[having])])
                if worth[favourite] > worth.max() - MOST_WRONG:
                    best[favourite] = float(worth[favourite])
        return max(best, key=lambda point: best[point], default=None)

    def _are_new(self, rows: NDArray[np.int64], known: Array) -> NDArray[np.bool_]:
        """Which rows differ from every measured one in more than what has no effect; all of them if none does."""
        measured = {point.tobytes() for point in np.round(known, 9)}
        points = np.round(self.grid_features()[rows], 9)
        new = np.array([point.tobytes() not in measured for point in points])
        return new if new.any() else np.ones(len(rows), dtype=bool)

    # --- candidates as points: numbers on their scale to [0, 1], words one-hot ---

    def _relevant_names(self) -> list[str]:
        """Searched names that can matter: those with more than one value and not known to have no effect here."""
        idle = no_effect(self._problem.deployment(self._problem.default).engine, self._problem.version)
        searched = self._problem.choices.searched
        return [name for name in searched if len(searched[name]) > 1 and name not in idle]

    def _switch_columns(self) -> Switches:
        """Columns of each relevant name whose values are no numbers, in the order of the features."""
        found, first = [], 0
        for name in self._names:
            values = self._problem.choices.searched[name]
            width = self._encode(name, values).shape[1]
            if is_switch(values):
                found.append(tuple(range(first, first + width)))
            first += width
        return tuple(found)

    def grid_features(self) -> Array:
        if self._features is None:
            grid, names = self._forecast.grid, self._problem.choices.names
            columns = [
                self._encode(name, values)[grid.indices[:, names.index(name)]]
                for name in self._names
                for values in [self._problem.choices.searched[name]]
            ]
            self._features = np.hstack(columns) if columns else np.zeros((len(grid.indices), 0))
        return self._features

    def features_of(self, candidate: Candidate) -> Array:
        row = self._problem.row_of(candidate)
        if row is not None:
            return np.asarray(self.grid_features()[row])
        engine = self._problem.deployment(candidate).engine
        parts = []
        for name in self._names:
            values = self._problem.choices.searched[name]
            value: Any = self._problem.choices.value_of(candidate, name)
            if value is None and name in FIELDS:
                value = getattr(engine, name, values[0])
            parts.append(self._encode(name, [*values, value])[-1])
        return np.concatenate(parts) if parts else np.zeros(0)

    def _encode(self, name: str, values: Sequence[Any]) -> Array:
        """Encode each value as a point.  # (num_values, dimensions)"""
        known = self._problem.choices.searched[name]
        if all(isinstance(value, (int, float)) for value in [*known, *values]):
            low, high = float(min(known)), float(max(known))  # type: ignore[type-var, arg-type]
            numbers = np.array([float(value) for value in values])
            if low > 0 and high / low >= 4:
                low, high, numbers = math.log(low), math.log(high), np.log(numbers)
            return ((numbers - low) / (high - low))[:, None]
        words = [repr(value) for value in known]
        return np.array([[float(repr(value) == word) / math.sqrt(2) for word in words] for value in values])


def _measured(past: Sequence[Trial]) -> list[Trial]:
    """Trials with a value that has a logarithm."""
    return [t for t in past if t.outcome == "measured" and t.value is not None and t.value > 0]
