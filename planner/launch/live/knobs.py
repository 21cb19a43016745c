"""`Knobs`: the limits of running schedulers, turned between two loads. `planner_live.py` is their other end.

In: a launch's folder, which the engines see too, and settings to take. Out: the engines schedule by them, or a
`NoKnobsError` says why not. An engine without knobs serves as ever, so nothing here ends a launch.

A limit can only be lowered from that of the start. What a start decides stays as it is: the size of the KV cache, the
captured CUDA graphs and the compiled code. So a live figure is close to that of a launch with these settings, and is
not one.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from planner.benchmark import Access, Asker, NoAnswer
from planner.engine import flag, knows
from planner.errors import BackendError, PlannerError
from planner.files import write_whole
from planner.launch.container import ContainerRun
from planner.launch.live.planner_live import FOLDER, STATE, WANTED
from planner.study import Candidate, Problem

LIVE = ("max_num_seqs", "max_num_batched_tokens", "long_prefill_token_threshold")
"""Settings that are read at each step of the scheduler; all others need a launch."""
SCHEDULER = "planner_live.make"
IN_CONTAINER, CODE_IN_CONTAINER = "/planner-knobs", "/planner-live"
MOST_BYTES = 65_536
"""Longest answer of an engine that is read."""
PROBE_S = 60.0
"""Seconds for the request after which an engine has read its file: one token."""
ATTEMPTS, WAIT_S = 5, 0.2
"""Requests, WAIT_S apart, after which an engine that has not answered has no knobs: others may still have run."""
PATHS = "PYTHONPATH"


class NoKnobsError(PlannerError):
    """An engine does not take limits while it runs; the message says why."""


class KnobState(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine last said in its folder."""

    state: str
    id: int | None = None
    values: dict[str, int] = {}
    reason: str = ""
    vllm: str = ""


