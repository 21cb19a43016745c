"""The scheduler beside the engine, on a scheduler of vLLM's shape: what goes wrong leaves vLLM's own behaviour.

That it schedules as a fresh one would is shown on the real vLLM (tests/integration/test_live_on_vllm.py).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from planner.launch.live import planner_live
from planner.launch.live.planner_live import FOLDER, STATE, WANTED, make

V1 = """
class Scheduler:
    def __init__(self, vllm_config, structured_output_manager):
        self.scheduler_config = vllm_config.scheduler_config
        self.max_num_running_reqs = self.scheduler_config.max_num_seqs
        self.max_num_scheduled_tokens = self.scheduler_config.max_num_batched_tokens
        self.running = []

    def schedule(self):
        assert len(self.running) <= self.max_num_running_reqs
        return self.max_num_running_reqs, self.max_num_scheduled_tokens
"""
ASYNC = "from vllm.v1.core.sched.scheduler import Scheduler\nclass AsyncScheduler(Scheduler): pass\n"
V0 = "class Scheduler:\n    def __init__(self, scheduler_config, cache_config): self.config = scheduler_config\n"


@pytest.fixture
def of_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """`of_vllm(text)`: the scheduler that an engine of vLLM would make, where its class is this text."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "vllm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv(FOLDER, str(tmp_path / "knobs"))
    (tmp_path / "knobs").mkdir()

    def write(name: str, text: str) -> None:
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def made(text: str = V1, *, is_async: bool = False) -> Any:
        write("vllm/__init__.py", "__version__ = '0.33.0'\n")
        write("vllm/v1/core/sched/scheduler.py", text)
        write("vllm/v1/core/sched/async_scheduler.py", ASYNC)
        write("vllm/core/scheduler.py", V0)
        config = SimpleNamespace(
            max_num_seqs=32, max_num_batched_tokens=1024, long_prefill_token_threshold=0, async_scheduling=is_async
        )
        return make(vllm_config=SimpleNamespace(scheduler_config=config), structured_output_manager=None)

    yield made
    for name in [name for name in sys.modules if name.partition(".")[0] == "vllm"]:
        del sys.modules[name]


def ask(folder: Path, words: Any, number: int = 1) -> None:
    text = words if isinstance(words, str) else json.dumps({"id": number, "values": words})
    (folder / "knobs" / f"new-{number}").write_text(text, "utf-8")
    (folder / "knobs" / f"new-{number}").replace(folder / "knobs" / WANTED)


def said(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "knobs" / STATE).read_text("utf-8"))
    return found


def test_limits_hold_from_the_next_step_and_never_above_the_start(of_vllm: Callable[..., Any], tmp_path: Path) -> None:
    scheduler = of_vllm()
    assert said(tmp_path)["state"] == "started"
    ask(tmp_path, {"max_num_seqs": 4, "max_num_batched_tokens": 4096, "long_prefill_token_threshold": 64})
    assert scheduler.schedule() == (4, 1024)
    assert scheduler.scheduler_config.long_prefill_token_threshold == 64
    assert said(tmp_path) == {
        "state": "set", "id": 1, "base": "Scheduler", "vllm": "0.33.0",
        "values": {"max_num_seqs": 4, "max_num_batched_tokens": 1024, "long_prefill_token_threshold": 64},
    }  # fmt: skip
    ask(tmp_path, {}, 2)
    assert scheduler.schedule() == (32, 1024)
    assert scheduler.scheduler_config.long_prefill_token_threshold == 0


def test_the_class_that_vllm_would_take_is_its_base(of_vllm: Callable[..., Any], tmp_path: Path) -> None:
    of_vllm(is_async=True)
    assert said(tmp_path)["base"] == "AsyncScheduler"


def test_nothing_is_set_while_requests_run(of_vllm: Callable[..., Any], tmp_path: Path) -> None:
    scheduler = of_vllm()
    scheduler.running = [1, 2, 3]
    ask(tmp_path, {"max_num_seqs": 1})
    assert scheduler.schedule() == (32, 1024)
    assert said(tmp_path)["state"] == "started"
    scheduler.running = []
    assert scheduler.schedule() == (1, 1024)


@pytest.mark.parametrize(
    "words", ["", "{", "[]", '{"id": 1}', "null", {"max_num_seqs": 0}, {"max_num_seqs": "x"}, {"other": 1}, "\udcff"]
)
def test_a_file_that_says_nothing_valid_changes_nothing(
    of_vllm: Callable[..., Any], tmp_path: Path, words: Any
) -> None:
    scheduler = of_vllm()
    if words == "\udcff":
        (tmp_path / "knobs" / WANTED).write_bytes(b"\xff\xfe")
    else:
        ask(tmp_path, words)
    assert scheduler.schedule() == (32, 1024)
    assert said(tmp_path)["state"] == "kept"
    assert scheduler.schedule() == (32, 1024)


@pytest.mark.parametrize(
    "text",
    [
        V1.replace("max_num_running_reqs", "max_running"),
        V1.replace("self.max_num_running_reqs, self.max_num_scheduled_tokens\n", "0\n"),
    ],
)
def test_a_scheduler_of_another_shape_is_left_alone(of_vllm: Callable[..., Any], tmp_path: Path, text: str) -> None:
    scheduler = of_vllm(text)
    assert type(scheduler).__name__ == "Scheduler"
    assert (said(tmp_path)["state"], said(tmp_path)["reason"][:11]) == ("off", "LookupError")


def test_v0_gets_its_own_scheduler(of_vllm: Callable[..., Any], tmp_path: Path) -> None:
    of_vllm()
    old = make(SimpleNamespace(max_num_seqs=4), SimpleNamespace())
    assert (type(old).__module__, said(tmp_path)["state"]) == ("vllm.core.scheduler", "off")


def test_without_a_folder_the_engine_serves_as_ever(
    of_vllm: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FOLDER)
    assert of_vllm().schedule() == (32, 1024)


def test_an_answer_that_cannot_be_written_ends_nothing(of_vllm: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "knobs" / f"{STATE}.part").mkdir()
    scheduler = of_vllm()
    ask(tmp_path, {"max_num_seqs": 4})
    assert scheduler.schedule() == (4, 1024)
    assert not (tmp_path / "knobs" / STATE).exists()


def test_the_file_needs_no_other_package() -> None:
    text = Path(planner_live.__file__).read_text("utf-8")
    assert [line for line in text.splitlines() if line.startswith(("import", "from"))] == [
        "from __future__ import annotations", "import json", "import os", "from typing import Any",
    ]  # fmt: skip
