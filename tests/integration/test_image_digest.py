"""Images whose name comes to stand for another one: a small registry here, the real Docker Engine, its real digests."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import docker
import pytest

from planner.errors import InputError
from planner.launch.docker.door import image_facts
from planner.launch.machine import image_here, machine_of
from planner.service.export.kinds import exported
from planner.study.problem import Problem
from planner.trials.trial import as_measured
from planner.tuning.session import refuse_other_image
from tests.forecasts import forecast_of

pytestmark = pytest.mark.container
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass
class Registry:
    """One repository, `engine`, with what the Engine asks for when it pulls. Source: OCI Distribution, pulling."""

    port: int = 0
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, str] = field(default_factory=dict)
    """Digest of the manifest by tag and by digest; it is among the blobs."""

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}/engine:1"

    def add(self, blob: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
        self.blobs[digest] = blob
        return digest

    def push(self, tag: str, word: str) -> str:
        """An image of one layer with one file. Returns its digest."""
        with io.BytesIO() as packed:
            with tarfile.open(fileobj=packed, mode="w") as tar:
                tar.addfile(tarfile.TarInfo(word))
            layer = packed.getvalue()
        config = {
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/none"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }  # fmt: skip
        parts = [json.dumps(config).encode(), gzip.compress(layer, mtime=0)]
        kinds = ["container.image.v1+json", "image.rootfs.diff.tar.gzip"]
        described = [
            {"mediaType": f"application/vnd.docker.{kind}", "size": len(part), "digest": self.add(part)}
            for part, kind in zip(parts, kinds, strict=True)
        ]
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described[0], "layers": described[1:]}
        digest = self.add(json.dumps(manifest).encode())
        self.manifests[tag] = self.manifests[digest] = digest
        return digest


@pytest.fixture
def registry() -> Iterator[Registry]:
    known = Registry()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            *_, kind, reference = self.path.split("/")
            digest = known.manifests.get(reference) if kind == "manifests" else reference
            body = b"{}" if self.path == "/v2/" else known.blobs.get(digest or "")
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Type", MANIFEST if kind == "manifests" else "application/octet-stream")
            self.send_header("Content-Length", str(len(body or b"")))
            self.send_header("Docker-Content-Digest", digest or "")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body or b"")

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        known.port = server.server_port
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield known
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def pulled(client: docker.DockerClient, registry: Registry) -> Iterator[str]:
    """The image behind the tag as it is now; its id."""
    image = client.images.pull(*registry.name.rsplit(":", 1))
    try:
        yield str(image.id)
    finally:
        client.images.remove(image.id, force=True)


def names_here(problem: Problem) -> Collection[str]:
    image = image_here(problem, "docker")
    return () if image is None else image.names


def test_a_name_that_moves_to_another_image(
    docker_client: docker.DockerClient, registry: Registry, make_problem: Callable[..., Problem], launch: Any
) -> None:
    problem = make_problem(container__image=registry.name)
    digest = registry.push("1", "first")
    with pulled(docker_client, registry) as first:
        facts = image_facts(registry.name)
        assert (facts.id, facts.digest) == (first, digest)
        assert facts.lasting_name == f"{registry.name}@{digest}"
        machine = machine_of(problem, "docker")
        trial = launch(problem)[0]
        trial = replace(trial, provenance=replace(trial.provenance, machine=machine))
        refuse_other_image(problem, names_here(problem), [trial])

        registry.push("1", "second")
        with pulled(docker_client, registry) as second:
            assert second != first
            container = docker_client.containers.create(facts.lasting_name)
            try:
                assert container.image.id == first, "the name with its digest still stands for the first"
            finally:
                container.remove()
            with pytest.raises(InputError, match=rf"container\.image: {registry.name} stands for .* now"):
                refuse_other_image(problem, names_here(problem), [trial])
            later = replace(trial, provenance=replace(trial.provenance, machine=machine_of(problem, "docker")))
            refuse_other_image(problem, names_here(problem), [later])
    refuse_other_image(problem, names_here(problem), [trial])  # what is not there is the launch's to say

    assert f"{registry.name}@{digest} " in exported("script", forecast_of(problem), trial, None, Path("ladder.yaml"))
    assert as_measured(problem, launch(problem)[0]) is problem, "built here, or not measured"
