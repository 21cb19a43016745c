"""Lines as people paste them."""

from __future__ import annotations

import shlex

import pytest

from planner.engine.command.pasted import StartLine, cards_of, is_start, read_line, version_of
from planner.engine.command.shell import split_line
from planner.errors import InputError

FLAGS = ("--port", "80", "-tp", "2")


@pytest.mark.parametrize(
    "line",
    [
        "vllm serve org/model --port 80 -tp 2",
        "vllm serve --port 80 org/model -tp 2",
        "vllm serve --port 80 -tp 2 --model=org/model",
        "serve org/model --port 80 -tp 2",
        "/opt/venv/bin/vllm serve org/model --port 80 -tp 2",
        "python -m vllm.entrypoints.openai.api_server --model org/model --port 80 -tp 2",
        "sudo nohup vllm serve org/model --port 80 -tp 2 > log 2>&1 &",
        "uv run vllm serve org/model --port 80 -tp 2",
        "NAME=1 OTHER='a b' vllm serve org/model --port 80 -tp 2",
        "vllm serve org/model \\\n   --port 80 \\\n   -tp 2",
        "bash -c 'cd /x && vllm serve org/model --port 80 -tp 2'",
        "docker run --rm -it --gpus all -p 80:80 -v ~/a:/a vllm/vllm-openai org/model --port 80 -tp 2",
        "podman run -d --name x --device nvidia.com/gpu=all vllm/vllm-openai --model org/model --port 80 -tp 2",
        "docker run image:1 python3 -m vllm.entrypoints.openai.api_server --model org/model --port 80 -tp 2",
        "docker run --entrypoint 'vllm serve' image org/model --port 80 -tp 2",
        "docker container run -e A=1 image bash -lc 'exec vllm serve org/model --port 80 -tp 2'",
    ],
)
def test_a_line_gives_its_model_and_vllms_words(line: str) -> None:
    for words in (split_line(line), [line]):
        assert is_start(words)
        found = read_line(words)
        assert (found.model, found.words) == ("org/model", FLAGS)


def test_an_image_gives_version_variables_and_cards() -> None:
    line = (
        "docker run --gpus '\"device=0,2\"' -e VLLM_USE_V1=0 --env=HF_TOKEN -eA=b --ipc=host "
        "vllm/vllm-openai:v0.17.0-cu130 org/model"
    )
    assert read_line([line]) == StartLine(
        words=(), model="org/model", version="0.17.0", env={"VLLM_USE_V1": "0", "A": "b"}, num_gpus=2
    )


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("vllm/vllm-openai:v0.10.1.1", "0.10.1.1"),
        ("vllm/vllm-openai:v0.8.5.post1", "0.8.5.post1"),
        ("vllm/vllm-openai:v0.24.0-aarch64-cu130", "0.24.0"),
        ("vllm/vllm-openai:latest", None),
        ("vllm/vllm-openai", None),
        ("nvcr.io/nvidia/vllm:25.09-py3", None),
        ("localhost:5000/vllm", None),
        ("redis:7.2.4", None),
    ],
)
def test_a_tag_that_is_a_version(image: str, version: str | None) -> None:
    assert version_of(image) == version


@pytest.mark.parametrize(
    ("text", "cards"), [("all", None), ("2", 2), ('"device=0"', 1), ("device=0,1,3", 3), ("-1", None)]
)
def test_cards_that_docker_gives(text: str, cards: int | None) -> None:
    assert cards_of(text) == cards


def test_visible_devices_are_counted() -> None:
    assert read_line(shlex.split("CUDA_VISIBLE_DEVICES=4,5 vllm serve m")).num_gpus == 2
    assert read_line(shlex.split("docker run -e CUDA_VISIBLE_DEVICES=0 vllm/vllm-openai m")).num_gpus == 1


@pytest.mark.parametrize(
    "words",
    [["studies/x"], ["study.yaml"], ["vllm"], ["docker"], ["python"], ["serve"], ["a", "b"], [], ["two words here"]],
)
def test_other_words_start_nothing(words: list[str]) -> None:
    assert not is_start(words)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("python -m http.server", "starts no vLLM"),
        ("docker run --rm", "names no image"),
        ("vllm serve 'half", "No closing quotation"),
    ],
)
def test_a_line_that_cannot_be_read(line: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        read_line([line])


def test_an_image_that_only_opens_a_shell_has_no_model() -> None:
    assert read_line(["docker run -it --entrypoint /bin/bash vllm/vllm-openai:v0.24.0"]).model is None
