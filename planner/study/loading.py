"""Load a study from its file, or make one from a model and a card. Out: a `StudySpec` and its folder."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
from packaging.version import Version

from planner.engine import (
    EngineConfig,
    TypedWords,
    VllmFlags,
    flag,
    parse_levers,
    parse_version,
    refused_choice,
    settings,
    supported_version,
)
from planner.errors import InputError
from planner.files import YAML_BYTES, convert, decode, did_you_mean, load_named, read_text
from planner.hardware import find_gpu
from planner.model import is_shipped
from planner.study.described import asked_version, described_name, described_study
from planner.study.identity import changes_between, in_one_line, measured_of
from planner.study.question import AS_IT_IS, Question, with_question
from planner.study.source import StudySource
from planner.study.space import SearchSpace
from planner.study.space import with_levers as space_with_levers
from planner.study.spec import ContainerSpec, HardwareSpec, ModelVariant, Name, QualitySpec, StudySpec
from planner.study.workspace import STUDIES_FOLDER, STUDY_FILE, find_study, study_folders
from planner.workload import at_folder, load_workload, predictable

Given = EngineConfig | TypedWords
"""What is said to vLLM beside a study: settings from Python, or words of a command line."""
NO_FLAGS = VllmFlags()


@dataclass(frozen=True, slots=True)
class FoundStudy:
    """A study, and where its results belong."""

    spec: StudySpec
    folder: Path
    is_read: bool = False
    """Whether `folder` is where its study.yaml was read from; else it may hold anything, or not exist."""
    changes: tuple[str, ...] = ()
    """What options beside the study's name changed in it."""
    notes: tuple[str, ...] = ()
    """What a person should know of how it continues, a sentence each."""
    flags: VllmFlags = NO_FLAGS
    """vLLM's words beside the study, as its version reads them; they are in `spec` already."""


def load(path: Path | None) -> tuple[StudySpec, Path]:
    """The study at this path, and the folder that its results go to."""
    found = find_study(path)
    if path is not None and not found.exists() and (near := did_you_mean(str(path), study_folders())):
        raise InputError(f"{path}: no such study{near}")
    if path is not None and not found.exists() and is_shipped(str(path)):
        raise InputError(f"{path}: is a model, no study; name its card too: --model {path} --gpu CARD (planner gpus)")
    return load_study(found), found.parent


def read_study(
    source: StudySource,
    given: Given,
    levers: str | None = None,
    question: Question = AS_IT_IS,
    *,
    launches: bool = False,
) -> FoundStudy:
    """The study that a source means, with vLLM's flags `given` and the groups of `levers` searched. Raises InputError.

    A described one is read from no file, whatever an earlier run has left. `launches`: its image is needed too.
    """
    if source.study is None and source.name is not None and not source.is_described:
        raise InputError(
            f"--name {source.name}: names a study that STUDY, or --model and --gpu, describe; "
            f"to go on with one write its path: {STUDIES_FOLDER}/{source.name}"
        )
    if source.is_described:
        flags = _flags_of(given, asked_version(source.version))
        spec = described_study(source, flags.settings, question)
        spec = with_levers(with_flags(spec, flags, launches=launches), levers)
        name = source.name or described_name(spec, flags, levers, question)
        return FoundStudy(_named(spec, name), Path(STUDIES_FOLDER) / name, flags=flags)
    return read_loaded(FoundStudy(*load(source.study)), source, given, levers, question, launches=launches)


def read_loaded(
    loaded: FoundStudy,
    source: StudySource,
    given: Given,
    levers: str | None = None,
    question: Question = AS_IT_IS,
    *,
    launches: bool = False,
) -> FoundStudy:
    """A study that is loaded, with what a source says beside its name, vLLM's flags and levers. Raises InputError."""
    spec, folder = with_question(_overridden(loaded.spec, source, launches), question), loaded.folder
    changes = tuple(changes_between(measured_of(loaded.spec), measured_of(spec)))
    flags = _flags_of(given, supported_version(spec.engine.version, f"{spec.name}: engine.version"))
    spec = with_levers(with_flags(spec, flags, launches=launches), levers)
    if source.name is not None:
        spec, folder = _named(spec, source.name), Path(STUDIES_FOLDER) / source.name
    return FoundStudy(spec, folder, is_read=source.name is None, changes=changes, flags=flags)


