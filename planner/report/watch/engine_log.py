"""The last lines that the engines of a launch wrote, without secrets: `last_lines(...) -> list[EngineLines]`.

In: a study's log folder, a launch. Out: lines per instance. A process writes its log to a file; a container's is asked
of the Docker Engine while it runs, and is a file afterwards.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from planner.errors import BackendError
from planner.launch import container_log, trial_runs
from planner.study import Candidate, Problem

LINES = 24
"""Lines shown of each engine."""
TAIL_BYTES = 48 << 10
"""Bytes read from the end of a log: LINES of vLLM's longest lines."""
MOST_ENGINES = 8
LINE_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class EngineLines:
    name: str
    text: str


def last_lines(
    folder: Path, number: int, containers: Sequence[str], redacted: Callable[[str], str]
) -> tuple[list[EngineLines], str]:
    """The last lines of each engine of a launch, else why there are none. `containers`: names of those that may run."""
    why = "its engines have written nothing yet"
    found = []
    for name in containers[:MOST_ENGINES]:
        try:
            with container_log(name) as log:
                if log is not None:
                    kept = deque[bytes]()
                    for chunk in log.chunks(follow=False):
                        kept.append(chunk)
                        while sum(map(len, kept)) - len(kept[0]) > TAIL_BYTES:
                            kept.popleft()
                    found.append(EngineLines(name, _cut(b"".join(kept), redacted)))
        except BackendError as error:
            why = str(error)
            break
    if found:
        return found, ""
    for path in sorted(folder.glob(f"trial-{number}-*.log"))[:MOST_ENGINES]:
        try:
            found.append(EngineLines(path.name, _cut(_tail(path), redacted)))
        except OSError as error:
            why = f"{path.name}: {error.strerror}"
    return found, "" if found else why


def containers_of(problem: Problem, candidate: Candidate, number: int) -> list[str]:
    """Names of a launch's containers."""
    return [run.name for run in trial_runs(problem, candidate, number)]


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
        return file.read(TAIL_BYTES)


def _cut(data: bytes, redacted: Callable[[str], str]) -> str:
    """The last LINES lines, redacted first: a cut through a secret would hide it from the redactor.

    The first line is left out where the tail may begin within it, for the same reason.
    """
    text = data.decode("utf-8", "replace")
    if len(data) >= TAIL_BYTES:
        text = text.partition("\n")[2]
    return "\n".join(line[:LINE_CHARACTERS] for line in redacted(text).splitlines()[-LINES:])
