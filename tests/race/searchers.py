"""Who races: our samplers through `Search`, and other tools' strategies, emulated behind the same ask and tell.

Emulated means: the strategy as read in the tool's source, on the table's candidates. Each tries the default first.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import msgspec
import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState

from planner.study import Learned
from planner.study.candidate import Candidate
from planner.study.problem import Problem
from planner.trials.trial import Trial
from planner.tuning.search.samplers import distributions, untried_rows
from planner.tuning.search.search import MAX_ASKS_IN_A_ROW, Search
from tests.forecasts import forecast_of, grid_of

SEQS, TOKENS, CACHING = "max_num_seqs", "max_num_batched_tokens", "enable_prefix_caching"


class Searcher(Protocol):
    """What the loop needs of a `Search`, to search only."""

    def alone(self) -> AbstractContextManager[None]: ...

    def num_under_way(self, finals: bool = False) -> int: ...

    def ask(self) -> tuple[int, Candidate] | None: ...

    def tell(self, trial: Trial) -> bool: ...

    def trials(self) -> list[Trial]: ...

    def live_beside(self, launched: Candidate) -> tuple[Candidate, ...]: ...


class _OneByOne:
    """A searcher that nobody shares and that is asked for one candidate at a time."""

    learned = Learned()
    """Nothing: the others do not learn from starts."""

    def __init__(self) -> None:
        self._past: list[Trial] = []

    def alone(self) -> AbstractContextManager[None]:
        return nullcontext()

    def tell_recorded(self) -> None: ...

    def num_under_way(self, finals: bool = False) -> int:  # noqa: ARG002
        return 0

    def tell(self, trial: Trial) -> bool:
        self._past.append(trial)
        return True

    def trials(self) -> list[Trial]:
        return self._past

    def live_beside(self, launched: Candidate) -> tuple[Candidate, ...]:  # noqa: ARG002
        return ()


class AutoTune(_OneByOne):
    """vLLM's benchmarks/auto_tune/auto_tune.sh: max_num_seqs outside, max_num_batched_tokens inside, both ascending,
    prefix caching on, everything else at its default; then it stops."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self._problem = problem
        self._queue = iter([problem.default, *(one for one in self._grid() if one != problem.default)])

    def _grid(self) -> Iterator[Candidate]:
        problem = self._problem
        choices = problem.choices
        engine = problem.deployment(problem.default).engine  # a table has what the engine makes of an unset flag
        values = {name: choices.value_of(problem.default, name) for name in choices.names}
        base = {name: getattr(engine, name, None) if value is None else value for name, value in values.items()}
        if True in choices.searched.get(CACHING, []):
            base[CACHING] = True
        names = [name for name in (SEQS, TOKENS) if name in choices.searched]
        lists = [sorted(value for value in choices.searched[name] if value is not None) for name in names]
        for pair in itertools.product(*lists):
            candidate = choices.candidate({**base, **dict(zip(names, pair, strict=True))})
            if not forecast_of(problem).check(candidate):
                yield candidate

    def ask(self) -> tuple[int, Candidate] | None:
        candidate = next(self._queue, None)
        return None if candidate is None else (len(self._past), candidate)


