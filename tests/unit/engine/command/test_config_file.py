"""The YAML file of vLLM's --config, by the rules of releases."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.version import Version

from planner.engine.command.config_file import with_config_file
from planner.engine.command.meaning import read_flags
from planner.engine.flag_table import release_of
from planner.errors import InputError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "engine.yaml"
    path.write_text("max_num_seqs: 4\nenforce-eager: true\nenable-prefix-caching: false\nport: 80\n")
    return path


def _words(path: Path, version: str, *more: str) -> list[str]:
    return with_config_file(["--config", str(path), *more], release_of(Version(version)), "here")


def test_the_line_wins_over_the_file(file: Path) -> None:
    found = read_flags(["--config", str(file), "--max-num-seqs", "8"], Version("0.24.0"))
    assert found.settings.max_num_seqs == 8
    assert found.settings.enforce_eager is True
    assert found.settings.enable_prefix_caching is None  # false in the file is dropped before 0.28
    assert "--config" not in found.extra_args


def test_false_turns_a_flag_off_since_0_28(file: Path) -> None:
    assert "--no-enable-prefix-caching" in _words(file, "0.28.0")
    assert "--no-enable-prefix-caching" not in _words(file, "0.27.1")


def test_a_store_boolean_gets_its_value(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_text("enable-chunked-prefill: false\n")
    assert _words(path, "0.7.3") == ["--enable-chunked-prefill=False"]


@pytest.mark.parametrize(
    ("text", "first", "words"),
    [
        ("served-model-name: [a, b]", "0.10.2", ["--served-model-name", "a", "b"]),
        ("compilation-config: {mode: 3}", "0.16.0", ["--compilation-config", '{"mode": 3}']),
    ],
)
def test_lists_and_mappings_have_releases(tmp_path: Path, text: str, first: str, words: list[str]) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    assert _words(path, first) == words
    with pytest.raises(InputError, match="from a config file"):
        _words(path, "0.9.2")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--config"], "needs a file"),
        (["--config", "a.json"], "takes .yaml and .yml only"),
        (["--config", "a.yaml", "--config", "b.yaml"], "more than one"),
        (["--config", "not-there.yaml"], "not-there.yaml"),
    ],
)
def test_a_file_that_cannot_be(words: list[str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        with_config_file(words, release_of(Version("0.24.0")), "here")
