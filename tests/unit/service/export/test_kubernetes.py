"""The manifest: valid by Kubernetes' own schemas, and the pod gets what the container of a trial had."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from planner.errors import InputError
from planner.launch.runs import service_runs
from planner.service.export.kubernetes import dns_label, kubernetes_yaml
from planner.study.problem import Problem

Make = Callable[..., Problem]
CLUSTERS = ("1.27", kubernetes_validate.latest_version())


def documents(problem: Problem, launch: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Deployment and Service, valid for an old and a new cluster."""
    text = kubernetes_yaml(problem, launch(problem)[0], None)
    deployment, service = yaml.safe_load_all(text)
    for document in (deployment, service):
        for version in CLUSTERS:
            kubernetes_validate.validate(document, version, strict=True)
    return deployment, service


def expanded(value: str) -> str:
    """As the kubelet reads args and values: `$$` is `$`."""
    assert "$(" not in value.replace("$$", "")
    return value.replace("$$", "$")


def test_the_pod_gets_what_the_container_had(make_problem: Make, launch: Any) -> None:
    problem = make_problem(
        models={"small": {"path": "/my models/$(HOME)/Qwen3", "architecture": "Qwen/Qwen3-8B"}},
        engine__env={"GREETING": "a $(HOME) $$ $x"},
        engine__pass_env=["HF_TOKEN"],
        engine__extra_args=["--chat-template", "$(POD) $$"],
        container={"image": "vllm/vllm-openai:v0.8.5", "memory_limit": "64GiB", "ipc": "private", "shm_size": "8GiB"},
        search_space={"search": {"layout": ["1xtp2"]}},
    )
    deployment, _ = documents(problem, launch)
    (run,) = service_runs(problem, problem.default)
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == run.image
    assert [expanded(word) for word in container["args"]] == list(run.command)
    given = {one["name"]: expanded(one["value"]) for one in container["env"] if "value" in one}
    assert given == run.env
    (kept,) = [one for one in container["env"] if "value" not in one]
    reference = {"secretKeyRef": {"name": "vllm-secrets", "key": "HF_TOKEN"}}
    assert kept == {"name": "HF_TOKEN", "valueFrom": reference}
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "2", "memory": str(64 * 2**30)}
    places = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: places[mount["name"]] for mount in container["volumeMounts"]}
    assert mounts["/dev/shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": str(8 * 2**30)}  # noqa: S108  (in the container)
    model = mounts["/model/Qwen3"]["hostPath"]
    assert model == {"path": "/my models/$(HOME)/Qwen3", "type": "Directory"}
    assert mounts["/compile-cache"]["hostPath"]["type"] == "DirectoryOrCreate"
    assert [m["mountPath"] for m in container["volumeMounts"] if m.get("readOnly")] == ["/model/Qwen3"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert set(container["securityContext"]["capabilities"]) == {"drop"}
    assert "privileged" not in container["securityContext"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False  # a Service called vllm would set VLLM_PORT


def test_two_instances_are_replicas_behind_one_service(make_problem: Make, launch: Any) -> None:
    problem = make_problem(serve={"name": "Coder_2", "host_port": 8888})
    assert problem.default.layout.instances == 2
    deployment, service = documents(problem, launch)
    spec = deployment["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert spec["replicas"] == 2
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    assert deployment["metadata"]["name"] == service["metadata"]["name"] == "coder-2"
    labels = spec["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    (port,) = service["spec"]["ports"]
    (listens,) = container["ports"]
    assert (port["port"], port["targetPort"], listens) == (8888, "http", {"name": "http", "containerPort": 8000})
    assert "2 instances are 2 replicas of 1 card each" in kubernetes_yaml(problem, launch(problem)[0], None)


def test_the_probes_wait_as_long_as_the_trials_do(make_problem: Make, launch: Any) -> None:
    problem = make_problem(engine__start_timeout="15min")
    (container,) = documents(problem, launch)[0]["spec"]["template"]["spec"]["containers"]
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 900
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[name]["httpGet"] == {"path": "/health", "port": "http"}


def test_a_cpu_engine_asks_for_no_card(make_problem: Make, launch: Any) -> None:
    problem = make_problem(
        hardware={"gpu": "CPU"}, engine={"version": "0.32.0"}, models={"m": {"path": "Qwen/Qwen3-0.6B"}},
        search_space={"search": {}},
    )  # fmt: skip
    (container,) = documents(problem, launch)[0]["spec"]["template"]["spec"]["containers"]
    assert "resources" not in container


def test_the_header_says_what_a_pod_cannot_have(make_problem: Make, launch: Any) -> None:
    problem = make_problem(
        models={"small": {"path": "/models/Qwen3", "architecture": "Qwen/Qwen3-8B"}},
        container={"image": "i", "cpuset_cpus": "0-7"},
        engine__pass_env=["HF_TOKEN"],
    )
    text = kubernetes_yaml(problem, launch(problem)[0], None)
    assert "# SIMULATED, not measured: " in text
    assert "# the node must have: /models/Qwen3\n" in text
    assert "# not carried over, set by the node: cpuset-cpus, ulimit memlock, ulimit stack\n" in text
    assert "# needs: kubectl create secret generic vllm-secrets --from-env-file=<(printf" in text


def test_the_shown_command_makes_the_secret_without_showing_it(make_problem: Make, launch: Any, tmp_path: Path) -> None:
    """Bash runs the very line: `kubectl` is a program here that tells its arguments and what it reads."""
    problem = make_problem(engine__pass_env=["HF_TOKEN", "VLLM_API_KEY"])
    line = kubernetes_yaml(problem, launch(problem)[0], None).partition("# needs: ")[2].partition("\n")[0]
    kubectl = tmp_path / "kubectl"
    kubectl.write_text('#!/bin/bash\necho "$@"\ncat "${5##*=}"\n', "utf-8")
    kubectl.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HF_TOKEN": "hf_$x`id`%s", "VLLM_API_KEY": "sk a=b"}
    told = subprocess.run(["bash", "-c", line], env=env, capture_output=True, text=True, check=True).stdout.splitlines()
    assert told[1:] == ["HF_TOKEN=hf_$x`id`%s", "VLLM_API_KEY=sk a=b"]
    assert "hf_" not in told[0]
    assert told[0].startswith("create secret generic vllm-secrets --from-env-file=/dev/fd/")


@pytest.mark.parametrize(
    ("name", "label"), [("coder", "coder"), ("Qwen3_32B.awq", "qwen3-32b-awq"), ("3b", "vllm-3b"), ("a-", "a")]
)
def test_names_are_made_valid(name: str, label: str) -> None:
    assert dns_label(name) == label


def test_without_a_container_section_the_missing_key_is_named(make_problem: Make, launch: Any) -> None:
    problem = make_problem(container=None)
    with pytest.raises(InputError, match="tiny: container: missing key"):
        kubernetes_yaml(problem, launch(problem)[0], None)
