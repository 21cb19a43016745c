"""The watchdog of a run: a process that removes the run's engines if its planner is killed.

A planner that is killed, by somebody or by the kernel for memory, cannot stop what it launched, and an engine holds its
GPUs until somebody stops it. So each run starts `python -m planner.launch.watchdog BACKEND STUDY` with a pipe as its
input. The watchdog reads the pipe to its end. If the planner wrote `OVER`, everything is removed already. If it did
not, the planner is gone, and the watchdog removes what dead planners left of this study, as the next run would.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from planner.errors import BackendError

if TYPE_CHECKING:
    from planner.launch.backend import Backend


OVER = b"over"
LOOKS, PAUSE_S = 24, 5.0
"""Most attempts, and the pause between them in seconds: two minutes in all while a Docker Engine is away."""
ENOUGH_LOOKS = 2
"""Number of successful removals required: a request the planner sent just before it died may still start an engine."""


@contextmanager
def no_engine_left(backend: Backend, study: str) -> Iterator[None]:
    """On leaving, the backend has no engine of this study's run, however this process ends. Raises BackendError."""
    argv = [sys.executable, "-P", "-m", "planner.launch.watchdog", backend.name, study]
    null = subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            argv, bufsize=0, stdin=subprocess.PIPE, stdout=null, stderr=null, start_new_session=True
        )
    except OSError as error:
        raise BackendError(f"{argv[0]}: the watchdog cannot be started: {error.strerror}") from None
    pipe = process.stdin
    assert pipe is not None
    with pipe:
        if process.wait():
            raise BackendError(f"the watchdog cannot be started: {' '.join(argv)} ended with {process.returncode}")
        try:
            yield
        finally:
            backend.clean_up()
            with suppress(BrokenPipeError):  # somebody has killed the watchdog
                pipe.write(OVER)


def main(backend: str, study: str) -> None:
    if os.fork():
        os._exit(0)
    if sys.stdin.buffer.read() != OVER:
        _remove_all(backend, study)


def _remove_all(backend: str, study: str) -> None:
    remove, num_well = _remover(backend), 0
    for _ in range(LOOKS):
        with suppress(BackendError):  # the Docker Engine is away
            remove(study)
            num_well += 1
        if num_well == ENOUGH_LOOKS:
            return
        time.sleep(PAUSE_S)


def _remover(backend: str) -> Callable[[str], object]:
    if backend == "docker":
        from planner.launch.docker.backend import remove_left

        return remove_left
    from planner.launch.process import stop_left

    return stop_left


if __name__ == "__main__":
    main(*sys.argv[1:])
