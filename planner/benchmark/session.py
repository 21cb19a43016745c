"""Measure a running server for `planner bench`; `tune` measures its trials with the same `measure`.

In: a `Target`, a `Shape`, the plans of each repeat. Out: `Repeat`s: warm-up first, the server drained between, the
engine's counters over the measured window only, and the client's own share in every one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

from planner.benchmark.client.server import IGNORE_EOS, ServerFacts, count_tokens
from planner.benchmark.client.telemetry import GaugeWatch, fetch_telemetry, wait_until_idle
from planner.benchmark.load.client_health import ClientHealth, client_fault
from planner.benchmark.load.processes import processes_needed
from planner.benchmark.load.progress import LoadWatch, Moment
from planner.benchmark.load.send import Load, send_load
from planner.benchmark.load.target import Target
from planner.benchmark.load.watcher import STOPPED
from planner.benchmark.metrics import BenchmarkResult, summarize
from planner.benchmark.records import RequestRecord
from planner.engine import EngineTelemetry, difference
from planner.errors import InputError
from planner.statistics import Drift, drift
from planner.workload import (
    ClosedLoop,
    GivenPrompt,
    Replay,
    RequestPlan,
    Shape,
    Workload,
    plan_given,
    plan_requests,
    plan_warmup,
    prompt_words,
)

WARMING_UP, MEASURING, DRAINING = "warming up", "measuring", "draining"
OnStage: TypeAlias = Callable[[str, int, int], None]
"""Called with the stage, the number of requests done and their total."""
DRAIN_TIMEOUT_S = 60.0


def _say_nothing(stage: str, done: int, total: int) -> None:
    pass


def no_watch(done: Sequence[Repeat], plans: Sequence[RequestPlan]) -> LoadWatch | None:  # noqa: ARG001
    """Watch no load: each runs to its end."""
    return None


class Engine(Protocol):
    """What a session asks of the engine under load; `launch.Server` implements it."""

    def is_alive(self) -> bool:
        """Whether the engine still runs, as far as is known now. May block."""

    def check(self) -> None:
        """Raise the reason if the engine has died."""


class _AnyServer:
    """A server known only by its URL."""

    def is_alive(self) -> bool:
        return True

    def check(self) -> None:
        """Nothing to check."""


ANY_SERVER: Engine = _AnyServer()


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A load to be measured."""

    target: Target
    shape: Shape
    warmup: Sequence[RequestPlan]
    repeats: Sequence[Sequence[RequestPlan]]
    on_stage: OnStage = _say_nothing
    engine: Engine = ANY_SERVER
    """Asked `is_alive` while a load runs, and `check` after each load, including the warm-up."""
    has_metrics: bool = True
    is_enough: Callable[[Sequence[Repeat]], bool] = lambda done: False  # noqa: ARG005
    """Called after each repeat but the last: whether the remaining repeats can be skipped."""
    watch_of: Callable[[Sequence[Repeat], Sequence[RequestPlan]], LoadWatch | None] = no_watch
    """Watch that may stop the next repeat, given the repeats so far and its plans. A stopped repeat is the last one."""
    num_processes: int | None = None
    """Number of client processes; None: as many as the warm-up shows to be needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """One measured load."""

    result: BenchmarkResult
    records: tuple[RequestRecord, ...]
    client: ClientHealth
    client_fault: str | None
    """Why the client was the bottleneck; None if it was not."""
    telemetry: tuple[EngineTelemetry, ...] = ()
    """Counters of each instance over this load."""
    peaks: dict[str, float] = field(default_factory=dict)
    """Highest value seen of each of `telemetry.GAUGES`."""
    drained: bool = True
    """Whether the server was idle when the load began."""
    drift: Drift | None = None
    """Change of the end-to-end latency from the first half of the requests to the second."""


def measure(session: Session) -> tuple[Repeat, ...]:
    """Warm up, then measure each repeat. Raises BenchmarkError when none of a repeat's requests completed."""
    num_processes = session.num_processes or 1
    if session.warmup:
        shape = ClosedLoop(len(session.warmup)) if isinstance(session.shape, Replay) else session.shape
        load = _send(session, session.warmup, WARMING_UP, shape, num_processes)
        num_processes = session.num_processes or processes_needed(load.client)
    done: list[Repeat] = []
    for plans in session.repeats:
        if done and (done[-1].result.share < 1 or session.is_enough(done)):
            break
        done.append(_measure(session, plans, num_processes, session.watch_of(done, plans)))
    return tuple(done)


