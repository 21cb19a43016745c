"""URLs of running servers where a command also takes a study's path."""

from __future__ import annotations

import re
from pathlib import Path

_URL = re.compile(r"https?:/", re.IGNORECASE)
_LOST_SLASH = re.compile(r"(https?:/)(?!/)", re.IGNORECASE)
_HOST_AND_PORT = re.compile(r"(localhost|\d{1,3}(\.\d{1,3}){3}|\[[0-9a-fA-F:]+\]|[\w-]+(\.[\w-]+)*):\d{1,5}")


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
    if not study.exists() and all(_HOST_AND_PORT.fullmatch(part) for part in parts):
        return [f"http://{part}" for part in parts]
    return None
