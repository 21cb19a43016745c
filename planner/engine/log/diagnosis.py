"""What an engine's log says, for those who launch it: why it ended (`diagnose`), what took effect (`read_start_facts`).

In: the text of a log, 0.6.6 to 0.33, V0 or V1, with or without its beginning. Out: an `EngineError` in vLLM's own
words, or `StartFacts`. The reading itself and all patterns are in `planner/log/`.
"""

from __future__ import annotations

from planner.engine.log.failures import FailureReader
from planner.engine.log.lines import lines_of, plain
from planner.engine.log.start_facts import StartFacts, read_start_facts
from planner.errors import EngineError, EngineOutOfMemory

__all__ = ["TAIL_LINES", "StartFacts", "diagnose", "read_start_facts"]

TAIL_LINES = 40


def diagnose(log_text: str, exit_code: int | None = None, oom_killed: bool = False) -> EngineError:
    """Why an engine ended, to be raised: rejected, out of memory or crashed, in vLLM's own words.

    `exit_code` of the process or container, where known, tells of deaths that leave no words: killed, bus error.
    `oom_killed`: the kernel killed one of its processes for the container's memory limit, whatever the others say.
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
    return found.kind(found.words, tail, ended_with=exit_code)
