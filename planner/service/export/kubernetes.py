"""A trial for Kubernetes: `kubernetes_yaml`, a Deployment and the Service in front of it.

Instances are replicas of one Deployment. They are equal, each pod has its own address, so all listen on the same port,
and the cluster gives each the cards it asks for; the Service spreads connections over those that are ready. One
Deployment per instance would repeat everything for a port plan that only a single host needs.
"""

from __future__ import annotations

import re
from math import ceil
from typing import Any

from planner.files import encode
from planner.launch import RIGHTS, ContainerRun, service_runs, without_variables
from planner.service.export.header import header
from planner.study import Problem
from planner.trials import Trial

PORT = "http"
VOLUME_FOLDER = "/var/lib/planner"
"""Folder of a node that holds what is a volume for Docker."""
SHM_MEDIUM = "Memory"
SHM = "/dev/shm"  # noqa: S108  (a mount point in the container)
STARTUP_PERIOD_S, PROBE_PERIOD_S, PROBE_TIMEOUT_S = 10, 15, 10
"""Seconds between probes at the start and later, and until one times out, as in the compose file's health check."""
FAILURES_UNTIL_DEAD = 4
"""Failed probes until a restart: a minute without `/health`. Under load the API answers late, a dead engine never."""


def kubernetes_yaml(problem: Problem, trial: Trial, default: Trial | None) -> str:
    """The Deployment and the Service as YAML. Raises InputError if the study has no container section."""
    runs = service_runs(problem, trial.candidate)
    name = dns_label(problem.spec.serve.name)
    documents = [_deployment(problem, trial, runs, name), _service(problem, name)]
    count = trial.candidate.layout.gpus_per_instance
    several = (
        f"{len(runs)} instances are {len(runs)} replicas of {count} card{'s' * (count > 1)} each behind one Service"
    )
    head = header(
        problem,
        trial,
        default,
        several if len(runs) > 1 else "",
        _needs_directories(runs[0]),
        _left_out(runs[0]),
        _needs_secret(runs[0], name),
    )
    return "\n".join([head, "---\n".join(map(encode, documents))]).rstrip() + "\n"


def dns_label(text: str) -> str:
    """A name in the form that Kubernetes allows (RFC 1035): lower case, digits and dashes, starting with a letter."""
    label = re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")
    return label if label[:1].isalpha() else f"vllm-{label}".rstrip("-")


def secret_name(name: str) -> str:
    return f"{name}-secrets"


def _deployment(problem: Problem, trial: Trial, runs: list[ContainerRun], name: str) -> dict[str, Any]:
    run, labels = runs[0], {"app.kubernetes.io/name": "vllm", "app.kubernetes.io/instance": name}
    mounts, volumes = _volumes(run)
    container = {
        "name": "vllm",
        "image": run.image,
        "args": without_variables(list(run.command)),
        "env": _env(run, name),
        "ports": [{"name": PORT, "containerPort": run.container_port}],
        "resources": _resources(run, trial.candidate.layout.gpus_per_instance),
        "startupProbe": {
            **_probe(STARTUP_PERIOD_S),
            "failureThreshold": ceil(problem.spec.engine.start_timeout / STARTUP_PERIOD_S),
        },
        "readinessProbe": _probe(PROBE_PERIOD_S),
        "livenessProbe": {**_probe(PROBE_PERIOD_S), "failureThreshold": FAILURES_UNTIL_DEAD},
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": RIGHTS["cap_drop"]},
            "seccompProfile": {"type": "RuntimeDefault"},  # Docker's containers have it by default
        },
    }
    pod = {
        # A Service called vllm would set VLLM_PORT in every pod, which the engine reads as its own.
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "containers": [{key: value for key, value in container.items() if value not in ([], {})}],
        "volumes": volumes,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": len(runs),
            # A rolling update would need the cards twice.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _service(problem: Problem, name: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "vllm", "app.kubernetes.io/instance": name}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "selector": labels,
            "ports": [{"name": PORT, "port": problem.spec.serve.host_port, "targetPort": PORT}],
        },
    }


def _probe(period_s: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": "/health", "port": PORT},
        "periodSeconds": period_s,
        "timeoutSeconds": min(PROBE_TIMEOUT_S, period_s),
    }


def _env(run: ContainerRun, name: str) -> list[dict[str, Any]]:
    """Environment of the pod: values as they are; variables passed by name refer to a secret that the cluster keeps."""
    given = [{"name": key, "value": without_variables(value)} for key, value in run.env.items()]
    kept = [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": secret_name(name), "key": key}}} for key in run.pass_env
    ]
    return [*given, *kept]


def _resources(run: ContainerRun, num_cards: int) -> dict[str, Any]:
    limits = {"nvidia.com/gpu": str(num_cards)} if run.runtime else {}
    if run.memory_limit_bytes:
        limits["memory"] = str(run.memory_limit_bytes)
    return {"limits": limits} if limits else {}


def _volumes(run: ContainerRun) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Mounts and volumes: /dev/shm in memory, through which an engine's processes exchange data, and directories of the
    node.

    Without `container.shm_size`, /dev/shm may take half of the node's memory, as the host's own does.
    """
    shm: dict[str, Any] = {"medium": SHM_MEDIUM}
    if run.shm_size_bytes:
        shm["sizeLimit"] = str(run.shm_size_bytes)
    mounts: list[dict[str, Any]] = [{"name": "shm", "mountPath": SHM}]
    volumes: list[dict[str, Any]] = [{"name": "shm", "emptyDir": shm}]
    for source, inside in run.volumes.items():
        label = dns_label(inside)
        mounts.append({"name": label, "mountPath": inside, **({"readOnly": True} if inside in run.read_only else {})})
        is_directory = source.startswith("/")
        place = {"path": source, "type": "Directory"} if is_directory else {
            "path": f"{VOLUME_FOLDER}/{source}", "type": "DirectoryOrCreate"}  # fmt: skip
        volumes.append({"name": label, "hostPath": place})
    return mounts, volumes


def _needs_directories(run: ContainerRun) -> str:
    folders = [source for source in run.volumes if source.startswith("/")]
    return f"the node must have: {', '.join(folders)}" if folders else ""


def _left_out(run: ContainerRun) -> str:
    """Options that a trial had and a pod cannot ask for."""
    parts = [*(["cpuset-cpus"] if run.cpuset_cpus else []), *(f"ulimit {name}" for name in run.ulimits)]
    return f"not carried over, set by the node: {', '.join(parts)}" if parts else ""


def _needs_secret(run: ContainerRun, name: str) -> str:
    if not run.pass_env:
        return ""
    lines, values = "\\n".join(f"{key}=%s" for key in run.pass_env), " ".join(f'"${key}"' for key in run.pass_env)
    # Not by --from-literal: anyone who lists processes would see the values.
    return f"needs: kubectl create secret generic {secret_name(name)} --from-env-file=<(printf '{lines}\\n' {values})"
