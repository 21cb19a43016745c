"""Servers named where a study's path may stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.cli.servers import servers_named


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("http://gpu-1:8000", ["http://gpu-1:8000"]),
        ("https://llm.example.org/v1", ["https://llm.example.org/v1"]),
        ("http://a:8000,http://b:8000", ["http://a:8000", "http://b:8000"]),
        ("localhost:8000", ["http://localhost:8000"]),
        ("10.0.0.3:8000,10.0.0.4:8000", ["http://10.0.0.3:8000", "http://10.0.0.4:8000"]),
        ("studies/first", None),
        ("study.yaml", None),
        ("C:\\studies", None),
        (".", None),
    ],
)
def test_a_url_or_a_host_and_port(text: str, urls: list[str] | None) -> None:
    assert servers_named(Path(text)) == urls


def test_a_file_of_that_name_is_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gpu:8000").mkdir()
    assert servers_named(Path("gpu:8000")) is None
    assert servers_named(None) is None
