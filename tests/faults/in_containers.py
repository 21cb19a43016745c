"""Faults of a Docker Engine, of its images and containers, and what became of a study that met one.

The engines are simulated ones (tests/faults/engine.py) in real containers; the planner reaches the real Docker Engine
through a door that can be closed. What is done to them is done from outside, as a person or a machine would.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import docker
import docker.errors
from docker.models.containers import Container

from planner.launch.runs import STUDY_LABEL, TRIAL_LABEL
from planner.study.loading import load_study
from planner.trials.trial import Trial
from tests.faults.door import DoorToDocker
from tests.faults.engine import DONE
from tests.faults.inject import FAULTY_SEQS, LIMIT_S, gone_within, trials_of

ROOT = Path(__file__).resolve().parents[2]
BASE_IMAGE, IMAGE = "planner-vllm-cpu:test", "planner-faulty:test"
PACKAGES = "/opt/vllm"
"""Of the image's Python; the engine is this checkout's."""
TRIALS = 3
BACK_WITHIN_S, AWAY_S = 6, 3
"""How long planners wait for an Engine that does not come back, and how long one is away that does."""
PLANNER = "from planner.cli.main import main; main()"
CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "tie_word_embeddings": True,
    "torch_dtype": "float16",
}
"""Qwen3-0.6B's."""


@dataclass(frozen=True, slots=True)
class Waits:
    """How long a planner waits for an Engine to come back, for an answer, and for one that it asks every second."""

    back_within_s: int = 120
    answer_s: int = 60
    look_s: int = 10

    @property
    def program(self) -> str:
        return textwrap.dedent(f"""\
            import planner.launch.docker.backend as backend, planner.launch.docker.outages as outages
            outages.BACK_WITHIN_S = {self.back_within_s}
            backend.ANSWER_TIMEOUT_S, backend.LOOK_TIMEOUT_S = {self.answer_s}, {self.look_s}
            {PLANNER}
        """)


PATIENT, GONE, SILENT = Waits(), Waits(BACK_WITHIN_S), Waits(BACK_WITHIN_S, answer_s=15, look_s=2)
"""A planner's own, those for an Engine that is gone for good, and for one that hangs."""


@dataclass
class Scene:
    """A study that runs: what may be done to it, and to what is around it."""

    study: Path
    client: docker.DockerClient
    door: DoorToDocker
    image: str
    num_trials: int = TRIALS
    limit_s: float = LIMIT_S
    waits: Waits = PATIENT
    is_under_load: Callable[[Scene], bool] = lambda scene: scene.marker.with_suffix(".load").exists()
    planner: subprocess.Popen[bytes] | None = None

    @cached_property
    def label(self) -> str:
        return f"{STUDY_LABEL}={load_study(self.study).name}"

    @cached_property
    def marker(self) -> Path:
        """The engine's, in what it shares with the host: containers have the host's IPC, and their models read-only."""
        return Path(load_study(self.study).engine.env["MARKER"])

    def containers(self) -> list[Container]:
        return self.client.containers.list(all=True, filters={"label": self.label}, ignore_removed=True)

    def names(self) -> list[str]:
        return [str(container.name) for container in self.containers()]

    @property
    def container(self) -> Container:
        (only,) = self.containers()
        return only

    def wait_for(self, is_so: Callable[[], object]) -> bool:
        """False where the planner ended before."""
        assert self.planner is not None
        while not is_so():
            if self.planner.poll() is not None:
                return False
            time.sleep(0.05)
        return True

    def wait_for_start(self) -> None:
        self.wait_for(lambda: self.marker.exists())

    def wait_for_load(self) -> None:
        self.wait_for(lambda: self.is_under_load(self))

    def wait_for_end(self) -> None:
        self.wait_for(lambda: False)

    def wait_for_trial(self, number: int) -> None:
        """Until its container runs."""
        self.wait_for(lambda: any(c.labels[TRIAL_LABEL] == str(number) for c in self.containers()))

    def restart_engine(self) -> None:
        """As far as a planner sees it: no answers, the containers killed, answers again."""
        self.door.close()
        self.container.kill()
        time.sleep(1)
        self.door.open()


def restarts_at_start(scene: Scene) -> None:
    scene.wait_for_start()
    scene.restart_engine()


def restarts_under_load(scene: Scene) -> None:
    scene.wait_for_load()
    scene.restart_engine()


