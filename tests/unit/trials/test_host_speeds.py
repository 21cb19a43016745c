"""Hosts compared: the default on each, what differs taken out, neighbours; in virtual time and with plain numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from planner.errors import EngineCrashed
from planner.hardware.machine import Machine
from planner.report.document import summary
from planner.report.verdict import judged
from planner.study.problem import Problem
from planner.trials.finals import finalists, heats, judge_finals
from planner.trials.host_speeds import doubtful, hosts_words, neighbours, on_par, speeds_by_host, unmeasured
from planner.trials.racing import bar_of
from planner.trials.ranking import best_trial
from planner.trials.trial import ALONE, TOGETHER, Rerun, Trial, leveled, searched
from planner.tuning.executor import LocalExecutor, Work
from planner.tuning.loop import run_checks, run_finals, run_study
from planner.tuning.measure import Measure, simulated
from planner.tuning.search.search import Search
from planner.tuning.search.surrogate import Surrogate
from tests.forecasts import forecast_of, grid_of

Make = Callable[..., Problem]
NO_CROWDING = (1.0, 1.0)


class VirtualHosts:
    """Hosts with places, each with an engine of its own; what is begun together is measured together."""

    def __init__(
        self,
        problem: Problem,
        engines: Mapping[str, Measure],
        places: int = 1,
        crowding: Sequence[float] = NO_CROWDING,
    ) -> None:
        """`crowding`: a host's speed by how many it runs at once."""
        self._problem, self._engines, self._crowding = problem, engines, crowding
        self._running: list[tuple[str, Work]] = []
        self.places: Mapping[str, int] = dict.fromkeys(engines, places)
        self.launched: list[tuple[str, Work]] = []

    def one_each(self) -> None:
        self.places = dict.fromkeys(self.places, 1)

    def _free(self, work: Work | None = None) -> list[str]:
        taken = Counter(host for host, _ in self._running)
        named = [host for host in self.places if work is not None and host == work.host]
        return [host for host in named or self.places if taken[host] < self.places[host]]

    @property
    def has_room(self) -> bool:
        return bool(self._free())

    @property
    def num_under_way(self) -> int:
        return len(self._running)

    def begin(self, work: Work) -> None:
        taken = Counter(host for host, _ in self._running)
        host = min(self._free(work), key=lambda host: taken[host])
        assert not (work.is_alone and taken[host])
        self._running.append((host, work))
        self.launched.append((host, work))

    def next(self) -> Trial:
        host, work = self._running[0]
        here = LocalExecutor(self._problem, self._engines[host], lambda *_: None, "simulated", Machine(host=host))
        here.begin(work.on(self._problem, host))
        trial = here.next()
        speed = self._crowding[sum(other == host for other, _ in self._running) - 1]
        if work.rerun is not None and work.rerun.series.startswith(TOGETHER):
            speed = self._crowding[-1]
        self._running.pop(0)
        return trial if trial.value is None else replace(trial, value=trial.value * speed)


def on_gpu(problem: Problem, gpu: str) -> Measure:
    """The simulated engine on another card than the study names."""
    hardware = msgspec.structs.replace(problem.spec.hardware, gpu=gpu)
    return simulated(forecast_of(Problem.of(msgspec.structs.replace(problem.spec, hardware=hardware))))


def checked(problem: Problem, search: Search, executor: VirtualHosts, watcher: Any, target: int = 0) -> list[Trial]:
    run_checks(problem, search, executor, watcher)
    return run_study(problem, search, executor, target, watcher)


def with_value(trial: Trial, value: float, host: str, number: int | None = None, rerun: Rerun | None = None) -> Trial:
    """Every metric keeps to the value, as when only a host's speed differs."""
    factor = value / (trial.value or 1.0)
    rates = {name: v * factor if "throughput" in name else v / factor for name, v in trial.metrics.items()}
    return replace(
        trial,
        number=trial.number if number is None else number,
        value=value,
        repeat_values=(value,),
        metrics=rates,
        rerun=rerun,
        provenance=replace(trial.provenance, machine=Machine(host=host)),
    )


def alone(trial: Trial, value: float, host: str, number: int) -> Trial:
    return with_value(trial, value, host, number, Rerun(of=0, series=ALONE, round=number))


# --- what is launched ---


