"""Workloads by name: a shipped one, a YAML file, or a file of recorded traffic as it is.

In: a name and the folder it is relative to. Out: a `Workload` whose `prompts` is a path that can be opened from here.
Raises InputError.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from planner.errors import InputError
from planner.files import load_named
from planner.workload.recorded import SUFFIXES
from planner.workload.workload import Workload


def load_workload(name: str, folder: Path, num_requests: int | None = None) -> Workload:
    """The workload of this name. `num_requests`: of a window of traffic, where the name is a file of it."""
    path = folder / name
    if path.suffix.lower() in SUFFIXES and os.path.isfile(path):
        from planner.workload.survey import windowed
        from planner.workload.traces.reading import read_again

        return windowed(read_again(str(path)), str(path), "busiest", num_requests)
    return at_folder(load_named(name, Workload, folder, "workloads"), path.parent)


def at_folder(workload: Workload, folder: Path) -> Workload:
    """The workload of a file in `folder`, with the path of its prompts."""
    if workload.prompts is None:
        return workload
    return msgspec.structs.replace(workload, prompts=str(folder / workload.prompts))


def predictable(workload: Workload) -> Workload:
    """The workload with the lengths, the rate and the sharing of its prompts, by which a candidate is predicted.

    Arrivals are replayed; without any, or with `replay: false`, it is a closed loop. Prompts may be sent again, since a
    study has many launches, each with an empty cache.
    """
    if workload.prompts is None:
        return workload
    from planner.workload.survey import surveyed, token_lengths, window_of
    from planner.workload.traces.reading import read_again

    path = Path(workload.prompts).absolute()
    requests = read_again(str(path))
    count = min(workload.num_requests, len(requests))
    seen = surveyed(window_of(requests, workload.window, count))
    found = msgspec.structs.replace(
        workload,
        prompts=str(path),
        repeat_prompts=True,
        num_requests=count,
        input_tokens=token_lengths(seen.inputs),
        output_tokens=workload.output_tokens if seen.outputs is None else token_lengths(seen.outputs),
        shared_prefix_tokens=round((seen.hit_rate or 0.0) * seen.inputs.mean),
        replay=False if workload.replay is None else workload.replay,
    )
    if found.replay and seen.rate_per_s is None:
        raise InputError(f"{path}: replay: true sends requests when they arrived, and a line has no arrival")
    if workload.replay is not None or workload.request_rate is not None or seen.rate_per_s is None:
        return found
    return msgspec.structs.replace(found, replay=True, request_rate=seen.rate_per_s * workload.trace_speed)


def window_note(workload: Workload | str) -> str:
    """What the workload's window of its prompts cannot show, in one line; empty where it is the whole."""
    if isinstance(workload, str) or workload.prompts is None:
        return ""
    from planner.workload.survey import window_words
    from planner.workload.traces.reading import read_again

    return window_words(read_again(workload.prompts), workload.window, workload.num_requests)