def measure_again(session_of: Callable[[int], Session], always: bool = False) -> tuple[Repeat, ...]:
    """`measure`, and again with the client processes it needs if the client was the bottleneck.

    `session_of(attempt)` must give other prompts for each attempt, or the second would measure the prefix cache.
    `always` measures again even if no more processes are needed than there were.
    """
    first = session_of(0)
    repeats = measure(first)
    had = max(repeat.client.num_processes for repeat in repeats)
    needed = first.num_processes or max(processes_needed(repeat.client) for repeat in repeats)
    if not fault_of(repeats) or not (always or needed > had):
        return repeats
    return measure(replace(session_of(1), warmup=(), num_processes=needed))


@dataclass(frozen=True, slots=True)
class _SessionWatcher:
    """Follows one load of a session: reports its stage, and asks `watch` and the engine whether to go on."""

    session: Session
    stage: str
    watch: LoadWatch | None

    def on_record(self, record: RequestRecord) -> None:
        if self.watch is not None:
            self.watch.on_record(record)

    def on_progress(self, done: int, total: int) -> None:
        self.session.on_stage(self.stage, done, total)

    def stop_reason(self, moment: Moment) -> str | None:
        return None if self.watch is None else self.watch.stop_reason(moment)

    def is_alive(self) -> bool:
        return self.session.engine.is_alive()


def _send(
    session: Session,
    plans: Sequence[RequestPlan],
    stage: str,
    shape: Shape,
    num_processes: int,
    watch: LoadWatch | None = None,
) -> Load:
    load = send_load(session.target, plans, shape, _SessionWatcher(session, stage, watch), num_processes)
    session.engine.check()
    return load


def _measure(
    session: Session, plans: Sequence[RequestPlan], num_processes: int, watch: LoadWatch | None = None
) -> Repeat:
    urls = session.target.base_urls if session.has_metrics else ()
    access = session.target.access
    drained = wait_until_idle(urls, 0.0, access)
    if not drained:
        session.on_stage(DRAINING, 0, 0)
        drained = wait_until_idle(urls, DRAIN_TIMEOUT_S, access)
    before = [fetch_telemetry(url, access) for url in urls]
    with GaugeWatch(urls, access) as gauges:
        load = _send(session, plans, MEASURING, session.shape, num_processes, watch)
    after = [fetch_telemetry(url, access) for url in urls]
    windows = [difference(a, b) for a, b in zip(before, after, strict=True) if a is not None and b is not None]
    records = [record for record in load.records if record.error != STOPPED]
    result = summarize(records)
    stopped_by = watch if len(records) < len(load.records) else None
    in_order = sorted((r for r in records if r.error is None), key=lambda record: record.finished_s)
    return Repeat(
        result=result if stopped_by is None else stopped_by.estimate(result),
        records=tuple(records),
        client=load.client,
        client_fault=client_fault(load.client, result),
        telemetry=tuple(windows),
        peaks=dict(gauges.peaks),
        drained=drained,
        drift=drift([record.e2el_s for record in in_order]),
    )


def fault_of(repeats: Sequence[Repeat]) -> str | None:
    """Why the client was the bottleneck in any of the repeats; None if it was in none."""
    return next((repeat.client_fault for repeat in repeats if repeat.client_fault), None)


# --- a bench of a server ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A finished bench: the server, the workload, the load and the measured repeats."""

    facts: ServerFacts
    workload: Workload
    shape: Shape
    repeats: tuple[Repeat, ...]
    slo: dict[str, float]

    @property
    def records(self) -> list[RequestRecord]:
        return [record for repeat in self.repeats for record in repeat.records]

    @property
    def client_fault(self) -> str | None:
        return fault_of(self.repeats)


