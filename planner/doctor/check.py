"""What a check is (`Check`), and what it looks at (`Case`): facts of this machine, and a study if one is named."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from planner.hardware import Card, GpuFacts, find_gpu
from planner.launch import EngineFacts, ImageFacts
from planner.study import Candidate, Forecast, Places, Problem, StudySpec

Status = Literal["ok", "warning", "problem", "skipped"]
BackendName = Literal["docker", "process"]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's report. `fix`: what to do about a warning or a problem."""

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
    """Facts about the Docker Engine; None if not asked, or without an answer."""
    docker_error: str = ""
    image: ImageFacts | None = None
    """Facts about the study's image; None if not asked, or if it is not on this machine."""
    spec: StudySpec | None = None
    """The study; None: only the machine is examined."""
    forecast: Forecast | None = None
    """The study as written; None also if its model cannot be read."""
    here: Forecast | None = None
    """The same study with the cards and the host memory of this machine."""
    folder: Path = Path()
    """Folder for the study's results."""
    has_file: bool = True
    """Whether the study was read from a file; else options describe it, and fixes name those."""

    @property
    def problem(self) -> Problem | None:
        return None if self.forecast is None else self.forecast.problem

    @property
    def places(self) -> Places:
        return Places(self.has_file)

    @cached_property
    def needs_gpus(self) -> bool:
        return self.spec is None or not find_gpu(self.spec.hardware.gpu).is_cpu

    @cached_property
    def cards(self) -> tuple[Card, ...]:
        """The cards that the study uses; all cards without a study."""
        return self.gpus.cards if self.spec is None else cards_used(self.spec, self.gpus)

    @cached_property
    def candidates(self) -> list[Candidate]:
        """The study's default, and the default with each searched value in turn."""
        if self.problem is None:
            return []
        choices, default = self.problem.choices, self.problem.choices.default_candidate()
        first = {name: choices.value_of(default, name) for name in choices.names}
        alone = [
            choices.candidate({**first, name: value}) for name in choices.names for value in choices.searched[name]
        ]
        return list({candidate.key: candidate for candidate in (default, *alone)}.values())


def cards_used(spec: StudySpec, gpus: GpuFacts) -> tuple[Card, ...]:
    """Those of the machine's cards that the study names, or the first ones."""
    hardware = spec.hardware
    if hardware.gpu_ids is None:
        return gpus.cards[: hardware.num_gpus]
    return tuple(card for card in gpus.cards if card.index in hardware.gpu_ids)


def skipped(name: str, why: str) -> Check:
    return Check(name, "skipped", why)


NO_GPU_NEEDED = "not needed: the study runs on the CPU"