def unreachable_under_load(is_silent: bool, for_good: bool) -> Callable[[Scene], None]:
    """Refusing or silent, for some seconds or until the planner has ended."""

    def act(scene: Scene) -> None:
        scene.wait_for_load()
        (scene.door.fall_silent if is_silent else scene.door.close)()
        scene.wait_for_end() if for_good else time.sleep(AWAY_S)
        (scene.door.speak if is_silent else scene.door.open)()

    return act


def image_is_missing(scene: Scene) -> None:
    scene.client.images.remove(scene.image)
    scene.wait_for_end()
    scene.client.images.get(IMAGE).tag(scene.image)


def image_is_removed(scene: Scene) -> None:
    """Only its name: all launches of a run have what that stood for at the first."""
    scene.wait_for_trial(1)
    image_is_missing(scene)


def ports_are_taken(scene: Scene) -> None:
    """The next that Docker would choose: it tries ten, and gives up."""
    probe = scene.client.containers.run(IMAGE, ["-c", "1"], entrypoint="python3", ports={"1/tcp": ("127.0.0.1", None)},
                                        detach=True)  # fmt: skip
    probe.reload()
    bindings = probe.attrs["HostConfig"]["PortBindings"], probe.attrs["NetworkSettings"]["Ports"]
    probe.remove(force=True)
    first = next(int(b[0]["HostPort"]) for ports in bindings for b in ports.values() if b and b[0]["HostPort"])
    with contextlib.ExitStack() as stack:
        for port in range(first, first + 16):
            with contextlib.suppress(OSError):  # somebody else's already
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
        scene.wait_for_end()


def removed(scene: Scene) -> None:
    scene.wait_for_load()
    scene.container.remove(force=True)


def removed_each_time(scene: Scene) -> None:
    scene.wait_for_load()
    number = scene.container.labels[TRIAL_LABEL]
    while scene.wait_for(lambda: any(c.labels[TRIAL_LABEL] == number for c in scene.containers())):
        with contextlib.suppress(docker.errors.APIError):
            scene.container.remove(force=True)


def stopped(scene: Scene) -> None:
    scene.wait_for_load()
    scene.container.stop(timeout=1)


def paused(scene: Scene) -> None:
    scene.wait_for_load()
    scene.container.pause()


def planner_killed_at_start(scene: Scene) -> None:
    scene.wait_for_start()
    scene.planner.kill()


def planner_killed_under_load(scene: Scene) -> None:
    scene.wait_for_load()
    scene.planner.kill()


def planner_killed_at(request: str, is_lost: bool = False) -> Callable[[Scene], None]:
    """When it has sent this request for its second trial; the Docker Engine gets it nevertheless, or not."""

    def act(scene: Scene) -> None:
        def kill() -> None:
            scene.planner.kill()
            if is_lost:
                raise ConnectionResetError

        scene.door.when(request, 2, kill)
        scene.wait_for_end()

    return act


def nothing(scene: Scene) -> None:
    """The engine does it."""


@dataclass(frozen=True, slots=True)
class DockerFault:
    name: str
    act: Callable[[Scene], None]
    engine: str
    """What the engine of the candidate that meets it does, of engine.py."""
    says: str
    """Part of what the trial says of it, or the run where that ends."""
    ends: int = 0
    outcome: str = "measured"
    memory_limit: str | None = None
    waits: Waits = PATIENT


