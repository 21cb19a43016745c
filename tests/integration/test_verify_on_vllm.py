"""`planner verify` on the script that a real study exported, on the real vLLM in real containers."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from planner.study.loading import load_study
from tests.integration.studies import PLANNER, TRIAL_SCRIPT, checks_of, export_trial, verify

pytestmark = [pytest.mark.prove, pytest.mark.container, pytest.mark.vllm]


@pytest.fixture(scope="module")
def study(tuned: Path) -> Path:
    """A tuned study, and its trial 1 exported beside it."""
    export_trial(tuned)
    return tuned


@pytest.fixture
def nothing_left(docker_client: docker.DockerClient, study: Path) -> Iterator[str]:
    """The service's name; its container must be gone after the test."""
    name = load_study(study).serve.name
    yield name
    assert names(docker_client, name) == []


def names(client: docker.DockerClient, name: str) -> list[str]:
    return [one.name for one in client.containers.list(all=True, filters={"name": name})]


@pytest.mark.usefixtures("nothing_left")
def test_a_changed_script_does_not_and_what_was_changed_is_named(study: Path, tmp_path: Path) -> None:
    text = (study.parent / TRIAL_SCRIPT).read_text()
    changed = text.replace("--max-model-len 1024", "--max-model-len 512").replace(
        "_KVCACHE_SPACE=1", "_KVCACHE_SPACE=2"
    )
    changed = changed.replace("--enforce-eager", "--enforce-eager \\\n  --max-num-partial-prefills 1", 1)
    assert len(changed.splitlines()) == len(text.splitlines()) + 1
    changed = changed.replace("  --max-num-partial-prefills 1", "  --seed 7")
    script = tmp_path / "changed.sh"
    script.write_text(changed)
    code, out, err = verify(script, "--study", str(study))
    assert code == 3, out + err
    differing = {words[1]: words for line in out.splitlines() if "differs" in line and (words := line.split("│"))}
    found = {name.strip(): (words[2].strip(), words[3].strip()) for name, words in differing.items()}
    assert found.pop("kv_tokens") == ("262 144", "524 288")
    assert found == {
        "--max-model-len": ("1024", "512"),
        "-e VLLM_CPU_KVCACHE_SPACE": ("1", "2"),
        "--seed": ("nothing", "7"),
    }
    assert "not reproduced: -e VLLM_CPU_KVCACHE_SPACE, --max-model-len, --seed, kv_tokens" in out


def test_a_script_whose_engine_refuses_says_why(study: Path, nothing_left: str, tmp_path: Path) -> None:
    text = (study.parent / TRIAL_SCRIPT).read_text()
    script = tmp_path / "refused.sh"
    script.write_text(text.replace("--max-model-len 1024", "--max-model-len 300000"))
    code, out, err = verify(script, "--study", str(study), "--json")
    assert code == 3, out + err
    document = json.loads(out)
    assert "300000" in document["failure"]
    assert checks_of(document)["--max-model-len"]["found"] == "300000"
    assert nothing_left


def test_interrupted_it_leaves_nothing(docker_client: docker.DockerClient, study: Path, nothing_left: str) -> None:
    command = [*PLANNER, "verify", str(study.parent / TRIAL_SCRIPT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 600
        while not names(docker_client, nothing_left):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "stopped; what the script had started is removed" in err


def test_a_container_of_that_name_is_nobody_elses_to_remove(
    docker_client: docker.DockerClient, vllm_image: str, study: Path, nothing_left: str
) -> None:
    mine = docker_client.containers.create(vllm_image, name=nothing_left)
    try:
        code, _, err = verify(study.parent / TRIAL_SCRIPT)
        assert code == 1
        assert f"container {nothing_left} is there already" in err
        assert names(docker_client, nothing_left) == [nothing_left]
    finally:
        mine.remove(force=True)


LEAK = "import time\nkept = []\nwhile True:\n    kept.append(bytearray(b'x') * 2**20)\n    time.sleep(0.5)\n"
"""Two MiB a second, in the engine's own container."""


@pytest.mark.parametrize("leaks", [False, True])
@pytest.mark.usefixtures("nothing_left")
def test_a_soak_of_ten_minutes_finds_planted_growth_and_passes_a_clean_one(
    docker_client: docker.DockerClient, study: Path, leaks: bool
) -> None:
    name, is_over = load_study(study).serve.name, threading.Event()

    def leak() -> None:
        while not is_over.wait(1.0):
            if found := docker_client.containers.list(filters={"name": name}):
                found[0].exec_run(["python3", "-c", LEAK], detach=True)
                return

    planted = threading.Thread(target=leak)
    if leaks:
        planted.start()
    command = [*PLANNER, "verify", str(study.parent / TRIAL_SCRIPT), "--soak", "10min", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=850, stdin=subprocess.DEVNULL)
    is_over.set()
    if leaks:
        planted.join()
    found = json.loads(done.stdout)
    (memory,) = found["memory"]
    assert (done.returncode, memory["verdict"] == "grows") == ((3, True) if leaks else (0, False)), found
    assert (found["failure"], found["errors"]) == (None, {})
    if leaks:
        assert memory["bytes_per_hour_low"] < 2 * 2**20 * 3600 < 1.2 * memory["bytes_per_hour_high"]


@pytest.mark.usefixtures("nothing_left")
def test_the_same_image_under_another_name_does_not_hurt_and_one_without_vllm_does(
    docker_client: docker.DockerClient, vllm_image: str, study: Path
) -> None:
    image = docker_client.images.get(vllm_image)
    image.tag("planner-vllm-cpu", tag="again")
    try:
        command = [*PLANNER, "verify", str(study.parent / TRIAL_SCRIPT), "--json", "--repeats", "2", "--against"]
        done = subprocess.run(
            [*command, "planner-vllm-cpu:again"], capture_output=True, text=True, check=False, timeout=850
        )
        found = json.loads(done.stdout)
        assert (found["failure"], found["rounds"], len(found["metrics"])) == (None, 2, 1)
        assert found["memory"][0]["verdict"] == "same"
    finally:
        docker_client.images.remove("planner-vllm-cpu:again")
    gone = subprocess.run([*command, "planner-none:gone"], capture_output=True, text=True, check=False, timeout=850)
    assert gone.returncode in {1, 3}
