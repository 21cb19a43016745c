"""A study as a person would write it: study.yaml with a comment above every key, and what is left at its default off.

In: a `StudySpec`. Out: text that decodes to the same study, also with every line that is off put on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from planner.benchmark import split_slo
from planner.engine import EngineConfig, settings
from planner.errors import InputError
from planner.files import encode, load_named, shipped_files, write_whole
from planner.study.loading import Given, read_study
from planner.study.question import Question
from planner.study.source import StudySource
from planner.study.space import SearchSpace
from planner.study.spec import StudySpec
from planner.study.workspace import STUDIES_FOLDER, STUDY_FILE
from planner.workload import Workload, workload_keys

HEAD = """\
# A study: which settings of vLLM fit and are fastest for this model, on these cards, under this load.
# Lines like `#key: value` are off and show what holds without them; take the # away to change one.
# planner tune {folder} --dry-run   shows the plan; without --dry-run it launches and measures.
"""
WORDS: dict[str, str] = {
    "name": "Name of the study: of its containers, its results and its labels.",
    "description": "Words for people; reports show them.",
    "models": "Forms of the model, by a name of yours; where there are several, as awq and fp16, they are searched.",
    "models.*.path": "Directory on this host, which is mounted into the container, or a Hugging Face name.",
    "models.*.architecture": "Shipped name or config.json that describes the model if its directory is not here.",
    "models.*.settings": "vLLM settings that this form needs, as quantization.",
    "hardware": "The cards that the engine gets.",
    "hardware.gpu": "A card's name as planner gpus lists it, or CPU.",
    "hardware.num_gpus": "Number of cards to use.",
    "hardware.gpu_memory": "Memory of one card as CUDA reports it, as 23.58GiB, where the table is wrong.",
    "hardware.gpu_used": "Memory of each card that others hold, as 1.5GiB for a desktop; none by default.",
    "hardware.gpu_ids": "Indices of the cards to use, as [2, 3]; by default the first num_gpus.",
    "hardware.interconnect": "How the cards are joined: pcie, nvlink, nvlink-pairs or none.",
    "hardware.host_memory": "Memory of the host that engines may use, as 64GiB; by default what it has.",
    "hardware.cpu_cores": "Cores of the host that engines may use; by default what it has.",
    "hardware.profile": "What was measured on such a card, as h200-vllm-0.24.0; without it the data sheet counts.",
    "engine": "vLLM itself.",
    "engine.version": "vLLM's version; it decides which flags there are and how memory is counted.",
    "engine.settings": "vLLM settings fixed for every candidate, as {max_model_len: 16384}; these are not searched.",
    "engine.env": "Environment variables of the engine; no keys and tokens, those go to pass_env.",
    "engine.pass_env": "Names of variables, as HF_TOKEN, that the engine gets from planner's own environment.",
    "engine.extra_args": "Further flags of vLLM, passed as they are.",
    "engine.command": "Program that --backend process starts; the model and the flags follow.",
    "engine.start_timeout": "Longest time of a start, as 20min or in seconds.",
    "engine.compile_cache": "Whether what the engine compiles is kept for its next launch.",
    "container": "How containers are run, in the trials and in the exported script.",
    "container.image": "Image of vLLM, of the version above.",
    "container.runtime": "Docker runtime; null without GPUs.",
    "container.model_mount": "Where model directories are mounted in the container.",
    "container.container_port": "Port in the container.",
    "container.ipc": "host or private; private needs shm_size where several cards work together.",
    "container.shm_size": "Size of /dev/shm with private ipc, as 16GiB.",
    "container.memory_limit": "Host memory that one container may take, as 64GiB; one that takes more is killed.",
    "container.cpuset_cpus": "Cores of the host for the container, as 0-15.",
    "container.ulimits": "Limits of the container's processes.",
    "serve": "The exported service.",
    "serve.name": "Name of its container, and the name under which it serves the model.",
    "serve.host_port": "Port on the host.",
    "serve.restart": "When Docker starts it again: no, on-failure, always or unless-stopped.",
    "baseline": "Settings to beat, as {max_num_seqs: 64}, the first trial; what is not searched holds for all.",
    "search_space": "What is searched: a shipped name, a file beside this one, or the space itself (planner schema "
    "search-space).",
    "workload": "The load: a shipped name as chat, a file beside this one, or itself (planner schema workload).",
    "objective": "What is best, and what must be kept.",
    "objective.metric": "Metric to improve: output_throughput, ttft_p95, tpot_p50, max_model_len, ...",
    "objective.weights": "Several metrics in place of one, as {output_throughput: 1, ttft_p95: 0.3}.",
    "objective.slo": "Limits that a trial must keep, as {ttft_p95: 2s, tpot_p95: 50ms}.",
    "repeats": "Most runs of the load per launch; the value is their mean.",
    "racing": "Whether a candidate that is surely not the best is given up early.",
    "also_at": "Further loads measured in each launch: rates if the load has one, else concurrencies.",
    "sampler": "Who chooses the next candidate.",
    "sampler.name": "planner, tpe, gp, random or grid.",
    "sampler.seed": "Seed of its random numbers.",
    "budget": "Most time for all launches, the finals included; whichever is used up first ends the search.",
    "budget.hours": "Hours of wall clock, as 8.",
    "budget.gpu_hours": "Hours of GPUs, as 32: a launch takes its time on all cards.",
    "quality": "What a winner's answers must keep where its settings can change them; null: no such gate.",
    "quality.prompts": "JSONL file of prompts beside this one; null: the shipped prompts.",
    "quality.max_tokens": "Length of the compared answers in tokens.",
    "quality.min_agreement": "Least share of an answer's tokens before the first that differs, mean over the prompts.",
    "quality.max_drift": "Largest mean difference of log-probabilities before it, in nats.",
    "quality.command": "Your own evaluation in place of the prompts; exit code 0 passes.",
    "quality.timeout": "Longest time of that command, as 1h or in seconds.",
}
"""What each key of a study means; `*` stands for a name of the writer's."""
_PLAIN = re.compile(r"[A-Za-z/~][A-Za-z0-9_./+-]*")
_NOT_TEXT = {"null", "true", "false", "yes", "no", "on", "off", "y", "n", "~"}


