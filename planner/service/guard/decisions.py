"""When an engine has failed, when it is started again and on which rung: `decide(...)`, pure.

In: the state, one look at the container, and the time. Out: the next state, the actions, and the events. There is one
state for each container of a service. Launches nothing, reads no clock; `loop.py` does.

    down --launch--> starting --/health--> serving --failure--> down, after a wait that doubles
                         \\------failure------------------------^
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from planner.service.ladder import Policy

Phase = Literal["down", "starting", "serving"]
Action = Literal["remove", "launch", "probe"]
"""Remove the container; launch the state's rung in place of whatever is there; or ask for one token."""
Kind = Literal[
    "out of memory", "killed", "environment", "refused", "failed start", "start timeout", "crashed", "unhealthy",
    "stuck", "gone",
]  # fmt: skip
START_FAILURES = ("refused", "failed start")
HOUR_S = 3600.0
GAP_S = 60.0
"""Seconds without a look (the guard or the machine slept) after which nothing is known of the time between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """How a container ended."""

    error: str
    """Name of the EngineError found in its log."""
    words: str
    exit_code: int | None = None
    is_out_of_memory_kill: bool = False
    """Whether the kernel killed one of its processes at the memory limit."""
    is_outside: bool = False
    """Whether no rung is at fault, but the machine, its installation or somebody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One look at a container."""

    container: str | None = None
    """Id of the container; None if there is none."""
    started_at: str = ""
    death: Death | None = None
    """How it ended; None while it runs."""
    is_healthy: bool = False
    trouble: str = ""
    """Why it is not healthy; empty if it is."""
    requests: int | None = None
    """Number of requests that run or wait in the engine; None if it does not say."""
    tokens: int | None = None
    """Number of tokens of prompts and answers so far."""
    cache_usage: float | None = None
    """Share of the KV cache in use; it also moves in the middle of a long prompt."""
    probe_waits: bool = False
    probes_answered: int = 0
    ttft_p95_s: float | None = None
    """95th percentile of the time to first token over the last minute's requests, in seconds."""
    log_error: Death | None = None
    """An error of the GPU in the log lines since the last look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    at_s: float
    kind: Kind
    rung: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """What is remembered from look to look while an engine serves."""

    unhealthy_since_s: float | None = None
    mark: tuple[float, ...] = ()
    """Values that move while the engine works: tokens, use of the KV cache, answered probes."""
    token_at_s: float = 0.0
    """Time at which the mark last moved."""
    waiting_since_s: float | None = None
    """Time since which requests or a probe wait and nothing moves."""
    log_error: Death | None = None
    log_error_at_s: float = 0.0
    slow_since_s: float | None = None
    is_slow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything a guard knows of one container. Kept on disk; times are seconds of the wall clock."""

    phase: Phase = "down"
    rung: int = 0
    since_s: float = 0.0
    """Start of the phase."""
    seen_at_s: float = 0.0
    retry_at_s: float = 0.0
    starts_s: tuple[float, ...] = ()
    """Times of the launches in the last hour."""
    failures: tuple[Failed, ...] = ()
    """Failures within the policy's window."""
    waits: int = 0
    """Number of failures in a row, without a settled engine between them."""
    container: str | None = None
    started_at: str = ""
    climbed_from: int | None = None
    """The lower rung that is known to work, while a higher one is on trial."""
    falls: int = 0
    """Number of climbs in a row that failed."""
    fell_at_s: float = 0.0
    pulse: Pulse = Pulse()


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardEvent:
    name: str
    """A key of EVENTS."""
    rung: int
    reason: str
    evidence: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    state: State
    actions: tuple[Action, ...] = ()
    events: tuple[GuardEvent, ...] = ()


EVENTS: dict[str, str] = {
    "guard_started": "the guard took over the service",
    "guard_stopped": "it was told to end; the container goes on unless `--stop` was given",
    "adopted": "a container of this guard was there already and goes on",
    "ladder_changed": "that container is of another ladder; this one holds from the next start",
    "launched": "a container was started on a rung",
    "not_launched": "the Docker Engine could not start it; tried again after a wait",
    "serving": "`/health` answers",
    "failed": "the engine failed; the evidence has the kind, the exit code and the log's place",
    "stepped_down": "failures of one kind came again: one rung down",
    "at_the_bottom": "they came again on the lowest rung, which stays",
    "started_over": "not even the lowest rung starts: the settings are not at fault, again from the top",
    "climbing": "quiet for long enough: one rung up, on trial",
    "climb_held": "the trial is over",
    "climb_failed": "the trial failed: back down, and the next quiet time is twice as long",
    "restarted": "another hand has restarted the container",
    "gpu_error": "the log tells of an error of the GPU; a token must come soon",
    "slow": "the time to the first token has been over the limit for a while",
    "fast": "it is under the limit again",
    "probe_refused": "the server does not take the probe; from now on there is none",
    "docker_silent": "the Docker Engine does not answer, or the name is another's; nothing is changed until then",
    "docker_back": "it answers again",
    "webhook_failed": "an event could not be posted",
}
"""Every event of a guard, and what it means."""


