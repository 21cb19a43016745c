"""Read an engine's log for the code that launched it: why it ended (`diagnose`), its figures (`read_start_facts`).

In: the text of a log, 0.6.6 to 0.33, V0 or V1, with or without its beginning. Out: an `EngineError` in vLLM's own
words, or `StartFacts`. The readers and all patterns are in the other modules of this package.
"""

from __future__ import annotations

from planner.engine.log.failures import FailureReader
from planner.engine.log.lines import lines_of, plain
from planner.engine.log.start_facts import StartFacts, read_start_facts
from planner.errors import EngineError, EngineOutOfMemory

__all__ = ["TAIL_LINES", "StartFacts", "diagnose", "read_start_facts"]

TAIL_LINES = 40


def diagnose(log_text: str, exit_code: int | None = None, oom_killed: bool = False) -> EngineError:
    """The error that says why an engine ended, for the caller to raise: rejected, out of memory or crashed.

    `exit_code`: of the process or container; it explains ends without a message, such as killed or bus error.
    `oom_killed`: the kernel killed one of its processes at the container's memory limit; this overrides the log.
    """
    reader = FailureReader()
    for line in lines_of(log_text):
        reader.feed(line)
    found = reader.failure() or reader.silent_death(exit_code)
    rows = plain(log_text).rstrip().split("\n")
    tail = "\n".join(row.rstrip("\r").rpartition("\r")[2] for row in rows[-TAIL_LINES:])
    if oom_killed:
        words = f"killed for using more host memory than its container may (OOMKilled, exit code {exit_code})"
        return EngineOutOfMemory(words, tail, ended_with=exit_code, oom_killed=True)
    cause = found.cause
    return found.kind(found.words, tail, ended_with=exit_code, cause=cause.name, is_outside=cause.is_outside)
