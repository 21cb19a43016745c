"""The whole loop on the real vLLM in real containers."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import docker
import httpx
import pytest

from planner.study.loading import load_study
from tests.integration.studies import (
    TRIAL_SCRIPT,
    checks_of,
    containers_of,
    export_trial,
    trials_of,
    tune,
    verify,
    write_cpu_study,
)

pytestmark = [pytest.mark.container, pytest.mark.vllm]


def wait_healthy(url: str, timeout_s: float = 600) -> None:
    deadline = time.monotonic() + timeout_s
    with httpx.Client(trust_env=False, timeout=5) as client:
        while time.monotonic() < deadline:
            try:
                if client.get(f"{url}/health").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.5)
    pytest.fail(f"{url} did not become healthy")


def test_tune_on_real_vllm_then_run_the_exported_script(docker_client: docker.DockerClient, tuned: Path) -> None:
    study = tuned
    assert containers_of(docker_client, study) == []

    trials = trials_of(study)
    assert all(str(trial.provenance.machine.image_digest).startswith("sha256:") for trial in trials)
    assert [trial.outcome for trial in trials] == ["measured"] * 2
    assert len({trial.candidate.key for trial in trials}) == 2
    assert trials[0].candidate.engine.max_num_seqs is None, "trial 0 is the engine's own defaults"
    assert all(trial.value is not None and trial.value > 0 for trial in trials)
    # What vLLM itself reports is what we predicted: 1 GiB of KV cache.
    assert {trial.real_memory.kv_tokens for trial in trials if trial.real_memory} == {262_144}
    assert {trial.predicted_memory.kv_tokens for trial in trials} == {262_144}

    spec = load_study(study)
    script = study.parent / "run.sh"
    assert "SIMULATED" not in script.read_text()
    subprocess.run(["bash", str(script)], check=True, capture_output=True)
    try:
        url = f"http://127.0.0.1:{spec.serve.host_port}"
        wait_healthy(url)
        body = {"model": spec.serve.name, "messages": [{"role": "user", "content": "w100 w200"}], "max_tokens": 8}
        answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=600, trust_env=False)
        assert answer.status_code == 200, answer.text
        assert answer.json()["usage"]["completion_tokens"] >= 1
    finally:
        docker_client.containers.get(spec.serve.name).remove(force=True)


@pytest.mark.prove
def test_the_exported_script_reproduces_its_trial(docker_client: docker.DockerClient, tuned: Path) -> None:
    export_trial(tuned)
    code, out, err = verify(tuned.parent / TRIAL_SCRIPT, "--json")
    assert code == 0, out + err
    document = json.loads(out)
    assert (document["reproduced"], document["trial"], document["failure"]) == (True, 1, None)
    checks = checks_of(document)
    assert set(checks) == {"kv_tokens", "output_throughput"}, "no setting differs"
    assert checks["kv_tokens"]["found"] == "262 144"
    assert "SIMULATED" not in out
    assert not docker_client.containers.list(all=True, filters={"name": load_study(tuned).serve.name})


@pytest.mark.usefixtures("docker_client")
def test_a_missing_image_stops_the_study_and_says_what_to_do(tiny_model: Path, tmp_path: Path) -> None:
    study = write_cpu_study(tmp_path / "study", "planner-no-such-image:1", tiny_model)
    done = tune(study, 2, "docker")
    assert done.returncode == 1
    assert "planner-no-such-image:1" in done.stderr
    assert "docker pull" in done.stderr
    assert "Traceback" not in done.stderr
    assert trials_of(study) == []
