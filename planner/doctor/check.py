"""What a check is (`Check`), and what it looks at (`Case`): facts of this machine, and a study where one is named."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from planner.hardware import Card, GpuFacts, find_gpu
from planner.launch import EngineFacts, ImageFacts
from planner.study import Candidate, Problem, StudySpec

Status = Literal["ok", "warning", "problem", "skipped"]
BackendName = Literal["docker", "process"]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's. `fix`: what to do about a warning or a problem."""

    name: str
    status: Status
    finding: str
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class Case:
    backend: BackendName
    gpus: GpuFacts
    """The cards that engines see."""
    docker: EngineFacts | None
    """None: not asked, or no answer."""
    docker_error: str = ""
    image: ImageFacts | None = None
    """None: not asked, or not here."""
    spec: StudySpec | None = None
    """None: the machine alone is examined."""
    problem: Problem | None = None
    """The study as it is written; None also where its model cannot be read."""
    here: Problem | None = None
    """The same study with the cards and the host memory of this machine."""
    folder: Path = Path()
    """Where the study's results go."""

    @cached_property
    def needs_gpus(self) -> bool:
        return self.spec is None or not find_gpu(self.spec.hardware.gpu).is_cpu

    @cached_property
    def cards(self) -> tuple[Card, ...]:
        """Those the study uses; without a study, all."""
        return self.gpus.cards if self.spec is None else self.gpus.cards[: self.spec.hardware.num_gpus]

    @cached_property
    def candidates(self) -> list[Candidate]:
        """The study's default, and it with each searched value alone."""
        if self.problem is None:
            return []
        choices, default = self.problem.choices, self.problem.choices.default_candidate()
        first = {name: choices.value_of(default, name) for name in choices.names}
        alone = [
            choices.candidate({**first, name: value}) for name in choices.names for value in choices.searched[name]
        ]
        return list({candidate.key: candidate for candidate in (default, *alone)}.values())


def skipped(name: str, why: str) -> Check:
    return Check(name, "skipped", why)


NO_GPU_NEEDED = "not needed: the study runs on the CPU"