def test_the_default_is_launched_once_on_every_host_and_not_again(
    make_problem: Make, storage: str, watcher: Any
) -> None:
    problem = make_problem()
    executor = VirtualHosts(problem, dict.fromkeys("abc", simulated(forecast_of(problem))))
    trials = checked(problem, Search.open(forecast_of(problem), storage), executor, watcher, 5)
    first = [(host, work.candidate == problem.default) for host, work in executor.launched[:3]]
    assert sorted(first) == [("a", True), ("b", True), ("c", True)]
    assert [trial.rerun is None for trial in trials[:3]] == [True, False, False], "trial 0 is its host's"
    assert len(searched(trials)) == 5
    again = VirtualHosts(problem, dict.fromkeys("abcd", simulated(forecast_of(problem))))
    trials = checked(problem, Search.open(forecast_of(problem), storage), again, watcher, 6)
    assert [host for host, work in again.launched if work.rerun is not None] == ["d"], "only the new one"
    assert unmeasured(problem, trials, "abcde") == ["e"]
    assert hosts_words(problem, trials)[0].startswith("hosts: 4 agree within ")


def test_checks_that_were_interrupted_go_on_under_their_numbers(
    make_problem: Make, storage: str, watcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = make_problem()

    def interrupted(_: VirtualHosts) -> Trial:
        raise KeyboardInterrupt

    executor, search = (
        VirtualHosts(problem, dict.fromkeys("ab", simulated(forecast_of(problem)))),
        Search.open(forecast_of(problem), storage),
    )
    with monkeypatch.context() as patch:
        patch.setattr(VirtualHosts, "next", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_checks(problem, search, executor, watcher)
    assert len(executor.launched) == 2
    again = VirtualHosts(problem, dict.fromkeys("ab", simulated(forecast_of(problem))))
    trials = checked(problem, Search.open(forecast_of(problem), storage), again, watcher, 3)
    assert [work.number for _, work in again.launched[:2]] == [0, 1]
    assert sorted(trial.number for trial in trials) == [0, 1, 2, 3]
    assert len(speeds_by_host(problem, trials)) == 2


def test_defaults_that_do_not_serve_compare_nothing(make_problem: Make, storage: str, watcher: Any) -> None:
    problem = make_problem()

    def refuses(candidate: Any, number: int, on_stage: Any, repeats: Any) -> Any:
        if candidate == problem.default:
            raise EngineCrashed("no")
        return simulated(forecast_of(problem))(candidate, number, on_stage, repeats)

    executor = VirtualHosts(problem, dict.fromkeys("ab", refuses), 2)
    trials = checked(problem, Search.open(forecast_of(problem), storage), executor, watcher, 3)
    assert len(searched(trials)) == 3
    assert hosts_words(problem, trials) == ["hosts: not compared, for the defaults have no value on two of them"]
    assert max(executor.places.values()) == 2


def test_one_host_with_one_place_is_not_compared(make_problem: Make, storage: str, watcher: Any) -> None:
    problem = make_problem()
    executor = VirtualHosts(problem, {"a": simulated(forecast_of(problem))})
    search = Search.open(forecast_of(problem), storage)
    trials = checked(problem, search, executor, watcher, 3)
    assert (speeds_by_host(problem, trials), hosts_words(problem, trials)) == ([], [])
    assert len(trials) == 3
    another = VirtualHosts(problem, {"b": simulated(forecast_of(problem))})
    trials = checked(problem, search, another, watcher, 4)
    assert len(speeds_by_host(problem, trials)) == 2, "but one that goes on where another began"


def test_checks_leave_the_finals_and_the_count_of_trials_alone(make_problem: Make, storage: str, watcher: Any) -> None:
    problem = make_problem()
    executor = VirtualHosts(problem, dict.fromkeys("ab", simulated(forecast_of(problem))), places=2)
    search = Search.open(forecast_of(problem), storage)
    trials = checked(problem, search, executor, watcher, 6)
    assert len(searched(trials)) == 6
    after = run_finals(problem, search, executor, watcher)
    finals = [trial for trial in after if trial.rerun is not None and trial.rerun.is_final]
    assert len(finals) == len(after) - len(trials) > 0


# --- neighbours ---


@pytest.mark.parametrize(("crowding", "disturb"), [((1.0, 0.97), False), ((1.0, 0.7), True)])
def test_neighbours_that_disturb_are_given_up(
    make_problem: Make, storage: str, watcher: Any, crowding: tuple[float, ...], disturb: bool
) -> None:
    problem = make_problem()
    executor = VirtualHosts(problem, dict.fromkeys("ab", simulated(forecast_of(problem))), 2, crowding)
    trials = checked(problem, Search.open(forecast_of(problem), storage), executor, watcher, 5)
    series = [work.rerun.series for _, work in executor.launched if work.rerun is not None]
    assert series == [ALONE, f"{TOGETHER} 2", f"{TOGETHER} 2"]
    assert len({host for host, work in executor.launched if work.rerun and work.rerun.series != ALONE}) == 1
    assert max(executor.places.values()) == (1 if disturb else 2)
    found = neighbours(problem, trials)
    assert found is not None
    assert found.disturb == disturb
    assert found.change is not None
    assert found.change.value == pytest.approx(crowding[1] - 1, abs=0.02)
    assert ("one trial a host" in hosts_words(problem, trials)[1]) == disturb
    again = VirtualHosts(problem, dict.fromkeys("ab", simulated(forecast_of(problem))), 2, crowding)
    checked(problem, Search.open(forecast_of(problem), storage), again, watcher, 6)
    assert len(again.launched) == 1, "what is known is not measured again"
    assert max(again.places.values()) == (1 if disturb else 2)


def test_a_neighbour_that_does_not_serve_disturbs(make_problem: Make, launch: Any) -> None:
    problem = make_problem()
    [default] = launch(problem)
    together = [
        with_value(default, default.value, "a", 1 + i, Rerun(of=0, series=f"{TOGETHER} 2", round=i)) for i in range(2)
    ]
    trials = [with_value(default, default.value, "a"), *together]
    assert neighbours(problem, trials[:2]) is None, "one alone is no neighbour"
    fine, failed = neighbours(problem, trials), neighbours(problem, [*trials[:2], replace(trials[2], outcome="failed")])
    assert fine is not None
    assert failed is not None
    assert (fine.disturb, failed.disturb) == (False, True)
    assert summary(problem, trials)["neighbours"]["change"]["value"] == pytest.approx(0)


# --- speeds ---


def test_hosts_that_seem_to_differ_are_measured_twice(make_problem: Make, launch: Any) -> None:
    """Launches of one host that differ as much as the hosts say that it was noise."""
    problem = make_problem()
    [default] = launch(problem)
    trials = [with_value(default, 100.0, "a"), alone(default, 97.0, "b", 1)]
    assert doubtful(problem, trials, "ab") == [], "no doubt: they agree"
    trials[1] = alone(default, 88.0, "b", 1)
    assert doubtful(problem, trials, "ab") == ["a", "b"]
    again = [*trials, alone(default, 90.0, "a", 2), alone(default, 101.0, "b", 3)]
    assert doubtful(problem, again, "abc") == []
    assert [one.speed for one in speeds_by_host(problem, again)] == [1.0, 1.0]
    sure = [*trials, alone(default, 100.5, "a", 2), alone(default, 87.5, "b", 3)]
    assert speeds_by_host(problem, sure)[1].speed == pytest.approx(0.88, abs=0.01)


def test_what_noise_explains_counts_for_nothing_and_a_clear_difference_for_nearly_all(
    make_problem: Make, launch: Any
) -> None:
    problem = make_problem()
    [default] = launch(problem)
    for value, expected in ((98.0, 1.0), (50.0, 0.5)):
        trials = [with_value(default, 100.0, "a"), alone(default, value, "b", 1)]
        first, second = speeds_by_host(problem, trials)
        assert (first.host, first.speed, second.host) == ("a", 1.0, "b")
        assert second.speed == pytest.approx(expected, rel=0.01)
        assert second.measured.value == pytest.approx(value / 100 - 1)
        assert second.measured.is_significant == (expected != 1)
        assert [trial.host_speed for trial in on_par(problem, trials)] == [1.0, second.speed]
    assert "hosts: the default's speed against a: b -50.0%" in hosts_words(problem, trials)[0]
    assert summary(problem, trials)["hosts"][1]["default"]["value"] == pytest.approx(-0.5)


def test_of_a_latency_the_slow_host_has_the_larger_value(make_problem: Make, launch: Any) -> None:
    problem = make_problem(objective={"metric": "ttft_p50"})
    [default] = launch(problem)
    trials = on_par(problem, [with_value(default, 1.0, "a"), alone(default, 2.0, "b", 1)])
    assert trials[1].host_speed == pytest.approx(0.5, rel=0.01)
    assert leveled(problem, trials[1]) == pytest.approx(1.0, rel=0.01)


def test_the_best_the_finalists_and_the_bar_are_of_comparable_values(make_problem: Make, launch: Any) -> None:
    """Raw values would pick trial 1, which a fast host made look good."""
    problem = make_problem()
    found = launch(problem, 4)
    trials = on_par(
        problem,
        [
            with_value(found[0], 100.0, "slow"),
            alone(found[0], 200.0, "fast", 9),
            with_value(found[1], 210.0, "fast"),
            with_value(found[2], 130.0, "slow"),
            with_value(found[3], 262.0, "fast"),
        ],
    )
    best = best_trial(problem, trials)
    assert best is not None
    assert best.number == 3
    assert best_trial(problem, [trial for trial in trials if trial.number != 3]).number == 2
    assert [trial.number for trial in finalists(problem, trials)] == [0, 3, 2]
    bar = bar_of(problem, trials, found[1].candidate)
    assert bar is not None
    assert bar.values == pytest.approx((131.0,), rel=0.01)
    work = Work(number=5, candidate=found[1].candidate, first=0, count=1, bar=bar, speeds={"fast": 2.0})
    assert work.on(problem, "fast").bar.values == pytest.approx((262.0,), rel=0.01)
    assert work.on(problem, "slow").bar == bar
    assert "+31" in (judged(forecast_of(problem), trials).against or "")
    assert any(line.startswith("hosts: ") for line in judged(forecast_of(problem), trials).reasons)


def test_finals_over_unlike_hosts_are_told_on_one_level(make_problem: Make, launch: Any) -> None:
    """Each round is one host's; figures and changes are as on the default's."""
    problem = make_problem()
    found = launch(problem, 2)
    trials = [with_value(found[0], 100.0, "slow"), with_value(found[1], 260.0, "fast")]
    trials += [alone(found[0], value, "fast", number) for number, value in ((7, 200.0), (8, 200.5))]
    trials = on_par(problem, trials)
    while to_do := heats(problem, trials):
        heat = to_do[0]
        host, value = ("slow", 1.0) if heat.rerun.round == 0 else ("fast", 2.0)
        value *= 100.0 if heat.trial.number == 0 else 131.0
        again = with_value(heat.trial, value, host, 20 + len(trials), heat.rerun)
        trials = on_par(problem, [*trials, replace(again, repeat_values=(value * 0.99, value * 1.01))])
    finals = judge_finals(problem, trials)
    assert finals is not None
    assert [finalist.value for finalist in finals.finalists] == pytest.approx([100, 131], rel=0.01)
    assert finals.finalists[1].gain is not None
    assert finals.finalists[1].gain.value == pytest.approx(0.31, abs=0.01)


def test_what_the_sampler_believes_is_free_of_hosts(make_problem: Make) -> None:
    """Trials fall on two hosts by turns, one three times as fast: beliefs are those of a study on one host."""
    search = {"max_num_seqs": [4, 8, 16, 32, 64, 128], "max_num_batched_tokens": [4096, 8192, 16384]}
    problem = make_problem(search_space={"search": search}, workload__concurrency=64, workload__num_requests=64)
    measure = simulated(forecast_of(problem))
    here = LocalExecutor(problem, measure, lambda *_: None, "simulated")

    def launched(number: int, candidate: Any) -> Trial:
        here.begin(Work(number=number, candidate=candidate, first=0, count=1))
        return here.next()

    rows = grid_of(problem).feasible_rows
    candidates = [problem.choices.candidate(problem.choices.params(grid_of(problem).indices[row])) for row in rows[::2]]
    plain = [launched(number, one) for number, one in enumerate([problem.default, *candidates])]
    mixed = [with_value(trial, trial.value * 3 ** (trial.number % 2), "sf"[trial.number % 2]) for trial in plain]
    raw = [*mixed, alone(plain[0], plain[0].value * 3, "f", 99)]
    surrogate = Surrogate(forecast_of(problem))
    expected = surrogate.believed(rows, plain)
    errors = [abs(surrogate.believed(rows, trials) - expected).mean() for trials in (raw, on_par(problem, raw))]
    assert errors[1] < 0.05 < 0.3 < errors[0]
    open_rows = rows[1::2]  # with members of the classes that were launched
    picked = surrogate.choose(open_rows, on_par(problem, raw), [candidates[0]])
    assert picked in open_rows


def test_a_mixed_study_finds_the_best_of_one_host(make_problem: Make, watcher: Any) -> None:
    """Two kinds of cards by turns, in both orders: the same best, though the larger figures are of the faster card."""
    search = {"max_num_seqs": [2, 4, 16], "max_num_batched_tokens": [4096, 8192]}
    problem = make_problem(
        search_space={"search": search},
        sampler={"name": "grid"},
        workload={"concurrency": 16, "num_requests": 24, "input_tokens": 64, "output_tokens": 16},
    )
    engines = {"slow": on_gpu(problem, "T4"), "fast": on_gpu(problem, "RTX 4090")}
    bests, by_figure = [], []
    for hosts in (["slow", "fast"], ["fast", "slow"]):
        executor = VirtualHosts(problem, {host: engines[host] for host in hosts})
        trials = checked(problem, Search.open(forecast_of(problem), None), executor, watcher, 7)
        speeds = {one.host: one.speed for one in speeds_by_host(problem, trials)}
        assert speeds["fast"] / speeds["slow"] > 1.5
        best = best_trial(problem, trials)
        assert best is not None
        bests.append(best)
        by_figure.append(max(searched(trials), key=lambda trial: trial.value or 0.0))
    assert bests[0].candidate.engine.max_num_seqs == bests[1].candidate.engine.max_num_seqs
    assert "slow" in {best.provenance.machine.host for best in bests}
    assert {trial.provenance.machine.host for trial in by_figure} == {"fast"}
