"""The doctor with a real Docker Engine and the real vLLM-CPU image."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml

from planner.doctor import docker as docker_checks
from planner.doctor.examination import read_case
from planner.hardware.driver import Card, GpuFacts
from planner.study.loading import load_study
from tests.integration.studies import PLANNER, write_cpu_study

pytestmark = pytest.mark.container

ROOT = Path(__file__).parents[2]
TARGET = ROOT / "studies" / "qwen3-32b-awq-4x2080ti"


def doctor(*words: str | Path, cache: Path) -> tuple[int, dict[str, dict[str, Any]], str]:
    """Exit code, lines by name, stderr; with a cache of its own."""
    ended = subprocess.run(
        [*PLANNER, "doctor", *map(str, words), "--json"],
        capture_output=True, text=True, check=False, env={**os.environ, "XDG_CACHE_HOME": str(cache)},
    )  # fmt: skip
    assert "Traceback" not in ended.stderr
    return ended.returncode, {check["name"]: check for check in json.loads(ended.stdout)["checks"]}, ended.stderr


@pytest.mark.vllm
def test_a_cpu_study_is_clean_and_its_flags_are_asked_of_the_image_once(
    docker_client: docker.DockerClient, vllm_image: str, tiny_model: Path, tmp_path: Path
) -> None:
    study = write_cpu_study(tmp_path / "study", vllm_image, tiny_model)
    code, told, err = doctor(study, cache=tmp_path)
    assert "for its flags, once for each image" in err
    assert code == 0, told
    assert {check["status"] for name, check in told.items() if name != "disk"} == {"ok", "skipped"}, told
    assert told["vLLM version"]["finding"] == "vLLM 0.32.0+cpu, as the study says"
    finding = told["vLLM flags"]["finding"]
    assert finding.startswith("all 8 of the study are among the engine's 40")
    assert ";" not in finding, "the image's --help and the table have the same flags"
    image_id = docker_client.images.get(vllm_image).id
    assert told["image"]["finding"] == f"{vllm_image}, built here, id {image_id}"

    data = yaml.safe_load(study.read_text("utf-8"))
    data["engine"] |= {"version": "0.8.5", "extra_args": ["--num-scheduler-steps=8"]}
    data["serve"]["host_port"] = 65535
    study.write_text(yaml.safe_dump(data), "utf-8")
    code, told, err = doctor(study, cache=tmp_path)
    assert (code, err) == (3, "")  # known from the first time
    assert told["vLLM version"]["fix"] == "write engine.version: 0.32.0, or take another image"
    assert "does not know --num-scheduler-steps" in told["vLLM flags"]["finding"]
    assert not [c for c in docker_client.containers.list(all=True) if c.name.startswith("planner-doctor-")]


def test_cards_that_a_container_does_not_get_are_said(
    docker_client: docker.DockerClient, vllm_image: str, tiny_model: Path, tmp_path: Path
) -> None:
    """The container is really started, with the cards asked of a runtime that has none."""
    if "nvidia" in docker_client.info()["Runtimes"]:
        pytest.skip("this Engine has the NVIDIA runtime")
    study = write_cpu_study(tmp_path / "study", vllm_image, tiny_model)
    data = yaml.safe_load(study.read_text("utf-8"))
    data |= {"hardware": {"gpu": "H200"}, "container": {"image": vllm_image, "runtime": "runc"}}
    study.write_text(yaml.safe_dump(data), "utf-8")
    card = Card(
        index=0, name="NVIDIA H200", uuid="GPU-0", brand="nvidia", compute_capability=(9, 0),
        total_bytes=150_109_880_320, free_bytes=150_000_000_000,
    )  # fmt: skip
    told = GpuFacts(driver="580.159.04", cuda=(13, 0), cards=(card,))
    found = docker_checks.cards_in_container(read_case(load_study(study), study.parent, "docker", told))
    assert found is not None
    assert found.status == "problem"
    assert "could not select device driver" in found.finding
    assert not [c for c in docker_client.containers.list(all=True) if c.name.startswith("planner-doctor-")]


def test_an_engine_without_the_nvidia_runtime_is_said(docker_client: docker.DockerClient, tmp_path: Path) -> None:
    info = docker_client.info()
    if "nvidia" in info["Runtimes"]:
        pytest.skip("this Engine has the NVIDIA runtime")
    code, told, _ = doctor(TARGET, cache=tmp_path)
    assert code == 3
    assert told["Docker Engine"]["status"] == "ok"
    assert told["NVIDIA runtime"]["status"] == "problem"
    assert "runtime nvidia is not registered (there are " in told["NVIDIA runtime"]["finding"]
    assert "runc" in told["NVIDIA runtime"]["finding"]
    assert told["NVIDIA runtime"]["fix"].endswith("sudo systemctl restart docker")
    assert told["image"]["fix"] == "docker pull vllm/vllm-openai:v0.8.5"
    if info["NCPU"] < 56:
        assert told["CPUs"]["status"] == "problem"
