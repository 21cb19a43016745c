"""URLs of running servers where a command also takes a study's path."""

from __future__ import annotations

import re
from pathlib import Path

from planner.errors import InputError

_URL = re.compile(r"https?:/", re.IGNORECASE)
_LOST_SLASH = re.compile(r"(https?:/)(?!/)", re.IGNORECASE)
_HOST, _PORT = re.compile(r"[\w.-]+|\[[0-9a-fA-F:]+\]"), re.compile(r"\d{1,5}")


def servers_named(study: Path | None) -> list[str] | None:
    """The URLs, apart by commas, that stand in place of a study; None where it names none.

    A path has lost one of two slashes. A host and a port alone mean a server too, unless a file has that name.
    """
    if study is None:
        return None
    text = str(study)
    if _URL.match(text):
        return [_LOST_SLASH.sub(r"\1/", part) for part in text.split(",") if part]
    parts = text.split(",")
    if not study.exists() and all(map(_is_host_and_port, parts)):
        return [f"http://{part}" for part in parts]
    return None


def _is_host_and_port(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return len(host) > 1 and _HOST.fullmatch(host) is not None and _PORT.fullmatch(port) is not None


def watched_seconds(duration: str, nothing: str, example: str) -> float:
    """Seconds of `--for`, the time for which a server is watched. `nothing`: what no time would show.

    Raises InputError.
    """
    from planner.units import parse_seconds

    try:
        seconds = parse_seconds(duration)
    except ValueError as error:
        raise InputError(f"--for: {error}") from None
    if seconds <= 0:
        raise InputError(
            f"--for {duration}: nothing is {nothing} in no time; allowed is a duration above 0, as {example}"
        )
    return seconds
