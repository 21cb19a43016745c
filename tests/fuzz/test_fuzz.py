"""Bad input ends in one line, never in a traceback: some fuzzing of each target, and all that was found."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from planner.benchmark.client.events import MAX_EVENT_BYTES, StreamedAnswer
from planner.engine.log.lines import MAX_ROW, Lines
from planner.errors import MOST_CHARACTERS, InputError, PlannerError
from planner.estimate.batch import lines_of
from planner.files.reading import JSON_BYTES, read_bytes, read_text
from planner.files.structured import parse_json
from tests.fuzz.hostile import HARMLESS, LAUGHS, REFUSED
from tests.fuzz.mutations import spoilt
from tests.fuzz.targets import TARGETS, refused

pytestmark = pytest.mark.filterwarnings("ignore")
EXAMPLES = 25


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_valid_is_taken(name: str) -> None:
    for seed in TARGETS[name].seeds():
        assert refused(TARGETS[name], seed) is None


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_spoilt_is_refused_in_one_line(name: str) -> None:
    """The same inputs in every run; `make fuzz` tries new ones."""
    target = TARGETS[name]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(spoilt(target.form, list(target.seeds())))
    def holds(data: bytes) -> None:
        refused(target, data)

    holds()


@pytest.mark.parametrize(("name", "number"), [(name, i) for name, ones in REFUSED.items() for i in range(len(ones))])
def test_what_once_did_harm_is_refused(name: str, number: int) -> None:
    message = refused(TARGETS[name], REFUSED[name][number])
    assert message
    assert len(message) <= MOST_CHARACTERS


@pytest.mark.parametrize(("name", "number"), [(name, i) for name, ones in HARMLESS.items() for i in range(len(ones))])
def test_what_once_did_harm_is_harmless(name: str, number: int) -> None:
    assert refused(TARGETS[name], HARMLESS[name][number]) is None


# --- bounds ---


def test_no_more_is_read_than_a_file_may_have(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="/dev/zero: is larger than 64 KiB"):
        read_bytes(Path("/dev/zero"), 1 << 16)
    (tmp_path / "holes").touch()
    os.truncate(tmp_path / "holes", 1 << 40)
    with pytest.raises(InputError, match=f"is larger than {JSON_BYTES >> 10} KiB"):
        read_text(tmp_path / "holes")


@pytest.mark.parametrize(
    ("name", "reason"),
    [(".", "Is a directory"), ("none", "No such file"), ("a\0b", "null byte"), ("a" * 300, "name too long")],
)
def test_what_is_no_file_is_named(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(InputError, match=rf"cannot be read: .*{reason}"):
        read_bytes(tmp_path / name)


def test_a_pipe_is_read_to_its_end_and_one_without_a_writer_is_empty(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert read_bytes(pipe) == b""
    reading, writing = os.pipe()
    thread = threading.Timer(0.2, lambda: (os.write(writing, b"late"), os.close(writing)))
    thread.start()
    assert read_bytes(Path(f"/dev/fd/{reading}")) == b"late"
    thread.join()
    os.close(reading)


def test_json_has_a_depth() -> None:
    with pytest.raises(InputError, match="nested too deeply"):
        parse_json("[" * 100_000, "a.json")


def test_a_line_of_requests_has_an_end() -> None:
    with open("/dev/zero", "rb") as endless, pytest.raises(InputError, match="line 1 is longer than 16 MiB"):
        next(lines_of(endless))


def test_a_row_of_a_log_is_kept_up_to_a_bound() -> None:
    lines = Lines()
    for _ in range(64):
        assert not list(lines.feed(b"x" * (1 << 20)))
    assert [len(line.text) for line in lines.end()] == [MAX_ROW]


def test_an_event_without_an_end_is_a_bad_one() -> None:
    answer = StreamedAnswer()
    answer.feed(b"a" * MAX_EVENT_BYTES, 0.0)
    with pytest.raises(ValueError, match="an event of more than"):
        answer.feed(b"a", 0.0)


def test_a_message_quotes_nothing_that_a_terminal_acts_on() -> None:
    message = str(PlannerError("a\x1b[2Jb\0c\u202ed\n" + "e" * 10**6))
    assert message.startswith("a\\u001b[2Jb\\u0000c\\u202ed ")
    assert len(message) < 2 * MOST_CHARACTERS
    assert message.isprintable()


# --- through the command line ---

CLI = [
    ("estimate laughs.yaml", "more than 20000 values"),
    ("candidates deep.yaml", "nested more than 30 deep"),
    ("tune tag.yaml --dry-run --backend simulated", "could not determine a constructor for the tag"),
    ("tune twice.yaml --dry-run --backend simulated", "key name stands there twice"),
    ("tune large.yaml --dry-run --backend simulated", "num_requests: Expected `int` <= 1000000"),
    ("estimate /dev/zero", "/dev/zero: is larger than 256 KiB"),
    ("estimate pipe", "pipe: Expected `object`, got `null`"),
    ("estimate --model folder --gpu H200", "num_hidden_layers: 1000000000000 is more than any model has (4096)"),
    ("estimate --requests zero.bin", "--requests: line 1 is longer than 16 MiB"),
    ("log zero.bin", "zero.bin: is binary, not a log"),
    ("log long.log", "long.log: none of its 1 lines is of a vLLM log"),
    ("tune ok.yaml --dry-run --replay deep.jsonl", "deep.jsonl:1: is not JSON that can be read: nested too deeply"),
    ("guard laughs.yaml", "laughs.yaml"),
    ("bench http://127.0.0.1:9 --workload deep.jsonl", "deep.jsonl: is not JSON that can be read: nested too deeply"),
]


@pytest.mark.parametrize(("line", "message"), CLI, ids=[line for line, _ in CLI])
def test_bad_files_exit_2_with_one_line(
    run: Callable[[str], tuple[int, str, str]], tmp_path: Path, line: str, message: str
) -> None:
    from tests.fuzz.hostile import config, study

    contents = {
        "laughs.yaml": f"{LAUGHS}\nrungs: *a9".encode(),
        "deep.yaml": b"a: " + b"[" * 10_000,
        "tag.yaml": b"!!python/object:os.system id",
        "twice.yaml": study() + b"\nname: again",
        "ok.yaml": study(),
        "long.log": b"Free memory on device " * 100_000,
        "large.yaml": study(workload="{concurrency: 1, num_requests: 1000000000000}"),
        "deep.jsonl": b"[" * 100_000,
        "folder/config.json": config('"num_hidden_layers": 1000000000000'),
    }
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "zero.bin").touch()
    os.truncate(tmp_path / "zero.bin", 1 << 28)
    os.mkfifo(tmp_path / "pipe")
    code, _, err = run(line)
    assert (code, err.count("\n")) == (2, 1), err[-2000:]
    assert err.startswith("planner: ")
    assert message in err
