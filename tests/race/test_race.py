"""The race in small: few seeds, and no searcher that needs torch. `make race` is the whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from planner.statistics import kendall_tau
from tests.race import page, stopping
from tests.race.landscapes import Landscape, load_all
from tests.race.package_runs import read_results
from tests.race.runs import Run, percentiles, run
from tests.race.searchers import EMULATED, SEARCHERS

SEEDS, LAUNCHES = range(3), 12
QUICK = tuple(name for name in SEARCHERS if name != "gp")
LANDSCAPES = load_all()
Runs = dict[tuple[str, str], list[Run]]


@pytest.fixture(scope="module")
def runs() -> Runs:
    return {
        (landscape.name, name): [run(landscape, name, seed, LAUNCHES) for seed in SEEDS]
        for landscape in LANDSCAPES
        for name in QUICK
    }


@pytest.fixture(scope="module")
def regret(runs: Runs) -> Callable[[str, int], list[float]]:
    """Of a searcher after so many launches, on all landscapes that are not too noisy."""
    clear = {landscape.name for landscape in LANDSCAPES if not landscape.is_noisy}
    return lambda name, launches: [
        one.after(launches) for (on, of), ones in runs.items() if of == name and on in clear for one in ones
    ]


def test_ours_needs_fewer_launches_than_any_other(regret: Callable[[str, int], list[float]]) -> None:
    for launches in (6, 12):
        ours = float(np.mean(regret("planner", launches)))
        assert all(ours < np.mean(regret(name, launches)) for name in QUICK if name != "planner"), launches


def test_ours_keeps_its_aim(regret: Callable[[str, int], list[float]]) -> None:
    assert percentiles(regret("planner", 6), 50)[0] <= 0.02
    assert percentiles(regret("planner", 12), 50)[0] <= 0.01
    assert percentiles(regret("planner", 12), 90)[0] <= 0.08  # launches of one table differ by 4.6 %


def test_all_begin_at_the_default_and_stay_inside_the_table(runs: Runs) -> None:
    by_name = {landscape.name: landscape for landscape in LANDSCAPES}
    for (folder, name), several in runs.items():
        landscape = by_name[folder]
        for one in several:
            assert one.regret[0] == pytest.approx(landscape.regret(landscape.problem.default)), name
            assert min(one.regret) >= 0, name
            assert len(one.regret) == LAUNCHES or name in {"auto_tune", "vllm-tuner"}, name  # these may give up
            assert list(one.seconds) == sorted(one.seconds)


def test_luck_is_reproducible(runs: Runs) -> None:
    landscape = LANDSCAPES[0]
    for name in QUICK:
        assert run(landscape, name, 2, LAUNCHES) == runs[landscape.name, name][2], name


def test_random_search_is_no_better_than_chance(runs: Runs) -> None:
    """After n of N distinct candidates the best one was seen with probability n/N: the replay leaks nothing."""
    random = [one for (_, name), ones in runs.items() if name == "random" for one in ones]
    found = sum(one.after(LAUNCHES) == 0 for one in random) / len(random)
    chance = np.mean([LAUNCHES / len(landscape.searched) for landscape in LANDSCAPES])
    assert abs(found - chance) < 4 * np.sqrt(chance * (1 - chance) / len(random))


@pytest.mark.parametrize("landscape", LANDSCAPES, ids=lambda landscape: landscape.name)
def test_the_model_ranks_before_any_launch(landscape: Landscape) -> None:
    assert kendall_tau(*landscape.predicted_and_true) >= 0.6


def test_auto_tune_goes_in_its_scripts_order() -> None:
    landscape = next(one for one in LANDSCAPES if "h200" in one.name)
    searcher = EMULATED["auto_tune"](landscape.problem)
    asked = [searcher.ask() for _ in range(4)]
    settings = [(one[1].engine.max_num_seqs, one[1].engine.max_num_batched_tokens) for one in asked if one]
    assert settings[1:] == [(16, 512), (16, 1024), (16, 2048)]


def test_the_page_has_every_landscape() -> None:
    kept = (Path(__file__).parents[2] / "docs" / "search.md").read_text("utf-8")
    for landscape in LANDSCAPES:
        assert f"\n## {landscape.name}\n" in kept, "run: make race"


@pytest.mark.prove
def test_a_page_is_made_of_every_landscape(runs: Runs) -> None:
    landscapes = {landscape.name: landscape for landscape in LANDSCAPES}
    text = page.recorded(landscapes, runs, LAUNCHES, read_results())
    for landscape in LANDSCAPES:
        assert f"\n## {landscape.name}\n" in text


def test_stopping_early_saves_and_keeps_the_winner() -> None:
    """On recorded loads of the real engine; docs/search.md has more orders, and the planner's sampler."""
    saving = stopping.replay(stopping.RECORDED, "random", 10, 10)
    assert np.median(saving.seconds) > 0.4
    assert saving.same_winner >= 9
