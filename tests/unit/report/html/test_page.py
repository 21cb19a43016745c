"""The page as text: every fact is there, nothing of it is markup, no two ids are the same."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from planner.estimate.memory.per_gpu import MemoryFigures
from planner.report.html.page import Page, rendered
from planner.report.html.sections import study_page
from planner.report.verdict import judged
from planner.study.problem import Problem
from planner.trials.trial import Failure, Trial
from planner.trials.wording import REPLAYED_BANNER, SIMULATED_BANNER
from planner.tuning.executor import LocalExecutor
from planner.tuning.loop import run_finals
from planner.tuning.measure import simulated
from planner.tuning.search.search import Search
from tests.forecasts import forecast_of

Make = Callable[..., Problem]
HOSTILE = "<script>alert(1)</script> \"'& </pre></style> {{ 7 * 7 }}"
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Reader(HTMLParser):
    """Elements with their attributes, and all text; fails where tags are not closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page_of(problem: Problem, trials: list[Trial], *pareto: str) -> Page:
    return study_page(forecast_of(problem), trials, pareto)


def read(problem: Problem, trials: list[Trial], *pareto: str) -> Reader:
    return Reader(rendered(page_of(problem, trials, *pareto), has_script=False))


@pytest.fixture
def finished(
    make_problem: Make, tune: Any, storage: str, watcher: Any, kept: dict[str, Any]
) -> tuple[Problem, list[Trial]]:
    """A study with its finals, on the simulated engine."""
    if "finished" not in kept:
        problem = make_problem()
        tune(problem, 6)
        executor = LocalExecutor(problem, simulated(forecast_of(problem)), watcher.stage, "simulated")
        kept["finished"] = problem, run_finals(problem, Search.open(forecast_of(problem), storage), executor, watcher)
    problem, trials = kept["finished"]
    return problem, list(trials)


def test_the_page_tells_all(finished: tuple[Problem, list[Trial]]) -> None:
    problem, trials = finished
    page = read(problem, trials)
    verdict = judged(forecast_of(problem), trials)
    assert verdict.sentence[1:] in page.text
    for title in (
        "Verdict", "The default against the best", "The best so far", "Pareto front", "Every trial", "Ruled out",
        "What mattered", "Predicted against measured", "Latencies of the finalists", "How the numbers were obtained",
    ):  # fmt: skip
        assert title in page.text
    assert SIMULATED_BANNER in page.text
    assert f"{trials[-1].number} ({trials[-1].rerun.of} again)" in page.text  # type: ignore[union-attr]
    assert "8 combinations of the search space" in page.text
    assert "sampler planner, seed 0" in page.text


def test_it_has_no_script_and_asks_for_nothing(finished: tuple[Problem, list[Trial]]) -> None:
    text = rendered(page_of(*finished), has_script=False)
    page = Reader(text)
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.elements}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert "url(" not in text
    assert set(re.findall(r"https?://[^\s\"<]+", text)) == {"http://www.w3.org/2000/svg"}
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in str(policy)
    assert "script" not in str(policy)
    assert len(text) < 200_000


def test_its_script_is_the_only_one_that_its_policy_lets_run(finished: tuple[Problem, list[Trial]]) -> None:
    text = rendered(page_of(*finished))
    page = Reader(text)
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    script = text.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in str(policy)
    assert page.all("script") == [{}]
    assert "http" not in script


def test_a_hundred_trials_stay_small(finished: tuple[Problem, list[Trial]]) -> None:
    problem, trials = finished
    first = next(trial for trial in trials if trial.candidate != problem.default and trial.rerun is None)
    many = [*trials, *(replace(first, number=n) for n in range(len(trials), 100))]
    assert len(rendered(study_page(forecast_of(problem), many, script="docker run\n")).encode()) < 400_000


def test_it_can_be_read_aloud_and_by_keyboard(finished: tuple[Problem, list[Trial]]) -> None:
    page = read(*finished)
    assert page.all("html")[0]["lang"] == "en"
    assert [tag for tag, _ in page.elements if re.fullmatch(r"h\d", tag)] == ["h1"] + ["h2"] * len(page.all("section"))
    drawings = page.all("svg")
    assert len(drawings) == len(page.all("figure")) >= 8
    assert all(drawing["role"] == "img" and drawing["aria-label"] for drawing in drawings)
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(cell.get("scope") in {"col", "row"} for cell in page.all("th"))
    assert len(page.all("summary")) == len(page.all("details")) == len(drawings)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"] for link in page.all("a")} <= {f"#{anchor}" for anchor in ids}


def test_the_same_study_gives_the_same_page(finished: tuple[Problem, list[Trial]]) -> None:
    assert rendered(page_of(*finished)) == rendered(page_of(*finished))


