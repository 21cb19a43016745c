"""A study that no file holds: made from a model and a card, and named after everything that its answer depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from packaging.version import Version

from planner.engine import (
    LATEST,
    NEWEST,
    EngineConfig,
    VllmFlags,
    generation_of,
    parse_levers,
    settings,
    supported_version,
)
from planner.errors import InputError
from planner.files import convert, load_named
from planner.hardware import Interconnect, find_gpu
from planner.model import load_model
from planner.study.identity import readable_name
from planner.study.places import OPTIONS
from planner.study.question import AS_IT_IS, Question, with_question
from planner.study.source import StudySource
from planner.study.space import SearchSpace
from planner.study.spec import StudySpec
from planner.workload import Lengths, Workload

IMAGES = "vllm/vllm-openai"
"""Repository of vLLM's images on Docker Hub; the tag is v and the version."""
USUAL_INTERCONNECT: Interconnect = "pcie"
"""How cards are taken to be joined where nobody says."""


def described_study(source: StudySource, given: EngineConfig, question: Question = AS_IT_IS) -> StudySpec:
    """A study without a YAML file: the space for this card and version, and a workload cut to the context."""
    model, gpu = source.model, source.gpu
    if model is None:
        raise InputError(f"--gpu {gpu}: --model and --gpu go together; name the model too (planner models)")
    if gpu is None:
        raise InputError(f"--model {model}: --model and --gpu go together; name the card too (planner gpus)")
    spec = load_model(model)
    card = find_gpu(gpu)
    version = asked_version(source.version)
    path = str(Path(model).absolute()) if Path(model).exists() else model
    settings_needed = {"dtype": "half"} if (0, 0) < card.compute_capability < (8, 0) else {}
    space = space_name(generation_of(version, card, {}), card.is_cpu, card.compute_capability < (8, 0))
    data = {
        "name": "described",
        "models": {"model": {"path": path, "architecture": model}},
        "hardware": {
            "gpu": card.name,
            "num_gpus": 1 if source.num_gpus is None else source.num_gpus,
            "interconnect": USUAL_INTERCONNECT if source.interconnect is None else source.interconnect,
        },
        "engine": {"version": str(version), "settings": settings_needed},
        "container": {"image": f"{IMAGES}:v{version}", "runtime": None if card.is_cpu else "nvidia"},
        "search_space": space,
        "workload": "chat",
    }
    made = convert(data, StudySpec, "command line", OPTIONS)
    made = msgspec.structs.replace(
        made,
        search_space=load_named(space, SearchSpace, Path(), "search_spaces"),
        workload=load_named("chat", Workload, Path(), "workloads"),
    )
    asked = with_question(made, question)
    context = min(given.max_model_len or spec.max_context_tokens, spec.max_context_tokens)
    assert isinstance(asked.workload, Workload)
    return msgspec.structs.replace(asked, workload=cut_to_context(asked.workload, context))


def described_name(spec: StudySpec, flags: VllmFlags, levers: str | None, question: Question = AS_IT_IS) -> str:
    """Name of a described study: model, count, card and version, and a digest of what is unusual in what it measures.

    Raises InputError.
    """
    (variant,) = spec.models.values()
    hardware = spec.hardware
    unusual: dict[str, Any] = {**settings(flags.settings), **question.measured}
    unusual |= {key: value for key, value in (("extra_args", flags.extra_args), ("env", flags.env)) if value}
    if hardware.interconnect != USUAL_INTERCONNECT:
        unusual["interconnect"] = hardware.interconnect
    if levers is not None:
        unusual["levers"] = sorted(parse_levers(levers))
    if Path(variant.path).is_absolute():
        unusual["path"] = variant.path
    model = load_model(variant.architecture or variant.path).name
    parts = (model, f"{hardware.num_gpus}x{hardware.gpu}", f"v{spec.engine.version}")
    return readable_name(parts, unusual)


def asked_version(text: str | None) -> Version:
    """The version that a person names: `latest`, and None, is the newest that planner knows. Raises InputError."""
    return NEWEST if text in (None, LATEST) else supported_version(text, "--vllm-version")


def cut_to_context(workload: Workload, context_tokens: int) -> Workload:
    """The workload, with its lengths scaled down if its longest request exceeds the context."""
    if workload.max_total_tokens <= context_tokens:
        return workload
    scale = context_tokens / workload.max_total_tokens

    def cut(length: int | Lengths) -> int | Lengths:
        if isinstance(length, int):
            return max(1, int(length * scale))
        return Lengths(max(1, int(length.low * scale)), max(1, int(length.high * scale)))

    return msgspec.structs.replace(
        workload, input_tokens=cut(workload.input_tokens), output_tokens=cut(workload.output_tokens)
    )


def space_name(generation: str, is_cpu: bool, is_turing: bool) -> str:
    """The shipped search space for an engine on a kind of card."""
    if is_cpu:
        return "vllm-cpu"
    if generation == "V1":
        return "vllm-v1"
    return "vllm-0.8-v0-turing" if is_turing else "vllm-v0"
