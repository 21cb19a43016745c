"""`planner guard`: observes the containers of one service, decides, acts, and keeps its state on disk.

In: a ladder. Out: a service that stays up, and the events. There is one task per container; the tasks share only the
ladder, so that a fault of one does not take the others down.
"""

from __future__ import annotations

import asyncio
import hashlib
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from planner.benchmark import engine_access
from planner.errors import BackendError
from planner.files import held
from planner.launch import GUARD_LABEL, LADDER_LABEL, RUNG_LABEL, ContainerFacts, ContainerRun, OwnContainer
from planner.service.guard.decisions import Decision, GuardEvent, State, decide, not_launched
from planner.service.guard.events import Reporter
from planner.service.guard.observation import Watch, base_url_of
from planner.service.ladder import Ladder
from planner.service.proxy.app import Proxy
from planner.service.proxy.server import proxy_in_thread
from planner.service.proxy.shortening import Trim

FOLDER = "guard"
"""Folder beside the ladder, with events, states and logs of failed engines."""
KEPT_LOGS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The record of one container on disk."""

    ladder: str
    """Fingerprint of the ladder that the rung belongs to."""
    state: State


def fingerprint(ladder: Ladder) -> str:
    """Hash of a ladder; equal for ladders that launch the same containers on the same rungs."""
    launched = [ladder.run_of(i, rung) for rung in range(len(ladder.rungs)) for i in range(len(ladder.containers))]
    return hashlib.sha256(msgspec.json.encode(launched, order="deterministic")).hexdigest()[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """The front door that a guard opens beside its service."""

    port: int
    """Port on the loopback."""
    trim: Trim | None


def run_guard(
    ladder: Ladder,
    folder: Path,
    metrics_port: int,
    webhook: str | None,
    stops_service: bool,
    door: Door | None = None,
    quiet: bool = False,
) -> None:
    """Guard until SIGTERM, SIGINT or SIGHUP. Raises BackendError if it cannot begin."""
    lock = Path(tempfile.gettempdir()) / f"planner-guard-{ladder.name}.lock"
    with ExitStack() as stack:
        stack.enter_context(held(lock, f"service {ladder.name}: another guard (pid {{pid}}) has it"))
        place = folder / FOLDER
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BackendError(f"{place}: cannot be made: {error.strerror}") from None
        reporter = Reporter(ladder.name, place / "events.jsonl", [rung.name for rung in ladder.rungs], webhook, quiet)
        if metrics_port:
            stack.callback(reporter.serve_metrics(metrics_port))
        keepers = [Keeper(ladder, index, place, reporter) for index in range(len(ladder.containers))]
        for keeper in keepers:
            stack.callback(keeper.container.close)
            keeper.container.facts()  # report a missing Engine, or another's container of this name, right away
        if door is not None:
            stack.enter_context(_opened(door, ladder, keepers))
        asyncio.run(_run(ladder, keepers, reporter, stops_service))


@contextmanager
def _opened(door: Door, ladder: Ladder, keepers: list[Keeper]) -> Iterator[None]:
    """Open the front door. Requests go to all containers; none may be longer than the lowest rung among them serves."""
    urls = [base_url_of(run) for run in ladder.containers]

    def context_tokens() -> int | None:
        lengths = [ladder.rungs[keeper.state.rung].max_model_len for keeper in keepers]
        return min((length for length in lengths if length is not None), default=None)

    proxy = Proxy(urls, context_tokens=context_tokens(), trim=door.trim)
    for keeper in keepers:
        keeper.on_rung = lambda: proxy.set_instances(urls, context_tokens())
    with proxy_in_thread(proxy, "127.0.0.1", door.port):
        yield


async def _run(ladder: Ladder, keepers: list[Keeper], reporter: Reporter, stops_service: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    first = keepers[0].name
    reporter.tell(first, GuardEvent(name="guard_started", rung=keepers[0].state.rung, reason=ladder.source or "ladder"))
    await asyncio.gather(*(keeper.run(stop) for keeper in keepers))
    if stops_service:
        await asyncio.gather(*(keeper.end() for keeper in keepers))
    words = "the service is stopped" if stops_service else "the service goes on"
    reporter.tell(first, GuardEvent(name="guard_stopped", rung=keepers[0].state.rung, reason=words))
    await reporter.close()


class Keeper:
    """Keeps one container up."""

    def __init__(self, ladder: Ladder, index: int, folder: Path, reporter: Reporter) -> None:
        self._ladder = ladder
        self._index = index
        self._folder = folder
        self._reporter = reporter
        self._fingerprint = fingerprint(ladder)
        self._is_silent = False
        self._said_refusal = False
        self.name = ladder.containers[index].name
        self.container = OwnContainer(self.name, ladder.name, ladder.containers[index].pass_env)
        self._path = folder / f"{self.name}.json"
        self._watch: Watch | None = None
        self.on_rung: Callable[[], None] = lambda: None
        """Called when the rung has changed."""
        self.state = self._load()

    async def run(self, stop: asyncio.Event) -> None:
        run = self._ladder.containers[self._index]
        access = engine_access({**run.env, **self._ladder.rungs[0].env})
        self._watch = Watch(self.container, run, access)
        try:
            await self._adopt(stop)
            while not stop.is_set():
                await self._step()
                await _pause(stop, self._ladder.policy.every)
        finally:
            await self._watch.close()

    async def end(self) -> None:
        """Stop the service; the next guard begins on this rung."""
        try:
            await asyncio.to_thread(self.container.remove)
        except BackendError as error:
            self._tell(GuardEvent(name="docker_silent", rung=self.state.rung, reason=str(error)))
            return
        self._keep(replace(State(), rung=self.state.rung, falls=self.state.falls, fell_at_s=self.state.fell_at_s))

    async def _adopt(self, stop: asyncio.Event) -> None:
        """Take over the existing container, on the rung that its label names."""
        facts = await self._facts()
        while facts is False and not stop.is_set():
            await _pause(stop, self._ladder.policy.every)
            facts = await self._facts()
        if not isinstance(facts, ContainerFacts):
            self._keep(replace(self.state, phase="down", container=None))
            return
        is_ours = facts.labels.get(LADDER_LABEL) == self._fingerprint
        if facts.id != self.state.container or self.state.phase == "down":
            label = facts.labels.get(RUNG_LABEL, "")
            rung = int(label) if is_ours and label.isdecimal() else self.state.rung
            found = replace(self.state, phase="starting", since_s=time.time(), rung=rung)
            self._keep(replace(found, container=facts.id, started_at=facts.started_at))
        self._tell(GuardEvent(name="adopted", rung=self.state.rung, reason=f"container {facts.id[:12]} was there"))
        if not is_ours:
            reason = f"it is of another ladder; this one holds from the next start: docker stop {self.name}"
            self._tell(GuardEvent(name="ladder_changed", rung=self.state.rung, reason=reason))

    async def _facts(self) -> ContainerFacts | bool | None:
        """Facts about the container, None if there is none; False if the Engine does not answer."""
        try:
            facts = await asyncio.to_thread(self.container.facts)
        except BackendError as error:
            self._hear(error)
            return False
        self._hear(None)
        return facts

    async def _step(self) -> None:
        assert self._watch is not None
        try:
            seen = await self._watch.look()
        except BackendError as error:
            self._hear(error)
            return
        self._hear(None)
        now_s = time.time()
        decision = decide(self._ladder.policy, len(self._ladder.rungs), self.state, seen, now_s)
        self._keep(decision.state)  # before acting: the next guard must know what was begun
        await self._act(decision)
        self._reporter.show(self.name, self.state, seen, now_s)

    async def _act(self, decision: Decision) -> None:
        assert self._watch is not None
        log = await self._keep_log() if {"remove", "launch"} & set(decision.actions) else None
        for event in decision.events:
            self._tell(event, log if event.name == "failed" else None)
        for action in decision.actions:
            if action == "probe":
                self._watch.probe()
            elif action == "remove":
                await self._remove()
            else:
                await self._launch()
        if self._watch.probe_refusal is not None and not self._said_refusal:
            self._said_refusal = True
            self._tell(GuardEvent(name="probe_refused", rung=self.state.rung, reason=self._watch.probe_refusal))

    async def _remove(self) -> None:
        try:
            await asyncio.to_thread(self.container.remove)
        except BackendError as error:  # the next launch removes it
            self._hear(error)

    async def _launch(self) -> None:
        try:
            await asyncio.to_thread(self.container.launch, self._labelled())
        except BackendError as error:
            failed = not_launched(self._ladder.policy, self.state, str(error), time.time())
            self._keep(failed.state)
            await self._act(failed)
        else:
            rung = self._ladder.rungs[self.state.rung]
            evidence = {"starts_last_hour": len(self.state.starts_s)}
            self._tell(
                GuardEvent(name="launched", rung=self.state.rung, reason=rung.why or rung.name, evidence=evidence)
            )

    def _labelled(self) -> ContainerRun:
        run = self._ladder.run_of(self._index, self.state.rung)
        own = {
            GUARD_LABEL: self._ladder.name,
            RUNG_LABEL: str(self.state.rung),
            LADDER_LABEL: self._fingerprint,
        }
        return msgspec.structs.replace(run, labels={**run.labels, **own}, restart=None)

    # --- on disk ---

    async def _keep_log(self) -> Path | None:
        """Path of the saved log of an engine that ends, written before its container is removed; None without a log."""
        assert self._watch is not None
        path = self._folder / f"{self.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.log"
        try:
            text = await self._watch.log_text()
            if not text:
                return None
            path.write_text(text, "utf-8")
            for old in sorted(self._folder.glob(f"{self.name}-????????-??????.log"))[:-KEPT_LOGS]:
                old.unlink(missing_ok=True)
        except (BackendError, OSError) as error:
            self._reporter.complain("logs of failed engines", error)
            return None
        return path

    def _load(self) -> State:
        """The state that was kept, if it belongs to this ladder; else a new one."""
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=Kept)
        except FileNotFoundError:
            return State()
        except (OSError, msgspec.MsgspecError) as error:
            self._reporter.complain(str(self._path), error)
            return State()
        return kept.state if kept.ladder == self._fingerprint else State()

    def _keep(self, state: State) -> None:
        """Set the state, and write it so that a reader sees the old or the new one, never half of it."""
        is_moved = state.rung != self.state.rung
        self.state = state
        if is_moved:
            self.on_rung()
        new = self._path.with_suffix(".new")
        try:
            new.write_bytes(msgspec.json.encode(Kept(ladder=self._fingerprint, state=state)))
            new.replace(self._path)
        except OSError as error:
            self._reporter.complain(str(self._path), error)

    # --- telling ---

    def _hear(self, error: BackendError | None) -> None:
        """Report once that the Docker Engine is silent, and once that it answers again."""
        if (error is not None) == self._is_silent:
            return
        self._is_silent = error is not None
        name = "docker_silent" if error is not None else "docker_back"
        self._tell(GuardEvent(name=name, rung=self.state.rung, reason=str(error or "")))

    def _tell(self, event: GuardEvent, log: Path | None = None) -> None:
        self._reporter.tell(self.name, event, log)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
