"""When a guard restarts, steps down and climbs: the decisions alone, in a world of made-up engines and clocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.service.guard.decisions import (
    EVENTS,
    HOUR_S,
    Death,
    GuardEvent,
    Kind,
    Seen,
    State,
    decide,
    kind_of,
    not_launched,
    thresholds,
)
from planner.service.ladder import Policy
from planner.units import Seconds

DAY_S = 24 * HOUR_S
POLICY = Policy()
OUT_OF_MEMORY = Death(error="EngineOutOfMemory", words="CUDA out of memory", exit_code=1)
KILLED = Death(error="EngineCrashed", words="killed", exit_code=137)
REFUSED = Death(error="EngineRejected", words="invalid choice", exit_code=2)
CRASHED = Death(error="EngineCrashed", words="CUDA error: an illegal memory access", exit_code=1)


@dataclass(frozen=True)
class Fate:
    """Of one engine: how long it takes to serve, how long it then lives (None: for ever), how it dies."""

    start_s: float | None = 40.0
    """None: it dies instead."""
    life_s: float | None = None
    death: Death = CRASHED


@dataclass
class World:
    """One container under a guard."""

    fate_of: Callable[[int], Fate]
    policy: Policy = POLICY
    num_rungs: int = 4
    now_s: float = 1e9
    state: State = field(default_factory=State)
    requests: int = 0
    launches: list[tuple[float, int]] = field(default_factory=list)
    events: list[tuple[float, GuardEvent]] = field(default_factory=list)
    probes: int = 0
    _born_s: float | None = None
    _fate: Fate = Fate()

    def step(self, after_s: float = 5.0, **changes: object) -> None:
        self.now_s += after_s
        decision = decide(self.policy, self.num_rungs, self.state, self._seen(**changes), self.now_s)
        self.state = decision.state
        self.events += [(self.now_s, event) for event in decision.events]
        for action in decision.actions:
            if action == "launch":
                assert self._born_s is None or decision.events, "what runs is only replaced by a climb"
                self.launches.append((self.now_s, self.state.rung))
                self._born_s, self._fate = self.now_s, self.fate_of(self.state.rung)
            elif action == "remove":
                self._born_s = None
            else:
                self.probes += 1

    def run(self, seconds: float, after_s: float = 5.0) -> None:
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.step(after_s)

    def _seen(self, **changes: object) -> Seen:
        if self._born_s is None:
            return Seen()
        age_s = self.now_s - self._born_s
        fate, identity = self._fate, {"container": f"{self._born_s}", "started_at": f"{self._born_s}"}
        starts = fate.start_s is not None
        life_s = None if fate.life_s is None and starts else (fate.start_s or 0.0) + (fate.life_s or 0.0)
        if life_s is not None and age_s > life_s:
            return Seen(**identity, death=fate.death)
        healthy = starts and age_s >= (fate.start_s or 0.0)
        tokens = int(age_s) + self.probes
        known = {"is_healthy": healthy, "requests": self.requests, "tokens": tokens, **changes}
        return Seen(**identity, **known)  # type: ignore[arg-type]

    def names(self) -> list[str]:
        return [event.name for _, event in self.events]

    def times(self, name: str) -> list[float]:
        return [at_s for at_s, event in self.events if event.name == name]


def needs_rung(lowest: int) -> Callable[[int], Fate]:
    """Rungs above run out of memory after two minutes of serving."""
    return lambda rung: Fate() if rung >= lowest else Fate(life_s=120.0, death=OUT_OF_MEMORY)


# --- restarts ---


def test_a_healthy_engine_is_left_alone() -> None:
    world = World(lambda _: Fate())
    world.run(DAY_S)
    assert len(world.launches) == 1
    assert world.names() == ["serving"]


def test_a_crash_is_started_again_on_its_rung_and_the_wait_doubles_up_to_its_limit() -> None:
    world = World(lambda _: Fate(start_s=5.0, life_s=10.0))
    world.run(HOUR_S, after_s=1.0)
    assert {rung for _, rung in world.launches} == {0}
    waits = [event.evidence["retry_in_s"] for _, event in world.events if event.name == "failed"]
    assert waits[:9] == [2, 4, 8, 16, 32, 64, 128, 256, 300]


def test_after_it_has_settled_the_first_wait_is_short_again() -> None:
    world = World(lambda _: Fate(life_s=POLICY.settled_after + 60))
    world.run(6 * HOUR_S)
    assert {event.evidence["retry_in_s"] for _, event in world.events if event.name == "failed"} == {2.0}


def test_a_start_that_never_ends_is_ended() -> None:
    world = World(lambda _: Fate(start_s=1e9), policy=Policy(start_timeout=Seconds(300)))
    world.run(700)
    kinds = [event.evidence["kind"] for _, event in world.events if event.name == "failed"]
    assert kinds == ["start timeout", "start timeout"]
    assert {rung for _, rung in world.launches} == {0}, "a lower rung starts no faster"


def test_a_docker_engine_that_refuses_is_asked_again_later_and_later() -> None:
    state = decide(POLICY, 2, State(), Seen(), 1e9).state
    first = not_launched(POLICY, state, "port is already allocated", 1e9)
    second = not_launched(POLICY, first.state, "port is already allocated", 1e9 + 2)
    assert [event.name for event in (*first.events, *second.events)] == ["not_launched"] * 2
    assert (first.state.retry_at_s - 1e9, second.state.retry_at_s - 1e9 - 2) == (2, 4)
    assert second.state.rung == 0


def test_a_container_that_another_hand_removed_or_restarted() -> None:
    world = World(lambda _: Fate())
    world.run(60)
    world._born_s = None
    world.run(60)
    assert [event.evidence["kind"] for _, event in world.events if event.name == "failed"] == ["gone"]
    assert len(world.launches) == 2
    world._born_s = world.now_s
    world.run(60)
    assert world.names()[-2:] == ["restarted", "serving"]
    assert len(world.launches) == 2


# --- hangs ---


def serving(policy: Policy = POLICY) -> World:
    world = World(lambda _: Fate(start_s=5.0), policy=policy)
    world.run(60)
    assert world.state.phase == "serving"
    return world


def test_requests_without_a_token_are_a_hang() -> None:
    world = serving()
    for _ in range(int(POLICY.stuck_after / 5) + 2):
        world.step(requests=3, tokens=7)
    failed = next(event for _, event in world.events if event.name == "failed")
    assert failed.evidence["kind"] == "stuck"
    assert "3 requests wait" in failed.reason


def test_a_long_prompt_is_no_hang_while_the_cache_fills() -> None:
    world = serving()
    for look in range(200):
        world.step(requests=1, tokens=7, cache_usage=look / 200)
    assert world.names() == ["serving"]


def test_an_idle_engine_is_probed_and_a_probe_that_waits_is_a_hang() -> None:
    world = serving()
    before = world.probes
    for _ in range(int(POLICY.probe_every / 5) + 2):
        world.step(tokens=7)
    assert world.probes > before
    for _ in range(int(POLICY.stuck_after / 5) + 2):
        world.step(tokens=7, probe_waits=True)
    assert next(event for _, event in world.events if event.name == "failed").reason.endswith("the probe waits")


def test_a_busy_engine_is_not_probed() -> None:
    world = World(lambda _: Fate(), requests=5)
    world.run(HOUR_S)
    assert world.probes == 0


def test_an_answer_of_the_health_page_that_stays_away_is_a_failure() -> None:
    world = serving()
    world.step(is_healthy=False, trouble="/health: no answer in 5 s")
    world.step()
    assert "failed" not in world.names(), "one is none"
    for _ in range(int(POLICY.unhealthy_after / 5) + 2):
        world.step(is_healthy=False, trouble="/health: no answer in 5 s")
    failed = next(event for _, event in world.events if event.name == "failed")
    assert failed.evidence["kind"] == "unhealthy"


def test_an_error_of_the_gpu_in_the_log_shortens_the_patience() -> None:
    world = serving()
    world.step(tokens=7, requests=1, log_error=CRASHED)
    assert world.names()[-1] == "gpu_error"
    assert world.state.phase == "serving"
    for _ in range(int(POLICY.stuck_after_gpu_error / 5) + 2):
        world.step(tokens=7, requests=1)
    failed = next(event for _, event in world.events if event.name == "failed")
    assert "illegal memory access" in failed.reason


def test_an_error_in_the_log_of_an_engine_that_goes_on_is_only_told() -> None:
    world = serving()
    world.step(log_error=CRASHED)
    world.run(HOUR_S)
    assert world.names() == ["serving", "gpu_error"]


def test_once_it_has_gone_on_the_patience_is_the_long_one_again() -> None:
    world = serving()
    world.step(log_error=CRASHED)
    world.step()
    for _ in range(int(POLICY.stuck_after_gpu_error / 5) + 4):
        world.step(tokens=7, requests=1)
    assert "failed" not in world.names()


def test_out_of_memory_in_the_log_of_a_hung_engine_counts_as_that() -> None:
    world = serving()
    world.step(tokens=7, requests=1, log_error=OUT_OF_MEMORY)
    for _ in range(10):
        world.step(tokens=7, requests=1)
    assert next(e for _, e in world.events if e.name == "failed").evidence["kind"] == "out of memory"


def test_a_guard_that_slept_takes_nothing_of_the_time_between_for_a_hang() -> None:
    world = serving()
    world.step(tokens=7, requests=1)
    world.step(tokens=7, requests=1)
    world.step(after_s=HOUR_S, tokens=7, requests=1)
    assert "failed" not in world.names()


def test_slow_and_fast_are_told_once_each_and_change_nothing() -> None:
    world = serving(Policy(ttft_p95=Seconds(1)))
    for _ in range(60):
        world.step(ttft_p95_s=4.0)
    for _ in range(60):
        world.step(ttft_p95_s=0.4)
    assert world.names() == ["serving", "slow", "fast"]


# --- the ladder ---


def test_out_of_memory_once_is_a_restart_and_twice_is_one_rung_down() -> None:
    world = World(needs_rung(1))
    world.run(15 * 60)
    assert [rung for _, rung in world.launches] == [0, 0, 1]
    assert world.names() == ["serving", "failed", "serving", "failed", "stepped_down", "serving"]


def test_failures_are_counted_on_each_rung_anew() -> None:
    world = World(needs_rung(2))
    world.run(20 * 60)
    assert [rung for _, rung in world.launches] == [0, 0, 1, 1, 2]


def test_out_of_memory_now_and_then_is_no_reason_to_step_down() -> None:
    world = World(lambda _: Fate(life_s=POLICY.window + 60, death=OUT_OF_MEMORY))
    world.run(DAY_S)
    assert {rung for _, rung in world.launches} == {0}


def test_a_kernels_kill_at_the_memory_limit_is_out_of_memory_whatever_the_log_says() -> None:
    assert kind_of(Death(error="EngineCrashed", words="", exit_code=1, is_out_of_memory_kill=True), True) == (
        "out of memory"
    )


@pytest.mark.parametrize(
    ("death", "had_served", "kind"),
    [
        (REFUSED, False, "refused"),
        (REFUSED, True, "crashed"),
        (KILLED, True, "killed"),
        (CRASHED, False, "failed start"),
        (replace(CRASHED, is_outside=True), False, "environment"),
        (replace(REFUSED, is_outside=True), False, "environment"),
        (CRASHED, True, "crashed"),
        (OUT_OF_MEMORY, True, "out of memory"),
    ],
)
def test_kinds_of_death(death: Death, had_served: bool, kind: Kind) -> None:
    assert kind_of(death, had_served) == kind


def test_a_refused_rung_is_left_for_one_that_starts() -> None:
    world = World(lambda rung: Fate(start_s=None, death=REFUSED) if rung == 0 else Fate())
    world.run(600)
    assert [rung for _, rung in world.launches] == [0, 0, 1]


def test_where_no_rung_starts_the_settings_are_not_at_fault() -> None:
    """For example a model's folder that is not mounted: when it is back the winner serves, not the lowest rung."""
    world = World(lambda _: Fate(start_s=None, death=REFUSED), num_rungs=3)
    world.run(20 * 60)
    assert [rung for _, rung in world.launches][:8] == [0, 0, 1, 1, 2, 2, 0, 0]
    assert world.names().count("started_over") >= 1
    world.fate_of = lambda _: Fate()
    while world.state.phase != "serving":
        world.step()
    world.run(4 * HOUR_S)
    assert world.state.rung == 0


