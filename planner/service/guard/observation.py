"""One look at a guarded container: what the Docker Engine, the server and its log say -> `Seen`.

The probe is a completion of one token that stays under way from look to look until it is answered. Judges nothing.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace

import httpx

from planner.benchmark import Access, HttpAnswer, NoAnswer, ask_server
from planner.engine import MetricsPage, diagnose, read_ttft, ttft_quantile
from planner.errors import EngineError
from planner.launch import ContainerFacts, ContainerRun, OwnContainer
from planner.service.guard.decisions import Death, Seen

HTTP_TIMEOUT_S = 5.0
TTFT_WINDOW_S = 60.0
GPU_ERROR = re.compile(
    r"(?:CUDA|HIP|NCCL) error|(?:CUDA|HIP) out of memory|\bnccl\w+Error|(?:CUBLAS|CUDNN)_STATUS_|\bXid\b|ECC error"
)
"""Matches errors of the GPU among the causes found in a log; the other causes concern single requests."""
ANY_HOST = ("", "0.0.0.0", "::")  # noqa: S104  (what containers are published on)


def base_url_of(run: ContainerRun) -> str:
    """URL at which this machine reaches a container."""
    host = run.host_ip or ""
    return f"http://{'127.0.0.1' if host in ANY_HOST else host}:{run.host_port}"


class Watch:
    """Looks at one container, over and over. Not thread-safe."""

    def __init__(self, container: OwnContainer, run: ContainerRun, access: Access) -> None:
        self.base_url = base_url_of(run)
        self.probe_refusal: str | None = None
        """What the server said to a probe that it does not take."""
        self._container = container
        self._access = access
        self._client = httpx.AsyncClient(base_url=self.base_url, headers=access.headers, trust_env=False)
        self._forget("")

    def _forget(self, started: str) -> None:
        """Reset for another engine: nothing that was seen of the last one holds."""
        self._started = started
        self._probe: asyncio.Task[None] | None = None
        self._probes_answered = 0
        self._probe_trouble = ""
        self._model: str | None = None
        self._log_since_s = time.time()
        self._ttft: deque[tuple[float, Mapping[float, float]]] = deque()

    async def close(self) -> None:
        self._cancel_probe()
        await self._client.aclose()

    async def look(self) -> Seen:
        """Look once. Raises BackendError if the Docker Engine does not answer, or the name is another's."""
        facts = await asyncio.to_thread(self._container.facts)
        if facts is None:
            return Seen()
        if facts.started_at != self._started:
            self._cancel_probe()
            self._forget(facts.started_at)
        if not facts.is_running:
            return Seen(container=facts.id, started_at=facts.started_at, death=await self._death(facts))
        (trouble, page), log_error = await asyncio.gather(self._ask(), asyncio.to_thread(self._log_error))
        seen = Seen(
            container=facts.id,
            started_at=facts.started_at,
            is_healthy=not trouble,
            trouble=trouble,
            probe_waits=self._probe is not None and not self._probe.done(),
            probes_answered=self._probes_answered,
            log_error=log_error,
        )
        return self._with_metrics(seen, page)

    async def log_text(self) -> str:
        return await asyncio.to_thread(self._container.log_text)

    def probe(self) -> None:
        """Ask for one token, unless the last probe still waits or the server takes none."""
        if self.probe_refusal is None and (self._probe is None or self._probe.done()):
            self._probe = asyncio.create_task(self._ask_for_a_token())

    async def _death(self, facts: ContainerFacts) -> Death:
        error = diagnose(await self.log_text(), facts.exit_code)
        return _death_of(error, facts.exit_code, facts.is_out_of_memory_kill)

    async def _ask(self) -> tuple[str, str]:
        """What is wrong with the server's health (empty if nothing), and its metrics page."""
        health, metrics = await asyncio.gather(self._get("/health"), self._get("/metrics"))
        trouble = self._probe_trouble
        if isinstance(health, NoAnswer):
            trouble = f"/health: {health}"
        elif not health.is_ok:
            trouble = f"/health: status {health.status}"
        return trouble, metrics.text if isinstance(metrics, HttpAnswer) and metrics.is_ok else ""

    async def _get(self, path: str) -> HttpAnswer | NoAnswer:
        try:
            return await ask_server(self._client, "GET", path, timeout_s=HTTP_TIMEOUT_S)
        except NoAnswer as error:
            return error

    def _with_metrics(self, seen: Seen, page: str) -> Seen:
        try:
            parsed = MetricsPage(page)
            telemetry, buckets = parsed.telemetry(), read_ttft(parsed)
        except ValueError:
            return seen
        known = [count for count in (telemetry.prompt_tokens, telemetry.generation_tokens) if count is not None]
        requests = [n for n in (telemetry.num_requests_running, telemetry.num_requests_waiting) if n is not None]
        now_s = time.monotonic()
        if page:
            self._ttft.append((now_s, buckets))
        while len(self._ttft) > 1 and self._ttft[1][0] <= now_s - TTFT_WINDOW_S:
            self._ttft.popleft()
        return replace(
            seen,
            requests=sum(requests) if requests else None,
            tokens=sum(known) if known else None,
            cache_usage=telemetry.kv_cache_usage_fraction,
            ttft_p95_s=ttft_quantile(self._ttft[0][1], buckets, 0.95) if page else None,
        )

    def _log_error(self) -> Death | None:
        since_s, self._log_since_s = self._log_since_s, time.time()
        return gpu_error_in(self._container.log_text(since_s))

    async def _ask_for_a_token(self) -> None:
        """Probe without a time limit: the policy decides how long it may take."""
        try:
            if self._model is None:
                answer = await ask_server(self._client, "GET", "/v1/models", timeout_s=HTTP_TIMEOUT_S)
                if answer.is_ok:
                    self._model = str(answer.json()["data"][0]["id"])
            if self._model is not None:
                body = {"model": self._model, "prompt": "a", "max_tokens": 1}
                answer = await ask_server(self._client, "POST", "/v1/completions", body, timeout_s=None)
        except (NoAnswer, LookupError, TypeError) as error:
            self._probe_trouble = f"probe: {error or type(error).__name__}"
            return
        if answer.status >= 500:
            self._probe_trouble = f"probe: status {answer.status}"
        elif answer.status >= 400:
            self.probe_refusal = f"status {answer.status}: {self._access.redact(answer.text)[:200]}"
            self._probe_trouble = ""
        else:
            self._probes_answered += 1
            self._probe_trouble = ""

    def _cancel_probe(self) -> None:
        if self._probe is not None:
            self._probe.cancel()
            self._probe = None


def gpu_error_in(lines: str) -> Death | None:
    """An error of the GPU in log lines of a running engine; None if there is none."""
    if not GPU_ERROR.search(lines):
        return None
    error = diagnose(lines)
    is_cause = GPU_ERROR.search(str(error)) and not str(error).startswith("ended ")  # which quotes any last line
    return _death_of(error, None, False) if is_cause else None


def _death_of(error: EngineError, exit_code: int | None, is_out_of_memory_kill: bool) -> Death:
    kill = "the kernel killed a process at the container's memory limit; the log's end: "
    return Death(
        error=type(error).__name__,
        words=f"{kill if is_out_of_memory_kill else ''}{error}",
        exit_code=exit_code,
        is_out_of_memory_kill=is_out_of_memory_kill,
        is_outside=error.is_outside,
    )
