"""The quick checks before a tuning run: what they refuse, what they only say, and what they leave alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from planner.doctor import before_launch
from planner.doctor.before_launch import check_before_launch, quick_checks, words_of_checks
from planner.doctor.check import Case
from planner.doctor.examination import read_case
from planner.doctor.flags import version, version_of_image
from planner.errors import BackendError
from planner.files.structured import convert
from planner.hardware.driver import Card, GpuFacts
from planner.launch.docker.image import ImageFacts
from planner.study.spec import StudySpec
from planner.units import GIB

Study = Callable[..., dict[str, Any]]


@cache
def vllm_program() -> str:
    """A program of vLLM's name, which is only looked for here."""
    path = Path(mkdtemp()) / "vllm"
    path.write_text("#!/bin/sh\n", "utf-8")
    path.chmod(0o755)
    return str(path)


def facts(
    name: str = "NVIDIA GeForce RTX 2080 Ti", total: float = 21.48, free: float = 21.4, count: int = 4
) -> GpuFacts:
    cards = [
        Card(index=i, name=name, uuid=f"GPU-{i}", brand="geforce", compute_capability=(7, 5),
             total_bytes=int(total * GIB), free_bytes=int(free * GIB))
        for i in range(count)
    ]  # fmt: skip
    return GpuFacts(driver="550.54.15", cuda=(12, 4), cards=tuple(cards))


@pytest.fixture
def case(study_data: Study, tmp_path: Path) -> Callable[..., Case]:
    def build(gpus: GpuFacts, **changes: Any) -> Case:
        spec = convert(study_data(engine__command=[vllm_program()], **changes), StudySpec, "study.yaml")
        return read_case(spec, tmp_path, "process", gpus)

    return build


def problems(case: Case) -> dict[str, str]:
    return {one.name: one.finding for one in quick_checks(case) if one.status == "problem"}


def test_free_cards_of_the_study_pass(case: Callable[..., Case]) -> None:
    assert problems(case(facts())) == {}


def test_a_busy_card_a_wrong_card_and_a_missing_one_are_problems(case: Callable[..., Case]) -> None:
    assert "5.00 GiB free on the fullest" in problems(case(facts(free=5)))["GPU memory"]
    assert "the study predicts for RTX 2080 Ti 22GB" in problems(case(facts("NVIDIA H200", 139.8, 139.0)))["GPUs"]
    assert "the study uses 2" in problems(case(facts(count=1)))["GPUs"]


def test_only_the_cards_that_the_study_names_are_looked_at(case: Callable[..., Case]) -> None:
    four = facts()
    busy = replace(four, cards=(*(replace(card, free_bytes=GIB) for card in four.cards[:2]), *four.cards[2:]))
    assert "GPU memory" in problems(case(busy))
    assert problems(case(busy, hardware__gpu_ids=[2, 3])) == {}
    assert "the study uses GPU 3, 7" in problems(case(four, hardware__gpu_ids=[3, 7]))["GPUs"]


def test_a_missing_model_directory_is_a_problem(case: Callable[..., Case]) -> None:
    found = problems(case(facts(), models={"m": {"path": "/nowhere/M", "architecture": "Qwen/Qwen3-8B"}}))
    assert "/nowhere/M is no directory" in found["model m"]


def test_the_version_of_an_image_is_held_against_the_study(case: Callable[..., Case]) -> None:
    """vLLM's own images say it in their tag, so that none has to be started."""
    other = ImageFacts(name="vllm/vllm-openai:v0.11.0", id="sha256:" + "0" * 64, digest=None, env={})
    there = replace(case(facts()), image=other)
    check = version(there, version_of_image(there))
    assert check is not None
    assert (check.status, "is vLLM v0.11.0, the study predicts for 0.8.5" in check.finding) == ("problem", True)


def test_all_problems_are_one_error_that_says_how_to_go_on(
    study_data: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = convert(study_data(engine__command=[vllm_program()]), StudySpec, "study.yaml")
    monkeypatch.setattr(
        before_launch,
        "read_case",
        lambda spec, folder, backend: read_case(spec, folder, backend, facts(free=5, count=1)),
    )
    with pytest.raises(BackendError, match=r"GPUs: .*GPU memory: .*--no-checks launches nevertheless") as caught:
        check_before_launch(spec, tmp_path, "process")
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(
        before_launch, "read_case", lambda spec, folder, backend: read_case(spec, folder, backend, facts())
    )
    (line,) = check_before_launch(spec, tmp_path, "process")
    assert line.startswith("warning: model small: Qwen/Qwen3-8B is a Hub name")


def test_a_program_of_ones_own_may_need_no_card(study_data: Study, tmp_path: Path) -> None:
    spec = convert(study_data(engine__command=["true"]), StudySpec, "study.yaml")
    assert problems(read_case(spec, tmp_path, "process", facts(count=0))) == {}


def test_words_name_the_check_and_the_fix(case: Callable[..., Case]) -> None:
    words = words_of_checks([one for one in quick_checks(case(facts(count=1))) if one.name == "GPUs"])
    assert words.startswith("GPUs: 1 x NVIDIA GeForce RTX 2080 Ti")
    assert words.endswith("(write hardware.num_gpus: 1, or free the other cards)")