def test_the_lowest_rung_stays_and_is_told() -> None:
    world = World(needs_rung(9), num_rungs=2)
    world.run(HOUR_S)
    assert world.launches[-1][1] == 1
    assert "at_the_bottom" in world.names()


# --- climbing ---


def test_after_a_quiet_time_it_climbs_one_rung_and_the_trial_holds() -> None:
    world = World(needs_rung(1))
    world.run(15 * 60)
    world.fate_of = lambda _: Fate()  # whatever took the memory is gone
    world.run(2 * HOUR_S)
    assert world.names()[-3:] == ["climbing", "serving", "climb_held"]
    assert world.state.rung == 0
    (climbed_s,) = world.times("climbing")
    assert climbed_s - world.times("stepped_down")[0] >= POLICY.quiet


def test_a_failed_trial_goes_straight_back_and_doubles_the_quiet_time() -> None:
    world = World(needs_rung(1))
    world.run(DAY_S)
    climbs, falls = world.times("climbing"), world.times("climb_failed")
    assert len(climbs) == len(falls) == 5, "after 1/2, 1, 2, 4 and 8 hours"
    for number, (fell_s, climbed_s) in enumerate(zip(falls, climbs[1:], strict=False), 1):
        assert climbed_s - fell_s >= POLICY.quiet * 2**number
    assert world.state.rung == 1