WAITS = "waits under load"
DOCKER_FAULTS = {
    fault.name: fault
    for fault in (
        DockerFault("Docker Engine away under load", unreachable_under_load(False, False), WAITS, ""),
        DockerFault("Docker Engine silent under load", unreachable_under_load(True, False), WAITS, "", waits=SILENT),
        DockerFault("Docker Engine restarts at start", restarts_at_start, "waits at start", "Docker Engine was away"),
        DockerFault("Docker Engine restarts under load", restarts_under_load, WAITS, "Engine was away"),
        DockerFault(
            "Docker Engine does not come back", unreachable_under_load(False, True), WAITS, "does not answer", 1,
            waits=GONE,
        ),
        DockerFault(
            "Docker Engine silent for good", unreachable_under_load(True, True), WAITS, "does not answer", 1,
            waits=SILENT,
        ),
        DockerFault("image missing", image_is_missing, "none", "fetch it with docker pull", 1),
        DockerFault("image's name removed between trials", image_is_removed, "none", ""),
        DockerFault("ports taken by another process", ports_are_taken, "none", ""),
        DockerFault(
            "container out of memory", nothing, "takes memory under load", "OOMKilled, exit code 137",
            outcome="failed", memory_limit="1GiB",
        ),
        DockerFault("container removed under load", removed, WAITS, "somebody"),
        DockerFault("container removed again and again", removed_each_time, "waits under each load", "3 times", 1),
        DockerFault("container stopped under load", stopped, WAITS, "somebody stopped its container"),
        DockerFault("container paused under load", paused, WAITS, "somebody paused its container"),
        DockerFault("planner killed, container being made", planner_killed_at("POST .*/create"), "none", "", -9),
        DockerFault("planner killed, container made", planner_killed_at("POST .*/start"), "none", "", -9),
        DockerFault("planner killed, container starting", planner_killed_at_start, "waits at start", "", -9),
        DockerFault("planner killed, container under load", planner_killed_under_load, WAITS, "", -9),
        DockerFault(
            "planner killed, container stopped", planner_killed_at("DELETE .*/containers", True), "none", "", -9
        ),
    )
}  # fmt: skip
REPRESENTATIVE = (
    "Docker Engine restarts under load",
    "container out of memory",
    "planner killed, container stopped",
)
"""What CI injects; `make prove` all."""


@dataclass(frozen=True, slots=True)
class Met:
    """A study that met a fault, and went on where that ended it."""

    fault: DockerFault
    num_trials: int
    seconds: float
    """Of the run that met it."""
    first_code: int
    code: int
    output: str
    first: list[Trial]
    """Those that the run which met it has told."""
    trials: list[Trial]
    left: list[str] = field(default_factory=list)
    gone_s: float = 0.0
    """How long after the planner was killed there was nothing of it, without another run."""

    @property
    def trial(self) -> Trial:
        return next(trial for trial in self.trials if trial.candidate.engine.max_num_seqs == FAULTY_SEQS)

    @property
    def outcome(self) -> str:
        return self.trial.outcome

    @property
    def says(self) -> str:
        if self.fault.ends > 0:
            told = [line for line in self.output.split("\n") if line.startswith("planner: ")]
            return told[0].removeprefix("planner: ") if told else ""
        words = (*self.trial.disturbances, *([self.trial.failure.message] if self.trial.failure else []))
        return "; ".join(words)

    @property
    def lost(self) -> list[str]:
        return [f"trial {trial.number}" for trial in self.first if trial not in self.trials]

    def wrong(self) -> list[str]:
        """What should not have happened; empty where all is well."""
        candidates = {trial.candidate.key for trial in self.trials}
        checks = {
            f"the run ended with {self.first_code}": self.first_code == self.fault.ends,
            f"the last run ended with {self.code}": self.code == 0,
            f"{len(self.trials)} trials of {len(candidates)} candidates": len(self.trials)
            == len(candidates)
            == self.num_trials,
            f"numbers {[t.number for t in self.trials]}": [t.number for t in self.trials]
            == list(range(self.num_trials)),
            f"lost: {', '.join(self.lost)}": not self.lost,
            f"left: {', '.join(self.left)}": not self.left,
            "a traceback": "Traceback" not in self.output,
            "more than a line of error": self.output.count("\nplanner:") <= 1,
        }
        wrong = [words for words, is_well in checks.items() if not is_well]
        if not wrong and (self.outcome != self.fault.outcome or self.fault.says not in self.says):
            wrong.append(f"the trial: {self.outcome}: {self.says}")
        if not wrong and self.fault.memory_limit is not None:
            failure = self.trial.failure
            assert failure is not None
            if not (failure.oom_killed and failure.exit_code == 137 and "OOMKilled" in failure.log_tail):
                wrong.append(f"evidence: {failure}")
        return wrong


def build_image(client: docker.DockerClient) -> None:
    """The packages of the tests' image, this checkout, and an engine with a fault that its environment names."""
    entry = 'exec python3 -m tests.faults.engine "$FAULT" "$MARKER" serve --gpu "RTX 2080 Ti 22GB" "$@"'
    lines = [
        f"FROM {BASE_IMAGE}",
        f"ENV PYTHONPATH=/checkout:{PACKAGES} FAULT=none MARKER=/tmp/met",
        "COPY planner /checkout/planner",
    ]
    lines += ["COPY tests/faults /checkout/tests/faults", "WORKDIR /checkout"]
    lines += [f"ENTRYPOINT {json.dumps(['sh', '-c', entry, 'engine'])}"]
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for folder in ("planner", "tests/faults"):
            tar.add(ROOT / folder, folder, filter=lambda info: None if "__pycache__" in info.name else info)
        text = "\n".join(lines).encode()
        info = tarfile.TarInfo("Dockerfile")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    context.seek(0)
    client.images.build(fileobj=context, custom_context=True, tag=IMAGE, rm=True)


