"""The Dockerfile: planner in a container of its own drives the host's Docker Engine and its engines stand beside it.

The image is built on the Debian of the tests' image instead of python:3.12-slim, which needs a registry; the packages
that pip would fetch are laid into it before. All else is the Dockerfile's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from planner.version import __version__
from tests.dist import ANSWERS, ESTIMATE
from tests.faults.in_containers import IMAGE as ENGINE_IMAGE
from tests.faults.in_containers import build_image, write_study
from tests.gears import is_missing
from tests.integration.studies import containers_of, trials_of
from tests.places import ROOT
from tests.ranges import index_answers, uv

pytestmark = pytest.mark.container
BASE, TESTED_BASE, IMAGE = "planner-debian:bookworm", "planner-own-base:test", "planner-own:test"
PYTHON = "3.11"
"""Version of the base's Python."""
SOCKET = Path("/var/run/docker.sock")
PACKAGES_DOCKERFILE = f"""\
FROM {BASE}
COPY packages /usr/lib/python3/dist-packages
RUN python3 -m compileall -qq -j 0 /usr/lib/python3/dist-packages || true
ENV PIP_NO_INDEX=1 PIP_BREAK_SYSTEM_PACKAGES=1 PIP_NO_BUILD_ISOLATION=0 LC_ALL=C.UTF-8
"""
"""PIP_NO_BUILD_ISOLATION=0 means none: pip takes the value of that variable, not its opposite."""


@pytest.fixture(scope="module")
def image(docker_client: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not docker_client.images.list(BASE):
        is_missing(f"no image {BASE}; tests/images/build.py makes it where debootstrap is")
    if not index_answers():
        is_missing("no package index answers")
    context = tmp_path_factory.mktemp("base")
    (context / "Dockerfile").write_text(PACKAGES_DOCKERFILE)
    into = ("--python-version", PYTHON, "--target", context / "packages", "--only-binary", ":all:")
    done = uv(
        "pip", "install", *into, "-r", "pyproject.toml", "--extra", "server", "--extra", "hub", "pip", "hatchling"
    )
    assert done.returncode == 0, done.stderr
    for folder, tag, argument in ((context, TESTED_BASE, BASE), (ROOT, IMAGE, TESTED_BASE)):
        argv = ["docker", "build", "--quiet", "--build-arg", f"BASE={argument}", "--tag", tag, folder]
        built = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stderr + built.stdout
    yield IMAGE
    for tag in (IMAGE, TESTED_BASE):
        docker_client.images.remove(tag)


def planner(*words: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run planner's image as docs/install.md says, with further options of `docker run`."""
    argv = ["docker", "run", "--rm", *options, IMAGE, *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def beside(folder: Path, network: str = "host") -> tuple[str, ...]:
    """The documented options: the host's network, processes and Docker, this user, the folder at its own path."""
    user = ("--user", f"{os.getuid()}:{os.getgid()}", "--group-add", str(SOCKET.stat().st_gid))
    mounts = ("-v", f"{SOCKET}:{SOCKET}", "-v", f"{folder}:{folder}", "-w", str(folder))
    return ("--network", network, "--pid", "host", *user, *mounts)


@pytest.mark.usefixtures("image")
def test_an_estimate_needs_nothing_of_the_host(tmp_path: Path) -> None:
    assert planner("--version").stdout.startswith(f"planner {__version__}\nPython {PYTHON}.")
    done = planner(*ESTIMATE[1:])
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"PYTHONPATH": str(ROOT)}
    here = subprocess.run(
        [sys.executable, "-m", *ESTIMATE], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode in ANSWERS, done.stderr
    assert (done.returncode, done.stdout, done.stderr) == (here.returncode, here.stdout, here.stderr)


@pytest.mark.usefixtures("image")
def test_it_runs_as_no_root_unless_told() -> None:
    argv = ["docker", "run", "--rm", "--entrypoint", "id", IMAGE, "-u"]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "1000\n"


@pytest.mark.usefixtures("image")
def test_engines_are_launched_beside_it_measured_and_removed(
    docker_client: docker.DockerClient,
    vllm_image: str,  # noqa: ARG001
    tmp_path: Path,
) -> None:
    build_image(docker_client)
    study = write_study(tmp_path, ENGINE_IMAGE, "none")
    done = planner(
        "tune",
        "study.yaml",
        "--trials",
        "2",
        "--no-finals",
        "--no-checks",
        "--backend",
        "docker",
        options=beside(tmp_path),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [trial.outcome for trial in trials_of(study)] == ["measured", "measured"]
    assert (tmp_path / "run.sh").exists()
    assert not containers_of(docker_client, study)


@pytest.mark.prove
@pytest.mark.usefixtures("image")
def test_what_it_does_not_share_with_the_host_is_one_line_before_any_launch(tmp_path: Path) -> None:
    write_study(tmp_path, ENGINE_IMAGE, "none")
    words = ("tune", "study.yaml", "--trials", "2", "--no-finals", "--backend", "docker")
    done = planner(*words, options=beside(tmp_path, "bridge"))
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("planner: planner runs in a container with the network 'bridge'")
    elsewhere = ("-v", f"{tmp_path}:/elsewhere", "-w", "/elsewhere")
    done = planner(*words, options=(*beside(tmp_path)[:-4], *elsewhere))
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("planner: /elsewhere/model: planner's container has not the host's directory")