def test_the_quiet_time_grows_to_a_day_and_no_longer() -> None:
    world = World(needs_rung(1))
    world.run(5 * DAY_S, after_s=30.0)
    gaps = [later - one for one, later in pairwise(world.times("climbing"))]
    assert DAY_S <= gaps[-1] <= DAY_S + HOUR_S


def test_after_days_without_a_fall_the_quiet_time_is_short_again() -> None:
    world = World(needs_rung(1))
    world.run(DAY_S, after_s=30.0)
    world.fate_of = lambda _: Fate()
    world.run(4 * DAY_S, after_s=30.0)
    assert world.state.falls == 0


def test_a_trial_that_does_not_even_start_in_time_goes_back() -> None:
    world = World(needs_rung(1))
    world.run(15 * 60)
    world.fate_of = lambda rung: Fate() if rung else Fate(start_s=1e9)
    world.run(1.5 * HOUR_S)
    assert world.state.rung == 1
    assert world.names()[-4:] == ["climbing", "failed", "climb_failed", "serving"]


def test_it_climbs_only_while_no_request_runs_unless_told_otherwise() -> None:
    for climbs, expected in (("idle", 0), ("never", 0), ("always", 1)):
        world = World(needs_rung(1), policy=Policy(climbs=climbs))
        world.run(15 * 60)
        world.fate_of, world.requests = (lambda _: Fate()), 3
        world.run(2 * HOUR_S)
        assert len(world.times("climbing")) == expected, climbs