def quiet_s(policy: Policy, state: State) -> float:
    """Seconds without a failure before a higher rung is tried; it is then on trial for the same time."""
    return min(policy.longest_quiet, policy.quiet * 2.0**state.falls)


def kind_of(death: Death, had_served: bool) -> Kind:
    if death.is_out_of_memory_kill or death.error == "EngineOutOfMemory":
        return "out of memory"
    if death.is_outside:
        return "environment"
    if death.error == "EngineRejected" and not had_served:
        return "refused"
    if death.exit_code in (137, -9):
        return "killed"
    return "crashed" if had_served else "failed start"


def thresholds(policy: Policy) -> dict[Kind, int]:
    """Number of failures of a kind that lead one rung down. Other kinds would come on any rung."""
    return {
        "out of memory": policy.out_of_memory,
        "killed": policy.killed,
        "refused": policy.refused,
        "failed start": policy.failed_start,
    }


def decide(policy: Policy, num_rungs: int, state: State, seen: Seen, now_s: float) -> Decision:
    """Take one step: at most one launch or removal."""
    if now_s - state.seen_at_s > GAP_S + 3 * policy.every:
        state = replace(state, pulse=Pulse(token_at_s=now_s))
    state = replace(state, seen_at_s=now_s)
    if state.phase == "down":
        if state.retry_at_s - now_s > HOUR_S + policy.longest_wait:  # the clock was set back
            state = replace(state, retry_at_s=now_s)
        return _launch(state, now_s) if now_s >= state.retry_at_s else Decision(state)
    if seen.container is None:
        return _fail(policy, num_rungs, state, "gone", Death(error="", words="the container is gone"), now_s)
    if seen.death is not None:
        kind = kind_of(seen.death, state.phase == "serving")
        return _fail(policy, num_rungs, state, kind, seen.death, now_s)
    if state.container is None:
        state = replace(state, container=seen.container, started_at=seen.started_at)
    if state.started_at != seen.started_at:
        state = replace(state, started_at=seen.started_at, container=seen.container, phase="starting", since_s=now_s)
        return Decision(state, (), (GuardEvent(name="restarted", rung=state.rung, reason="by another hand"),))
    if state.phase == "starting":
        return _starting(policy, num_rungs, state, seen, now_s)
    return _serving(policy, num_rungs, state, seen, now_s)


def not_launched(policy: Policy, state: State, words: str, now_s: float) -> Decision:
    """State after the Docker Engine refused a launch, which is no fault of the rung."""
    state = _waiting(policy, replace(state, waits=state.waits + 1), now_s)
    evidence = {"retry_in_s": round(state.retry_at_s - now_s, 1)}
    return Decision(state, (), (GuardEvent(name="not_launched", rung=state.rung, reason=words, evidence=evidence),))


# --- phases ---


def _launch(state: State, now_s: float) -> Decision:
    starts = (*(start for start in state.starts_s if start > now_s - HOUR_S), now_s)
    fresh = replace(state, container=None, started_at="", pulse=Pulse())
    return Decision(replace(fresh, phase="starting", since_s=now_s, starts_s=starts), ("launch",))


def _starting(policy: Policy, num_rungs: int, state: State, seen: Seen, now_s: float) -> Decision:
    took_s = now_s - state.since_s
    if seen.is_healthy:
        state = replace(state, phase="serving", since_s=now_s, pulse=Pulse(token_at_s=now_s))
        evidence = {"start_s": round(took_s, 1)}
        return Decision(state, (), (GuardEvent(name="serving", rung=state.rung, reason="healthy", evidence=evidence),))
    if took_s >= policy.start_timeout:
        words = f"not ready after {took_s:.0f} s: {seen.trouble or '/health does not answer'}"
        return _fail(policy, num_rungs, state, "start timeout", Death(error="", words=words), now_s)
    return Decision(state)


