"""The model's files are read once before the first launch, or a line says why not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner.errors import InputError
from planner.launch.model_files import model_files, warm, warm_models
from planner.units import GIB
from tests.places import ROOT

SIZE = 40 << 20
SHIPPED_MODELS = ROOT / "planner" / "data" / "models.json"


def _resident_bytes(path: Path) -> int:
    """How much of a file is in the page cache, by mincore(2)."""
    import ctypes
    import mmap

    libc = ctypes.CDLL(None, use_errno=True)
    pages = (path.stat().st_size + mmap.PAGESIZE - 1) // mmap.PAGESIZE
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        seen = (ctypes.c_ubyte * pages)()
        first = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
        assert libc.mincore(ctypes.c_void_p(first), ctypes.c_size_t(len(mapped)), seen) == 0
        return sum(page & 1 for page in seen) * mmap.PAGESIZE


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder whose weights are on the disk and not in memory."""
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    with (folder / "pytorch_model.bin").open("wb") as file:
        file.write(os.urandom(SIZE))
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return folder


def test_what_is_read_is_in_memory(model: Path) -> None:
    weights = model / "pytorch_model.bin"
    if _resident_bytes(weights) > SIZE / 2:
        pytest.skip("this file system keeps its pages whatever is asked")
    assert warm(model_files([model]), 10 * GIB).startswith("model files  0.04 GiB read once")
    assert _resident_bytes(weights) >= SIZE


def test_what_the_memory_cannot_hold_is_left_alone(model: Path) -> None:
    assert warm(model_files([model]), SIZE) == "model files  0.04 GiB do not stay in 0.04 GiB of free host memory"


def test_only_files_of_folders_that_are_here(model: Path) -> None:
    assert [path.name for path in model_files([model, Path("/nowhere")])] == ["pytorch_model.bin"]
    assert "not on this machine" in warm([], GIB)


def test_every_searched_variant_is_read(make_problem: Callable[..., Any], model: Path) -> None:
    other = model.parent / "other"
    shutil.copytree(model, other)
    config = json.loads(SHIPPED_MODELS.read_text("utf-8"))["planner/tiny-qwen3"]
    for folder in (model, other):
        (folder / "config.json").write_text(json.dumps(config), "utf-8")
    both = make_problem(models={"a": {"path": str(model)}, "b": {"path": str(other)}}, search_space={"search": {}})
    assert warm_models(both).startswith("model files  0.08 GiB read once")
    one = make_problem(models={"a": {"path": str(model)}}, search_space={"search": {}})
    assert warm_models(one).startswith("model files  0.04 GiB read once")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        warm([tmp_path], 10 * GIB)
