"""Limits turned from outside: what an engine is launched with, and every way in which it may not take them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from planner.errors import BackendError
from planner.launch.container import ContainerRun
from planner.launch.live import knobs as module
from planner.launch.live.knobs import Knobs, NoKnobsError, lowered, refused_live
from planner.launch.live.planner_live import STATE, WANTED
from planner.study.problem import Problem

Make = Callable[..., Problem]
VALUES = {"max_num_seqs": 4, "max_num_batched_tokens": 512}


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """`engine(answer)`: URL of a server that calls `answer(wanted)` at each request, and writes what it returns."""
    monkeypatch.setattr(module, "WAIT_S", 0.01)
    servers = []

    def served(answer: Callable[[Any], Any], instance: int = 0) -> str:
        folder = tmp_path / "live" / str(instance)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                words = answer(json.loads((folder / WANTED).read_text("utf-8")))
                if words is not None:
                    (folder / STATE).write_bytes(words if isinstance(words, bytes) else json.dumps(words).encode())
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: Any) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield served
    for server in servers:
        server.shutdown()
        server.server_close()


def obeys(wanted: Any) -> Any:
    return {"state": "set", "id": wanted["id"], "values": wanted["values"], "vllm": "0.33.0"}


def test_every_instance_takes_the_limits_and_says_so(tmp_path: Path, engine: Callable[..., str]) -> None:
    knobs = Knobs(tmp_path / "live", 2)
    urls = [engine(obeys, 0), engine(obeys, 1)]
    knobs.turn(urls, "vllm", VALUES)
    knobs.turn(urls, "vllm", {})
    said = [json.loads((tmp_path / "live" / str(i) / STATE).read_text("utf-8")) for i in range(2)]
    assert [one["id"] for one in said] == [2, 2]
    knobs.remove()
    assert not (tmp_path / "live").exists()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda wanted: None, "does not use the scheduler"),  # noqa: ARG005
        (lambda wanted: {"state": "started", "id": None}, "does not use the scheduler"),  # noqa: ARG005
        (lambda wanted: {"state": "off", "reason": "another shape"}, "another shape"),  # noqa: ARG005
        (lambda wanted: {"state": "kept", "id": wanted["id"], "reason": "unknown: x"}, "unknown: x"),
        (lambda wanted: {**obeys(wanted), "values": {"max_num_seqs": 2}}, "started with less"),
        (lambda wanted: b"\xff", "damaged"),  # noqa: ARG005
        (lambda wanted: {"state": 3}, "damaged"),  # noqa: ARG005
    ],
)
def test_an_engine_that_does_not_take_them_says_why(
    tmp_path: Path, engine: Callable[..., str], answer: Any, words: str
) -> None:
    with pytest.raises(NoKnobsError, match=words):
        Knobs(tmp_path / "live", 1).turn([engine(answer)], "vllm", VALUES)


def test_limits_that_wait_for_other_requests_are_asked_for_again(tmp_path: Path, engine: Callable[..., str]) -> None:
    asked: list[int] = []

    def late(wanted: Any) -> Any:
        asked.append(wanted["id"])
        return obeys(wanted) if len(asked) == 3 else None

    Knobs(tmp_path / "live", 1).turn([engine(late)], "vllm", VALUES)
    assert asked == [1, 1, 1]


def test_a_dead_engine_takes_none(tmp_path: Path) -> None:
    with pytest.raises(NoKnobsError, match="was not answered"):
        Knobs(tmp_path / "live", 1).turn(["http://127.0.0.1:9"], "vllm", VALUES)


def test_a_folder_that_cannot_be_written_is_no_fault_of_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(BackendError, match="cannot be written"):
        Knobs(tmp_path / "file" / "live", 1)


def test_a_container_gets_two_folders_and_keeps_its_own_paths(tmp_path: Path) -> None:
    knobs = Knobs(tmp_path / "live", 1)
    bare = ContainerRun(image="i", name="n", command=("--model", "m"), container_port=8000)
    run = knobs.added_to(bare, 0, "/opt/vllm")
    assert run.command == ("--model", "m", "--scheduler-cls", "planner_live.make")
    assert run.env["PYTHONPATH"] == "/opt/vllm:/planner-live"
    assert run.read_only == ["/planner-live"]
    assert sorted(run.volumes.values()) == ["/planner-knobs", "/planner-live"]
    assert (tmp_path / "live" / "code" / "planner_live.py").is_file()
    assert knobs.env(0, None)["PYTHONPATH"] == str(tmp_path / "live" / "code")


V1 = {"engine__version": "0.24.0", "engine__settings": {"max_model_len": 4096}, "hardware__gpu": "H200"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "engine V0"),
        (V1 | {"engine__version": "0.33.0"}, None),
        (V1, None),
        (V1 | {"engine__settings": {"max_model_len": 4096, "data_parallel_size": 2}}, "several schedulers"),
        (V1 | {"engine__extra_args": ["--scheduler-cls", "mine.Own"]}, "of its own"),
    ],
)
def test_launches_that_can_have_knobs(make_problem: Make, changes: dict[str, Any], words: str | None) -> None:
    problem = make_problem(search_space={"search": {}}, **changes)
    reason = refused_live(problem, problem.default)
    assert (reason is None) if words is None else (reason is not None and words in reason)


def test_a_launch_can_be_turned_to_lower_limits_alone(make_problem: Make) -> None:
    search = {"search": {"max_num_seqs": [8, 64], "max_num_batched_tokens": [1024, 4096], "block_size": [16, 32]}}
    problem = make_problem(search_space=search, **V1)

    def of(seqs: int, tokens: int, block: int = 16) -> Any:
        return problem.choices.candidate({"max_num_seqs": seqs, "max_num_batched_tokens": tokens, "block_size": block})

    high = of(64, 4096)
    assert lowered(problem, high, of(8, 4096)) == {"max_num_seqs": 8, "max_num_batched_tokens": 4096}
    assert lowered(problem, high, of(64, 1024)) == {"max_num_seqs": 64, "max_num_batched_tokens": 1024}
    assert lowered(problem, of(8, 4096), of(64, 1024)) is None
    assert lowered(problem, high, of(8, 1024, 32)) is None