def _serving(policy: Policy, num_rungs: int, state: State, seen: Seen, now_s: float) -> Decision:
    pulse, events = _feel(policy, state, seen, now_s)
    state = replace(state, pulse=pulse)
    if (trouble := _trouble(policy, pulse, seen, now_s)) is not None:
        failed = _fail(policy, num_rungs, state, *trouble, now_s)
        return replace(failed, events=(*events, *failed.events))
    quiet = quiet_s(policy, state)
    if state.climbed_from is not None and now_s - state.since_s >= quiet:
        state = replace(state, climbed_from=None)
        events.append(GuardEvent(name="climb_held", rung=state.rung, reason=f"{quiet:.0f} s without a failure"))
    if state.falls and now_s - state.fell_at_s >= 2 * policy.longest_quiet:
        state = replace(state, falls=0)
    if _may_climb(policy, state, seen, now_s):
        reason = f"{quiet:.0f} s without a failure" + ("" if policy.climbs == "always" else ", no request runs")
        climbing = GuardEvent(name="climbing", rung=state.rung - 1, reason=reason, evidence={"from_rung": state.rung})
        launched = _launch(replace(state, rung=state.rung - 1, climbed_from=state.rung), now_s)
        return replace(launched, events=(*events, climbing))
    quiet_engine = now_s - pulse.token_at_s >= policy.probe_every or pulse.log_error_at_s == now_s
    wants_probe = policy.probe_every > 0 and quiet_engine and not seen.probe_waits
    return Decision(state, ("probe",) if wants_probe else (), tuple(events))


def _feel(policy: Policy, state: State, seen: Seen, now_s: float) -> tuple[Pulse, list[GuardEvent]]:
    """The pulse after this look, and the events it gives rise to."""
    pulse, events = state.pulse, []
    mark = (float(seen.tokens or 0), float(seen.cache_usage or 0), float(seen.probes_answered))
    has_work = bool(seen.requests) or seen.probe_waits
    if mark != pulse.mark:  # a lower counter means another engine, which is alive too
        pulse = replace(pulse, mark=mark, token_at_s=now_s, waiting_since_s=now_s if has_work else None)
        pulse = replace(pulse, log_error=None)
    elif not has_work:
        pulse = replace(pulse, waiting_since_s=None)
    elif pulse.waiting_since_s is None:
        pulse = replace(pulse, waiting_since_s=now_s)
    if seen.is_healthy:
        pulse = replace(pulse, unhealthy_since_s=None)
    elif pulse.unhealthy_since_s is None:
        pulse = replace(pulse, unhealthy_since_s=now_s)
    if seen.log_error is not None:
        if pulse.log_error is None:
            events.append(GuardEvent(name="gpu_error", rung=state.rung, reason=seen.log_error.words))
        pulse = replace(pulse, log_error=seen.log_error, log_error_at_s=now_s)
    return _feel_speed(policy, state, pulse, seen, now_s, events)


def _feel_speed(
    policy: Policy, state: State, pulse: Pulse, seen: Seen, now_s: float, events: list[GuardEvent]
) -> tuple[Pulse, list[GuardEvent]]:
    if policy.ttft_p95 is None or seen.ttft_p95_s is None:
        return pulse, events
    evidence = {"ttft_p95_s": round(seen.ttft_p95_s, 3), "limit_s": float(policy.ttft_p95)}
    if seen.ttft_p95_s <= policy.ttft_p95:
        if pulse.is_slow:
            events.append(GuardEvent(name="fast", rung=state.rung, reason="under the limit again", evidence=evidence))
        return replace(pulse, slow_since_s=None, is_slow=False), events
    since = now_s if pulse.slow_since_s is None else pulse.slow_since_s
    if not pulse.is_slow and now_s - since >= policy.slow_after:
        reason = f"over the limit for {now_s - since:.0f} s; a restart would not help"
        events.append(GuardEvent(name="slow", rung=state.rung, reason=reason, evidence=evidence))
        pulse = replace(pulse, is_slow=True)
    return replace(pulse, slow_since_s=since), events


