"""Load a study from its file, or make one from a model and a card. Out: a `StudySpec` and its folder."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from planner.engine import (
    EngineConfig,
    VllmFlags,
    flag,
    generation_of,
    parse_levers,
    parse_version,
    refused_choice,
    settings,
)
from planner.errors import InputError
from planner.files import YAML_BYTES, convert, decode, did_you_mean, load_named, read_text
from planner.hardware import find_gpu
from planner.model import load_model
from planner.study.space import SearchSpace
from planner.study.space import with_levers as space_with_levers
from planner.study.spec import ModelVariant, QualitySpec, StudySpec
from planner.study.workspace import STUDIES_FOLDER, STUDY_FILE, find_study, study_folders
from planner.workload import Lengths, Workload


def load(path: Path | None) -> tuple[StudySpec, Path]:
    """The study at this path, and the folder that its results go to."""
    found = find_study(path)
    if path is not None and not found.exists() and (near := did_you_mean(str(path), study_folders())):
        raise InputError(f"{path}: no such study{near}")
    return load_study(found), found.parent


def spec_of(
    study: Path | None,
    model: str | None,
    gpu: str | None,
    num_gpus: int,
    interconnect: str,
    version: str,
    max_model_len: int | None = None,
) -> tuple[StudySpec, Path]:
    """The study named, or one made from --model and --gpu, and its folder. Raises InputError."""
    if model is None and gpu is None:
        return load(study)
    if study is not None:
        raise InputError("name a study or describe one with --model and --gpu, not both")
    if model is None or gpu is None:
        raise InputError("--model and --gpu go together: both are needed without a study.yaml")
    spec = described_study(model, gpu, num_gpus, interconnect, version, max_model_len)
    folder = Path(STUDIES_FOLDER) / spec.name
    if (folder / STUDY_FILE).exists():
        return load_study(folder / STUDY_FILE), folder
    return spec, folder


def described_study(
    model: str, gpu: str, num_gpus: int, interconnect: str, version: str, max_model_len: int | None = None
) -> StudySpec:
    """A study without a YAML file: the space for this card and version, and a chat workload cut to the context."""
    spec = load_model(model)
    card = find_gpu(gpu)
    parsed = parse_version(version)
    path = str(Path(model).absolute()) if Path(model).exists() else model
    settings_needed = {"dtype": "half"} if (0, 0) < card.compute_capability < (8, 0) else {}
    space = space_name(generation_of(parsed, card, {}), card.is_cpu, card.compute_capability < (8, 0))
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{spec.name}-{num_gpus}x{card.name}").strip("-._").lower()
    data = {
        "name": name[:63],
        "models": {"model": {"path": path, "architecture": model}},
        "hardware": {"gpu": card.name, "num_gpus": num_gpus, "interconnect": interconnect},
        "engine": {"version": version, "settings": settings_needed},
        "container": {"image": f"vllm/vllm-openai:v{parsed}", "runtime": None if card.is_cpu else "nvidia"},
        "search_space": space,
        "workload": "chat",
    }
    made = convert(data, StudySpec, "command line")
    workload = load_named("chat", Workload, Path(), "workloads")
    return msgspec.structs.replace(
        made,
        search_space=load_named(space, SearchSpace, Path(), "search_spaces"),
        workload=cut_to_context(workload, min(max_model_len or spec.max_context_tokens, spec.max_context_tokens)),
    )


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


def with_levers(spec: StudySpec, text: str | None) -> StudySpec:
    """The study with the settings of these groups searched; None keeps what its space searches. Raises InputError."""
    if text is None or isinstance(spec.search_space, str):
        return spec
    space = space_with_levers(spec.search_space, parse_levers(text), list(spec.models), spec.hardware.num_gpus)
    return msgspec.structs.replace(spec, search_space=space)


def with_prompts(spec: StudySpec, prompts: Path | None) -> StudySpec:
    """The study with other prompts for the quality gate."""
    if prompts is None:
        return spec
    quality = msgspec.structs.replace(spec.quality or QualitySpec(), prompts=str(prompts.absolute()))
    return msgspec.structs.replace(spec, quality=quality)


def with_settings(spec: StudySpec, given: EngineConfig, sampler: str | None, seed: int | None) -> StudySpec:
    """The study with the command line's vLLM flags fixed, and with another sampler or seed if given."""
    fixed = msgspec.structs.replace(spec.engine.settings, **settings(given))
    chosen = {key: value for key, value in (("name", sampler), ("seed", seed)) if value is not None}
    sampler_spec = convert({**msgspec.to_builtins(spec.sampler), **chosen}, type(spec.sampler), "--sampler")
    engine = msgspec.structs.replace(spec.engine, settings=fixed)
    models = {name: _under(variant, given) for name, variant in spec.models.items()}
    return msgspec.structs.replace(spec, engine=engine, models=models, sampler=sampler_spec)