def _flags_of(given: Given, version: Version) -> VllmFlags:
    return VllmFlags(settings=given) if isinstance(given, EngineConfig) else given.read(version)


def continued(found: FoundStudy) -> FoundStudy:
    """The study as its folder already holds it, so that what was written by hand since counts; else `found` itself.

    What is asked of its trials, the objective and its limits, stays that of `found`.

    Raises InputError if the folder holds another study: its trials would be taken for answers to this one.
    """
    path = found.folder / STUDY_FILE
    if found.is_read:
        if found.changes:
            raise InputError(
                f"{found.folder}: {in_one_line(found.changes)}: differs from its {STUDY_FILE}, so its trials would not "
                "compare; --name NAME makes a study of its own, --dry-run only shows the plan"
            )
        return found
    if not path.exists():
        return found
    stored = load_study(path)
    if changes := changes_between(measured_of(stored), measured_of(found.spec)):
        raise InputError(
            f"{path}: is of another study: {in_one_line(changes)}; planner tune {found.folder} goes on with it, "
            "--name NAME starts another"
        )
    asked = msgspec.structs.replace(stored, objective=found.spec.objective)
    notes = () if stored.objective.asked == asked.objective.asked else (_other_question(path, stored, asked),)
    return replace(found, spec=_named(asked, found.spec.name), notes=notes)


def _other_question(path: Path, stored: StudySpec, asked: StudySpec) -> str:
    return (
        f"{path} asks {stored.objective.question}; this command asks {asked.objective.question}: stored trials are "
        "judged for that, and none is launched again for it"
    )


def _named(spec: StudySpec, name: str) -> StudySpec:
    return msgspec.structs.replace(spec, name=convert(name, Name, "--name"))


def _overridden(spec: StudySpec, source: StudySource, launches: bool) -> StudySpec:
    """The study with the cards and the version that were given beside it. Raises InputError."""
    if source.model is not None:
        raise InputError(
            f"--model {source.model}: name a study or describe one with --model and --gpu, not both; the models of "
            f"{spec.name} are {', '.join(spec.models)}"
        )
    hardware = spec.hardware
    changes: dict[str, Any] = {}
    if source.gpu is not None and find_gpu(source.gpu) != find_gpu(hardware.gpu):
        changes |= {"gpu": find_gpu(source.gpu).name, "gpu_memory": None}
    if source.interconnect is not None:
        given = {"gpu": hardware.gpu, "interconnect": source.interconnect}
        changes["interconnect"] = convert(
            given, HardwareSpec, "command line", {"interconnect": "--interconnect"}
        ).interconnect
    if source.num_gpus not in (None, hardware.num_gpus):
        if hardware.gpu_ids is not None:
            raise InputError(f"--num-gpus {source.num_gpus}: the study names its cards: hardware.gpu_ids")
        changes["num_gpus"] = source.num_gpus
    engine, container = spec.engine, spec.container
    if source.version is not None:
        before, version = parse_version(engine.version), asked_version(source.version)
        if version != before:
            engine = msgspec.structs.replace(engine, version=str(version))
            container = _with_version(container, str(before), str(version), launches)
    return msgspec.structs.replace(
        spec, hardware=msgspec.structs.replace(hardware, **changes), engine=engine, container=container
    )


def _with_version(container: ContainerSpec | None, before: str, now: str, launches: bool) -> ContainerSpec | None:
    """The container with the image of another version, where its tag is the version. Raises InputError if it is not."""
    if container is None:
        return None
    repository, _, tag = container.image.rpartition(":")
    if tag in {before, f"v{before}"}:
        return msgspec.structs.replace(container, image=f"{repository}:{tag.replace(before, now)}")
    if launches:
        raise InputError(
            f"--vllm-version {now}: the study's image {container.image} is of {before} and does not say so in its tag; "
            "write engine.version and container.image in a study of its own"
        )
    return container


