"""Which machine a trial ran on: `Machine`, kept with each trial."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Machine:
    """What only the machine knows of the launches on it; None where nothing is launched or nobody says."""

    driver: str | None = None
    """Of the cards."""
    image_digest: str | None = None
    """Of the registry the image came from, or its id where it was built here: a tag may move."""
    lasting_image: str | None = None
    """The image's name with its digest, which any machine can fetch; None where it was built here."""
    host: str | None = None
    """Which one it was, in a study on several."""


UNKNOWN_MACHINE = Machine()
