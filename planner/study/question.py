"""What a command line asks in place of what a study says: load, limits, objective, image.

In: a study and a `Question`. Out: the study with it. Each value is read as study.yaml reads it, with the same errors.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from planner.benchmark import split_slo
from planner.errors import InputError
from planner.files import convert
from planner.study.objective import Objective
from planner.study.spec import ContainerSpec, StudySpec
from planner.workload import Workload, load_workload, predictable, workload_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The options as written; None is what was not said, and stays as the study has it."""

    workload: str | None = None
    """Shipped name, or a YAML file; the study's own is replaced whole."""
    concurrency: int | None = None
    """Requests in flight over all instances."""
    slo: str | None = None
    """Limits such as `ttft_p95=2s,tpot_p95=50ms`; the study's own are replaced."""
    objective: str | None = None
    """A metric, or metrics with weights such as `output_throughput=1,ttft_p95=0.3`."""
    image: str | None = None

    @property
    def said(self) -> dict[str, str | int]:
        """The options that were given, by name."""
        return {key: value for key, value in asdict(self).items() if value is not None}


AS_IT_IS = Question()
"""Nothing in place of what the study says."""


def with_question(spec: StudySpec, question: Question) -> StudySpec:
    """The study with the question in place of its own. Raises InputError."""
    if not question.said:
        return spec
    return msgspec.structs.replace(
        spec,
        workload=_load(spec, question),
        objective=_objective(spec.objective, question),
        container=_container(spec, question),
    )


def _load(spec: StudySpec, question: Question) -> str | Workload:
    workload = spec.workload
    if question.workload is not None:
        path = Path(question.workload)
        workload = predictable(load_workload(path.name, path.parent))
    if question.concurrency is None or isinstance(workload, str):
        return workload
    if workload.request_rate is None:
        return workload_at(workload, question.concurrency)
    closed = {"concurrency": question.concurrency, "request_rate": None, "start_rate": None}
    if workload.replay:
        closed["replay"] = False
    return convert({**msgspec.to_builtins(workload, enc_hook=float), **closed}, Workload, "--concurrency")


def _objective(objective: Objective, question: Question) -> Objective:
    written: dict[str, Any] = msgspec.to_builtins(objective, enc_hook=float)
    if question.slo is not None:
        limits = {"slo": split_slo(question.slo, "ttft_p95=2s")}
        if not limits["slo"]:
            raise InputError("--slo: names no limit; allowed is NAME=LIMIT, for example ttft_p95=2s")
        written["slo"] = convert(limits, Objective, "--slo").limits
    if question.objective is not None:
        written |= _goal(question.objective)
    return convert(written, Objective, "--objective")


def _goal(text: str) -> dict[str, Any]:
    """`tpot_p50` as a metric, `output_throughput=1,ttft_p95=0.3` as weights. Raises InputError."""
    if "=" not in text:
        return {"metric": text.strip(), "weights": {}}
    weights: dict[str, float] = {}
    for name, _, weight in (part.partition("=") for part in text.split(",")):
        try:
            weights[name.strip()] = float(weight)
        except ValueError:
            raise InputError(
                f"--objective {text}: {name.strip()!r} has no weight; allowed is METRIC, or METRIC=WEIGHT,METRIC=WEIGHT"
            ) from None
    return {"metric": None, "weights": weights}


def _container(spec: StudySpec, question: Question) -> ContainerSpec | None:
    if question.image is None:
        return spec.container
    if spec.container is None:
        raise InputError("--image: the study has no container section, so no image is run; add one to study.yaml")
    return convert(
        {**msgspec.to_builtins(spec.container, enc_hook=int), "image": question.image}, ContainerSpec, "--image"
    )
