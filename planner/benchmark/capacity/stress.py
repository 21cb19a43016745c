"""The stress preset: send some long requests at once, and say in words what became of each.

In: the records of a load, and the server's facts before and after. Out: `StressReport` with an exit code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from planner.benchmark.client.connections import CONNECTION, TIMEOUT
from planner.benchmark.client.events import CUT_STREAM
from planner.benchmark.client.server import ServerFacts, answers
from planner.benchmark.client.telemetry import GaugeWatch, fetch_telemetry
from planner.benchmark.load.client_health import ClientHealth
from planner.benchmark.load.send import send_load
from planner.benchmark.load.target import Target
from planner.benchmark.load.watcher import ENGINE_DIED, STOPPED
from planner.benchmark.records import RequestRecord
from planner.engine import EngineTelemetry, difference
from planner.errors import InputError
from planner.units import format_count, format_ms
from planner.workload import ClosedLoop, RequestPlan, Workload

Fate: TypeAlias = Literal["complete", "cut short", "out of memory", "timed out", "refused", "broken off"]
PRESETS = {
    "stress-32k": Workload(
        name="stress-32k",
        concurrency=10,
        num_requests=10,
        input_tokens=32_000,
        output_tokens=512,
        warmup_requests=0,
        ignore_eos=False,
    )
}
EXIT_INCOMPLETE, EXIT_DEAD = 3, 4
_MEMORY = re.compile(r"out of memory|outofmemory|\boom\b|cannot allocate memory|no available memory", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RequestFate:
    record: RequestRecord
    fate: Fate
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StressReport:
    fates: tuple[RequestFate, ...]
    client: ClientHealth
    limits: tuple[str, ...]
    """Sentences on what the server can hold and what it used."""
    is_alive: bool

    @property
    def num_complete(self) -> int:
        return sum(fate.fate == "complete" for fate in self.fates)

    @property
    def exit_code(self) -> int:
        if not self.is_alive or any(fate.fate == "out of memory" for fate in self.fates):
            return EXIT_DEAD
        return 0 if self.num_complete == len(self.fates) else EXIT_INCOMPLETE

    @property
    def verdict(self) -> str:
        """One sentence that a person can act on."""
        total = len(self.fates)
        if not self.is_alive:
            return f"FAILED: the server no longer answers; {self.num_complete} of {total} answers were complete"
        if self.exit_code == EXIT_DEAD:
            return f"FAILED: the server ran out of memory; {self.num_complete} of {total} answers were complete"
        if self.exit_code == EXIT_INCOMPLETE:
            kinds = sorted({fate.fate for fate in self.fates} - {"complete"})
            return f"FAILED: {self.num_complete} of {total} answers were complete, the rest {', '.join(kinds)}"
        slowest_s = max(fate.record.e2el_s for fate in self.fates)
        return f"PASSED: all {total} answers were complete, the slowest after {format_ms(slowest_s)}"


def preset(name: str) -> Workload:
    if name not in PRESETS:
        raise InputError(f"--preset {name}: allowed: {', '.join(PRESETS)}")
    return PRESETS[name]


def run_stress(facts: ServerFacts, target: Target, plans: Sequence[RequestPlan], concurrency: int) -> StressReport:
    """Send all requests, even if some fail, and look at the server afterwards."""
    before = fetch_telemetry(facts.base_url, facts.access) if facts.has_metrics else None
    with GaugeWatch([facts.base_url] if facts.has_metrics else [], facts.access) as watch:
        load = send_load(target, plans, ClosedLoop(concurrency))
    after = fetch_telemetry(facts.base_url, facts.access) if facts.has_metrics else None
    window = difference(before, after) if before is not None and after is not None else before
    planned = {plan.index: plan for plan in plans}
    return StressReport(
        fates=tuple(fate_of(record, planned[record.index]) for record in load.records),
        client=load.client,
        limits=tuple(limits_in_words(facts, window, watch.peaks, plans, concurrency)),
        is_alive=answers(facts),
    )


def fate_of(record: RequestRecord, plan: RequestPlan) -> RequestFate:
    """What became of a request. It is complete if the model ended it or it has all the tokens that were allowed."""
    if record.error is not None:
        return RequestFate(record, _fate_of_error(record.error), record.error)
    if record.finish_reason == "stop":
        return RequestFate(record, "complete", "ended by the model")
    if record.finish_reason == "length" and record.output_tokens >= plan.output_tokens:
        return RequestFate(record, "complete", f"all {plan.output_tokens} allowed tokens")
    reason = record.finish_reason or "none given"
    words = f"{record.output_tokens} of {plan.output_tokens} tokens, finish_reason {reason}"
    return RequestFate(record, "cut short", words)


def _fate_of_error(error: str) -> Fate:
    if _MEMORY.search(error):
        return "out of memory"
    if error == TIMEOUT:
        return "timed out"
    if error in (CONNECTION, CUT_STREAM, ENGINE_DIED, STOPPED) or error.startswith("stream error"):
        return "broken off"
    return "refused"


def limits_in_words(
    facts: ServerFacts,
    telemetry: EngineTelemetry | None,
    peaks: dict[str, float],
    plans: Sequence[RequestPlan],
    concurrency: int,
) -> list[str]:
    words = []
    if facts.max_model_len is not None:
        words.append(f"longest request the server takes: {format_count(facts.max_model_len)} tokens")
    if telemetry is not None and telemetry.kv_cache_tokens:
        longest = max(plan.input_tokens + plan.output_tokens for plan in plans)
        fit = telemetry.kv_cache_tokens / longest
        words.append(
            f"KV cache: {format_count(telemetry.kv_cache_tokens)} tokens, {fit:.1f} of these requests at once; "
            + ("all run together" if fit >= concurrency else f"{concurrency} were sent, so some wait")
        )
    if telemetry is not None and telemetry.preemptions:
        words.append(f"{telemetry.preemptions} preemptions: requests lost their KV cache and were computed again")
    if "kv_cache_usage_fraction" in peaks:
        words.append(f"KV cache used at most: {peaks['kv_cache_usage_fraction']:.0%}")
    if "num_requests_running" in peaks:
        waiting = peaks.get("num_requests_waiting", 0.0)
        words.append(f"at most {peaks['num_requests_running']:.0f} ran together and {waiting:.0f} waited")
    return words or ["the server says nothing of its limits"]
