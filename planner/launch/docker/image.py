"""What a Docker Engine reports about an image: `image_of(name, attrs) -> ImageFacts`. Asks no Engine itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    name: str
    id: str
    digest: str | None
    """Digest in the registry that the name stands for; None if the image was built here."""
    env: Mapping[str, str]

    @property
    def lasting_name(self) -> str:
        """A name for exactly this image, whatever `name` comes to mean: with its digest; without a registry, its id."""
        return f"{self.name.partition('@')[0]}@{self.digest}" if self.digest else self.id

    @property
    def names(self) -> tuple[str, ...]:
        """The names that a trial's record may use for it."""
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
    """Repository of an image's name as the Engine writes it: no digest, no tag, none of Docker Hub's own prefixes."""
    path = name.partition("@")[0]
    if ":" in path.rpartition("/")[2]:
        path = path.rpartition(":")[0]
    return path.removeprefix("docker.io/").removeprefix("library/")