def with_levers(spec: StudySpec, text: str | None) -> StudySpec:
    """The study with the settings of these groups searched; None keeps what its space searches. Raises InputError."""
    if text is None or isinstance(spec.search_space, str):
        return spec
    space = space_with_levers(spec.search_space, parse_levers(text), list(spec.models), spec.hardware.num_gpus)
    return msgspec.structs.replace(spec, search_space=space)


def with_prompts(spec: StudySpec, prompts: Path | None) -> StudySpec:
    """The study with other prompts for the quality gate. Raises InputError if the file is not there."""
    if prompts is None:
        return spec
    if not os.path.exists(prompts):
        raise InputError(f"--quality-prompts {prompts}: no such file")
    quality = msgspec.structs.replace(spec.quality or QualitySpec(), prompts=str(prompts.absolute()))
    return msgspec.structs.replace(spec, quality=quality)


def with_settings(spec: StudySpec, given: EngineConfig) -> StudySpec:
    """The study with the command line's vLLM flags fixed."""
    fixed = msgspec.structs.replace(spec.engine.settings, **settings(given))
    engine = msgspec.structs.replace(spec.engine, settings=fixed)
    models = {name: _under(variant, given) for name, variant in spec.models.items()}
    return msgspec.structs.replace(spec, engine=engine, models=models)


def with_sampler(spec: StudySpec, sampler: str | None, seed: int | None) -> StudySpec:
    """The study with another sampler or seed; None keeps its own. Raises InputError."""
    chosen = {key: value for key, value in (("name", sampler), ("seed", seed)) if value is not None}
    sampler_spec = convert({**msgspec.to_builtins(spec.sampler), **chosen}, type(spec.sampler), "--sampler")
    return msgspec.structs.replace(spec, sampler=sampler_spec)


def with_flags(spec: StudySpec, flags: VllmFlags, *, launches: bool = False) -> StudySpec:
    """The study with all that vLLM's words say: settings fixed, other flags passed on, variables set.

    Raises InputError for a value that the study's version refuses, if an engine is to be launched.
    """
    spec = with_settings(spec, flags.settings)
    version = parse_version(spec.engine.version)
    problems = (
        f"argument {flag(name)}: {problem}"
        for name, value in settings(spec.engine.settings).items()
        if (problem := refused_choice(version, name, value)) is not None
    )
    if launches and (refused := [*problems, *flags.refused]):
        raise InputError(f"{spec.name}: {'; '.join(refused)} (vLLM {version})")
    args, env = [*spec.engine.extra_args, *flags.extra_args], {**spec.engine.env, **flags.env}
    return msgspec.structs.replace(spec, engine=msgspec.structs.replace(spec.engine, extra_args=args, env=env))


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
    folder = path.parent
    workload = predictable(
        load_workload(workload, folder) if isinstance(workload, str) else at_folder(workload, folder)
    )
    models = {name: _from(path.parent, variant) for name, variant in spec.models.items()}
    hardware, quality = spec.hardware, spec.quality
    if hardware.profile is not None and hardware.profile.startswith(("./", "../")):
        hardware = msgspec.structs.replace(hardware, profile=os.path.realpath(folder / hardware.profile))
    if quality is not None and quality.prompts is not None:
        quality = msgspec.structs.replace(quality, prompts=str((path.parent / quality.prompts).absolute()))
    read = {"search_space": space, "workload": workload, "models": models, "hardware": hardware, "quality": quality}
    return msgspec.structs.replace(spec, **read)


def _from(folder: Path, variant: ModelVariant) -> ModelVariant:
    """The variant with a relative model directory resolved against the folder of the study's file."""
    if not variant.path.startswith(("./", "../")):
        return variant
    return msgspec.structs.replace(variant, path=os.path.realpath(folder / variant.path))
