"""Which study a command means: named, described, or with options beside its name; none is found by chance."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner.engine import NEWEST
from planner.engine.config import EngineConfig
from planner.errors import InputError
from planner.files.structured import encode
from planner.study.identity import asked_of
from planner.study.loading import FoundStudy, continued, load_study, read_study
from planner.study.question import Question
from planner.study.source import StudySource

NOTHING = EngineConfig()
DESCRIBED: dict[str, Any] = {"model": "Qwen/Qwen3-8B", "gpu": "RTX 4090"}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def written(study_data: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        path = tmp_path / "named" / "study.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(study_data(**changes)), "utf-8")
        return path

    return write


def described(given: EngineConfig = NOTHING, levers: str | None = None, **changes: Any) -> FoundStudy:
    return read_study(StudySource(**{**DESCRIBED, **changes}), given, levers)


def test_a_described_study_is_named_after_what_is_asked() -> None:
    found = described()
    assert found.spec.name == f"qwen-qwen3-8b-1xrtx-4090-v{NEWEST}"
    assert found.folder == Path("studies") / found.spec.name
    assert described(version="latest").spec == found.spec
    assert described(num_gpus=1, interconnect="pcie", version=f"v{NEWEST}").spec == found.spec


def test_everything_on_which_the_answer_depends_is_in_the_name(tmp_path: Path) -> None:
    (tmp_path / "Qwen3-8B").mkdir()
    (tmp_path / "Qwen3-8B" / "config.json").write_text(
        '{"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "hidden_size": 64, "num_hidden_layers": 2, '
        '"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 512, '
        '"max_position_embeddings": 8192}'
    )
    asked = [
        described(),
        described(version="0.11.0"),
        described(num_gpus=2),
        described(interconnect="nvlink"),
        described(gpu="RTX 3090"),
        described(model="Qwen/Qwen3-14B"),
        described(model=str(tmp_path / "Qwen3-8B")),
        described(given=EngineConfig(max_model_len=8192)),
        described(given=EngineConfig(max_num_seqs=8)),
        described(levers="all"),
        described(levers="scheduler"),
    ]
    assert len({found.spec.name for found in asked}) == len(asked)
    assert described(levers="all").spec == described(levers="scheduler,layout,numerics,engine").spec


def test_no_file_is_read_for_a_described_study(written: Callable[..., Path]) -> None:
    """What an earlier run left under the same name, or lies in the working folder, is not the answer."""
    found = described()
    found.folder.mkdir(parents=True)
    (found.folder / "study.yaml").write_text("not: [a study", "utf-8")
    Path("study.yaml").write_text(written().read_text("utf-8"), "utf-8")
    assert described() == found


def test_the_same_description_goes_on_with_what_is_stored() -> None:
    found = described()
    found.folder.mkdir(parents=True)
    path = found.folder / "study.yaml"
    path.write_text(encode(found.spec), "utf-8")
    assert continued(found).spec == load_study(path)
    assert asked_of(continued(found).spec) == asked_of(found.spec)
    path.write_text(encode(found.spec).replace("host_port: 8000", "host_port: 9999"), "utf-8")
    assert continued(found).spec.serve.host_port == 9999  # written by hand since, and no other question


def test_other_limits_are_another_question_of_the_same_study() -> None:
    """One name and folder whatever is asked; what this command asks counts, and a note says so."""
    first = described()
    first.folder.mkdir(parents=True)
    (first.folder / "study.yaml").write_text(encode(first.spec), "utf-8")
    source = StudySource(**DESCRIBED)
    asked = read_study(source, EngineConfig(), question=Question(slo="ttft_p95=2s", objective="tpot_p50"))
    assert asked.folder == first.folder
    found = continued(asked)
    assert (found.spec.objective.metric, found.spec.objective.limits) == ("tpot_p50", {"ttft_p95": 2.0})
    assert found.notes[0].startswith(
        f"{first.folder / 'study.yaml'} asks output_throughput; this command asks tpot_p50;"
    )
    assert continued(described()).notes == ()
    assert read_study(source, EngineConfig(), question=Question(concurrency=3)).folder != first.folder


def test_a_folder_of_another_study_is_refused_with_the_difference() -> None:
    other = described(name="mine", version="0.11.0")
    other.folder.mkdir(parents=True)
    (other.folder / "study.yaml").write_text(encode(other.spec), "utf-8")
    with pytest.raises(InputError, match=rf"engine.version: 0\.11\.0 -> {NEWEST}.*planner tune studies/mine.*--name"):
        continued(described(name="mine"))


def test_options_beside_a_study_override_it(written: Callable[..., Path]) -> None:
    path = written()
    source = StudySource(study=path, gpu="H200", num_gpus=4, interconnect="nvlink", version="0.11.0")
    found = read_study(source, NOTHING, launches=True)
    hardware, engine = found.spec.hardware, found.spec.engine
    assert (hardware.gpu, hardware.num_gpus, hardware.interconnect) == ("H200", 4, "nvlink")
    assert found.spec.container is not None
    assert (engine.version, found.spec.container.image) == ("0.11.0", "vllm/vllm-openai:v0.11.0")
    assert len(found.changes) == 5
    with pytest.raises(InputError, match=r"hardware\.gpu: RTX 2080 Ti 22GB -> H200.*--name NAME"):
        continued(found)
    named = read_study(StudySource(study=path, num_gpus=4, name="other"), NOTHING)
    assert (named.folder, named.spec.name) == (Path("studies/other"), "other")
    assert continued(named) == named
    assert read_study(StudySource(study=path, num_gpus=2, gpu="2080ti 22gb", version="0.8.5"), NOTHING).changes == ()


def test_a_card_of_ones_own_is_not_that_of_the_study(written: Callable[..., Path]) -> None:
    """The memory that a study gives its card is not the other card's."""
    path = written(hardware__gpu_memory="21GiB")
    assert read_study(StudySource(study=path, gpu="H200"), NOTHING).spec.hardware.gpu_memory is None
    assert read_study(StudySource(study=path, gpu="RTX 2080 Ti 22GB"), NOTHING).spec.hardware.gpu_memory is not None


@pytest.mark.parametrize(
    ("changes", "source", "words"),
    [
        ({}, {"model": "Qwen/Qwen3-14B"}, "not both; the models of tiny are small"),
        ({}, {"interconnect": "string"}, "Invalid enum value 'string'"),
        ({}, {"version": "99.0"}, "--vllm-version: 99.0.0: not a release"),
        ({"hardware__gpu_ids": [2, 3]}, {"num_gpus": 1}, "the study names its cards: hardware.gpu_ids"),
        ({"container__image": "mine:latest"}, {"version": "0.11.0"}, "image mine:latest is of 0.8.5"),
        ({}, {"name": "a/b"}, "--name: "),
    ],
)
def test_what_cannot_be_overridden_is_refused(
    written: Callable[..., Path], changes: dict[str, Any], source: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        read_study(StudySource(study=written(**changes), **source), NOTHING, launches=True)


def test_an_estimate_needs_no_image(written: Callable[..., Path]) -> None:
    path = written(container__image="mine:latest")
    assert read_study(StudySource(study=path, version="0.11.0"), NOTHING).spec.engine.version == "0.11.0"


def test_quality_prompts_are_found_from_any_folder(written: Callable[..., Path], monkeypatch: Any) -> None:
    path = written(quality={"prompts": "mine.jsonl"})
    monkeypatch.chdir(path.parent)
    quality = load_study(Path("study.yaml")).quality
    assert quality is not None
    assert quality.prompts == str(path.parent / "mine.jsonl")
