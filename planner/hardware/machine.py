"""Which machine a trial ran on: `Machine`, kept with each trial."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts about a launch that only its machine knows; None where nothing is launched or the fact is unknown."""

    driver: str | None = None
    """Version of the NVIDIA driver."""
    image_digest: str | None = None
    """Digest of the image in its registry, or the image's id if it was built here; a tag may move."""
    lasting_image: str | None = None
    """Name of the image with its digest, which any machine can pull; None if it was built here."""
    host: str | None = None
    """Host that ran the trial, in a study on several hosts."""


UNKNOWN_MACHINE = Machine()
