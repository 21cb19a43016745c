"""Each fix names what the person can change: a key of the study's file, or an option where options describe it."""

from __future__ import annotations

import re
import socket
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from planner.doctor.check import Case, Check
from planner.doctor.examination import examine, read_case
from planner.engine.config import EngineConfig
from planner.hardware.driver import Card, GpuFacts, Link
from planner.launch.docker.door import EngineFacts
from planner.study.loading import read_study
from planner.study.source import StudySource
from planner.units import GIB

KEY = re.compile(r"\b(?:models|hardware|engine|container|serve)\.[a-z_]+")
"""A key of study.yaml in a text."""


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    """A described study on a machine where nearly everything is other than it says."""
    monkeypatch.chdir(tmp_path)
    source = StudySource(model="Qwen/Qwen3-8B", gpu="RTX 4090", num_gpus=2, interconnect="nvlink")
    spec = read_study(source, EngineConfig(quantization="awq")).spec
    cards = [
        Card(index=i, name="NVIDIA GeForce RTX 3090", uuid=f"GPU-{i}", brand="geforce", compute_capability=(8, 6),
             total_bytes=int(23 * GIB), free_bytes=int(free * GIB))
        for i, free in enumerate((21.9, 21.9, 21.9))
    ]  # fmt: skip
    link = Link(first=0, second=1, has_nvlink=False, has_peer_access=False, path="NODE")
    gpus = GpuFacts(driver="550", cuda=(12, 4), cards=tuple(cards), links=(link,))
    case = read_case(spec, tmp_path, "process", gpus)
    docker = EngineFacts(
        version="28", runtimes=("nvidia",), cdi_devices=(), num_cpus=2, memory_bytes=8 * GIB, root_dir=tmp_path,
        is_rootless=True, is_local=True,
    )  # fmt: skip
    return replace(case, backend="docker", docker=docker)


def fixes(case: Case) -> dict[str, str]:
    return {one.name: one.fix for one in examine(case) if one.status in {"warning", "problem"}}


def test_no_fix_names_a_key_where_there_is_no_file(wrong: Case) -> None:
    model = replace_model(wrong, "/nowhere/M")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", wrong.spec.serve.host_port if wrong.spec else 0))
        taken.listen()
        read, described = fixes(model), fixes(replace(model, has_file=False))
    assert read.keys() == described.keys()
    with_key = {name for name, fix in read.items() if KEY.search(fix)}
    assert with_key >= {"GPUs", "GPU memory", "GPU links", "model", "ulimits", "ports"}
    for name in with_key:
        assert not KEY.search(described[name]) or "in a study.yaml, which planner init makes" in described[name], name
    assert "pass --gpu 'RTX 3090'" in described["GPUs"]
    assert described["model"].endswith("or correct --model")
    assert described["GPU links"] == "pass --interconnect pcie"


def replace_model(case: Case, path: str) -> Case:
    assert case.spec is not None
    (variant,) = case.spec.models.values()
    spec = msgspec.structs.replace(case.spec, models={"model": msgspec.structs.replace(variant, path=path)})
    return replace(case, spec=spec)


def test_too_few_cards_are_a_number_to_pass(wrong: Case) -> None:
    def told(case: Case) -> Check:
        return next(check for check in examine(case) if check.name == "GPUs")

    one = replace(wrong, gpus=replace(wrong.gpus, cards=wrong.gpus.cards[:1]))
    assert told(replace(one, has_file=False)).fix == "pass --num-gpus 1, or free the other cards"
    assert told(one).fix == "write hardware.num_gpus: 1, or free the other cards"