def _trouble(policy: Policy, pulse: Pulse, seen: Seen, now_s: float) -> tuple[Kind, Death] | None:
    """Kind and words of the failure of an engine that still runs; None if it works."""
    found: tuple[Kind, str] | None = None
    if pulse.unhealthy_since_s is not None and now_s - pulse.unhealthy_since_s >= policy.unhealthy_after:
        found = "unhealthy", f"{seen.trouble} for {now_s - pulse.unhealthy_since_s:.0f} s"
    limit = policy.stuck_after if pulse.log_error is None else policy.stuck_after_gpu_error
    if pulse.waiting_since_s is not None and now_s - pulse.waiting_since_s >= limit:
        who = f"{seen.requests} requests wait" if seen.requests else "the probe waits"
        found = "stuck", f"no token for {now_s - pulse.waiting_since_s:.0f} s while {who}"
    if found is None:
        return None
    kind, words = found
    if pulse.log_error is None:
        return kind, Death(error="", words=words)
    if pulse.log_error.error == "EngineOutOfMemory":
        kind = "out of memory"
    return kind, replace(pulse.log_error, words=f"{words}; the log says: {pulse.log_error.words}")


def _may_climb(policy: Policy, state: State, seen: Seen, now_s: float) -> bool:
    if state.rung == 0 or policy.climbs == "never":
        return False
    is_idle = seen.requests == 0 and not seen.probe_waits
    has_start_left = len([s for s in state.starts_s if s > now_s - HOUR_S]) < policy.starts_per_hour
    return (
        now_s - state.since_s >= quiet_s(policy, state)
        and seen.is_healthy
        and has_start_left
        and (is_idle or policy.climbs == "always")
    )


# --- failures ---


def _fail(policy: Policy, num_rungs: int, state: State, kind: Kind, death: Death, now_s: float) -> Decision:
    is_settled = state.phase == "serving" and now_s - state.since_s >= policy.settled_after
    kept = [failed for failed in state.failures if failed.at_s > now_s - policy.window]
    failed = replace(
        state,
        failures=(*kept, Failed(at_s=now_s, kind=kind, rung=state.rung)),
        waits=1 if is_settled else state.waits + 1,
    )
    moved, move = _next_rung(policy, num_rungs, failed, kind, now_s)
    moved = _waiting(policy, moved, now_s)
    evidence = {
        "kind": kind,
        "exit_code": death.exit_code,
        "oom_killed": death.is_out_of_memory_kill,
        "phase": state.phase,
        "retry_in_s": round(moved.retry_at_s - now_s, 1),
    }
    event = GuardEvent(name="failed", rung=state.rung, reason=death.words, evidence=evidence)
    return Decision(moved, ("remove",), (event, *move))


def _next_rung(
    policy: Policy, num_rungs: int, state: State, kind: Kind, now_s: float
) -> tuple[State, tuple[GuardEvent, ...]]:
    """State with the rung of the next start, and the event that says why it changed."""
    least = thresholds(policy).get(kind)
    if state.climbed_from is not None and (least is not None or state.phase == "starting"):
        lower = replace(state, rung=state.climbed_from, climbed_from=None, falls=state.falls + 1, fell_at_s=now_s)
        reason = f"{kind}; not tried again for {quiet_s(policy, lower):.0f} s"
        return lower, (
            GuardEvent(name="climb_failed", rung=lower.rung, reason=reason, evidence={"from_rung": state.rung}),
        )
    count = sum(failed.kind == kind and failed.rung == state.rung for failed in state.failures)
    if least is None or count < least:
        return state, ()
    times = f"{kind} {count} times in {policy.window:.0f} s"
    if state.rung + 1 < num_rungs:
        event = GuardEvent(name="stepped_down", rung=state.rung + 1, reason=times, evidence={"from_rung": state.rung})
        return replace(state, rung=state.rung + 1), (event,)
    if kind in START_FAILURES and state.rung > 0:
        event = GuardEvent(name="started_over", rung=0, reason=times, evidence={"from_rung": state.rung})
        return replace(state, rung=0, failures=()), (event,)
    return state, (GuardEvent(name="at_the_bottom", rung=state.rung, reason=times),)


def _waiting(policy: Policy, state: State, now_s: float) -> State:
    """State that is down until the wait is over: twice as long each time, within the allowed starts per hour."""
    wait_s = min(policy.longest_wait, policy.first_wait * 2.0 ** min(state.waits - 1, 60))
    retry_at_s = now_s + wait_s
    recent = [start for start in state.starts_s if start > retry_at_s - HOUR_S]
    if len(recent) >= policy.starts_per_hour:
        retry_at_s = recent[-policy.starts_per_hour] + HOUR_S
    ended = replace(state, container=None, started_at="", pulse=Pulse())
    return replace(ended, phase="down", since_s=now_s, retry_at_s=retry_at_s)
