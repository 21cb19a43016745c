"""A study that is like a running server: its own settings are the baseline to beat, and its traffic is the load.

In: what the server told (`Likeness`), the cards and flags that were said beside it, later the load that was seen. Out:
a `FoundStudy`. Nothing is asked of the server here.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import msgspec

from planner.benchmark import RATES, Likeness
from planner.engine import EngineConfig, TypedWords, convert_settings, flag, serve_args, settings
from planner.errors import InputError
from planner.study.described import asked_version, cut_to_context, described_name
from planner.study.loading import FoundStudy, read_study, with_levers
from planner.study.problem import Problem
from planner.study.question import AS_IT_IS, Question, with_question
from planner.study.source import StudySource
from planner.study.workspace import STUDIES_FOLDER, STUDY_FILE
from planner.workload import Workload

UNTOLD = ("max_num_seqs", "max_num_batched_tokens", "tensor_parallel_size")
"""Settings that move memory and speed most and stand on no page of a server; vLLM 0.6.6 to 0.33 have none of them."""


def like_server(like: Likeness, source: StudySource, typed: TypedWords) -> tuple[StudySource, TypedWords]:
    """The model, the version and the flags of a server, as if they had been typed; what is said beside it wins.

    Raises InputError where the server does not name its model, or names a path of its own machine.
    """
    model = source.model or like.model
    if model is None:
        raise InputError(f"{like.url} does not say which model it serves; name it with --model")
    if source.model is None and model.startswith(("/", ".")) and not os.path.exists(model):
        raise InputError(
            f"{like.url} serves {model}, which is a path on its machine and not here; name it with --model"
        )
    asked = replace(source, model=model, version=source.version or like.version)
    version = asked_version(asked.version)
    said = typed.read(version).settings
    told = {name: value for name, value in settings(like.settings).items() if getattr(said, name) is None}
    return asked, replace(typed, words=(*serve_args(convert_settings(told, like.url), version), *typed.words))


def study_like(
    like: Likeness, source: StudySource, typed: TypedWords, levers: str | None = None, question: Question = AS_IT_IS
) -> FoundStudy:
    """The study of a server whose traffic was not yet seen. Its notes name the settings that no server tells.

    Raises InputError, also where nobody says on which cards it runs.
    """
    if source.gpu is None:
        untold = ", ".join(map(flag, UNTOLD))
        raise InputError(
            f"--like {like.url}: no server tells its cards: name them with --gpu (and --num-gpus), and say {untold} "
            "where it was started with them"
        )
    asked, words = like_server(like, source, typed)
    found = read_study(asked, words, None, question, launches=True)
    given = settings(found.flags.settings)
    engine = msgspec.structs.replace(found.spec.engine, settings=_without(found.spec.engine.settings, given))
    spec = msgspec.structs.replace(found.spec, engine=engine, baseline=found.flags.settings)
    name = source.name or described_name(spec, found.flags, levers, question)
    missing = [flag(field) for field in UNTOLD if field not in given]
    notes = [
        f"like {like.url}: the baseline to beat is {' '.join(serve_args(spec.baseline, asked_version(asked.version)))}"
    ]
    if missing:
        notes.append(f"no server tells {', '.join(missing)}: vLLM's defaults are taken; say them if it was started so")
    named = msgspec.structs.replace(with_levers(spec, levers), name=name)
    return replace(found, spec=named, folder=Path(STUDIES_FOLDER) / name, notes=tuple(notes))


def _without(config: EngineConfig, given: dict[str, object]) -> EngineConfig:
    """The settings less those that were given, which are the baseline's."""
    kept = {name: value for name, value in settings(config).items() if name not in given}
    return convert_settings(kept, "engine.settings")


def refuse_earlier(found: FoundStudy) -> None:
    """Raise InputError where the study is there already: traffic that is seen anew is never the same load."""
    path = found.folder / STUDY_FILE
    if os.path.exists(path):
        raise InputError(
            f"{path}: is there already; planner tune {found.folder} goes on with it, --name NAME starts another"
        )


def with_traffic(found: FoundStudy, load: Workload, question: Question) -> FoundStudy:
    """The study under the load that was seen. For a throughput it is a closed loop of as many requests in flight.

    At the rate at which requests came, any settings that keep up have the same throughput.
    """
    notes, spec = list(found.notes), found.spec
    goals = set(spec.objective.powers)
    if load.request_rate is not None and (goals & set(RATES) or spec.objective.seeks_load):
        notes.append(
            f"load: {load.concurrency} requests in flight, the mean of what was seen at {load.request_rate:.3g} "
            "requests/s; --concurrency asks of another load"
        )
        load = msgspec.structs.replace(load, request_rate=None)
    spec = msgspec.structs.replace(spec, workload=load)
    if question.concurrency is not None:
        spec = with_question(spec, Question(concurrency=question.concurrency))
    problem = Problem.of(spec)
    context = int(problem.deployment(problem.default).engine.max_model_len)
    assert isinstance(spec.workload, Workload)
    spec = msgspec.structs.replace(spec, workload=cut_to_context(spec.workload, context))
    return replace(found, spec=spec, notes=tuple(notes))