# --- whatever happens ---


@st.composite
def fates(draw: st.DrawFn) -> Iterator[Fate]:
    start_s = draw(st.none() | st.floats(1, 300))
    life_s = draw(st.none() | st.floats(0, 5000) | st.floats(0, 60))
    return Fate(start_s, life_s, draw(st.sampled_from([OUT_OF_MEMORY, KILLED, REFUSED, CRASHED])))  # type: ignore[return-value]


POLICIES = st.builds(
    Policy,
    first_wait=st.floats(1, 60).map(Seconds),
    longest_wait=st.floats(1, 600).map(Seconds),
    settled_after=st.floats(1, 900).map(Seconds),
    starts_per_hour=st.integers(2, 20),
    quiet=st.floats(60, 3600).map(Seconds),
    climbs=st.sampled_from(["idle", "always"]),
)


def test_the_starts_of_an_hour_are_counted_whatever_the_waits_are() -> None:
    policy = Policy(first_wait=Seconds(1), longest_wait=Seconds(1), starts_per_hour=5)
    world = World(lambda _: Fate(start_s=1.0, life_s=1.0), policy=policy)
    world.run(10 * HOUR_S)
    assert 45 <= len(world.launches) <= 50, "as many as allowed, and no more"


def test_a_climb_waits_for_a_start_that_is_left() -> None:
    policy = Policy(quiet=Seconds(60), starts_per_hour=3)
    world = World(needs_rung(1), policy=policy)
    world.run(20 * 60)
    assert [rung for _, rung in world.launches] == [0, 0, 1]
    assert world.state.phase == "serving", "a rung that works is not left for one that could not be left again"
    world.run(HOUR_S)
    assert world.times("climbing")


