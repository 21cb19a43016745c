"""The error tree. Messages are one line and say what to do.

    PlannerError
      InputError              what the user wrote: "file: key.path: what is wrong; what is allowed" (exit code 2)
      EngineError             this configuration did not serve; carries the log's tail
        EngineRejected        a flag, combination or model the engine refuses
        EngineOutOfMemory     GPU or KV cache memory did not suffice
        EngineStartTimeout    not ready in time
        EngineCrashed         died while starting or under load
      BackendError            docker, image, port, driver: not the configuration's fault (exit code 1)
        Disturbed             something from outside ended the engine: worth another launch
      BenchmarkError          too few completed requests to report
        ClientBottleneck      the numbers would be this client's and not the engine's

`EngineError` is a property of the candidate: the study records it and goes on. `BackendError` stops the study, intact;
one that is `Disturbed` only when it happens again and again.
"""

from __future__ import annotations

MOST_CHARACTERS = 2000
"""Of a message: what it quotes may be a megabyte."""


class PlannerError(Exception):
    """Anything this program reports in one line, whatever odd text it quotes."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(_one_line(message))


def in_short(error: BaseException) -> str:
    """Another program's error on one line, cut where it would fill the screen."""
    return " ".join(str(error).split())[:300]


def _one_line(message: str) -> str:
    """On one line, of bounded length, without what a terminal would act on or cannot encode."""
    words = " ".join(message[: 4 * MOST_CHARACTERS].split())
    words = words if len(words) <= MOST_CHARACTERS else words[: MOST_CHARACTERS - 3] + "..."
    return words if words.isprintable() else "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in words)


class InputError(PlannerError):
    exit_code = 2


class EngineError(PlannerError):
    """The engine did not serve this configuration. `log_tail` ends its log; `start_s` is what it cost, if recorded.

    Of one that ended, where known: its exit code `ended_with`, and whether its container's limit had it `oom_killed`.
    """

    def __init__(
        self,
        message: str,
        log_tail: str = "",
        start_s: float = 0.0,
        *,
        ended_with: int | None = None,
        oom_killed: bool = False,
    ) -> None:
        super().__init__(message)
        self.log_tail = log_tail
        self.start_s = start_s
        self.ended_with = ended_with
        self.oom_killed = oom_killed


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
    """Somebody or something else ended a launch; it says nothing about the configuration."""


class BenchmarkError(PlannerError):
    pass


class ClientBottleneck(BenchmarkError):  # noqa: N818
    pass
