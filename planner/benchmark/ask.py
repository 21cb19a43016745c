"""The question put to `planner bench`: the options as written, and the workload that they make.

In: `BenchAsk`. Out: a `Workload` with its recorded prompts. An option that would change nothing is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from planner.benchmark.capacity.stress import preset
from planner.errors import InputError
from planner.files import convert
from planner.units import parse_seconds
from planner.workload import (
    ClosedLoop,
    GivenPrompt,
    OpenLoop,
    Replay,
    Shape,
    Workload,
    load_workload,
    read_again,
)

DEFAULT_WORKLOAD = "chat"
REPEATS = 3
"""Measured runs unless --repeats says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchAsk:
    """The command's options as written; None: not given."""

    url: str
    workload: str | None = None
    model: str | None = None
    model_dir: str | None = None
    endpoint: str | None = None
    concurrency: int | None = None
    max_concurrency: int | None = None
    request_rate: float | None = None
    start_rate: float | None = None
    burstiness: float | None = None
    ramp: str | None = None
    trace_speed: float | None = None
    num_requests: int | None = None
    repeats: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    seed: int | None = None
    timeout: str | None = None
    slo: str | None = None
    sweep: str | None = None
    finds_capacity: bool = False
    preset: str | None = None
    api_key_env: str | None = None
    ca_file: str | None = None
    insecure: bool = False
    client_processes: int | None = None
    label: str | None = None
    detailed: bool = False


def workload_of(asked: BenchAsk) -> tuple[Workload, list[GivenPrompt]]:
    """The workload with the command's options applied, and its recorded prompts. Raises InputError.

    A concurrency makes it a closed loop, whatever rate or trace the workload has.
    """
    if asked.concurrency is not None and asked.request_rate is not None:
        raise InputError("--concurrency is a closed loop's, --request-rate an open one's; a limit is --max-concurrency")
    named = asked.workload or DEFAULT_WORKLOAD
    if asked.preset is not None:
        workload = preset(asked.preset)
    else:
        path = Path(named)
        workload = load_workload(path.name, path.parent, asked.num_requests)
    changes: dict[str, Any] = {name: value for name in OVERLAID if (value := getattr(asked, name)) is not None}
    if asked.concurrency is not None:
        changes |= {"request_rate": None, "start_rate": None}
    if workload.prompts is not None and (asked.concurrency is not None or asked.request_rate is not None):
        changes["replay"] = False
    if asked.preset is not None and asked.concurrency is not None and asked.num_requests is None:
        changes["num_requests"] = asked.concurrency
    changes |= {
        key: _seconds(option, text)
        for key, option, text in (("request_timeout", "--timeout", asked.timeout), ("ramp", "--ramp", asked.ramp))
        if text is not None
    }
    data = {**msgspec.to_builtins(workload, enc_hook=float), **changes}
    workload = convert(data, Workload, f"workload {workload.name}")
    if workload.prompts is None:
        return workload, []
    prompts = list(read_again(workload.prompts))
    if workload.replay and any(prompt.arrival_s is None for prompt in prompts):
        raise InputError(
            f"{workload.prompts}: a line has no arrival, and replay: true sends requests when they arrived"
        )
    return workload, prompts


OVERLAID = (
    "concurrency", "max_concurrency", "num_requests", "request_rate", "start_rate", "burstiness", "trace_speed",
    "input_tokens", "output_tokens", "seed", "endpoint",
)  # fmt: skip
"""Options that are also keys of the workload."""


def _seconds(option: str, text: str) -> float:
    try:
        seconds = parse_seconds(text)
    except ValueError as error:
        raise InputError(f"{option}: {error}") from None
    if option == "--timeout" and seconds <= 0:
        raise InputError(f"{option} {text}: no request can end in no time; allowed is a duration above 0, as 10min")
    return seconds


# --- what would change nothing ----------------------------------------------------------------------------------------


def refuse_contradictions(asked: BenchAsk, has_json: bool, has_csv: bool) -> None:
    """Raise InputError for options of which one would be ignored; those of the load: `refuse_other_loads`."""
    modes = {"--preset": asked.preset, "--sweep": asked.sweep, "--find-capacity": asked.finds_capacity or None}
    chosen = [name for name, value in modes.items() if value is not None]
    if len(chosen) > 1:
        raise InputError(f"{' and '.join(chosen)}: each is a measurement of its own; allowed is one of them")
    _refuse("--preset", asked.preset is not None, {
        "--workload": asked.workload, "--slo": asked.slo, "--repeats": asked.repeats,
        "--save-detailed": asked.detailed or None, "--label": asked.label, "--csv": has_csv or None,
    })  # fmt: skip
    _refuse("--find-capacity", asked.finds_capacity, {
        "--repeats": asked.repeats, "--save-detailed": asked.detailed or None, "--label": asked.label,
        "--csv": has_csv or None,
    })  # fmt: skip
    for mode in chosen[:1]:
        _refuse(mode, mode != "--preset", {"--ramp": asked.ramp, "--start-rate": asked.start_rate})
    _refuse("--insecure", asked.insecure, {"--ca-file": asked.ca_file})
    if not has_json:
        written = {"--label": asked.label, "--save-detailed": asked.detailed or None}
        for name in (name for name, value in written.items() if value is not None):
            raise InputError(f"{name}: is written into the JSON document only; add --json, or --json -o FILE")


def refuse_other_loads(asked: BenchAsk, shape: Shape, prompts: Sequence[GivenPrompt]) -> None:
    """Raise InputError for an option of another kind of load than the one that is sent."""
    closed = {"--ramp": asked.ramp}
    rate = {"--start-rate": asked.start_rate, "--burstiness": asked.burstiness}
    both = {"--max-concurrency": asked.max_concurrency}
    trace = {"--trace-speed": asked.trace_speed}
    if isinstance(shape, ClosedLoop):
        _refuse("a closed loop (--request-rate sends requests at a rate)", True, rate | both | trace)
    elif isinstance(shape, OpenLoop):
        _refuse("a load at a rate", True, closed | trace)
    elif isinstance(shape, Replay):
        _refuse("a trace (--request-rate sends its prompts at a rate)", True, closed | rate)
    if prompts:
        _refuse("recorded prompts", True, {"--input-tokens": asked.input_tokens})


def _refuse(what: str, applies: bool, options: dict[str, Any]) -> None:
    for name in (name for name, value in options.items() if applies and value is not None):
        raise InputError(f"{name}: says nothing about {what}; leave it out")
