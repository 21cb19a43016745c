"""The error tree. Messages are one line and say what to do.

    PlannerError
      InputError              what the user wrote: "file: key.path: what is wrong; what is allowed" (exit code 2)
      EngineError             this configuration did not serve; carries the end of the log
        EngineRejected        a flag, combination or model the engine refuses
        EngineOutOfMemory     GPU or KV cache memory did not suffice
        EngineStartTimeout    not ready in time
        EngineCrashed         died while starting or under load
      BackendError            docker, image, port, driver: not the configuration's fault (exit code 1)
        Disturbed             something from outside ended the engine: worth another launch
      BenchmarkError          too few completed requests to report
        ClientBottleneck      the figures would describe this client, not the engine

`EngineError` is a property of the candidate: the study records it and goes on. `BackendError` stops the study, which
stays intact; a `Disturbed` stops it only when it happens again and again.
"""

from __future__ import annotations

MOST_CHARACTERS = 2000
"""Longest message, in characters; a text that it quotes may be a megabyte long."""


class PlannerError(Exception):
    """Any error that this program reports. Its message is cut to one printable line."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(_one_line(message))


def in_short(error: BaseException) -> str:
    """The text of another program's error on one line, cut after 300 characters."""
    return " ".join(str(error).split())[:300]


def _one_line(message: str) -> str:
    """The message on one line, cut to MOST_CHARACTERS, with characters that are not printable escaped."""
    words = " ".join(message[: 4 * MOST_CHARACTERS].split())
    words = words if len(words) <= MOST_CHARACTERS else words[: MOST_CHARACTERS - 3] + "..."
    return words if words.isprintable() else "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in words)


class InputError(PlannerError):
    exit_code = 2


class EngineError(PlannerError):
    """The engine did not serve this configuration. `log_tail`: the end of its log; `start_s`: seconds spent, if known.

    If the engine ended: its exit code `ended_with`, if known, and whether it was `oom_killed` by its container's limit.
    `cause`: name of the class of failures in the table of `planner/engine/log/causes.py`; empty if it was not read.
    `is_outside`: no setting is at fault, but the machine, its installation or somebody else.
    """

    def __init__(
        self,
        message: str,
        log_tail: str = "",
        start_s: float = 0.0,
        *,
        ended_with: int | None = None,
        oom_killed: bool = False,
        cause: str = "",
        is_outside: bool = False,
    ) -> None:
        super().__init__(message)
        self.log_tail = log_tail
        self.start_s = start_s
        self.ended_with = ended_with
        self.oom_killed = oom_killed
        self.cause = cause
        self.is_outside = is_outside


class EngineRejected(EngineError):  # noqa: N818  (the tree's own words)
    pass


class EngineOutOfMemory(EngineError):  # noqa: N818
    pass


class EngineStartTimeout(EngineError):  # noqa: N818
    pass


class EngineCrashed(EngineError):  # noqa: N818
    pass


class BackendError(PlannerError):
    pass


class Disturbed(BackendError):  # noqa: N818
    """Something outside ended a launch; this says nothing about the configuration."""


class BenchmarkError(PlannerError):
    pass


class ClientBottleneck(BenchmarkError):  # noqa: N818
    pass