def with_flags(spec: StudySpec, given: VllmFlags, sampler: str | None, seed: int | None) -> StudySpec:
    """The study with all that vLLM's words say: settings fixed, other flags passed on, variables set.

    Raises InputError for a value that the study's version refuses.
    """
    spec = with_env(with_settings(spec, given.settings, sampler, seed), given.env)
    version = parse_version(spec.engine.version)
    problems = (
        f"argument {flag(name)}: {problem}"
        for name, value in settings(spec.engine.settings).items()
        if (problem := refused_choice(version, name, value)) is not None
    )
    if refused := [*problems, *given.refused]:
        raise InputError(f"{spec.name}: {'; '.join(refused)} (vLLM {version})")
    engine = msgspec.structs.replace(spec.engine, extra_args=[*spec.engine.extra_args, *given.extra_args])
    return msgspec.structs.replace(spec, engine=engine)


def with_env(spec: StudySpec, env: Mapping[str, str]) -> StudySpec:
    """The study with further variables for the engine."""
    engine = msgspec.structs.replace(spec.engine, env={**spec.engine.env, **env}) if env else spec.engine
    return msgspec.structs.replace(spec, engine=engine)


def _under(variant: ModelVariant, given: EngineConfig) -> ModelVariant:
    """The variant without the settings that the command line overrides."""
    said = {name: value for name, value in settings(given).items() if name in settings(variant.settings)}
    return msgspec.structs.replace(variant, settings=msgspec.structs.replace(variant.settings, **said))


def load_study(path: Path) -> StudySpec:
    """Read a study and the files that it names. Raises InputError."""
    if os.path.isdir(path):
        path = path / "study.yaml"
    if not os.path.exists(path):
        raise InputError(f"{path}: no such study; write one, or describe it with --model and --gpu")
    spec = decode(read_text(path, YAML_BYTES), StudySpec, str(path))
    space, workload = spec.search_space, spec.workload
    if isinstance(space, str):
        space = load_named(space, SearchSpace, path.parent, "search_spaces")
    if isinstance(workload, str):
        workload = load_named(workload, Workload, path.parent, "workloads")
    if workload.prompts is not None:
        raise InputError(f"{path}: workload.prompts: recorded prompts cannot be predicted; planner bench sends them")
    models = {name: _from(path.parent, variant) for name, variant in spec.models.items()}
    quality = spec.quality
    if quality is not None and quality.prompts is not None:
        quality = msgspec.structs.replace(quality, prompts=str(path.parent / quality.prompts))
    return msgspec.structs.replace(spec, search_space=space, workload=workload, models=models, quality=quality)


def _from(folder: Path, variant: ModelVariant) -> ModelVariant:
    """The variant with a relative model directory resolved against the folder of the study's file."""
    if not variant.path.startswith(("./", "../")):
        return variant
    return msgspec.structs.replace(variant, path=os.path.realpath(folder / variant.path))
