"""Which planner launched an engine, and whether that planner still lives: `LAUNCHER.id`, `is_alive(id)`.

Engines carry the id as a label or in their environment. A later run removes what a dead planner left, and leaves alone
what another one on this machine has under way. The id is a name in Linux's abstract socket namespace, which is free as
soon as its process is dead, whatever killed it.
"""

from __future__ import annotations

import functools
import socket
import uuid


class _Launcher:
    """The planner of this process."""

    @functools.cached_property
    def id(self) -> str:
        """Id of this planner, taken on first use and held until the process ends."""
        name = uuid.uuid4().hex
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(_address(name))
        self._socket.listen()
        return name


LAUNCHER = _Launcher()


def _address(name: str) -> str:
    return f"\0planner-launcher-{name}"


def is_alive(name: str) -> bool:
    """Whether the planner with this id runs on this machine."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(1.0)
        try:
            asking.connect(_address(name))
        except ConnectionRefusedError:
            return False  # there is no such name
        except OSError:
            return True  # the name exists, but its queue is full of such requests
    return True


def is_left_over(name: str | None) -> bool:
    """Whether an engine of this launcher may be removed: its planner is this one, or dead, or from before ids."""
    return name is None or name == LAUNCHER.id or not is_alive(name)
