"""Which vLLM a described study is for where nobody said: the newest image here, else the newest that planner knows."""

from __future__ import annotations

from dataclasses import replace

from planner.engine import LATEST, NEWEST, supported_version, version_doubt
from planner.errors import BackendError, InputError
from planner.launch.docker.door import tags_here
from planner.study import IMAGES, StudySource


def with_version_here(source: StudySource, backend: str | None) -> tuple[StudySource, str]:
    """The source with a version of vLLM, and a line that says which was taken; empty where the source says it.

    Only the docker backend (None may become it) has images; its Engine is asked, and not waited for.
    """
    if not source.is_described or source.version not in (None, LATEST):
        return source, ""
    newest = f"vLLM {NEWEST}: the newest that planner knows; --vllm-version takes another"
    if source.version == LATEST or backend not in (None, "docker"):
        return replace(source, version=str(NEWEST)), newest
    here = newest_of(_tags())
    if here is None:
        return replace(source, version=str(NEWEST)), newest
    words = f"vLLM {here}: the newest image of {IMAGES} here; --vllm-version takes another"
    return replace(source, version=here), words


def newest_of(tags: list[str]) -> str | None:
    """The newest release among the tags of images that planner knows; None if there is none."""
    known = []
    for tag in tags:
        try:
            version = supported_version(tag)
        except InputError:
            continue
        if version_doubt(version) is None and tag.startswith("v"):
            known.append(version)
    return str(max(known)) if known else None


def _tags() -> list[str]:
    try:
        return tags_here(IMAGES)
    except BackendError:
        return []