def test_hostile_words_are_only_words(make_problem: Make, launch: Any) -> None:
    models = {"small": {"path": HOSTILE, "architecture": "Qwen/Qwen3-8B"}}
    problem = make_problem(description=HOSTILE, workload__name=HOSTILE, models=models)
    default, other, failed = launch(problem, 3)
    failure = Failure(kind="EngineCrashed", message=HOSTILE, log_tail=f"first\n{HOSTILE}")
    provenance = replace(other.provenance, image=HOSTILE, gpu=HOSTILE)
    trials = [
        replace(default, provenance=provenance),
        other,
        replace(failed, outcome="failed", value=None, failure=failure),
    ]
    page = read(problem, trials)
    assert not page.all("script")
    words = " ".join(HOSTILE.split())
    assert page.text.count(words) >= 6
    assert f"failed: {words}" in page.text
    assert "End of the log of trial 2" in page.text


def test_a_study_without_any_good_trial(make_problem: Make, launch: Any) -> None:
    problem = make_problem()
    (trial,) = launch(problem)
    failed = replace(trial, outcome="failed", value=None, metrics={}, failure=Failure(kind="X", message="no memory"))
    page = read(problem, [failed])
    assert "No trial kept every limit" in page.text
    assert "failed: no memory" in page.text
    infeasible = replace(trial, outcome="infeasible", value=None, metrics={}, start_s=0.0)
    assert "Every trial" in read(problem, [infeasible]).text


def test_one_launch_is_enough_for_a_page(make_problem: Make, launch: Any) -> None:
    problem = make_problem()
    page = read(problem, launch(problem))
    assert "The engine's defaults are the best that was measured: keep them" in page.text


@pytest.mark.parametrize(
    "changes",
    [
        {"objective": {"metric": "ttft_p95"}},
        {"objective": {"weights": {"output_throughput": 1, "ttft_p95": 0.5}}},
        {"also_at": [1]},
        {"objective": {"slo": {"ttft_p95": "1us"}}},
        {"search_space": {"search": {"max_num_seqs": [8], "swap_space": [0, 4], "async_scheduling": [True]}}},
        {
            "engine__settings": {"dtype": "half", "max_num_seqs": 8},
            "search_space": {"search": {"max_model_len": [2048, 4096]}},
            "objective": {"metric": "max_model_len", "slo": {"ttft_p95": "10s"}},
        },
    ],
    ids=["latency", "score", "loads", "broken", "space", "context"],
)
def test_every_kind_of_study_has_a_page(make_problem: Make, launch: Any, changes: dict[str, Any]) -> None:
    problem = make_problem(**changes)
    page = read(problem, launch(problem, 3))
    assert problem.objective.words in page.text


def test_the_front_is_of_the_metrics_asked_for(finished: tuple[Problem, list[Trial]]) -> None:
    page = read(*finished, "tpot_p50", "e2el_p99")
    assert "Trials that none beats in tpot_p50 and e2el_p99" in page.text


def test_a_start_that_told_its_memory_is_drawn(make_problem: Make, launch: Any) -> None:
    problem = make_problem()
    trials = [replace(trial, real_memory=MemoryFigures(kv_tokens=50_000)) for trial in launch(problem, 3)]
    page = read(problem, trials)
    assert "KV cache: predicted before launch, and as the log said" in [svg["aria-label"] for svg in page.all("svg")]
    assert "No launch told its memory" not in page.text


def test_no_gain_is_told_with_its_interval(finished: tuple[Problem, list[Trial]]) -> None:
    """All finalists measured the same: the default stays, and the sentence says how sure that is."""
    problem, trials = finished
    same = [t if t.rerun is None else replace(t, repeat_values=(100.0, 110.0)) for t in trials]
    page = read(problem, same)
    assert "No significant gain over the engine's defaults: keep them; trial" in page.text
    assert "shows +0.0% (+0.0% to +0.0%)" in page.text
    assert "The defaults are the best: nothing differs." in page.text


def test_a_replay_says_so(make_problem: Make, launch: Any) -> None:
    problem = make_problem()
    (trial,) = launch(problem)
    replayed = replace(trial, provenance=replace(trial.provenance, backend="replay", simulated=False))
    page = read(problem, [replayed])
    assert REPLAYED_BANNER in page.text
    assert SIMULATED_BANNER not in page.text
    real = replace(trial, provenance=replace(trial.provenance, backend="docker", simulated=False))
    assert SIMULATED_BANNER not in read(problem, [real]).text


def test_the_drawings_are_small_and_have_no_style_of_their_own(finished: tuple[Problem, list[Trial]]) -> None:
    drawings = [figure.svg for section in page_of(*finished).sections for figure in section.figures]
    assert all(len(drawing) < 16_000 for drawing in drawings)
    assert not [drawing for drawing in drawings if "<style" in drawing or "<script" in drawing or "<!--" in drawing]
    assert "<title>trial 0" in "".join(drawings)


def test_the_template_ships_with_the_package() -> None:
    folder = Path(study_page.__code__.co_filename).parent / "templates"
    assert {path.name for path in folder.iterdir()} == {
        "page.html.jinja", "parts.html.jinja", "report.js", "style.css", "watch.css", "watch.html.jinja", "watch.js",
        "watch_parts.html.jinja",
    }  # fmt: skip
