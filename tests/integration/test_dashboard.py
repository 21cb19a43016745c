"""optuna-dashboard itself, started on a study's storage and asked over HTTP. Needs no Docker."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import planner
from tests.integration.studies import free_port

DASHBOARD = Path(sys.executable).with_name("optuna-dashboard")
STARTS_S = 600.0


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> planner.Tuned:
    return planner.tune(
        model="Qwen/Qwen3-8B", gpu="RTX 4090", max_model_len=8192, trials=4, finals=False, backend="simulated",
        folder=tmp_path_factory.mktemp("study"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def dashboard(tuned: planner.Tuned) -> Iterator[httpx.Client]:
    port = free_port()
    argv = [DASHBOARD, tuned.storage, "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300) as client:
            until = time.monotonic() + STARTS_S
            while not _answers(client):
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < until
                time.sleep(0.2)
            yield client
    finally:
        process.terminate()
        process.communicate(timeout=300)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/api/studies").status_code == 200
    except httpx.TransportError:
        return False


def test_the_dashboard_shows_names_units_and_attributes(dashboard: httpx.Client, tuned: planner.Tuned) -> None:
    (listed,) = dashboard.get("/api/studies").json()["study_summaries"]
    assert listed["study_name"] == tuned.study_name
    shown: dict[str, Any] = dashboard.get(f"/api/studies/{listed['study_id']}").raise_for_status().json()
    assert shown["objective_names"] == ["output_throughput_tokens_per_s"]
    about = {attribute["key"]: attribute["value"] for attribute in shown["user_attrs"]}
    assert "Qwen3-8B on 1 x RTX 4090" in about["about"]
    assert len(shown["trials"]) == len(tuned.trials)
    for trial, seen in zip(tuned.trials, shown["trials"], strict=True):
        attributes = {attribute["key"]: attribute["value"] for attribute in seen["user_attrs"]}
        assert (seen["number"], seen["state"]) == (trial.number, "Complete")
        assert "SIMULATED" in attributes["backend"]
        assert float(attributes["ttft_p95_s"]) == pytest.approx(trial.metrics["ttft_p95"], rel=1e-4)
        assert attributes["settings"]
    sortable = {column["key"] for column in shown["union_user_attrs"] if column["sortable"]}
    assert {"output_throughput_tokens_per_s", "ttft_p95_s", "kv_cache_tokens", "start_s"} <= sortable


def test_the_page_is_served(dashboard: httpx.Client) -> None:
    page = dashboard.get("/dashboard/")
    assert (page.status_code, "text/html" in page.headers["content-type"]) == (200, True)