def commented(spec: StudySpec, folder: str, written: Mapping[str, Any]) -> str:
    """The study as text. `written`: values by key path that are shown as given, as `{"objective.slo": {...}}`."""
    return HEAD.format(folder=folder) + "\n" + "\n".join(_struct(spec, "", 0, False, written)) + "\n"


def _struct(struct: msgspec.Struct, path: str, depth: int, is_off: bool, written: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a struct's keys. `is_off`: its own key is off, and so are these."""
    for field in msgspec.structs.fields(struct):
        key, value = field.encode_name, getattr(struct, field.name)
        place = f"{path}.{key}" if path else key
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        off = is_off or (value == default and place not in written)
        yield f"{'  ' * depth}# {WORDS[place]}"
        if isinstance(value, msgspec.Struct) and not isinstance(value, EngineConfig) and place not in written:
            if place == "workload":
                yield f"{'  ' * depth}{key}: {_flow(_data(value))}"
                continue
            yield _line(depth, off, key, "")
            yield from _struct(value, place, depth + 1, off, written)
        elif place == "models":
            yield _line(depth, off, key, "")
            for name, variant in value.items():
                yield _line(depth + 1, off, name, "")
                yield from _struct(variant, "models.*", depth + 2, off, written)
        else:
            yield _line(depth, off, key, _flow(_data(written.get(place, value))))


def _line(depth: int, is_off: bool, key: str, value: str) -> str:
    return f"{'  ' * depth}{'#' if is_off else ''}{_flow(key)}:{f' {value}' if value else ''}"


def _data(value: Any) -> Any:
    """Plain data: of settings those that are set, of a workload what differs from its defaults."""
    if isinstance(value, EngineConfig):
        return settings(value)
    if isinstance(value, msgspec.Struct):
        shown = msgspec.to_builtins(value, enc_hook=float)
        defaults = {field.encode_name: field.default for field in msgspec.structs.fields(value)}
        return {key: one for key, one in shown.items() if one != defaults.get(key) and one is not None}
    return msgspec.to_builtins(value, enc_hook=float)


def _flow(value: Any) -> str:
    """A value on one line of YAML."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_flow(key)}: {_flow(one)}' for key, one in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    return json.dumps(value, ensure_ascii=False)


# --- planner init ---


def write_commented(folder: Path | None, source: StudySource, given: Given, question: Question) -> Path:
    """Write the study of a model on cards as FOLDER/study.yaml, by default under studies/. Raises InputError.

    `given`: what is said to vLLM, for every candidate. A study.yaml that exists is left alone, which is an error.
    """
    spec = read_study(source, given, question=question, launches=True).spec
    return write_spec(folder, spec, source.name, question)


def write_spec(
    folder: Path | None, spec: StudySpec, given_name: str | None, question: Question, load_file: str | None = None
) -> Path:
    """Write a study as `write_commented` does. Without a name that was given it is called as its folder.

    `load_file`: name of a file beside it that gets the load; without one the load stands in the study.
    """
    if given_name is None and folder is not None and (name := _as_name(folder.absolute().name)) is not None:
        spec = msgspec.structs.replace(spec, name=name)
    path = (folder or Path(STUDIES_FOLDER) / spec.name) / STUDY_FILE
    if path.exists():
        raise InputError(f"{path}: exists already, and is left as it is; name another folder")
    written: dict[str, Any] = {"search_space": _shipped_name(spec.search_space, "search_spaces", SearchSpace)}
    if (load := _shipped_name(spec.workload, "workloads", Workload)) is not None:
        written["workload"] = load
    if question.slo is not None:
        written["objective.slo"] = split_slo(question.slo, "ttft_p95=2s")
    load_path = None if load_file is None else path.with_name(load_file)
    if load_path is not None and load_path.exists():
        raise InputError(f"{load_path}: exists already, and is left as it is; name another folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if load_path is not None and isinstance(spec.workload, Workload):
            written["workload"] = load_file
            write_whole(load_path, encode(workload_keys(spec.workload)))
        write_whole(path, commented(spec, str(path.parent), written))
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def _as_name(text: str) -> str | None:
    """The text where it may be a study's name."""
    return text if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", text) else None


def _shipped_name(value: Any, kind: str, type_: type) -> str | None:
    """The name under which this value is shipped; None if it is not."""
    names = shipped_files(kind)
    return next((name for name in names if load_named(name, type_, Path(), kind) == value), None)
