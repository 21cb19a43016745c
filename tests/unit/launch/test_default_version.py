"""Which version a described study is for where nobody says."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.engine import NEWEST
from planner.launch.default_version import newest_of, with_version_here
from planner.study.source import StudySource

DESCRIBED = StudySource(model="Qwen/Qwen3-8B", gpu="H200")


def test_the_newest_known_release_among_the_tags_is_taken() -> None:
    assert newest_of(["v0.9.2", "v0.11.0", "latest", "v0.8.5.post1", "nightly", "v99.0.0", "v0.5.4"]) == "0.11.0"
    assert newest_of([f"v{NEWEST}", f"v0.{NEWEST.minor + 1}.0"]) == str(NEWEST)  # a doubt is for those who ask for it
    assert newest_of(["latest"]) is None


def test_without_an_engine_it_is_the_newest_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    source, words = with_version_here(DESCRIBED, "docker")
    assert source.version == str(NEWEST)
    assert words == f"vLLM {NEWEST}: the newest that planner knows; --vllm-version takes another"
    assert with_version_here(DESCRIBED, "simulated") == (source, words)


def test_what_was_said_is_kept() -> None:
    for source in (
        StudySource(model="Qwen/Qwen3-8B", gpu="H200", version="0.11.0"),
        StudySource(study=Path("study.yaml")),
        StudySource(study=Path("study.yaml"), version="latest"),
    ):
        assert with_version_here(source, "docker") == (source, "")
