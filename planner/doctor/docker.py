"""Checks of the Docker Engine: does it answer, can its containers use cards, is the image here and does it fit."""

from __future__ import annotations

import operator
import os
import re
import shutil
from collections.abc import Callable, Mapping

from packaging.version import InvalidVersion, Version

from planner.doctor.check import NO_GPU_NEEDED, Case, Check, skipped
from planner.errors import BackendError
from planner.hardware import GpuFacts
from planner.launch import run_to_end
from planner.units import format_gib

NO_ENGINE = "not checked: no Docker Engine answers"
NOT_ASKED = "not needed: engines run as processes"
NVIDIA_RUNTIME = "nvidia"
HOOK = "nvidia-container-runtime-hook"
"""Program that an Engine calls for --gpus; part of NVIDIA's container toolkit."""
CDI_KIND = "nvidia.com/gpu"
TOOLKIT = "install nvidia-container-toolkit, then "
CONFIGURE = "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"


def engine(case: Case) -> Check:
    name = "Docker Engine"
    if case.backend != "docker":
        return skipped(name, NOT_ASKED)
    if case.docker is None:
        address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        reason = re.search(r"Error\(\d+, ['\"](.+?)['\"]\)", case.docker_error)
        finding = f"no Docker Engine answers at {address}: {reason[1] if reason else case.docker_error}"
        fix = "start it (sudo systemctl start docker), or use --backend process with vllm on PATH"
        if "Permission denied" in case.docker_error:
            fix = "sudo usermod -aG docker $USER, then log in anew"
        return Check(name, "problem", finding, fix)
    facts = case.docker
    finding = f"{facts.version}, {facts.num_cpus} CPUs, {format_gib(facts.memory_bytes)}"
    if not facts.is_local:
        fix = "run planner on the Engine's machine"
        return Check(name, "problem", f"{finding}; on another machine, where planner cannot reach its ports", fix)
    return Check(name, "ok", f"{finding}{', rootless' if facts.is_rootless else ''}")


def nvidia_runtime(case: Case) -> Check:
    """Whether containers can get cards through the runtime.

    planner writes both --runtime and --gpus: the first must be registered, the second needs the toolkit's hook.
    """
    name = "NVIDIA runtime"
    if (why := _unneeded(case)) is not None:
        return skipped(name, why)
    if case.docker is None:
        return skipped(name, NO_ENGINE)
    runtime = NVIDIA_RUNTIME
    if case.spec is not None and case.spec.container is not None:
        if case.spec.container.runtime is None:
            finding = "container.runtime is null: containers get no card"
            return Check(name, "problem", finding, f"write container.runtime: {NVIDIA_RUNTIME}")
        runtime = case.spec.container.runtime
    devices = [device for device in case.docker.cdi_devices if device.startswith(CDI_KIND)]
    cdi = f"; CDI names {len(devices)} devices, which planner does not ask for" if devices else ""
    has_hook = shutil.which(HOOK) is not None
    if runtime not in case.docker.runtimes:
        there = ", ".join(case.docker.runtimes)
        finding = f"runtime {runtime} is not registered (there are {there}), so --runtime={runtime} is refused{cdi}"
        return Check(name, "problem", finding, CONFIGURE if has_hook else TOOLKIT + CONFIGURE)
    if not has_hook:
        finding = f"--runtime={runtime} is registered; {HOOK} for --gpus is not on this PATH{cdi}"
        return Check(
            name, "warning", finding, "see the line on GPUs in a container; where it fails, " + TOOLKIT + CONFIGURE
        )
    return Check(name, "ok", f"--runtime={runtime} is registered, --gpus has its hook{cdi}")


def image(case: Case) -> Check | None:
    name = "image"
    if case.spec is None:
        return None
    if case.backend != "docker":
        return skipped(name, NOT_ASKED)
    if case.spec.container is None:
        fix = "write container: {image: ...}, or use --backend process"
        return Check(name, "problem", "the study has no container section", fix)
    if case.docker is None:
        return skipped(name, NO_ENGINE)
    wanted = case.spec.container.image
    if case.image is None:
        return Check(name, "problem", f"{wanted} is not on this machine", f"docker pull {wanted}")
    told = f"digest {case.image.digest}" if case.image.digest else f"built here, id {case.image.id}"
    return Check(name, "ok", f"{wanted}, {told}")


