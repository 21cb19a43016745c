"""A second study on the same cards begins with what the first one showed, and says so; others are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner.errors import InputError
from planner.study import Forecast, Problem, Workspace
from planner.tuning.executor import LocalExecutor
from planner.tuning.loop import run_study
from planner.tuning.search.earlier import as_here, taught_by, taught_of
from planner.tuning.search.search import Search
from tests.forecasts import forecast_of
from tests.race.runs import QUIET
from tests.race.worlds import is_chunked, world

Make = Callable[..., Problem]
Run = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, study_data: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    cards = {"hardware": {"gpu": "RTX 3090", "num_gpus": 1}}
    for name, changes in (("first", {}), ("second", {}), ("other-cards", cards)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "study.yaml").write_text(json.dumps(study_data(name=name, **changes)), "utf-8")
    return tmp_path


def test_what_a_first_study_found_of_a_switch_is_expected_of_a_second() -> None:
    made = world("switch-mild", 1)
    search = Search.open(made.forecast, None)
    executor = LocalExecutor(made.problem, made.measure(1), QUIET.stage, "replay")
    trials = run_study(made.problem, search, executor, 6, QUIET)
    taught = taught_of(made.forecast, made.forecast, trials)
    assert taught is not None
    assert taught.words == ("6 candidates measured in 6 launches",)
    (shift,) = taught.shifts.values()
    rows = made.forecast.grid.feasible_rows
    chunked = is_chunked(made.problem, made.forecast.grid.indices[rows])
    assert shift[rows].mean() == pytest.approx(0.0)
    assert shift[rows][chunked].mean() - shift[rows][~chunked].mean() > 0.1  # 0.3 in truth
    assert taught_of(made.forecast, made.forecast, []) is None


def test_values_that_a_study_does_not_search_are_left_out(make_problem: Make) -> None:
    wide = make_problem(search_space={"search": {"max_num_seqs": [8, 64], "enforce_eager": [True, False]}})
    narrow = make_problem(search_space={"search": {"max_num_seqs": [16, 32], "enforce_eager": [True]}})
    eager, graphs = (wide.choices.candidate({"max_num_seqs": 64, "enforce_eager": value}) for value in (True, False))
    found = as_here(narrow, wide, eager)
    assert found is not None
    assert narrow.choices.value_of(found, "max_num_seqs") == 64
    assert as_here(narrow, wide, graphs) is None


@pytest.mark.usefixtures("folder")
def test_the_plan_says_from_what_it_was_learned(run: Run) -> None:
    assert run("tune first --backend simulated --trials 3 --no-finals --keep-going --quiet")[0] == 0
    code, out, _ = run("tune second --backend simulated --trials 3 --no-finals --dry-run --learn-from first")
    assert code == 0
    (line,) = [line for line in out.splitlines() if line.startswith("learned ")]
    assert "first, 3 candidates measured in 3 launches, on " in line
    assert line.endswith("50% of its errors are expected here until launches say more")
    document = json.loads(run("tune second --backend simulated --dry-run --json --learn-from first")[1])
    assert [words.partition(",")[0] for words in document["learned"]] == ["first"]
    assert run("tune second --backend simulated --trials 3 --no-finals --quiet --learn-from first")[0] == 0
    refused = {
        "second --learn-from second": "is this study itself; allowed is another one on the same cards",
        "other-cards --learn-from first": "; allowed are studies of RTX 3090 with V1",
        "second --learn-from other-cards": "no trials yet",
        "second --learn-from first --sampler tpe": "only the sampler planner learns from earlier studies",
        "second --learn-from nowhere": "nowhere",
    }
    for options, words in refused.items():
        code, out, err = run(f"tune {options} --backend simulated --dry-run")
        assert (code, out) == (2, ""), options
        assert words in err
        assert len(err.strip().splitlines()) == 1


def test_a_study_without_a_measured_trial_teaches_nothing(
    make_problem: Make, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forecast = forecast_of(make_problem())
    assert taught_by(forecast, [], Workspace(folder / "second", simulated=True)) is None
    first = Forecast(make_problem(name="first")).problem
    monkeypatch.setattr("planner.tuning.search.earlier.stored_trials", lambda *_: (first, []))
    with pytest.raises(InputError, match="no trial was measured to its end with values that this study searches"):
        taught_by(forecast, [Path("first")], Workspace(folder / "second", simulated=True))
