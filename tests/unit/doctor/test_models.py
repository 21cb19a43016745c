"""Model directories, whole and broken in the ways downloads break; their files are real safetensors, only small."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner.doctor import models as model_checks
from planner.doctor.check import Check
from planner.doctor.examination import read_case
from planner.doctor.models import models
from planner.files.structured import convert
from planner.hardware.driver import GpuFacts
from planner.model.catalog import shipped_config
from planner.study.spec import StudySpec

AWQ, PLAIN = "Qwen/Qwen3-8B-AWQ", "Qwen/Qwen3-8B"
TENSORS = {"a": ("F16", 4), "b": ("F16", 12)}
"""Name -> dtype and number of values."""


def write_safetensors(path: Path, names: str) -> None:
    """A file of these tensors: length of the header, header, data."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        dtype, count = TENSORS[name]
        header[name] = {"dtype": dtype, "shape": [count], "data_offsets": [end, end := end + 2 * count]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole AWQ model in two files."""
    made = tmp_path / "Qwen3-8B-AWQ"
    made.mkdir()
    (made / "config.json").write_text(json.dumps(shipped_config(AWQ)), "utf-8")
    (made / "tokenizer.json").write_text("{}", "utf-8")
    for number, name in enumerate("ab", 1):
        write_safetensors(made / f"model-{number}.safetensors", name)
    weight_map = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    (made / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}), "utf-8")
    return made


@pytest.fixture
def look(study_data: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., Check]:
    """The doctor's line on a model at a path."""

    def call(path: Path | str, **changes: Any) -> Check:
        variant = {"path": str(path), "architecture": AWQ}
        data = study_data(**{"models": {"m": variant}, **changes})
        (check,) = models(
            read_case(convert(data, StudySpec, "study.yaml"), tmp_path, "process", GpuFacts(error="none"))
        )
        assert check.name == "model m"
        return check

    return call


def test_a_whole_model_is_ok(look: Any, folder: Path) -> None:
    check = look(folder)
    assert check.status == "ok"
    assert check.finding == f"{folder}: 2 files, 0.00 GiB, awq, 4 bit"


def _cut(folder: Path) -> None:
    path = folder / "model-2.safetensors"
    path.write_bytes(path.read_bytes()[:-5])


def _cut_header(folder: Path) -> None:
    path = folder / "model-2.safetensors"
    path.write_bytes(path.read_bytes()[:40])


def _point(folder: Path) -> None:
    (folder / "model-2.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "utf-8")


def _no_weights(folder: Path) -> None:
    for path in folder.glob("model*"):
        path.unlink()


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a file is missing": (
        lambda folder: (folder / "model-2.safetensors").unlink(),
        "1 of 2 files of the index are missing: model-2.safetensors",
    ),
    "a file is cut": (_cut, "model-2.safetensors has 124 bytes, its header says 129: the copy is not whole"),
    "a header is cut": (_cut_header, "model-2.safetensors: is not a complete safetensors file"),
    "a pointer of LFS": (_point, "model-2.safetensors is a pointer of Git LFS"),
    "another file's tensors": (
        lambda folder: write_safetensors(folder / "model-2.safetensors", "a"),
        "model-2.safetensors lacks tensors of the index: b",
    ),
    "no weights": (_no_weights, "no weights: neither *.safetensors"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
    "config is cut": (
        lambda folder: (folder / "config.json").write_text('{"hidden_size": 4096,', "utf-8"),
        "config.json: is not JSON",
    ),
    "index is cut": (
        lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight_map"', "utf-8"),
        "is no index of weights",
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_what_is_broken_is_a_problem_with_a_fix(look: Any, folder: Path, how: str) -> None:
    spoil, words = BROKEN[how]
    spoil(folder)
    check = look(folder)
    assert check.status == "problem"
    assert words in check.finding
    assert check.fix


def test_dummy_weights_need_no_files(look: Any, folder: Path) -> None:
    _no_weights(folder)
    assert look(folder, engine__settings={"load_format": "dummy"}).status == "ok"


def test_an_unfinished_download_is_a_warning(look: Any, folder: Path) -> None:
    (folder / "model-3.safetensors.part").touch()
    check = look(folder)
    assert check.status == "warning"
    assert "model-3.safetensors.part" in check.finding


@pytest.mark.parametrize(
    ("declared", "asked", "words"),
    [
        (AWQ, "awq", None),
        (AWQ, "awq_marlin", None),
        (AWQ, "gptq", "(awq) does not match the quantization method specified in the `quantization` argument (gptq)"),
        (PLAIN, "fp8", None),
        (PLAIN, "awq", "Cannot find the config file for awq"),
    ],
)
def test_quantisation_is_held_against_what_is_declared(
    look: Any, folder: Path, declared: str, asked: str, words: str | None
) -> None:
    (folder / "config.json").write_text(json.dumps(shipped_config(declared)), "utf-8")
    check = look(folder, engine__settings={"quantization": asked, "dtype": "half"})
    assert (check.status == "ok") == (words is None), check
    assert words is None or words in check.finding


def test_old_checkpoints_declare_themselves_in_a_file_of_their_own(look: Any, folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(shipped_config(PLAIN)), "utf-8")
    (folder / "quant_config.json").write_text("{}", "utf-8")
    assert look(folder, engine__settings={"quantization": "awq", "dtype": "half"}).status == "ok"


def test_a_directory_that_is_not_here_is_a_problem(look: Any, tmp_path: Path) -> None:
    check = look(tmp_path / "nowhere")
    assert check.status == "problem"
    assert "is no directory of this machine" in check.finding


def test_a_hub_name_is_looked_for_in_the_cache(
    look: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_checks, "HUB_CACHE", tmp_path / "hub")
    check = look(AWQ)
    assert check.status == "warning"
    assert "the first launch downloads it, about 6 GiB" in check.finding
    assert look(AWQ, engine__env={"HF_HUB_OFFLINE": "1"}).status == "problem"
    root = tmp_path / "hub" / "models--Qwen--Qwen3-8B-AWQ"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("abc", "utf-8")
    (root / "snapshots").mkdir()
    folder.rename(root / "snapshots" / "abc")
    assert look(AWQ).status == "ok"
    (root / "snapshots" / "abc" / "model-1.safetensors").unlink()
    assert look(AWQ).status == "problem"
