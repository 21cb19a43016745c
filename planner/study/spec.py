"""`StudySpec`: what a person writes in study.yaml. Types only; `loading.py` reads them, `problem.py` resolves them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from planner.engine import EngineConfig, settings, words_of
from planner.files import matching, refuse_secrets
from planner.hardware import Interconnect
from planner.study.objective import Objective
from planner.study.space import SearchSpace
from planner.units import MIB, Bytes, Seconds
from planner.workload import Rate, Workload

Positive = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
NonNegative = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
NAME_WORDS = "letters A to Z, digits, _ . and -, a letter or digit first, at most 63 characters"
Name = Annotated[str, matching(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$(?!\n)", NAME_WORDS)]
"""Name of a file, container or label. It has no separator and no line end, which `$` alone would let pass."""
VARIABLE_WORDS = "a variable's name: letters A to Z, digits and _, no digit first"
Variable = Annotated[str, matching(r"^[A-Za-z_][A-Za-z0-9_]*$(?!\n)", VARIABLE_WORDS)]


LEAST_BYTES = 1 * MIB
"""Least size of a memory; a smaller number lacks its unit."""


def _refuse_without_unit(**sizes: Bytes | None) -> None:
    """Raises ValueError for a size that was meant in another unit than bytes: `gpu_memory: 24`."""
    for key, size in sizes.items():
        if size is not None and size < LEAST_BYTES:
            raise ValueError(f"{key}: {int(size)} means {int(size)} bytes; write the unit, for example {key}: 24GiB")


class ModelVariant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One form of the model, for example AWQ or FP16; where a study names several, they are searched."""

    path: str
    """Directory on the host, which is mounted into the container, or a Hub name."""
    architecture: str | None = None
    """Shipped name or config.json that describes the model if its directory is not on this machine."""
    settings: EngineConfig = EngineConfig()
    """Settings that this variant needs, for example quantization."""

    def __post_init__(self) -> None:
        for key in ("path", "architecture"):
            if "\0" in (getattr(self, key) or ""):
                raise ValueError(f"{key}: a path has no NUL")

    @property
    def folder(self) -> Path:
        """The directory, with ~ expanded if there is such a user."""
        return Path(os.path.expanduser(self.path))

    @property
    def is_directory(self) -> bool:
        return self.path.startswith(("/", "./", "../", "~"))

    @property
    def basename(self) -> str:
        return Path(self.path).name


class HardwareSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    gpu: Annotated[str, msgspec.Meta(max_length=100)]
    """A name listed by `planner gpus`, or CPU for vLLM's CPU backend."""
    num_gpus: Positive = 1
    gpu_memory: Bytes | None = None
    """Total memory of one card in bytes as CUDA reports it, if known better than from the table."""
    gpu_used: Bytes | None = None
    """Memory of each card in bytes that other processes hold; none by default."""
    gpu_ids: Annotated[tuple[NonNegative, ...], msgspec.Meta(min_length=1)] | None = None
    """Indices of the machine's cards to use, as the driver counts them; by default the first `num_gpus`."""
    interconnect: Interconnect = "pcie"
    host_memory: Bytes | None = None
    cpu_cores: Positive | None = None
    profile: Annotated[str, msgspec.Meta(max_length=4096)] | None = None
    """What was measured on such a card: a shipped name, or a JSON file relative to the study; null: the data sheet."""

    def __post_init__(self) -> None:
        _refuse_without_unit(gpu_memory=self.gpu_memory, gpu_used=self.gpu_used, host_memory=self.host_memory)
        if self.gpu_ids is not None and len(set(self.gpu_ids)) != self.num_gpus:
            raise ValueError(f"gpu_ids: {len(set(self.gpu_ids))} different cards; num_gpus is {self.num_gpus}")

    @property
    def cards(self) -> Sequence[int]:
        """Index of each card on the machine.  # (num_gpus,)"""
        return self.gpu_ids if self.gpu_ids is not None else range(self.num_gpus)


class EngineSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    version: str
    settings: EngineConfig = EngineConfig()
    """Settings fixed for every candidate; a setting named here is not searched."""
    env: dict[str, str] = {}
    pass_env: list[Variable] = []
    """Names of variables, such as tokens and keys, that the engine gets from the environment planner runs in."""
    extra_args: list[str] = []
    """Further engine flags, passed unchanged."""
    command: Annotated[list[str], msgspec.Meta(min_length=1)] = msgspec.field(default_factory=lambda: ["vllm", "serve"])
    """Program of the process backend; the model and the flags follow."""
    start_timeout: Seconds = msgspec.field(default_factory=lambda: Seconds(1200.0))
    compile_cache: bool = True
    """Whether to keep what the engine compiles for the next launch, in a volume or a folder of the study."""

    def __post_init__(self) -> None:
        refuse_secrets(self.env, self.extra_args, self.command)
        if both := sorted(set(self.env) & set(self.pass_env)):
            raise ValueError(f"pass_env: {both[0]} is under env too; name it once")


DOCKER_SHM_BYTES = 64 * MIB
"""Docker's default size of a container's /dev/shm, in bytes."""


class ContainerSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the container is run, in the trials and in the exported script."""

    image: Annotated[
        str, matching(r"^[A-Za-z0-9]\S*$(?!\n)", "an image's name without blanks, as vllm/vllm-openai:v0.33.0")
    ]
    """Image of vLLM, as `docker run` takes it."""
    runtime: str | None = "nvidia"
    """Docker runtime; null if there are no GPUs."""
    model_mount: str = "/model"
    """Where model directories are mounted: PATH becomes MODEL_MOUNT/NAME."""
    container_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8000
    ipc: Literal["host", "private"] = "host"
    shm_size: Bytes | None = None
    """Size of /dev/shm in bytes; used only with private ipc."""
    memory_limit: Bytes | None = None
    """Limit on the host memory of one container, in bytes; the kernel kills a container that takes more."""
    cpuset_cpus: str | None = None
    ulimits: dict[str, int] = msgspec.field(default_factory=lambda: {"memlock": -1, "stack": 67108864})

    def __post_init__(self) -> None:
        _refuse_without_unit(shm_size=self.shm_size, memory_limit=self.memory_limit)

    @property
    def shm_bytes(self) -> int | None:
        """Size of the container's own /dev/shm in bytes; None if it uses the host's."""
        if self.ipc == "host":
            return None
        return DOCKER_SHM_BYTES if self.shm_size is None else int(self.shm_size)


class ServeSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The exported service."""

    name: Name = "vllm"
    """Name of the container and of the served model."""
    host_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8000
    restart: Literal["no", "on-failure", "always", "unless-stopped"] = "always"


class SamplerSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: Literal["planner", "tpe", "gp", "random", "grid"] = "planner"
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] = 0


Hours = Annotated[float, msgspec.Meta(gt=0, le=100_000)]


class BudgetSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Most time for all launches, the finals included; whichever is used up first ends the search."""

    hours: Hours | None = None
    """Hours of wall clock."""
    gpu_hours: Hours | None = None
    """Hours of GPUs: a launch takes its time on all cards of the study."""

    def __post_init__(self) -> None:
        for key in ("hours", "gpu_hours"):
            if math.isnan(getattr(self, key) or 0.0):
                raise ValueError(f"{key}: is no number")


Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class QualitySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a winner's answers must keep where its settings can change them."""

    prompts: str | None = None
    """JSONL file of `{"prompt": "..."}`, relative to the study; null: the shipped prompts."""
    max_tokens: Positive = 64
    min_agreement: Share = 0.25
    """Least fraction of an answer's tokens before the first that differs, as a mean over the prompts."""
    max_drift: Annotated[float, msgspec.Meta(ge=0)] = 0.1
    """Largest mean difference of log-probabilities before the first differing token, in nats."""
    command: Annotated[list[str], msgspec.Meta(min_length=1)] | None = None
    """Your own evaluation instead of the prompts, with BASE_URL and MODEL in its environment; exit code 0 passes."""
    timeout: Seconds = msgspec.field(default_factory=lambda: Seconds(3600.0))
    """Time limit of the command, in seconds."""


class StudySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One study: which models on which hardware, what is searched, under which load, for which goal."""

    name: Name
    description: str = ""
    models: Annotated[dict[Name, ModelVariant], msgspec.Meta(min_length=1)]
    hardware: HardwareSpec
    engine: EngineSpec
    container: ContainerSpec | None = None
    """How containers are run; needed by the docker backend and the exported script."""
    serve: ServeSpec = ServeSpec()
    baseline: EngineConfig = EngineConfig()
    """Settings to beat: those of the first candidate, in place of the engine's defaults. Those that are not searched
    hold for every candidate."""
    search_space: str | SearchSpace
    """A file relative to this one, a shipped name, or the space itself."""
    workload: str | Workload
    """A shipped name, or the workload itself."""
    objective: Objective = Objective()
    repeats: Positive = 1
    """Most benchmark runs per launch; the value is their mean."""
    racing: bool = True
    """Whether to give up early a candidate that is surely not the best, and to skip repeats that add no information."""
    also_at: list[Rate] = []
    """Further loads, measured once per launch after the repeats: rates if the workload has one, else concurrencies."""
    sampler: SamplerSpec = SamplerSpec()
    budget: BudgetSpec = BudgetSpec()
    quality: QualitySpec | None = msgspec.field(default_factory=QualitySpec)
    """The quality gate's settings; null: no gate."""

    @property
    def deployment_words(self) -> str:
        """`Qwen3-8B on 2 x RTX 4090 (pcie), vLLM 0.33.0, dtype half`: models, cards, version and fixed settings."""
        models = " or ".join(dict.fromkeys(variant.basename for variant in self.models.values()))
        hardware = self.hardware
        cards = f"{hardware.num_gpus} x {hardware.gpu} ({hardware.interconnect})"
        fixed = [f"{name} {words_of(value)}" for name, value in settings(self.engine.settings).items()]
        return ", ".join([f"{models} on {cards}", f"vLLM {self.engine.version}", *fixed])
