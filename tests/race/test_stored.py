"""Worlds, runs kept in a file, and the page made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from planner.tuning.executor import LocalExecutor
from planner.tuning.loop import run_study
from planner.tuning.search.search import Search
from tests.race import page, world_page
from tests.race.answers import deployed
from tests.race.landscapes import FOLDER, load
from tests.race.runs import QUIET, Run
from tests.race.stored import Job, by_world, do, finish, jobs, read
from tests.race.worlds import WORLDS, world


@pytest.mark.parametrize("name", WORLDS)
def test_a_worlds_truth_is_one_for_what_runs_alike(name: str) -> None:
    made = world(name, 0)
    classes = made.forecast.classes
    for number in range(0, classes.count, 20):
        values = made.values[classes.rows[classes.numbers == number]]
        assert len(set(np.nan_to_num(values, nan=-1.0))) == 1
    assert 0 <= made.regret(made.problem.default) < 0.6
    share = np.isnan(made.values[classes.nearest(classes.rows)]).mean()
    assert 0.2 < share < 0.4 if name.startswith("failing") else share == 0


def test_the_only_repeat_of_a_candidate_gets_the_tables_noise() -> None:
    """Two numbers for one candidate differ, and by about what launches of this table differ by."""
    landscape = load(FOLDER / "vllm-0.24-h200-qwen3-4b-chat")
    key = next(
        key for key, records in landscape.by_candidate.items() if len(records) == 1 and key in landscape.searched
    )
    candidate, metric = landscape.searched[key], landscape.problem.spec.objective.metric
    measure = landscape.measure(landscape.problem)
    seen = [
        measure(candidate, number, lambda *_: None, None).results[0].metrics[metric]  # type: ignore[arg-type]
        for number in range(200)
    ]
    off = np.log(np.array(seen) / landscape.true_values[key])
    assert abs(off.mean()) < 4 * landscape.noise / np.sqrt(len(off))
    assert off.std() == pytest.approx(landscape.noise, rel=0.2)
    assert 0.001 < landscape.noise < 0.1


def test_seeds_are_outermost() -> None:
    made = list(jobs([("right", 30), ("table", 20)], ["planner", "random", "auto_tune"], range(2)))
    assert [job.seed for job in made] == sorted(job.seed for job in made)
    assert [job.searcher for job in made if job.place == "right"] == ["planner", "random"] * 2
    assert {job.launches for job in made if job.place == "table"} == {20}


def test_a_race_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    path, wanted = tmp_path / "runs.jsonl", list(jobs([("flat", 3)], ["random"], range(3)))
    shown: list[tuple[int, int]] = []
    finish(path, wanted[:1], 1, lambda *counts: shown.append(counts))
    first = path.read_bytes()
    path.write_bytes(first + first[: len(first) // 2])  # killed while it wrote
    assert len(read(path)) == 1
    finish(path, wanted, 1, lambda *counts: shown.append(counts))
    assert shown == [(1, 1), (1, 2), (2, 2)]
    assert path.read_bytes().startswith(first)
    assert sorted(one.job.seed for one in read(path)) == [0, 1, 2]


def test_a_run_notes_where_the_rule_would_have_stopped_and_goes_on() -> None:
    found = do(Job("flat", "planner", 0, 14)).run
    assert found.stopped is not None
    assert 6 <= found.stopped < len(found.regret) == len(found.failed) == 14
    assert found.deployed is not None
    assert max(found.deployed) < 0.03  # nothing matters there
    assert do(Job("flat", "random", 0, 8)).run.stopped is None


def test_the_finals_mend_what_noise_has_chosen() -> None:
    """In 10 % of noise the largest of many single launches is a lucky one; what the finals deploy is better."""
    made = world("noisy", 5)
    search = Search.open(made.forecast, None)
    executor = LocalExecutor(made.problem, made.measure(5), QUIET.stage, "replay")
    trials = run_study(made.problem, search, executor, 12, QUIET)
    lucky = max(trials, key=lambda trial: trial.value or 0.0)
    after = deployed(made.forecast, trials, made.measure(5))
    assert after is not None
    assert made.regret(after) <= made.regret(lucky.candidate)


def _runs(ours: float, theirs: float, stopped: int | None = None) -> dict[str, dict[int, Run]]:
    def several(regret: float, stopped: int | None) -> dict[int, Run]:
        curves = [(1.0, *[regret + 0.01 * seed] * 12, *[0.0] * 17) for seed in range(4)]
        return {seed: Run(curve, tuple(range(30)), (False,) * 30, stopped) for seed, curve in enumerate(curves)}

    return {"planner": several(ours, stopped), "random": several(theirs, None)}


def test_the_answer_names_what_is_behind_and_what_a_stop_lost() -> None:
    runs = {"right": _runs(0.01, 0.05), "needle": _runs(0.2, 0.1, stopped=10)}
    text = world_page.answer(runs)
    assert "lower by more than two standard errors in 2 of 6 comparisons" in text
    assert "worse in 2: needle at 6 (+10.0 points), needle at 12 (+10.0 points)" in text
    assert "(`--until 0.5%`) 0 % of the launches are saved at +0.0 points of mean regret" in text
    assert "told apart: 67 % of the launches are saved at +21.5 points of mean regret; " in text
    assert "3 points: 4 of 4 (needle 4); of what the finals deploy +21.5 points and 4 of 4 (needle 4)" in text
    assert "**+10.0 ± 0.0**" in world_page.section(runs)


def test_what_waiting_longer_costs_is_told_without_the_needle() -> None:
    curve = (0.2,) * 15 + (0.0,) * 15
    runs = {"right": {"planner": {0: Run(curve, tuple(range(30)), (), 10), 1: Run(curve, tuple(range(30)), (), 20)}}}
    text = world_page.section({**runs, "needle": {"planner": {0: Run((0.5,) * 30, tuple(range(30)), (), 6)}}})
    assert "| 0 | 50 % | +10.0 | 1 of 2 |" in text
    assert "| 4 | 37 % | +10.0 | 1 of 2 |" in text
    assert "| 6 | 30 % | +0.0 | 0 of 2 |" in text


def test_a_page_without_recorded_runs_keeps_the_part_there_is() -> None:
    kept = (Path(__file__).parents[2] / "docs" / "search.md").read_text("utf-8")
    head, recorded = page.parts(kept)
    assert head.startswith("# Search")
    assert recorded.startswith(page.RECORDED)
    assert page.joined(head, recorded) == kept
    assert "SIMULATED" in page.head({"right": _runs(0.0, 0.1)})


def test_runs_are_sorted_by_world_searcher_and_seed(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    finish(path, list(jobs([("flat-top", 2), ("flat", 2)], ["random"], range(2))), 1, lambda *_: None)
    table = by_world(read(path))
    assert list(table) == ["flat", "flat-top"]
    assert list(table["flat"]["random"]) == [0, 1]