def write_study(folder: Path, image: str, fault: str, memory_limit: str | None = None, **changes: str) -> Path:
    (folder / "model").mkdir(parents=True, exist_ok=True)
    (folder / "model" / "config.json").write_text(json.dumps(CONFIG))
    limit = f", memory_limit: {memory_limit}" if memory_limit else ""
    name = f"flt-{uuid.uuid4().hex[:8]}"
    path = folder / "study.yaml"
    path.write_text(
        textwrap.dedent(f"""\
        name: {name}
        models: {{small: {{path: ./model}}}}
        hardware: {{gpu: RTX 2080 Ti 22GB, num_gpus: 1, host_memory: 64GiB}}
        engine:
          version: 0.8.5
          settings: {{dtype: half, max_model_len: 4096}}
          start_timeout: 5min
          compile_cache: false
          env: {{FAULT: {fault}, MARKER: /dev/shm/{name}.met}}
          extra_args: [--vllm-version, 0.8.5, --host, 0.0.0.0, --speedup, "2000"]
        container: {{image: {image!r}, runtime: null, ulimits: {{}}{limit}}}
        search_space: {{search: {changes.get("search", "{max_num_seqs: [7, 6]}")}}}
        repeats: 1
        quality: null
        racing: false
        workload:
          concurrency: 8
          num_requests: {changes.get("num_requests", "24")}
          warmup_requests: 4
          input_tokens: 64
          output_tokens: 16
        """)
    )
    return path


@contextlib.contextmanager
def scene_of(folder: Path, fault: str, memory_limit: str | None = None) -> Iterator[Scene]:
    """A study with an image of its own name. Its containers and that name are gone at the end."""
    client, image = docker.from_env(), f"planner-faulty:{uuid.uuid4().hex[:8]}"
    try:
        build_image(client)
        client.images.get(IMAGE).tag(image)
        with DoorToDocker() as door:
            scene = Scene(write_study(folder, image, fault, memory_limit), client, door, image)
            try:
                yield scene
            finally:
                for marker in (scene.marker, scene.marker.with_suffix(".load"), scene.marker.with_suffix(DONE)):
                    marker.unlink(missing_ok=True)
    finally:
        with contextlib.suppress(docker.errors.ImageNotFound):
            client.images.remove(image)
        client.close()


def meet(fault: DockerFault, folder: Path) -> Met:
    """Run a study until it has met the fault, run it again where that ended it, and look at what is left."""

    def act(scene: Scene) -> None:
        fault.act(scene)
        scene.marker.with_suffix(DONE).touch()

    with scene_of(folder, fault.engine, fault.memory_limit) as scene:
        scene.waits = fault.waits
        return met_in(scene, replace(fault, act=act))


def met_in(scene: Scene, fault: DockerFault) -> Met:
    began = time.monotonic()
    first_code, output = run_planner(scene, fault.act)
    seconds = time.monotonic() - began
    gone_s, left = gone_within(scene.names) if first_code == -signal.SIGKILL else (0.0, [])
    first, code = trials_of(scene.study), first_code
    if first_code:
        code, more = run_planner(scene, nothing)
        output += more
    left += scene.names()
    for container in scene.containers():
        container.remove(force=True)
    return Met(fault, scene.num_trials, seconds, first_code, code, output, first, trials_of(scene.study), left, gone_s)


def run_planner(scene: Scene, act: Callable[[Scene], None]) -> tuple[int, str]:
    """`planner tune` while something is done to it: exit code and output."""
    argv = [sys.executable, "-c", scene.waits.program, "tune", str(scene.study), "--trials", f"{scene.num_trials}"]
    with tempfile.TemporaryFile() as output:
        scene.planner = subprocess.Popen(
            [*argv, "--backend", "docker", "--no-finals", "--no-checks"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "DOCKER_HOST": scene.door.host},
        )
        try:
            act(scene)
            code = scene.planner.wait(scene.limit_s)
        finally:
            scene.planner.kill()
            scene.planner.wait()
        output.seek(0)
        return code, output.read().decode("utf-8", "replace")
