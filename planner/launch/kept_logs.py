"""Logs of engines in the study's folder: the latest of each trial, and the one before it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def keep_log(text: Callable[[], str], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    keep_earlier_log(path)
    path.write_text(text(), "utf-8")


def keep_earlier_log(path: Path) -> None:
    """Move the log of an earlier launch of this trial, which was disturbed or interrupted, beside the new one."""
    if path.exists():
        path.replace(path.with_suffix(".before.log"))