@settings(max_examples=25, deadline=None)
@given(st.lists(fates(), min_size=1, max_size=40), st.integers(1, 5), POLICIES, st.integers(0, 1))
def test_it_never_storms_and_never_flaps(script: list[Fate], num_rungs: int, policy: Policy, requests: int) -> None:
    """Whatever fates the engines have: starts in an hour, waits, and climbs stay within the policy's bounds."""
    order = iter(script * 1000)
    world = World(lambda _: next(order), num_rungs=num_rungs, policy=policy, requests=requests)
    while world.now_s < 1e9 + DAY_S:
        world.step(after_s=30.0)
        assert 0 <= world.state.rung < num_rungs
        if world.state.phase == "down":
            assert world.state.retry_at_s <= world.now_s + HOUR_S, "down for an hour at most"
    starts = [at_s for at_s, _ in world.launches]
    for i, start_s in enumerate(starts):
        assert sum(s < start_s + HOUR_S for s in starts[i:]) <= policy.starts_per_hour
    ups = [(at_s, event) for at_s, event in world.events if event.name == "climbing"]
    assert all(later[0] - one[0] >= policy.quiet for one, later in pairwise(ups))
    rungs = [rung for _, rung in world.launches]
    moves = sum(event.name in ("climbing", "climb_failed", "stepped_down", "started_over") for _, event in world.events)
    assert sum(a != b for a, b in pairwise(rungs)) <= moves, "no rung changes untold"
    assert set(world.names()) <= set(EVENTS)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 4), st.floats(1, 1700), st.floats(1, 300))
def test_a_machine_with_less_memory_ends_on_the_highest_rung_that_fits(
    fits: int, life_s: float, start_s: float
) -> None:
    """And stays there: the one above is tried after 1/2, 1, 2, ... hours and then once a day."""
    world = World(lambda rung: Fate(start_s) if rung >= fits else Fate(start_s, life_s, OUT_OF_MEMORY), num_rungs=5)
    world.run(3 * DAY_S, after_s=60.0)
    assert world.state.rung == fits or world.state.climbed_from == fits
    assert len(world.times("climbing")) <= 8


def test_the_kinds_that_lead_down_are_those_a_rung_can_cause() -> None:
    assert set(thresholds(POLICY)) == {"out of memory", "killed", "refused", "failed start"}


def test_a_state_survives_the_disk() -> None:
    world = World(needs_rung(1))
    world.run(15 * 60)
    world.step(log_error=CRASHED)
    assert msgspec.json.decode(msgspec.json.encode(world.state), type=State) == world.state


def test_a_clock_that_is_set_back_does_not_stop_the_service() -> None:
    world = World(lambda _: Fate(start_s=5.0, life_s=10.0))
    world.run(600, after_s=1.0)
    while world.state.phase != "down":
        world.step(1.0)
    world.now_s -= DAY_S
    world.step(1.0)
    assert world.state.phase == "starting"