def cuda(case: Case) -> Check | None:
    """Check the image's CUDA against the driver, as NVIDIA's runtime will judge it before the container starts."""
    name = "image CUDA"
    if case.spec is None:
        return None
    if (why := _unneeded(case)) is not None:
        return skipped(name, why)
    if case.image is None or case.gpus.error or not case.cards:
        return skipped(name, "not checked: it takes the image and a driver")
    env, (major, minor) = {**case.image.env, **case.spec.engine.env}, case.gpus.cuda
    requirement = "" if "NVIDIA_DISABLE_REQUIRE" in env else env.get("NVIDIA_REQUIRE_CUDA", "")
    version = env.get("CUDA_VERSION", "")
    here = f"driver {case.gpus.driver} serves CUDA {major}.{minor}"
    fix = "update the driver, or take an image of an older CUDA"
    if requirement and not is_satisfied(requirement, case.gpus):
        asked = requirement.split()[0]
        return Check(name, "problem", f"the image requires {asked}, {here}", fix)
    if not version:
        return Check(name, "ok", f"the image names no CUDA version; {here}")
    asked_for = tuple(int(part) for part in version.split(".")[:2])
    if asked_for <= case.gpus.cuda:
        return Check(name, "ok", f"CUDA {version}; {here}")
    if asked_for[0] == major or requirement:
        finding = f"CUDA {version}, {here}: starts by NVIDIA's compatibility, kernels compiled later may be refused"
        return Check(name, "warning", finding, fix)
    return Check(name, "problem", f"CUDA {version}, {here}", fix)


_COMPARE: Mapping[str, Callable[[Version, Version], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "!=": operator.ne, "=": operator.eq,
}  # fmt: skip


def is_satisfied(requirement: str, gpus: GpuFacts) -> bool:
    """Whether driver and first card meet an NVIDIA_REQUIRE_*: conditions joined by commas, alternatives by spaces.

    Source: NVIDIA's container toolkit, the constraints of images (`cuda>=12.4 brand=tesla,driver>=470,driver<471`).
    """
    card = gpus.cards[0]
    facts = {
        "cuda": ".".join(map(str, gpus.cuda)),
        "driver": gpus.driver,
        "arch": ".".join(map(str, card.compute_capability)),
        "brand": card.brand,
    }

    def holds(condition: str) -> bool:
        match = re.fullmatch(r"(\w+)(>=|<=|!=|=|<|>)(.+)", condition)
        if not match or match[1] not in facts:
            return False
        if match[1] == "brand":
            return (facts["brand"] == match[3]) == (match[2] == "=")
        try:
            return _COMPARE[match[2]](Version(facts[match[1]]), Version(match[3]))
        except InvalidVersion:
            return False

    return any(all(holds(part) for part in choice.split(",")) for choice in requirement.split())


def cards_in_container(case: Case) -> Check | None:
    """Check that a container of the image, started as a trial is, lists the cards. This is what counts in the end."""
    name = "GPUs in a container"
    if case.spec is None:
        return None
    if (why := _unneeded(case)) is not None:
        return skipped(name, why)
    runtime = case.spec.container.runtime if case.spec.container else None
    if case.image is None or case.docker is None or runtime not in case.docker.runtimes or not case.gpus.cards:
        return skipped(name, "not checked: it takes the image, the runtime and a card")
    fix = "docker run --rm --runtime=nvidia --gpus=all IMAGE must work: see NVIDIA's container toolkit"
    try:
        ended = run_to_end(case.image.name, ["-L"], program="nvidia-smi", runtime=runtime, timeout_s=60)
    except BackendError as error:
        return Check(name, "problem", str(error), fix)
    seen = len(re.findall(r"^GPU \d+:", ended.stdout, re.MULTILINE))
    if ended.exit_code or seen < len(case.cards):
        words = (ended.stdout + ended.stderr).strip().splitlines()
        finding = (
            f"it sees {seen} of {len(case.gpus.cards)} cards{': ' + words[-1] if ended.exit_code and words else ''}"
        )
        return Check(name, "problem", finding, fix)
    return Check(name, "ok", f"it sees {seen}")


def _unneeded(case: Case) -> str | None:
    if case.backend != "docker":
        return NOT_ASKED
    return None if case.needs_gpus else NO_GPU_NEEDED
