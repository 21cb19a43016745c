"""YAML in and out: what ships loads, what is wrong is named by file and key in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from planner.cli.schemas import SCHEMAS, json_schema
from planner.errors import InputError
from planner.files.shipped import load_named, shipped_files
from planner.files.structured import convert, decode, encode
from planner.study.loading import load_study
from planner.study.problem import Problem
from planner.study.space import SearchSpace
from planner.study.spec import StudySpec
from planner.workload.workload import Workload
from tests.forecasts import forecast_of, grid_of
from tests.places import ROOT

STUDIES = sorted((ROOT / "studies").glob("*/study.yaml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.parent.name)
def test_shipped_studies_load_look_up_and_match_their_schema(path: Path) -> None:
    problem = Problem.of(load_study(path))
    assert len(grid_of(problem).feasible_rows) > 0
    assert load_study(path.parent) == problem.spec
    jsonschema.validate(yaml.safe_load(path.read_text("utf-8")), json_schema("study"))


@pytest.mark.parametrize(("kind", "schema"), [("search_spaces", "search-space"), ("workloads", "workload")])
def test_shipped_files_load_and_match_their_schema(kind: str, schema: str) -> None:
    files = shipped_files(kind)
    assert len(files) >= 2
    for path in files.values():
        decode(path.read_text("utf-8"), SCHEMAS[schema], str(path))
        jsonschema.validate(yaml.safe_load(path.read_text("utf-8")), json_schema(schema))


@pytest.mark.parametrize("name", sorted(shipped_files("workloads")))
def test_a_study_takes_every_shipped_workload(
    name: str, study_data: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**study_data(), "workload": name}), "utf-8")
    problem = Problem.of(load_study(tmp_path))
    assert problem.workload.name == name
    assert forecast_of(problem).predicted(problem.default)["output_throughput"] > 0


def test_a_study_takes_a_file_beside_it_and_the_traffic_that_it_names(
    study_data: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text("{concurrency: 2, num_requests: 8, turns: 4, request_rate: 3}", "utf-8")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**study_data(), "workload": "mine.yaml"}), "utf-8")
    assert load_study(tmp_path).workload == Workload(concurrency=2, num_requests=8, turns=4, request_rate=3.0)
    (tmp_path / "mine.yaml").write_text("{concurrency: 2, num_requests: 8, prompts: a.jsonl}", "utf-8")
    with pytest.raises(InputError, match=r"a\.jsonl: cannot be read: No such file"):
        load_study(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"input_tokens": 9, "output_tokens": 5}\n' * 8, "utf-8")
    workload = load_study(tmp_path).workload
    assert isinstance(workload, Workload)
    assert workload.input_tokens == 9


def test_two_studies_ship() -> None:
    assert {path.parent.name for path in STUDIES} >= {"qwen3-32b-awq-4x2080ti", "tiny-qwen3-cpu"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"color": "red"}, "study.yaml: unknown key `color`"),
        ({"hardware__gpus": 4}, "study.yaml: hardware: unknown key `gpus`"),
        ({"engine__settings": {"max_num_seq": 4}}, "study.yaml: engine.settings: unknown key `max_num_seq`"),
        ({"engine__settings": {"max_num_seqs": "4"}}, "study.yaml: engine.settings.max_num_seqs: Expected `int"),
        ({"engine__version": 0.8}, "study.yaml: engine.version: Expected `str`, got `float`"),
        ({"hardware__num_gpus": 0}, "study.yaml: hardware.num_gpus: Expected `int` >= 1"),
        ({"hardware__host_memory": "much"}, "study.yaml: hardware.host_memory: 'much' is not a size such as 80GiB"),
        ({"hardware__interconnect": "string"}, "study.yaml: hardware.interconnect: Invalid enum value 'string'"),
        ({"engine__start_timeout": "soon"}, "study.yaml: engine.start_timeout: 'soon' is not a duration"),
        ({"engine__command": []}, "study.yaml: engine.command: Expected `array` of length >= 1"),
        ({"name": "a/b"}, "study.yaml: name: allowed: letters A to Z, digits, _ . and -"),
        ({"serve__name": "$(reboot)"}, "study.yaml: serve.name: allowed: letters A to Z"),
        ({"serve__host_port": 70000}, "study.yaml: serve.host_port: Expected `int` <= 65535"),
        ({"models": {}}, "study.yaml: models: Expected `object` of length >= 1"),
        ({"models__small": {}}, "study.yaml: models: missing key `path`"),
        ({"objective__metric": "speed"}, "study.yaml: objective: metric 'speed': allowed: request_throughput"),
        (
            {"objective__weights": {"speed": 1}},
            "study.yaml: objective: weights.speed: is no metric; allowed: request_th",
        ),
        (
            {"objective__weights": {"ttft_p95": -1}},
            "study.yaml: objective: weights.ttft_p95: -1 is not a number above 0",
        ),
        ({"objective__weights": {"ttft_p95": "a"}}, "study.yaml: objective.weights: Expected `float`, got `str`"),
        (
            {"objective": {"metric": "ttft_p95", "weights": {"ttft_p95": 1}}},
            "study.yaml: objective: metric and weights: allowed is one of them",
        ),
        (
            {"objective__slo": {"output_throughput": "2s"}},
            "study.yaml: objective: slo.output_throughput: '2s' is not a plain number a second such as 500",
        ),
        (
            {"objective__slo": {"ttft_p95": "soon"}},
            "study.yaml: objective: slo.ttft_p95: 'soon' is not a duration such as",
        ),
        ({"objective__slo": {"ttft_p95": 0}}, "study.yaml: objective: slo.ttft_p95: 0 is not above 0"),
        (
            {"objective__slo": {"max_model_len": 9}},
            "study.yaml: objective: slo.max_model_len: is no metric with a limit",
        ),
        ({"search_space__search": {"foo": [1]}}, "study.yaml: search_space: search.foo: unknown"),
        ({"workload__input_tokens": {"low": 9, "high": 1}}, "study.yaml: workload.input_tokens: low 9 is above high 1"),
        ({"workload__shared_prefix_tokens": 65}, "study.yaml: workload: shared_prefix_tokens 65 "),
        ({"sampler__name": "genetic"}, "study.yaml: sampler.name: Invalid enum value 'genetic'"),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(
    study_data: Callable[..., dict[str, Any]], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        convert(study_data(**changes), StudySpec, "study.yaml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- 1", "nonsense", "a: [1", "a:\n\t- b", "a: \x00", "{{}}", "a: &x [*y]", "42"])
def test_garbage_is_one_line_with_the_file(text: str) -> None:
    with pytest.raises(InputError, match=r"^my\.yaml: ") as caught:
        decode(text, StudySpec, "my.yaml")
    assert "\n" not in str(caught.value)


def test_names_are_looked_up_beside_the_file_first(tmp_path: Path) -> None:
    (tmp_path / "chat.yaml").write_text(
        "{name: mine, concurrency: 1, num_requests: 1, input_tokens: 1, output_tokens: 1}", "utf-8"
    )
    assert load_named("chat.yaml", Workload, tmp_path, "workloads").name == "mine"
    assert load_named("chat", Workload, tmp_path, "workloads").name == "chat"
    with pytest.raises(InputError, match=r"^nope: no such file in .*; shipped: agent, chat, .*summarize$"):
        load_named("nope", Workload, tmp_path, "workloads")
    (tmp_path / "bad.yaml").write_text("search: 3", "utf-8")
    with pytest.raises(InputError, match=r"bad\.yaml: search: Expected"):
        load_named("bad.yaml", SearchSpace, tmp_path, "search_spaces")


def test_relative_model_paths_are_relative_to_the_study(
    tmp_path: Path, study_data: Callable[..., dict[str, Any]]
) -> None:
    path = tmp_path / "deep" / "study.yaml"
    path.parent.mkdir()
    data = study_data(models={"a": {"path": "../weights/A"}, "b": {"path": "Qwen/Qwen3-8B"}, "c": {"path": "/abs"}})
    path.write_text(yaml.safe_dump(data), "utf-8")
    models = load_study(path).models
    assert [models[key].path for key in "abc"] == [str(tmp_path / "weights" / "A"), "Qwen/Qwen3-8B", "/abs"]


@pytest.mark.parametrize("name", ["missing", "missing.yaml"])
def test_a_missing_study(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="no such study"):
        load_study(tmp_path / name)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"study\.yaml: cannot be read"):
        load_study(tmp_path)


def test_a_study_written_is_the_study_read(study_data: Callable[..., dict[str, Any]]) -> None:
    data = study_data(hardware__gpu_memory="21.48GiB", engine__start_timeout="5min", objective__slo={"ttft_p95": "2s"})
    spec = convert(data, StudySpec, "study.yaml")
    assert (spec.hardware.gpu_memory, spec.engine.start_timeout) == (23_063_974_380, 300.0)
    assert decode(encode(spec), StudySpec, "again.yaml") == spec


def test_an_unknown_schema() -> None:
    with pytest.raises(InputError, match="schema 'trial': allowed: study, search-space, workload, hardware"):
        json_schema("trial")


@pytest.mark.parametrize("escape", ["\\0", "\\e[31m", "\\x85", "\\u2028", "\\ud800", "\\uffff", "\\x7f"])
@pytest.mark.parametrize("where", ['models: {a: {path: "/data/%s"}}', 'engine: {env: {"A%s": x}}', "%s: 1"])
def test_control_characters_are_refused_wherever_they_are(escape: str, where: str) -> None:
    """YAML's escapes can say them, and no path, argument, header or terminal should get them."""
    text = where % (f'"{escape}"' if where.startswith("%") else escape)
    with pytest.raises(InputError, match=r"study\.yaml: .* control character") as caught:
        decode(text, StudySpec, "study.yaml")
    assert str(caught.value).isprintable()


def test_aliases_that_repeat_and_contain_themselves_are_read_once() -> None:
    laughs = "a: &a [x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 10)}]\n" for i in range(12)
    )
    with pytest.raises(InputError):
        decode(laughs, StudySpec, "study.yaml")


def test_a_number_that_yaml_reads_as_text_comes_with_its_spelling(study_data: Callable[..., dict[str, Any]]) -> None:
    text = yaml.safe_dump(study_data()).replace("workload:", "workload:\n  request_rate: 1e12")
    with pytest.raises(InputError, match=r"request_rate: Expected .*; YAML reads 1e12 as text: write 1\.0e\+12$"):
        decode(text, StudySpec, "study.yaml")
    with pytest.raises(InputError, match=r"repeats: Expected `int`, got `str`$"):
        decode(yaml.safe_dump(study_data(repeats="two")), StudySpec, "study.yaml")
    assert yaml.safe_load("1.0e+12") == 1e12
