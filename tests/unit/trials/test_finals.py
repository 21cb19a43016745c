"""The honest end: who competes, in which order, and what four noisy runs each can say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from planner.benchmark.metric import Metric
from planner.benchmark.slo import Limit
from planner.errors import EngineCrashed
from planner.report.verdict import UNSURE, judged
from planner.service.export.header import header
from planner.study.problem import Problem
from planner.trials.blocks import LEAST_ROUNDS, MOST_ROUNDS
from planner.trials.finals import (
    FRESH,
    changed_settings,
    chosen_trial,
    finalists,
    heats,
    judge_finals,
    measured_again,
    most_heats,
)
from planner.trials.racing import Repeats
from planner.trials.ranking import best_trial
from planner.trials.trial import Rerun, Trial, default_trial, searched
from planner.tuning.executor import LocalExecutor
from planner.tuning.loop import run_finals
from planner.tuning.measure import Measurement, simulated
from planner.tuning.search.search import Search
from tests.forecasts import forecast_of

Make = Callable[..., Problem]


@pytest.fixture
def trials(make_problem: Make, tune: Any, kept: dict[str, Any]) -> tuple[Problem, list[Trial]]:
    if "four trials" not in kept:
        problem = make_problem()
        kept["four trials"] = problem, tune(problem, 4)
    problem, found = kept["four trials"]
    return problem, list(found)


def with_values(trials: Sequence[Trial], *values: float) -> list[Trial]:
    pairs = zip(trials, values, strict=True)
    return [replace(trial, value=v, repeat_values=(v,), stopped_at=None) for trial, v in pairs]


def rerun_of(problem: Problem, trials: list[Trial], values: dict[int, Sequence[float]]) -> list[Trial]:
    """The finals over, with these values of each finalist by round; after the last, they begin again."""
    done = list(trials)
    while to_do := heats(problem, done):
        heat = to_do[0]
        value = values[heat.rerun.of][heat.rerun.round % len(values[heat.rerun.of])]
        repeats = (value,) * heat.repeats.count
        done.append(replace(heat.trial, number=100 + len(done), rerun=heat.rerun, value=value, repeat_values=repeats))
    return done


def rounds_of(trials: Sequence[Trial], number: int) -> list[int]:
    return [trial.rerun.round for trial in trials if trial.rerun is not None and trial.rerun.of == number]


def test_the_default_and_those_near_the_best_compete(trials: tuple[Problem, list[Trial]]) -> None:
    problem, found = trials
    first, *rivals = [t.number for t in finalists(problem, with_values(found, 100, 150, 149, 120))]
    assert (first, sorted(rivals)) == (0, [1, 2])
    assert [t.number for t in finalists(problem, with_values(found, 100, 90, 149, 120))] == [0, 2]


def test_without_a_rival_there_are_no_finals(trials: tuple[Problem, list[Trial]]) -> None:
    problem, found = trials
    alone = with_values(found, 200, 100, 110, 120)
    assert (finalists(problem, alone), heats(problem, alone), judge_finals(problem, alone)) == ([], [], None)
    assert chosen_trial(problem, alone) is alone[0]


def test_rounds_alternate_and_have_prompts_of_their_own(trials: tuple[Problem, list[Trial]]) -> None:
    problem, found = trials
    seen = with_values(found, 100, 150, 149, 120)
    order, entrants = heats(problem, seen), [trial.number for trial in finalists(problem, seen)]
    assert [heat.trial.number for heat in order] == [*entrants, *entrants[::-1], *entrants]
    assert len(order) == 3 * LEAST_ROUNDS
    assert most_heats(problem, order) == len(order) + 2 * (MOST_ROUNDS - LEAST_ROUNDS)
    first, second = order[0].repeats, order[3].repeats
    assert first.first >= FRESH > problem.spec.repeats
    assert second.first == first.first + first.count


def test_two_finalists_run_a_round_more_so_that_their_noise_is_known(trials: tuple[Problem, list[Trial]]) -> None:
    problem, found = trials
    order = heats(problem, with_values(found, 100, 90, 149, 120))
    assert [heat.trial.number for heat in order] == [0, 2, 2, 0, 0, 2, 2, 0]


def test_a_clear_winner_wins_with_its_interval(trials: tuple[Problem, list[Trial]]) -> None:
    problem, found = trials
    seen = with_values(found, 100, 150, 149, 120)
    noise = [1.0, 1.01, 0.99, 1.005]
    values = {0: [100 * n for n in noise], 1: [140 * n for n in noise[::-1]], 2: [120 * n for n in noise]}
    finals = judge_finals(problem, rerun_of(problem, seen, values))
    assert finals is not None
    assert finals.winner.trial.number == 1
    assert not finals.keeps_default
    gain = finals.winner.gain
    assert gain is not None
    assert gain.low < 0.40 < gain.high < 0.45
    assert [len(f.values) for f in finals.finalists] == [LEAST_ROUNDS] * 3, "it was sure at once"
    assert chosen_trial(problem, rerun_of(problem, seen, values)) is seen[1]


def test_when_the_time_is_over_before_it_is_sure_there_is_a_verdict(trials: tuple[Problem, list[Trial]]) -> None:
    """The first rounds are enough for one, which says that it could be surer."""
    problem, found = trials
    seen = with_values(found, 100, 150, 149, 120)
    values = {0: [100, 108, 95], 1: [104, 99, 107], 2: [99, 105, 104]}
    done = list(seen)
    while (heat := heats(problem, done)[0]).rerun.round < LEAST_ROUNDS:
        assert judge_finals(problem, done) is None
        value = float(values[heat.rerun.of][heat.rerun.round])
        done.append(replace(heat.trial, number=100 + len(done), rerun=heat.rerun, value=value, repeat_values=(value,)))
    finals = judge_finals(problem, done)
    assert finals is not None
    assert (finals.is_over, finals.keeps_default) == (False, True)
    assert UNSURE in judged(forecast_of(problem), done).reasons
    over = rerun_of(problem, done, {number: [100.0] for number in values})
    assert UNSURE not in judged(forecast_of(problem), over).reasons


def test_equals_compete_as_far_as_they_are_worth_it(trials: tuple[Problem, list[Trial]]) -> None:
    """Launches that differ by 2 % and repeats by 2 %: of three equals the third is not worth three launches."""
    problem, found = trials
    assert [t.number for t in finalists(problem, with_values(found, 100, 150, 150, 150))] == [0, 1, 2]
    assert [t.number for t in finalists(problem, with_values(found, 100, 150, 144.9, 144.5))] == [0, 1]
    wild = [replace(t, repeat_values=(t.value * 0.8, t.value * 1.2)) for t in with_values(found, 100, 150, 150, 149)]
    assert len(finalists(problem, wild)) > 2, "where launches differ by 20 %, more of them may be the best"


def test_what_is_exported_quotes_the_finals(trials: tuple[Problem, list[Trial]]) -> None:
    problem, found = trials
    seen = with_values(found, 100, 150, 149, 120)
    values = {0: [100.0] * 4, 1: [140.0, 141.0, 139.0], 2: [120.0] * 4}
    after = rerun_of(problem, seen, values)
    shown = measured_again(problem, after, seen[1])
    assert shown.value == pytest.approx(140, abs=0.01)
    assert "140.0 tok/s (engine defaults: 100.0 tok/s, +40.0%), in the finals" in header(
        problem, shown, measured_again(problem, after, seen[0])
    )
    assert measured_again(problem, seen, seen[1]) is seen[1]
    assert measured_again(problem, after, seen[3]) is seen[3]


def test_why_not_the_one_with_the_better_figure_is_said(trials: tuple[Problem, list[Trial]]) -> None:
    problem, found = trials
    seen = with_values(found, 100, 150, 149, 120)
    noise = [1.0, 1.02, 0.98]  # one a round, the same mean in both orders
    told = []
    for higher in (1, 2):
        figures = {0: 100.0, 1: 140.0, 2: 140.0}
        figures[higher] += 0.5
        values = {number: [figure * n for n in noise[:: 1 - 2 * (number % 2)]] for number, figure in figures.items()}
        verdict = judged(forecast_of(problem), rerun_of(problem, seen, values))
        assert verdict.trial is not None
        assert verdict.trial.number in {1, 2}
        words = f"trial {higher} measured better, but not surely"
        told.append(any(reason.startswith(words) for reason in verdict.reasons))
        assert told[-1] == (verdict.trial.number != higher)
    assert sorted(told) == [False, True]


def test_a_gain_that_may_be_noise_keeps_the_default(trials: tuple[Problem, list[Trial]]) -> None:
    problem, found = trials
    seen = with_values(found, 100, 150, 149, 120)
    values = {0: [100, 108, 95, 103], 1: [104, 99, 107, 101], 2: [99, 105, 104, 98]}
    finals = judge_finals(problem, rerun_of(problem, seen, values))
    assert finals is not None
    assert finals.keeps_default


def test_who_fails_in_the_finals_does_not_win(make_problem: Make, storage: str, tune: Any, watcher: Any) -> None:
    problem = make_problem()
    found = tune(problem, 5)
    works = simulated(forecast_of(problem))
    best = best_trial(problem, found)
    assert best is not None
    assert best is not default_trial(problem, found)

    def measure(candidate: Any, number: int, on_stage: Any, repeats: Repeats) -> Measurement:
        if candidate == best.candidate:
            raise EngineCrashed("out of luck")
        return works(candidate, number, on_stage, repeats)

    search = Search.open(forecast_of(problem), storage)
    after = run_finals(problem, search, LocalExecutor(problem, measure, watcher.stage, "simulated"), watcher)
    assert searched(after) == found
    finals = judge_finals(problem, after)
    assert finals is not None
    assert finals.winner.trial.number != best.number


@pytest.fixture
def contexts(make_problem: Make, launch: Any) -> tuple[Problem, list[Trial]]:
    """The default, which does not fit, and four contexts that kept the limit in the search."""
    problem = make_problem(
        engine__settings={"dtype": "half", "tensor_parallel_size": 1},
        search_space={"search": {"max_model_len": [1024, 2048, 4096, 8192]}},
        objective={"metric": "max_model_len", "slo": {"output_throughput": 1}},
    )
    return problem, launch(problem, 5)


def again(trial: Trial, throughput: float, limit: float = 500.0) -> Trial:
    constraint = Limit(Metric("output_throughput"), limit).judge(throughput)
    return replace(trial, constraints=(constraint,), metrics={"output_throughput": throughput})


def test_of_the_largest_contexts_the_one_that_keeps_its_limits_wins(contexts: tuple[Problem, list[Trial]]) -> None:
    problem, found = contexts
    values = {t.number: [t.value or 0.0] * 4 for t in found}
    assert [t.value for t in finalists(problem, found)] == [8192, 4096, 2048]
    reruns = rerun_of(problem, found, values)[len(found) :]
    throughput = {8192: 499.0, 4096: 510.0, 2048: 600.0}
    done = [*found, *(again(t, throughput[int(t.value or 0)]) for t in reruns)]
    finals = judge_finals(problem, done)
    assert finals is not None
    assert finals.winner is not None
    assert (finals.winner.value, finals.winner.metrics) == (4096, {"output_throughput": 510.0})
    assert finals.finalists[0].broken == "output_throughput is 499.0 tok/s, the least allowed is 500.0 tok/s"
    assert chosen_trial(problem, done) is finals.winner.trial
    none = [*found, *(again(t, 400.0) for t in reruns)]
    assert chosen_trial(problem, none) is None


def test_the_gain_of_a_known_value_is_exact(contexts: tuple[Problem, list[Trial]]) -> None:
    problem, found = contexts
    default = replace(found[0], outcome="measured", value=3072.0, repeat_values=(3072.0,), constraints=())
    trials = [default, *found[1:]]
    finals = judge_finals(problem, rerun_of(problem, trials, {t.number: [t.value or 0.0] * 4 for t in trials}))
    assert finals is not None
    assert finals.winner is not None
    gain = finals.winner.gain
    assert gain is not None
    assert (gain.low, gain.value, gain.high) == pytest.approx((8192 / 3072 - 1,) * 3)


def test_one_context_alone_is_measured_again_too(contexts: tuple[Problem, list[Trial]]) -> None:
    problem, found = contexts
    assert [heat.trial.number for heat in heats(problem, found[:2])] == [1, 1]
    assert most_heats(problem, heats(problem, found[:2])) == 2


def test_finals_that_were_interrupted_go_on(make_problem: Make, storage: str, tune: Any, watcher: Any) -> None:
    problem = make_problem()
    tune(problem, 4)
    works = simulated(forecast_of(problem))
    launches: list[tuple[int, int]] = []

    def measure(candidate: Any, number: int, on_stage: Any, repeats: Repeats) -> Measurement:
        if len(launches) == 2:
            raise KeyboardInterrupt
        launches.append((number, repeats.first))
        return works(candidate, number, on_stage, repeats)

    with pytest.raises(KeyboardInterrupt):
        run_finals(
            problem,
            Search.open(forecast_of(problem), storage),
            LocalExecutor(problem, measure, watcher.stage, "simulated"),
            watcher,
        )
    search = Search.open(forecast_of(problem), storage)
    total = len(heats(problem, search.trials())) + 2
    after = run_finals(problem, search, LocalExecutor(problem, works, watcher.stage, "simulated"), watcher)
    reruns = [trial for trial in after if trial.rerun is not None]
    assert len(reruns) == total
    assert len({(t.rerun.of, t.rerun.round) for t in reruns if t.rerun}) == total
    numbers = [number for number, _ in watcher.asked]
    assert numbers.count(max(n for n, _ in launches) + 1) == 2  # the one that was interrupted, under its own number


def test_more_trials_afterwards_make_new_finals(make_problem: Make, storage: str, tune: Any, watcher: Any) -> None:
    problem = make_problem()
    tune(problem, 3)
    after = run_finals(
        problem,
        Search.open(forecast_of(problem), storage),
        LocalExecutor(problem, simulated(forecast_of(problem)), watcher.stage, "simulated"),
        watcher,
    )
    more = tune(problem, 5)
    assert len(searched(more)) == 5
    assert [t for t in more if t.rerun is not None] == [t for t in after if t.rerun is not None]


def test_what_is_not_sure_goes_on_between_the_default_and_its_best_rival(
    trials: tuple[Problem, list[Trial]],
) -> None:
    problem, found = trials
    seen = with_values(found, 100, 150, 149, 120)
    values = {0: [100, 103, 97], 1: [104, 97, 105], 2: [101, 98, 99]}
    after = rerun_of(problem, seen, values)
    assert rounds_of(after, 0) == rounds_of(after, 1) == list(range(MOST_ROUNDS))
    assert rounds_of(after, 2) == list(range(LEAST_ROUNDS))
    finals = judge_finals(problem, after)
    assert finals is not None
    assert finals.keeps_default


def test_finals_without_a_difference_that_matters_end_early(trials: tuple[Problem, list[Trial]]) -> None:
    problem, found = trials
    seen = with_values(found, 100, 150, 149, 120)
    values = {0: [100, 100.2, 100], 1: [100.1, 100, 100.1], 2: [100, 100.1, 99.9]}
    after = rerun_of(problem, seen, values)
    assert rounds_of(after, 1) == list(range(LEAST_ROUNDS))


def test_who_breaks_a_limit_is_not_launched_again(trials: tuple[Problem, list[Trial]]) -> None:
    problem, found = trials
    seen = with_values(found, 100, 150, 149, 120)
    first = heats(problem, seen)[1]
    broken = Limit(Metric("output_throughput"), 1e9).judge(1.0)
    lost = replace(first.trial, number=100, rerun=first.rerun, repeat_values=(1.0,), constraints=(broken,))
    assert first.trial.number not in {heat.trial.number for heat in heats(problem, [*seen, lost])}


def test_the_engines_default_written_out_changes_nothing(make_problem: Make, launch: Any) -> None:
    """Both are the same engine, so of equals it is the default that is kept."""
    problem = make_problem(search_space={"search": {"enable_prefix_caching": [False, True]}})
    off, on = (
        next(
            problem.choices.candidate({"enable_prefix_caching": value})
            for value in problem.choices.searched["enable_prefix_caching"]
            if value is wanted
        )
        for wanted in (False, True)
    )
    default = launch(problem, 1)[0]
    assert problem.deployment(problem.default).engine.enable_prefix_caching is False, "V0"
    assert changed_settings(problem, replace(default, candidate=off)) == []
    assert changed_settings(problem, replace(default, candidate=on)) == ["enable_prefix_caching"]


def test_a_rerun_is_kept_in_the_record(trials: tuple[Problem, list[Trial]]) -> None:
    problem, found = trials
    rerun = Rerun(of=1, series="0,1", round=0)
    assert best_trial(problem, [*found, replace(found[1], value=1e9, rerun=rerun)]) is best_trial(problem, found)
