"""Where a person changes a study: keys of a file, options without one."""

from __future__ import annotations

from typing import Any

import pytest
import typer.main

from planner.cli.main import app, main
from planner.errors import InputError
from planner.library import estimate_memory
from planner.study.places import OPTIONS, Places


def test_every_option_is_one_of_tune_and_of_the_doctor() -> None:
    group: Any = typer.main.get_command(app)
    for name in ("tune", "doctor", "estimate"):
        known = {option for parameter in group.commands[name].params for option in parameter.opts}
        assert set(OPTIONS.values()) <= known


def test_a_key_is_an_option_only_without_a_file() -> None:
    file, none = Places(True), Places(False)
    assert (file.name("models.model.path"), none.name("models.model.path")) == ("models.model.path", "--model")
    assert file.change("hardware.gpu", "RTX 4090") == "write hardware.gpu: RTX 4090"
    assert none.change("hardware.gpu", "RTX 4090") == "pass --gpu 'RTX 4090'"
    assert none.change("hardware.gpu_memory", "23GiB").endswith(
        "in a study.yaml, which planner init makes from the same options"
    )
    assert file.change("hardware.gpu_memory", "23GiB") == "write hardware.gpu_memory: 23GiB"
    assert (file.setting("max_num_seqs"), none.setting("max_num_seqs")) == ("max_num_seqs", "--max-num-seqs")


def test_a_wrong_value_is_named_as_it_was_typed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["estimate", "--model", "Qwen/Qwen3-8B", "--gpu", "H200", "--interconnect", "tube"])
    assert capsys.readouterr().err.startswith("planner: --interconnect: Invalid enum value 'tube'")


def test_the_environment_is_named_as_it_was_typed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["estimate", "--gpu", "H200", "VLLM_USE_V1=7 vllm serve Qwen/Qwen3-8B"])
    assert capsys.readouterr().err.startswith("planner: VLLM_USE_V1=7 (environment of the engine): allowed are 0 and 1")


def test_a_wrong_count_of_a_call_names_the_option() -> None:
    with pytest.raises(InputError, match=r"^--num-gpus: Expected `int` >= 1$"):
        estimate_memory(model="Qwen/Qwen3-8B", gpu="H200", num_gpus=0)
