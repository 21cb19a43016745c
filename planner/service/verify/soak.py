"""`planner verify SCRIPT --soak 30min`: does a deployment keep its memory under the worst load that it allows?

In: an exported script and the study it came from. Out: a `Soak`: growth of each memory, margins, failures. `growth.py`
has the trend, `worst_load.py` the load, `started.py` the service.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from planner.benchmark import STOPPED, OnStage, SilentWatcher, probe_server, read_page, send_load, target_of
from planner.engine import parse_telemetry, read_settings
from planner.errors import BenchmarkError, EngineError
from planner.launch import Server, sigterm_as_interrupt
from planner.service.verify.growth import Growth, growth_of
from planner.service.verify.memory import MemoryWatch, Source
from planner.service.verify.script import find_study_of, read_script
from planner.service.verify.started import started_script
from planner.service.verify.worst_load import Limits, worst_round
from planner.study import Problem, Workspace
from planner.terminal import BenchTable
from planner.tuning import STARTING
from planner.units import MIB, format_duration, format_gib
from planner.workload import ClosedLoop, plan_requests

SOAKING = "soaking"
ROUNDS, LEAST_ROUND_S = 6, 60.0
"""Part of the time, and seconds at least, after which a round ends: the longest prompts and the most sequences in turn.
"""
READINGS = 240
"""Readings of each memory over a soak, unless that is more than one in LEAST_EVERY_S."""
LEAST_EVERY_S, MOST_EVERY_S = 0.2, 15.0
MOST_ERRORS = 3
"""Most kinds of failed requests that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What was sent and how it ended."""

    completed: int
    errors: Mapping[str, int]
    """Number of requests by their error, the most frequent first."""
    failure: str | None
    """Why the load ended before its time; None if it did not."""

    @property
    def failed(self) -> int:
        return sum(self.errors.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    study: str
    script: Path
    seconds: float
    load: str
    growth: Mapping[str, Growth]
    """Trend of each memory, by name."""
    sent: Sent
    preemptions: int | None
    notes: tuple[str, ...] = ()

    @property
    def findings(self) -> list[str]:
        """What a person must know before it is deployed; none where the soak found nothing."""
        found = [f"{name} grows" for name, one in self.growth.items() if one.verdict == "grows"]
        if self.sent.failure is not None:
            found.append(self.sent.failure)
        if self.sent.failed:
            found.append(f"{self.sent.failed} requests failed")
        return found

    @property
    def is_sure(self) -> bool:
        """Whether every memory could be judged, and something was answered."""
        are_judged = all(one.verdict != "cannot tell" for one in self.growth.values())
        return bool(self.growth) and are_judged and self.sent.completed > 0

    @property
    def passed(self) -> bool:
        return not self.findings and self.is_sure

    def document(self) -> dict[str, Any]:
        """The soak as JSON: bytes, and bytes an hour."""
        return {
            "study": self.study,
            "script": str(self.script),
            "passed": self.passed,
            "seconds": round(self.seconds, 1),
            "load": self.load,
            "memory": [
                {
                    "name": name,
                    "first_bytes": one.first_bytes,
                    "last_bytes": one.last_bytes,
                    "peak_bytes": one.peak_bytes,
                    "least_free_bytes": one.least_free_bytes,
                    "bytes_per_hour": _finite(one.slope),
                    "bytes_per_hour_low": _finite(one.low),
                    "bytes_per_hour_high": _finite(one.high),
                    "full_in_s": one.full_in_s,
                    "verdict": one.verdict,
                }
                for name, one in self.growth.items()
            ],
            "completed": self.sent.completed,
            "errors": dict(self.sent.errors),
            "failure": self.sent.failure,
            "preemptions": self.preemptions,
            "notes": list(self.notes),
        }

    def table(self) -> BenchTable:
        rows = [
            (
                name,
                format_gib(one.first_bytes),
                format_gib(one.last_bytes),
                format_gib(one.peak_bytes),
                format_gib(one.least_free_bytes),
                _trend(one),
                one.verdict + ("" if one.full_in_s is None else f": full in {format_duration(one.full_in_s)}"),
            )
            for name, one in self.growth.items()
        ]
        columns = ("memory", "first", "last", "peak", "least free", "MiB an hour (95 %)", "verdict")
        title = f"{self.study}: {format_duration(self.seconds)} of the worst load that it allows"
        return BenchTable(title, columns, tuple(rows), tuple(self._conclusion()))

    def _conclusion(self) -> list[str]:
        told = "" if self.preemptions is None else f", {self.preemptions} preemptions"
        lines = [f"load: {self.load}", f"requests: {self.sent.completed} answered, {self.sent.failed} failed{told}"]
        lines += [f"  {count} x {error}" for error, count in list(self.sent.errors.items())[:MOST_ERRORS]]
        lines += self.notes
        if self.findings:
            return [*lines, f"not sound: {'; '.join(self.findings)}"]
        if not self.is_sure:
            why = "no request was answered" if not self.sent.completed else "too few readings of memory"
            return [*lines, f"cannot tell: {why}; give it more time"]
        return [*lines, "sound: no memory grows, and nothing failed"]


def _finite(per_second: float) -> float | None:
    return per_second * 3600 if abs(per_second) < float("inf") else None


def _trend(one: Growth) -> str:
    if one.verdict == "cannot tell":
        return "?"
    slope, low, high = (value * 3600 / MIB for value in (one.slope, one.low, one.high))
    return f"{slope:+.0f} ({low:+.0f} to {high:+.0f})"


def soak_script(path: Path, study: Path | None, seconds: float, on_stage: OnStage) -> Soak:
    """Start the script, load it, watch its memory, stop it. Raises InputError, BackendError, EngineError."""
    script = read_script(path, takes_processes=True)
    spec, folder = find_study_of(script, study)
    problem, workspace = Problem.of(spec), Workspace(folder, simulated=False)
    on_stage(STARTING, 0, 0)
    with (
        workspace.locked(),
        sigterm_as_interrupt(),
        started_script(script, spec, workspace.log_dir) as (server, sources),
    ):
        limits = limits_of(problem, server, script.written("max_num_seqs"))
        found = soak_server(problem, server, sources, limits, seconds, on_stage)
        return Soak(
            study=spec.name,
            script=path,
            seconds=seconds,
            load=limits.words,
            growth={name: growth_of(one) for name, one in found[1].items() if one},
            sent=found[0],
            preemptions=found[2],
            notes=_notes(problem, sources),
        )


def limits_of(problem: Problem, server: Server, max_num_seqs: str | None) -> Limits:
    """What each instance takes: by its own pages, and its largest batch by its log, else as the script writes it.

    Where neither says it, the engine's default for these cards.
    """
    facts = probe_server(server.base_urls[0], problem.spec.serve.name)
    telemetry = parse_telemetry(read_page(server.base_urls[0]))
    engine = problem.deployment(problem.default).engine
    asked = read_settings(server.instances[0].log_text()).asked.get("max_num_seqs")
    return Limits(
        max_model_len=int(facts.max_model_len or engine.max_model_len),
        max_num_seqs=int(asked or max_num_seqs or engine.max_num_seqs),
        kv_tokens=telemetry.kv_cache_tokens,
    )


def soak_server(
    problem: Problem, server: Server, sources: Mapping[str, Source], limits: Limits, seconds: float, on_stage: OnStage
) -> tuple[Sent, dict[str, list[Any]], int | None]:
    """Load a ready server for so long. Returns what was sent, the readings by memory, and the preemptions."""
    preemptions = _preemptions(server)
    every_s = min(MOST_EVERY_S, max(LEAST_EVERY_S, seconds / READINGS))
    with MemoryWatch(sources, every_s) as watch:
        sent = _send(problem, server, limits, seconds, on_stage)
    after = None if sent.failure is not None else _preemptions(server)
    return sent, watch.readings, None if after is None or preemptions is None else after - preemptions


class _Until(SilentWatcher):
    """Ends a round at its time, or when the engine is gone."""

    def __init__(self, server: Server, ends_s: float) -> None:
        self._server, self._ends_s = server, ends_s

    def stop_reason(self, moment: Any) -> str | None:  # noqa: ARG002  (a moment's counts do not end it)
        return STOPPED if time.monotonic() >= self._ends_s else None

    def is_alive(self) -> bool:
        return self._server.is_alive()


def _send(problem: Problem, server: Server, limits: Limits, seconds: float, on_stage: OnStage) -> Sent:
    began_s, completed, number = time.monotonic(), 0, 0
    errors: Counter[str] = Counter()
    vocab_size = probe_server(server.base_urls[0], problem.spec.serve.name).vocab_size
    failure = None
    while failure is None and (left_s := began_s + seconds - time.monotonic()) > 0:
        on_stage(SOAKING, round(seconds - left_s), round(seconds))
        workload = worst_round(limits, len(server.instances), number)
        target = target_of(
            server.base_urls,
            problem.spec.serve.name,
            workload,
            vocab_size or problem.models[problem.default.model].vocab_size,
        )
        until = _Until(server, time.monotonic() + min(left_s, max(seconds / ROUNDS, LEAST_ROUND_S)))
        load = send_load(target, plan_requests(workload, number), ClosedLoop(workload.concurrency), until)
        completed += sum(record.error is None for record in load.records)
        errors.update(record.error for record in load.records if record.error not in (None, STOPPED))
        failure = _death(server)
        number += 1
    return Sent(completed=completed, errors=dict(errors.most_common()), failure=failure)


def _death(server: Server) -> str | None:
    """Why an instance no longer serves, in one line; None if all do."""
    try:
        server.check()
    except EngineError as error:
        return f"the engine ended: {error}"
    return None


def _preemptions(server: Server) -> int | None:
    try:
        counts = [parse_telemetry(read_page(url)).preemptions for url in server.base_urls]
    except (BenchmarkError, ValueError):
        return None
    known = [one for one in counts if one is not None]
    return sum(known) if len(known) == len(counts) else None


def _notes(problem: Problem, sources: Mapping[str, Source]) -> tuple[str, ...]:
    """What the soak did not cover."""
    notes = []
    if not problem.gpu.is_cpu and not any(name.startswith("card ") for name in sources):
        notes.append("the driver shows no card here: memory of cards was not watched")
    if any(model.has_vision_tower for model in problem.models.values()):
        notes.append("images were not sent, though the model takes them: their encoder's memory was not watched")
    return tuple(notes)