class Knobs:
    """The knobs of one launch: a folder for each instance, and one with the code."""

    def __init__(self, folder: Path, instances: int) -> None:
        """Makes the folders anew. Raises BackendError if they cannot be written."""
        self._folder, self._asked = folder.absolute(), 0
        here = Path(__file__).with_name("planner_live.py")
        shutil.rmtree(self._folder, ignore_errors=True)
        try:
            for part in ("code", *map(str, range(instances))):
                (self._folder / part).mkdir(parents=True)
            shutil.copyfile(here, self._folder / "code" / here.name)
        except OSError as error:
            raise BackendError(f"{self._folder}: cannot be written: {error.strerror}") from None

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    # --- the launch ---

    @property
    def args(self) -> list[str]:
        return [flag("scheduler_cls"), SCHEDULER]

    def env(self, instance: int, paths: str | None) -> dict[str, str]:
        """Variables of an engine that is a child process. `paths`: its PYTHONPATH without this."""
        code = str(self._folder / "code")
        return {FOLDER: str(self._folder / str(instance)), PATHS: f"{paths}:{code}" if paths else code}

    def added_to(self, run: ContainerRun, instance: int, image_paths: str | None) -> ContainerRun:
        """The container with the knobs. `image_paths`: the image's own PYTHONPATH."""
        paths = run.env.get(PATHS, image_paths)
        return msgspec.structs.replace(
            run,
            command=(*run.command, *self.args),
            env={
                **run.env,
                FOLDER: IN_CONTAINER,
                PATHS: f"{paths}:{CODE_IN_CONTAINER}" if paths else CODE_IN_CONTAINER,
            },
            volumes={
                **run.volumes,
                str(self._folder / "code"): CODE_IN_CONTAINER,
                str(self._folder / str(instance)): IN_CONTAINER,
            },
            read_only=[*run.read_only, CODE_IN_CONTAINER],
        )

    # --- while it serves ---

    def turn(self, base_urls: Sequence[str], model: str, values: Mapping[str, int]) -> None:
        """Let all instances schedule by these limits from the next request on; what is not named is as at the start.

        Call it where no request is under way. `model`: the name under which it is served. Raises NoKnobsError.
        """
        self._asked += 1
        wanted = msgspec.json.encode({"id": self._asked, "values": dict(values)})
        with Asker(Access(), timeout_s=PROBE_S) as asker:
            for instance, url in enumerate(base_urls):
                try:
                    write_whole(self._folder / str(instance) / WANTED, wanted)
                except OSError as error:
                    raise NoKnobsError(f"{self._folder}: cannot be written: {error.strerror}") from None
                self._turned(asker, instance, url, model, values)

    def _turned(self, asker: Asker, instance: int, url: str, model: str, values: Mapping[str, int]) -> None:
        """Send a request, whose step reads the file, until the engine says that it took the limits."""
        said = self._state(instance)
        for attempt in range(ATTEMPTS):
            if said.state == "off":
                raise NoKnobsError(said.reason)
            if attempt:
                time.sleep(WAIT_S)
            try:
                asker.ask("POST", f"{url}/v1/completions", {"model": model, "prompt": "a", "max_tokens": 1})
            except NoAnswer as error:
                raise NoKnobsError(f"the request after which limits hold was not answered: {error}") from None
            said = self._state(instance)
            if said.id == self._asked:
                break
        if said.id != self._asked:
            raise NoKnobsError("this version of vLLM does not use the scheduler that was asked for")
        if said.state != "set":
            raise NoKnobsError(said.reason)
        if other := {name: said.values.get(name) for name, value in values.items() if said.values.get(name) != value}:
            words = ", ".join(f"{flag(name)} {value}" for name, value in other.items())
            raise NoKnobsError(f"the engine started with less than was asked: {words}")

    def _state(self, instance: int) -> KnobState:
        """What the engine said, which is not trusted: any program in its container may write there."""
        path = self._folder / str(instance) / STATE
        try:
            with path.open("rb") as file:
                return msgspec.json.decode(file.read(MOST_BYTES), type=KnobState)
        except OSError:
            return KnobState(state="nothing yet")
        except (msgspec.DecodeError, UnicodeError):
            return KnobState(state="off", reason="its answer is damaged")


def refused_live(problem: Problem, candidate: Candidate) -> str | None:
    """Why a launch of this candidate cannot have knobs; None if it can."""
    engine = problem.deployment(candidate).engine
    if engine.generation != "V1":
        return "engine V0 takes no limits while it runs"
    if not knows(problem.version, "scheduler_cls"):
        return f"vLLM {problem.version} has no {flag('scheduler_cls')}"
    if any(word.partition("=")[0] == flag("scheduler_cls") for word in problem.spec.engine.extra_args):
        return f"the study names a {flag('scheduler_cls')} of its own"
    if engine.data_parallel_size > 1 or engine.pipeline_parallel_size > 1:
        return "limits of several schedulers that work together are not turned"
    return None


def lowered(problem: Problem, launched: Candidate, other: Candidate) -> dict[str, int] | None:
    """The limits with which an engine launched as `launched` schedules as `other` would; None if it cannot.

    It can where the two differ in LIVE alone, and no limit of `other` is above that of the launch.
    """
    bare = [
        msgspec.structs.replace(one, engine=msgspec.structs.replace(one.engine, **dict.fromkeys(LIVE)))
        for one in (launched, other)
    ]
    if bare[0] != bare[1]:
        return None
    start, wanted = (problem.deployment(one).engine for one in (launched, other))
    if wanted.max_num_seqs > start.max_num_seqs or wanted.max_num_batched_tokens > start.max_num_batched_tokens:
        return None
    values = {LIVE[0]: int(wanted.max_num_seqs), LIVE[1]: int(wanted.max_num_batched_tokens)}
    if launched.engine.long_prefill_token_threshold != other.engine.long_prefill_token_threshold:
        values[LIVE[2]] = other.engine.long_prefill_token_threshold or 0
    return values
