"""What a Docker Engine says of an image, as values: `image_of(name, attrs) -> ImageFacts`. Asks no Engine itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    name: str
    id: str
    digest: str | None
    """Of the registry that the name stands for; None where it was built here."""
    env: Mapping[str, str]

    @property
    def lasting_name(self) -> str:
        """What stands for this very image whatever becomes of its name; without a registry that is its id."""
        return f"{self.name.partition('@')[0]}@{self.digest}" if self.digest else self.id

    @property
    def names(self) -> tuple[str, ...]:
        """What a trial's record may call it."""
        return (self.id, *([self.digest] if self.digest else []))


def image_of(name: str, attrs: Mapping[str, Any]) -> ImageFacts:
    digests = dict(entry.split("@", 1) for entry in attrs.get("RepoDigests") or [])
    env = attrs["Config"].get("Env") or []
    return ImageFacts(
        name=name,
        id=attrs["Id"],
        digest=digests.get(_repository(name)),
        env=dict(entry.split("=", 1) for entry in env if "=" in entry),
    )


def _repository(name: str) -> str:
    """Of an image's name, as the Engine writes it: without digest and tag, and without Docker Hub's own prefixes."""
    path = name.partition("@")[0]
    if ":" in path.rpartition("/")[2]:
        path = path.rpartition(":")[0]
    return path.removeprefix("docker.io/").removeprefix("library/")