class _Tpe(_OneByOne):
    """Optuna's TPE as other tools drive it: independent, as before Optuna 5. Their first launch is a baseline that the
    sampler does not learn from. What the table does not hold is asked again and costs nothing."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self._problem = problem
        self._space = distributions(problem)
        self._asked: dict[int, optuna.Trial] = {}
        seed, constraints = problem.spec.sampler.seed, self._constraints()
        sampler = TPESampler(seed=seed, constraints_func=constraints, multivariate=False, constant_liar=False)
        self._study = optuna.create_study(sampler=sampler, direction=problem.spec.objective.direction)

    def _constraints(self) -> Callable[[FrozenTrial], tuple[float, ...]] | None:
        return None

    def _skips(self, candidate: Candidate) -> bool:
        return bool(forecast_of(self._problem).check(candidate))

    def ask(self) -> tuple[int, Candidate] | None:
        if not self._past:
            return 0, self._problem.default
        for _ in range(MAX_ASKS_IN_A_ROW):
            trial = self._study.ask(self._space)
            candidate = self._problem.choices.candidate(trial.params)
            if not self._skips(candidate):
                self._asked[len(self._past)] = trial
                return len(self._past), candidate
            self._skip(trial)
        return None

    def _skip(self, trial: optuna.Trial) -> None:
        self._study.tell(trial, state=TrialState.FAIL)

    def tell(self, trial: Trial) -> bool:
        if trial.number in self._asked:
            self._tell(self._asked.pop(trial.number), trial)
        return super().tell(trial)

    def _tell(self, asked: optuna.Trial, trial: Trial) -> None:
        raise NotImplementedError


class VllmTuner(_Tpe):
    """vllm-tuner 0.1.6: TPE, its first ten trials random (Optuna's default too), no memory of what was launched, limits
    unknown to the sampler, a failure told as 0. Its warm start, for a 24 GB card, needs a download and is left out;
    here it has a seed."""

    def _tell(self, asked: optuna.Trial, trial: Trial) -> None:
        self._study.tell(asked, 0.0 if trial.value is None else trial.value)


class VllmOptimizer(_Tpe):
    """vllm-optimizer 0.1.0a21: TPE with a seed and the limits as constraints; never the same settings twice (but for
    the baseline's): on such a proposal it takes the next of the grid, names sorted. A failure is told as FAIL."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self._space = dict(sorted(self._space.items()))
        columns = [problem.choices.names.index(name) for name in self._space]
        self._rank = np.lexsort(grid_of(problem).indices[:, columns[::-1]].T).argsort()

    def _constraints(self) -> Callable[[FrozenTrial], tuple[float, ...]] | None:
        if not self._problem.spec.objective.slo:
            return None
        return lambda trial: tuple(trial.user_attrs["constraints"])

    def _untried(self) -> NDArray[np.int64]:
        """In the order of its grid."""
        rows = untried_rows(forecast_of(self._problem), self._past[1:])
        return rows[np.argsort(self._rank[rows])]

    def _skips(self, candidate: Candidate) -> bool:
        return super()._skips(candidate) or candidate.key in {trial.candidate.key for trial in self._past[1:]}

    def _skip(self, trial: optuna.Trial) -> None:
        trial.set_user_attr("constraints", [1.0] * len(self._problem.spec.objective.slo))
        self._study.tell(trial, state=TrialState.PRUNED)
        self._study.enqueue_trial(self._problem.choices.params(grid_of(self._problem).indices[self._untried()[0]]))

    def ask(self) -> tuple[int, Candidate] | None:
        return super().ask() if self._untried().size else None

    def _tell(self, asked: optuna.Trial, trial: Trial) -> None:
        excess = [constraint.excess for constraint in trial.constraints if constraint.name.startswith("slo ")]
        asked.set_user_attr("constraints", excess or [1.0] * len(self._problem.spec.objective.slo))
        if trial.value is None:
            self._study.tell(asked, state=TrialState.FAIL)
        else:
            self._study.tell(asked, trial.value)


EMULATED: dict[str, Callable[[Problem], Searcher]] = {
    "auto_tune": AutoTune, "vllm-tuner": VllmTuner, "vllm-optimizer": VllmOptimizer,
}  # fmt: skip
OURS = ("planner", "tpe", "gp", "random")
SEARCHERS = (*OURS, *EMULATED)
LABELS = {
    "planner": "planner", "tpe": "Optuna TPE", "gp": "Optuna GP", "random": "random", "auto_tune": "auto_tune grid",
    "vllm-tuner": "vllm-tuner, emulated", "vllm-optimizer": "vllm-optimizer, emulated",
}  # fmt: skip


def make_searcher(name: str, problem: Problem, seed: int, kind: type[Search] = Search) -> tuple[Problem, Searcher]:
    """The searcher, and the problem with that sampler and seed. Our own are of this kind of `Search`."""
    sampler = msgspec.structs.replace(problem.spec.sampler, name=name if name in OURS else "random", seed=seed)
    seeded = problem.with_spec(msgspec.structs.replace(problem.spec, sampler=sampler))
    return seeded, EMULATED[name](seeded) if name in EMULATED else kind.open(forecast_of(seeded), None)
