"""Names that would lead elsewhere: one clear line, exit code 2, and nothing is written anywhere."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner.engine.config import EngineConfig
from planner.errors import InputError
from planner.files.structured import decode, encode
from planner.launch.container import ContainerRun
from planner.service.ladder import Ladder, Rung

Run = Callable[[str], tuple[int, str, str]]
LONG = "a" * 5000
NAMES = ["../x", "/etc/planner-x", "a/b", "a\0b", "a\n", "", "-x", "..", "$(id)", LONG]
KEYS = ["name", "serve__name", "models"]
FILES = ["search_space", "workload", "quality__prompts", "models__small__architecture"]
MISSING = ["../x", "a\0b", "a\nb", LONG, LONG + ".yaml"]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def refused(run: Run, line: str, folder: Path) -> str:
    """The line that is said; there is one, and there is nothing new anywhere."""
    before = tree(folder)
    code, out, err = run(line)
    assert code == 2, (out, err)
    assert err.startswith("planner: "), err
    assert len(err.splitlines()) == 1, err
    assert len(err) < 1000 + len(LONG), err
    assert tree(folder) == before
    return err


@pytest.mark.parametrize("name", NAMES, ids=[repr(name[:10]) for name in NAMES])
@pytest.mark.parametrize("key", KEYS)
def test_a_name_in_a_study(run: Run, tmp_path: Path, study_data: Callable[..., Any], key: str, name: str) -> None:
    value = {name: {"path": "Qwen/Qwen3-8B"}} if key == "models" else name
    folder = tmp_path / "inner"
    folder.mkdir()
    (folder / "study.yaml").write_text(yaml.safe_dump(study_data(**{key: value})), "utf-8")
    refused(run, "tune inner --backend simulated --trials 1 --quiet", tmp_path)


@pytest.mark.parametrize("name", MISSING, ids=[repr(name[:10]) for name in MISSING])
@pytest.mark.parametrize("key", FILES)
def test_a_file_that_a_study_names(run: Run, tmp_path: Path, study_data: Any, key: str, name: str) -> None:
    is_gates = key == "quality__prompts"  # which only a real engine meets, before its first launch
    data = study_data(**{key: name}, engine__command=["true"]) if is_gates else study_data(**{key: name})
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(data), "utf-8")
    code, _, err = run(f"tune --backend {'process' if is_gates else 'simulated'} --trials 1 --quiet --no-finals")
    assert (code, len(err.splitlines()), err[:9]) == (2, 1, "planner: "), err
    assert not (tmp_path.parent / "x").exists()


WORDS = ["../x", "a\nb", LONG]
COMMANDS = [
    "tune {} --backend simulated --trials 1", "candidates {}", "report {}", "export {}", "export . --kind {}",
    "log {}", "guard {}", "verify {}", "bench http://127.0.0.1:1 --workload {}", "bench {}",
    "bench http://127.0.0.1:1 --ca-file {}", "bench --compare {} {}", "tune . --replay {}", "schema {}",
    "estimate --model {} --gpu CPU", "estimate --model Qwen/Qwen3-8B --gpu {}", "estimate . --calibrate {}",
    "estimate --requests {}",
]  # fmt: skip


@pytest.mark.parametrize("word", WORDS, ids=[repr(word[:10]) for word in WORDS])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_word_of_a_command(run: Run, tmp_path: Path, study_data: Any, command: str, word: str) -> None:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study_data()), "utf-8")
    before = tree(tmp_path)
    code, _, err = run(command.replace("{}", shlex.quote(word)))
    assert code in (1, 2), err  # 1: a server or an Engine that does not answer
    assert err.startswith("planner: "), err
    assert len(err.splitlines()) == 1, err
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", NAMES, ids=[repr(name[:10]) for name in NAMES])
def test_a_container_in_a_ladder(name: str) -> None:
    """A guard names its states and logs after the container."""

    def text(of: str) -> str:
        run = ContainerRun(image="i", name=of, command=(), container_port=8000, host_port=8000)
        rung = Rung(name="r", settings=EngineConfig())
        return encode(Ladder(name="x", version="0.8.5", containers=[run], rungs=[rung]))

    assert decode(text("x-1"), Ladder, "ladder.yaml").containers[0].name == "x-1"
    with pytest.raises(InputError, match=r"ladder\.yaml: .*(name|control character)"):
        decode(text(name), Ladder, "ladder.yaml")
