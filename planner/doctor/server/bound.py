"""What bounds a running server now, with the evidence: `judged(windows) -> Bound`.

In: a `Window` for each engine. Out: one kind, one sentence, the figures that it rests on, and the metrics that are
missing. The order of the rules is that in which vLLM's scheduler meets them: no request, no sequence free, no block
free, then the step itself (vllm@0.32 v1/core/sched/scheduler.py:schedule).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from planner.doctor.server.window import BETWEEN_TOKENS, CPU_SECONDS, FIRST_TOKEN, QUEUED, STEPS, Window
from planner.engine import PROMPTS, flag

Kind = Literal[
    "idle", "instance", "kv cache", "prefix cache", "sequences", "prefill", "host", "card", "client", "cannot tell"
]

FULL = 0.9
"""Used share of the KV cache from which it counts as full where the length of prompts is not known."""
LEAST_QUEUE, QUEUE_SHARE = 1.0, 0.05
"""Mean number of waiting requests, and their share of the batch, from which there is a queue: single readings catch
requests on their way."""
STARVED = 0.1
"""Share of the others' load below which an engine is starved."""
PINNED = 0.85
"""Share of the largest batch that runs on average while others wait, from which the batch is at its limit: a reading
may catch the step in which a request has ended and the next one has not begun."""
WHOLE_CORE = 0.9
"""Processor share from which the API server's one thread of Python is full."""
OFTEN_IDLE = 0.2
"""Share of readings without a request from which the clients leave the engine without work."""
LOST = 0.2
"""Fall of the prefix cache's hit rate, against all that was served before, that is worth a word."""
NEEDED = {
    "running": "vllm:num_requests_running",
    "waiting": "vllm:num_requests_waiting",
    "kv_usage": "vllm:kv_cache_usage_perc",
}
"""Gauges without which nothing can be told, with their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    kind: Kind
    sentence: str
    evidence: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """Names of metrics that a surer answer needs."""
    levers: tuple[str, ...] = ()
    """Settings that act on this bound."""
    can_take_more: bool = False
    """Whether more requests at once would find room."""


def judged(windows: Sequence[Window]) -> Bound:
    """Judge the engines of one service together. There must be one at least."""
    missing = tuple(name for field, name in NEEDED.items() if any(getattr(one, field) is None for one in windows))
    if missing:
        return Bound(
            kind="cannot tell",
            sentence=f"cannot tell what bounds it: /metrics has no {', '.join(missing)}",
            evidence=_flow(windows),
            missing=missing,
        )
    busiest = max(windows, key=lambda one: (one.waiting or 0.0, one.running or 0.0))
    found = _idle(windows) or _starved(windows, busiest) or _cache(busiest) or _queued(busiest)
    found = found or _host(busiest) or _unqueued(busiest)
    return replace(found, evidence=(*found.evidence, *_flow(windows)))


def has_queue(window: Window) -> bool:
    """Whether requests wait for more than their turn in the next step."""
    return (window.waiting or 0.0) >= max(LEAST_QUEUE, QUEUE_SHARE * (window.running or 0.0))


def _idle(windows: Sequence[Window]) -> Bound | None:
    if any(one.most_running or one.waiting or one.generation_tokens for one in windows):
        return None
    seconds = max(one.seconds for one in windows)
    return Bound(kind="idle", sentence=f"nothing: no request was there in {seconds:.0f} s", can_take_more=True)


def _starved(windows: Sequence[Window], busiest: Window) -> Bound | None:
    others = [one for one in windows if one is not busiest]
    loads = {one.name: (one.running or 0.0) + (one.waiting or 0.0) for one in windows}
    poor = [one for one in others if loads[one.name] < STARVED * loads[busiest.name]]
    if not poor or loads[busiest.name] < 1:
        return None
    names = ", ".join(one.name for one in poor)
    return Bound(
        kind="instance",
        sentence=f"the share of the load: {len(poor)} of {len(windows)} engines get next to none of it ({names})",
        evidence=tuple(
            f"{one.name}: {one.running or 0.0:.1f} requests in the batch, {one.waiting or 0.0:.1f} waiting"
            for one in windows
        ),
    )


def _cache(window: Window) -> Bound | None:
    """The KV cache has no room for the next prompt."""
    usage, waiting = window.kv_usage or 0.0, window.waiting or 0.0
    prompt = window.mean(PROMPTS)
    if prompt is not None and window.kv_tokens:
        is_full = (1 - usage) * window.kv_tokens < prompt
        room = f"{(1 - usage) * window.kv_tokens:.0f} of {window.kv_tokens} tokens free, a prompt has {prompt:.0f}"
    else:
        is_full, room = usage >= FULL, f"used to {usage:.0%}"
    lost = _lost(window)
    if window.preemptions:
        evidence = [f"{window.preemptions} preemptions in {window.seconds:.0f} s", f"KV cache: {room}"]
        sentence = "the KV cache: it is full, and requests are preempted and computed again"
    elif is_full and has_queue(window):
        evidence = [f"KV cache: {room}", f"{waiting:.1f} requests wait"]
        sentence = "the KV cache: the queue waits for blocks"
    elif lost and usage >= FULL:
        return Bound(
            kind="prefix cache",
            sentence="the prefix cache: prompts that it knew are computed again, since the KV cache is full",
            evidence=(lost, f"KV cache: {room}"),
            levers=("kv_cache_dtype", "gpu_memory_utilization", "max_num_seqs"),
        )
    else:
        return None
    is_silent = window.preemptions is None
    return Bound(
        kind="kv cache",
        sentence=sentence,
        evidence=(*evidence, *([lost] if lost else ())),
        missing=("vllm:num_preemptions_total (whether requests are preempted)",) if is_silent else (),
        levers=("kv_cache_dtype", "gpu_memory_utilization", "max_model_len", "max_num_seqs"),
    )


def _lost(window: Window) -> str:
    """Words on prefix hits that are gone; empty where they are not, or are not counted."""
    now, before = window.hit_rate, window.hit_rate_before
    if now is None or before is None or before - now < LOST:
        return ""
    return f"prefix cache: {now:.0%} of the prompts' tokens found now, {before:.0%} since the start"


def _queued(window: Window) -> Bound | None:
    """A queue although the KV cache has room."""
    waiting, running, usage = window.waiting or 0.0, window.running or 0.0, window.kv_usage or 0.0
    if not has_queue(window):
        return None
    room = f"KV cache used to {usage:.0%}"
    if window.running_while_queued >= PINNED * window.most_running and window.most_running > 1:
        most = f"{window.most_running:.0f}"
        return Bound(
            kind="sequences",
            sentence=f"{flag('max_num_seqs')}: {most} requests run at once, {waiting:.0f} wait, the KV cache has room",
            evidence=(f"{window.running_while_queued:.1f} requests in the batch on average while others waited", room),
            levers=("max_num_seqs",),
        )
    return Bound(
        kind="prefill",
        sentence="prefill: requests wait for their turn to be read, while the batch and the KV cache have room",
        evidence=(f"{running:.1f} requests in the batch (at most {window.most_running:.0f}), {waiting:.1f} wait", room),
        levers=("max_num_batched_tokens", "enable_chunked_prefill", "enable_prefix_caching"),
    )


def _host(window: Window) -> Bound | None:
    if window.cpu_share is None or window.cpu_share < WHOLE_CORE or (window.idle_share or 0.0) >= OFTEN_IDLE:
        return None
    return Bound(
        kind="host",
        sentence="the host: the API server's Python fills a processor core, so tokens wait for it and not for the card",
        evidence=(f"API server: {window.cpu_share:.2f} processor seconds a second",),
        levers=("api_server_count",),
    )


def _unqueued(window: Window) -> Bound:
    """No queue: the engine takes all that is sent."""
    idle, running, usage = window.idle_share or 0.0, window.running or 0.0, window.kv_usage or 0.0
    room = f"no queue, KV cache used to {usage:.0%}"
    missing = () if window.cpu_share is not None else (f"{CPU_SECONDS} (whether the API server is full)",)
    seen = f"they keep {running:.0f} requests in flight, all of which run at once"
    if idle >= OFTEN_IDLE:
        seen = f"the engine had no request in {idle:.0%} of the readings"
    sentence = f"the clients: {seen}"
    return Bound(kind="client", sentence=sentence, evidence=(room,), missing=missing, can_take_more=True)


def _flow(windows: Sequence[Window]) -> tuple[str, ...]:
    """Rates and times of all engines together, as far as the page has them."""
    seconds = max(one.seconds for one in windows)
    found = []
    made = [one.generation_tokens for one in windows if one.generation_tokens is not None]
    read = [one.prompt_tokens for one in windows if one.prompt_tokens is not None]
    if made:
        prompts = f", {sum(read) / seconds:.0f} prompt tokens/s" if read else ""
        found.append(f"{sum(made) / seconds:.0f} output tokens/s{prompts}")
    for words, names in (
        ("in the queue", (QUEUED,)),
        ("to the first token", (FIRST_TOKEN,)),
        ("between tokens", BETWEEN_TOKENS),
    ):
        means = [mean for one in windows if (mean := one.mean(*names)) is not None]
        if means:
            found.append(f"{fmean(means) * 1000:.0f} ms {words} on average")
    steps = [count for one in windows if (count := one.grown(STEPS)) is not None]
    if sum(steps):
        found.append(f"{sum(steps) / seconds:.1f} steps/s")
    return tuple(found)
