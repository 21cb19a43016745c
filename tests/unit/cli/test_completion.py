"""What the shell offers: a walk over all options of all commands, and words in place."""

from __future__ import annotations

import re
from typing import Any, get_args, get_type_hints

import pytest
import typer.main

from planner.benchmark.capacity.stress import PRESETS
from planner.benchmark.metric import HEADLINES, METRICS
from planner.cli.completion import cards, flag_values, models, several_of, studies, workloads
from planner.cli.main import app
from planner.cli.schemas import SCHEMAS
from planner.engine.levers import LEVERS
from planner.fleet.spec import FleetSpec
from planner.hardware import GPUS, Interconnect
from planner.service.export.kinds import ExportKind
from planner.study.spec import SamplerSpec
from planner.tuning.plan import BACKENDS
from planner.workload import Workload

GROUP: Any = typer.main.get_command(app)
OPTIONS: list[tuple[Any, Any]] = [
    (command, parameter)
    for command in GROUP.commands.values()
    for parameter in command.params
    if "--help" not in parameter.opts
]
FEW = 8
"""Most options of a command without panels."""
FRAGMENTS = {"Of", "That", "So", "With", "By", "To", "At", "In", "For", "Only", "From", "As", "If", "When"}
"""Words that begin a half sentence: help names a thing or says what is done."""


def literal(struct: type, field: str) -> set[str]:
    return set(get_args(get_type_hints(struct)[field]))


ENUMERATIONS: dict[str, set[str]] = {
    "interconnect": set(get_args(Interconnect)),
    "endpoint": literal(Workload, "endpoint"),
    "preset": set(PRESETS),
    "kind": set(get_args(ExportKind)),
    "sampler": literal(SamplerSpec, "name"),
    "levers": {*LEVERS, "all"},
    "router": literal(FleetSpec, "router"),
    "backend": set(BACKENDS),
    "trim": {"oldest"},
    "window": literal(Workload, "window"),
    "slo": {f"{metric}=" for metric in METRICS},
    "objective": set(METRICS),
    "pareto": set(METRICS),
    "fail_on": {f"{metric}:" for metric in HEADLINES},
}
"""Parameter -> the values of which it takes one, or a list."""
NARROWER = {("doctor", "backend"): {"docker", "process"}, ("schema", "kind"): set(SCHEMAS)}


def offered(command: Any, parameter: Any, incomplete: str = "") -> set[str]:
    context = command.make_context(command.name, [], resilient_parsing=True)
    return {str(item.value) for item in parameter.shell_complete(context, incomplete)}


def test_every_enumeration_is_completed() -> None:
    for command, parameter in OPTIONS:
        allowed = NARROWER.get((command.name, parameter.name), ENUMERATIONS.get(parameter.name))
        if allowed is not None:
            assert offered(command, parameter) == allowed, f"{command.name} {parameter.name}"
        elif parameter.type.name == "text" and parameter.name != "workload":
            listed = re.search(r"[\w-]+, [\w-]+ or [\w-]+", parameter.help or "")
            assert listed is None, f"{command.name} {parameter.name}: is {listed} an enumeration?"


def test_paths_cards_models_and_loads_are_completed() -> None:
    for command, parameter in OPTIONS:
        name, where = parameter.name, f"{command.name} {parameter.name}"
        if name == "gpu":
            assert {"RTX 3090", "H200"} <= offered(command, parameter), where
        elif name == "model" and command.name != "bench":
            assert "Qwen/Qwen3-8B" in offered(command, parameter, "Qwen"), where
        elif name == "workload":
            assert "chat" in offered(command, parameter), where
        elif parameter.type.name in {"path", "file", "directory"} and name not in {"study", "ladder", "path"}:
            context = command.make_context(command.name, [], resilient_parsing=True)
            assert {item.type for item in parameter.shell_complete(context, "a")} <= {"file", "dir"}, where


def test_every_option_has_words_that_name_a_thing_or_an_act() -> None:
    for command, parameter in OPTIONS:
        words, where = parameter.help or "", f"{command.name} {parameter.name}: {parameter.help}"
        assert re.match(r"[A-Z]|study\.yaml|fleet\.yaml|ladder\.yaml|vLLM", words), where
        assert words.endswith("."), where
        assert words.split()[0] not in FRAGMENTS, where


def test_many_options_stand_in_panels() -> None:
    for command, parameter in OPTIONS:
        options = [one for one in command.params if one.param_type_name == "option" and "--help" not in one.opts]
        if parameter in options and len(options) > FEW:
            assert parameter.rich_help_panel, f"{command.name} {parameter.name}"


def test_a_list_keeps_what_is_there() -> None:
    assert several_of("layout", "engine")("scheduler,l") == ["scheduler,layout"]


def test_a_card_is_offered_so_that_bash_takes_it_as_one_word(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {str(name) for name in cards("rtx 309")} == {"RTX 3090", "RTX 3090 Ti"}
    monkeypatch.setenv("_PLANNER_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "planner estimate --gpu RTX")
    assert {str(name) for name in cards("RTX 309")} == {"RTX\\ 3090", "RTX\\ 3090\\ Ti"}
    assert all(name.startswith("rtx 309") for name in cards("RTX 309")), "as typer asks"
    monkeypatch.setenv("COMP_WORDS", "planner estimate --gpu 'RTX 309")
    assert {str(name) for name in cards("RTX 309")} == {"RTX 3090", "RTX 3090 Ti"}
    assert len(cards("")) == len(GPUS)


def test_names_begin_as_typed() -> None:
    assert all(name.startswith("openai/") for name in models("openai/"))
    assert workloads("cha") == ["chat"]


def test_after_a_vllm_flag_no_study_is_offered(monkeypatch: pytest.MonkeyPatch, study: Any) -> None:
    monkeypatch.chdir(study.parent.parent)
    (study.parent.parent / "studies").symlink_to(study.parent.parent)
    folder = f"studies/{study.parent.name}"
    monkeypatch.setenv("COMP_WORDS", "planner tune ")
    assert folder in studies("")
    monkeypatch.setenv("COMP_WORDS", "planner tune --max-num-seqs ")
    assert studies("") == []
    monkeypatch.setenv("COMP_WORDS", "planner tune --max-num-seqs s")
    assert studies("s") == []
    monkeypatch.setenv("COMP_WORDS", "planner tune -tp ")
    assert studies("") == []
    monkeypatch.setenv("COMP_WORDS", "planner tune --kv-cache-dtype fp8_e")
    assert studies("fp8_e") == ["fp8_e4m3", "fp8_e5m2"]
    monkeypatch.setenv("COMP_WORDS", "planner tune --enforce-eager ")
    assert folder in studies("")
    assert flag_values("--nothing") is None
