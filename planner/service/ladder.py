"""`Ladder`: the configurations of one service, each with less memory than the one above, and the policy of its guard.

In: a problem and the trial to deploy. Out: what `tune` writes as ladder.yaml and `planner guard` runs. A person may
edit it: all flags of a rung come from its settings. Launches nothing.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from planner.engine import EngineConfig, knows, parse_version
from planner.errors import InputError
from planner.files import YAML_BYTES, decode, read_text
from planner.launch import ContainerRun
from planner.study import LADDER_FILE, Name, Positive
from planner.units import Bytes, Seconds


def _seconds(value: float) -> Seconds:
    return msgspec.field(default_factory=lambda: Seconds(value))


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """When a guard calls an engine failed, how soon it starts it again, when it changes the rung."""

    every: Seconds = _seconds(5)
    """Time between two looks at a container."""
    start_timeout: Seconds = _seconds(1200)
    """Longest time from launch until `/health` answers."""
    unhealthy_after: Seconds = _seconds(30)
    """Time without an answer of `/health`, or with refused probes, after which the engine has failed."""
    stuck_after: Seconds = _seconds(120)
    """Time without a token while requests wait, after which the engine has failed; above the longest prefill."""
    stuck_after_gpu_error: Seconds = _seconds(20)
    """The same time after an error of the GPU in the log."""
    probe_every: Seconds = _seconds(30)
    """Time without a token after which one is asked for; 0: never."""
    ttft_p95: Seconds | None = None
    """Limit on the p95 of TTFT. Above it for `slow_after`, the service is reported as slow; nothing else changes."""
    slow_after: Seconds = _seconds(120)
    first_wait: Seconds = _seconds(2)
    """Wait before the first restart; each further one waits twice as long."""
    longest_wait: Seconds = _seconds(300)
    settled_after: Seconds = _seconds(600)
    """Serving time after which the next wait is the first one again."""
    starts_per_hour: Annotated[int, msgspec.Meta(ge=2)] = 20
    """Most starts in any hour."""
    window: Seconds = _seconds(3600)
    """Time in which failures of one kind on one rung are counted."""
    out_of_memory: Positive = 2
    """Number of failures of this kind in the window that lead one rung down."""
    killed: Positive = 3
    refused: Positive = 2
    failed_start: Positive = 3
    climbs: Literal["idle", "always", "never"] = "idle"
    """When a higher rung is tried again: only while no request runs, at once, or never."""
    quiet: Seconds = _seconds(1800)
    """Time without a failure after which a higher rung is tried; doubled by each climb that failed."""
    longest_quiet: Seconds = _seconds(86400)

    def __post_init__(self) -> None:
        for name in ("every", "first_wait", "longest_wait", "quiet"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: must be above 0")


class Rung(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One configuration: what differs from the others is in `settings` and `env`."""

    name: str
    why: str = ""
    settings: EngineConfig
    env: dict[str, str] = {}
    max_model_len: int | None = None
    """Longest request that the settings serve, in tokens."""
    memory: Bytes | None = None
    """Predicted memory use of one GPU; of the host if the engine runs on the CPU. Without `/dev/shm` and Python."""
    kv_tokens: int | None = None
    """Predicted KV cache of one instance, in tokens."""


class Ladder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A service and its rungs, the best first."""

    name: Name
    """Name of the service: the label by which its containers are known."""
    version: str
    """vLLM's version, which decides how flags are spelled."""
    source: str = ""
    """Where the winner's numbers come from."""
    containers: Annotated[list[ContainerRun], msgspec.Meta(min_length=1)]
    """One container for each instance, without the rung's settings."""
    extra_args: list[str] = []
    """Further flags of every rung, passed as they are."""
    rungs: Annotated[list[Rung], msgspec.Meta(min_length=1)]
    policy: Policy = msgspec.field(default_factory=Policy)

    def __post_init__(self) -> None:
        try:
            version = parse_version(self.version)
        except InputError as error:
            raise ValueError(str(error)) from None
        for rung in self.rungs:
            for field in rung.settings.__struct_fields__:
                if getattr(rung.settings, field) is not None and not knows(version, field):
                    raise ValueError(f"rung {rung.name}: {field} is not a setting of vLLM {version}")
        if len({run.name for run in self.containers}) < len(self.containers):
            raise ValueError("containers: a name is there twice")
        if nameless := [run.name for run in self.containers if run.host_port is None]:
            raise ValueError(f"containers: {nameless[0]}: missing key `host_port`: clients must find it")

    def run_of(self, container: int, rung: int) -> ContainerRun:
        """The container that is launched for an instance on a rung."""
        chosen = self.rungs[rung]
        return self.containers[container].with_engine(
            chosen.settings, chosen.env, parse_version(self.version), self.extra_args
        )


def load_ladder(path: Path) -> tuple[Ladder, Path]:
    """The ladder in this file or in a folder's ladder.yaml, and its folder; no other is read. Raises InputError."""
    if path.is_dir():
        path = path / LADDER_FILE
    if not os.path.exists(path):
        raise InputError(
            f"{path}: no such ladder; planner tune writes a {LADDER_FILE}, and planner export --kind ladder"
        )
    text = read_text(path, YAML_BYTES)
    if not re.search(r"^rungs:", text, re.MULTILINE):
        beside = path.parent / LADDER_FILE
        hint = f"; {beside} is one" if path.name != LADDER_FILE and os.path.exists(beside) else ""
        raise InputError(f"{path}: is no ladder: it has no `rungs:`{hint}")
    return decode(text, Ladder, str(path)), path.parent