def bench_server(
    facts: ServerFacts,
    workload: Workload,
    shape: Shape,
    num_repeats: int,
    slo: dict[str, float],
    options: BenchOptions | None = None,
) -> Bench:
    """Measure a server with a workload in a shape. Raises BenchmarkError; InputError for a request it cannot take."""
    options = options or BenchOptions()

    def session_of(attempt: int) -> Session:
        warmup, repeats = plans_of(workload, (attempt + 1) * num_repeats, options.prompts)
        repeats = repeats[attempt * num_repeats :]
        check_lengths(facts, [plan for plans in repeats for plan in plans])
        return Session(
            target=target_of(facts, workload, options, [warmup, *repeats]),
            shape=shape,
            warmup=warmup if options.warms_up else (),
            repeats=repeats,
            on_stage=options.on_stage,
            has_metrics=facts.has_metrics,
            num_processes=options.client_processes,
        )

    # Recorded prompts are sent only once, as there may be no others for a second attempt.
    repeats = measure(session_of(0)) if options.prompts else measure_again(session_of)
    return Bench(facts=facts, workload=workload, shape=shape, repeats=repeats, slo=slo)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """Options that do not change the meaning of the figures."""

    keeps_text: bool = False
    warms_up: bool = True
    prompts: Sequence[GivenPrompt] = ()
    client_processes: int | None = None
    """Number of client processes; None: as many as the load needs."""
    on_stage: OnStage = _say_nothing


def plans_of(
    workload: Workload, num_repeats: int, prompts: Sequence[GivenPrompt] = ()
) -> tuple[list[RequestPlan], list[list[RequestPlan]]]:
    """Plans of the warm-up and of each repeat. Raises InputError when recorded prompts run out."""
    warmup = plan_warmup(workload)
    if not prompts:
        return warmup, [plan_requests(workload, repeat) for repeat in range(num_repeats)]
    try:
        return warmup, [plan_given(workload, prompts, repeat) for repeat in range(num_repeats)]
    except ValueError as error:
        raise InputError(f"{workload.prompts}: {error}") from None


def target_of(
    facts: ServerFacts, workload: Workload, options: BenchOptions, plans: Sequence[Sequence[RequestPlan]]
) -> Target:
    """Target for this server: prompts are token ids where it takes them, else texts counted by its own tokenizer."""
    fields: dict[str, Any] = {"temperature": 0.0}
    if workload.ignore_eos and facts.ignores_eos:
        fields |= IGNORE_EOS
    target = Target(
        base_urls=(facts.base_url,),
        model=facts.model,
        endpoint=workload.endpoint,
        vocab_size=facts.vocab_size,
        seed=workload.seed,
        timeout_s=workload.request_timeout,
        access=facts.access,
        fields=fields,
        keeps_text=options.keeps_text,
    )
    if target.vocab_size is None and facts.tokenizes:
        return replace(target, prompts=_counted_prompts(facts, target, plans))
    return target


def check_lengths(facts: ServerFacts, plans: Sequence[RequestPlan]) -> None:
    """Raise InputError if a request is longer than the server's context."""
    longest = max(plan.input_tokens + plan.output_tokens for plan in plans)
    if facts.max_model_len is not None and longest > facts.max_model_len:
        raise InputError(
            f"the workload's longest request has {longest} tokens and the server takes {facts.max_model_len}; "
            "choose a shorter workload, or --input-tokens and --output-tokens"
        )


_COUNTING_ROUNDS = 4


def _counted_prompts(facts: ServerFacts, target: Target, plans: Sequence[Sequence[RequestPlan]]) -> dict[int, str]:
    """Texts of the planned number of tokens by the server's tokenizer: words are added or dropped until it matches."""
    prompts: dict[int, str] = {}
    for plan in [plan for repeat in plans for plan in repeat if plan.prompt is None]:
        num_words = plan.input_tokens
        for _ in range(_COUNTING_ROUNDS):
            text = prompt_words(plan, target.seed, num_words)
            (count,) = count_tokens(facts, [text], target.endpoint == "chat")
            if count == plan.input_tokens or num_words == 1:
                break
            num_words = max(1, num_words + plan.input_tokens - count)
        prompts[plan.index] = text
    return prompts
