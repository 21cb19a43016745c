"""Compose files and Kubernetes manifests."""

from __future__ import annotations

import pytest

from planner.engine.command.manifests import is_manifest, read_manifest
from planner.errors import InputError

COMPOSE = """
services:
  cache: {image: "redis:7"}
  llm:
    image: vllm/vllm-openai:v0.24.0
    environment: {VLLM_USE_V1: 1, HF_TOKEN: "${HF_TOKEN}"}
    command: --model org/model --port ${PORT:-8000} -tp 2
    deploy: {resources: {reservations: {devices: [{driver: nvidia, count: 2, capabilities: [gpu]}]}}}
"""
DEPLOYMENT = """
apiVersion: v1
kind: Service
metadata: {name: x}
---
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      containers:
        - name: sidecar
          image: busybox
        - name: llm
          image: vllm/vllm-openai:v0.10.2
          command: [vllm, serve]
          args: [org/model, --port, "8000", -tp, "2"]
          env: [{name: VLLM_USE_V1, value: "1"}, {name: HF_TOKEN, valueFrom: {secretKeyRef: {name: a, key: b}}}]
          resources: {limits: {nvidia.com/gpu: "2"}}
"""


@pytest.mark.parametrize(("text", "version"), [(COMPOSE, "0.24.0"), (DEPLOYMENT, "0.10.2")])
def test_the_one_container_of_vllm_is_read(text: str, version: str) -> None:
    assert is_manifest(text)
    found = read_manifest(text, "file.yaml")
    assert (found.model, found.version, found.num_gpus) == ("org/model", version, 2)
    assert found.words == ("--port", "8000", "-tp", "2")
    assert found.env["VLLM_USE_V1"] == "1"


def test_lists_and_scripts_of_commands() -> None:
    text = """
services:
  a:
    image: my/own
    entrypoint: ["/bin/sh", "-c"]
    command:
      - |
        vllm serve org/model \\
          --port 80
    environment: [CUDA_VISIBLE_DEVICES=0, "B=c d"]
"""
    found = read_manifest(text, "a.yaml")
    assert (found.model, found.words, found.num_gpus) == ("org/model", ("--port", "80"), 1)
    assert found.env["B"] == "c d"


def test_device_ids_are_counted() -> None:
    text = COMPOSE.replace("count: 2", "device_ids: ['0', '3', '4']")
    assert read_manifest(text, "a.yaml").num_gpus == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("services: {a: {image: redis}}", "a.yaml: starts no vLLM"),
        ("services: {a: {image: vllm/x}, b: {image: vllm/y}}", "a.yaml: services.a, services.b: several start vLLM"),
        ("kind: Job", "a.yaml: starts no vLLM"),
        ("services: [", "a.yaml: is not YAML"),
    ],
)
def test_what_starts_no_vllm_or_several(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told.replace("[", r"\[")):
        read_manifest(text, "a.yaml")


def test_a_study_is_no_manifest() -> None:
    assert not is_manifest("name: a\nmodels: {}\nhardware:\n  kind: x\n")
