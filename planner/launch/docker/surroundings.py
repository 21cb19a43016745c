"""What a planner that runs in a container itself must share with its host: engines are launched beside it, not in it.

In: the Docker Engine, which knows planner's own container. Out: an InputError before the first launch where an engine
could not work or another planner's engines would be taken for left over. A planner outside containers is not asked.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import docker.errors

from planner.errors import InputError
from planner.launch.docker.door import ANSWER_TIMEOUT_S, mapped

_MOUNTS = Path("/proc/self/mountinfo")
_OWN_ID = re.compile(r" \S*/containers/([0-9a-f]{64})/hostname /etc/hostname ")
"""Docker mounts a container's /etc/hostname from a folder named by the container's id."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Planner's own container, as the Docker Engine that launches the engines describes it."""

    network: str
    shared: frozenset[str]
    """Host directories that the container has at the same path."""

    def check(self, directories: Collection[str] = ()) -> None:
        """Raises InputError: the network is not the host's, or a host directory of an engine is not at the same path.

        Without the host's network neither the engines' ports on the loopback nor the names that living planners hold
        in Linux's abstract socket namespace could be seen.
        """
        if self.network != "host":
            raise InputError(
                f"planner runs in a container with the network {self.network!r}: it would reach no engine and see no "
                "other planner; start its container with --network host"
            )
        for directory in directories:
            parents = {str(parent) for parent in (PurePosixPath(directory), *PurePosixPath(directory).parents)}
            if directory.startswith("/") and not parents & self.shared:
                raise InputError(
                    f"{directory}: planner's container has not the host's directory at the same path, so an engine "
                    f"would find another one; start planner's container with -v {directory}:{directory}"
                )


def own_id(mounts: str) -> str | None:
    """Id of the container whose /proc/self/mountinfo this is; None outside containers."""
    found = _OWN_ID.search(mounts)
    return found[1] if found else None


def surroundings() -> Surroundings | None:
    """None where planner runs in no container that the Docker Engine knows. Raises BackendError if none answers."""
    own = own_id(_MOUNTS.read_text("utf-8", "replace")) if _MOUNTS.exists() else None
    if own is None:
        return None
    with mapped(), closing(docker.from_env(timeout=ANSWER_TIMEOUT_S)) as client:
        try:
            facts = client.containers.get(own).attrs
        except docker.errors.NotFound:  # the Engine is another machine's
            return None
    shared = {mount["Source"] for mount in facts["Mounts"] if mount["Source"] == mount["Destination"]}
    return Surroundings(facts["HostConfig"]["NetworkMode"], frozenset(shared))
