"""A planner in a container says what it lacks before it launches anything; tests/integration runs it in a real one."""

from __future__ import annotations

import pytest

from planner.errors import InputError
from planner.launch.docker.surroundings import Surroundings, own_id

ID = "3f" * 32
INSIDE = f"""\
812 700 0:48 / / rw,relatime master:295 - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/A
829 812 254:0 /var/lib/docker/containers/{ID}/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/vda rw
830 812 254:0 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw,relatime - ext4 /dev/vda rw
"""
HOST = f"""\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
311 22 0:53 / /var/lib/docker/containers/{ID}/mounts/shm rw,nosuid shared:181 - tmpfs shm rw
"""


def test_the_own_container_is_found_by_its_mounts() -> None:
    assert own_id(INSIDE) == ID
    assert own_id(HOST) is None  # a host sees what its containers mount


def test_another_network_is_refused() -> None:
    with pytest.raises(InputError, match=r"the network 'bridge'.*--network host"):
        Surroundings("bridge", frozenset({"/srv"})).check()
    Surroundings("host", frozenset()).check()


@pytest.mark.parametrize("directory", ["/srv", "/srv/models/Qwen3-8B", "planner-tiny-compile-cache"])
def test_shared_directories_and_volumes_are_fine(directory: str) -> None:
    Surroundings("host", frozenset({"/srv", "/home/me"})).check([directory])


@pytest.mark.parametrize("directory", ["/srv2", "/", "/models"])
def test_a_directory_at_another_path_is_refused(directory: str) -> None:
    with pytest.raises(InputError, match=f"^{directory}: .* -v {directory}:{directory}$"):
        Surroundings("host", frozenset({"/srv"})).check([directory])
