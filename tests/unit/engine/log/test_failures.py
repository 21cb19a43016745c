"""Why engines ended: excerpts of public logs, usual messages of vLLM, and deaths that only consequences tell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from planner.engine.log.causes import CAUSES
from planner.engine.log.lines import Lines
from planner.engine.log.report import LogReader, LogReport
from planner.report.log.document import exit_code_of
from tests.places import GOLDEN

LOGS = GOLDEN / "logs"


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(row) for row in path.read_text("utf-8").splitlines()]


def read(text: str) -> LogReport:
    """As from a file: with what launchers put before each row."""
    lines, reader = Lines(), LogReader()
    for line in (*lines.feed(text.encode()), *lines.end()):
        reader.feed(line)
    return reader.report()


def cause(report: LogReport) -> str | None:
    return None if report.failure is None else report.failure.cause.name


EXCERPTS = rows(LOGS / "failures.jsonl")


@pytest.mark.parametrize("row", EXCERPTS, ids=[row["source"].rpartition("/")[2] for row in EXCERPTS])
def test_excerpts_of_public_logs_have_their_class(row: dict[str, str]) -> None:
    report = read(row["text"])
    assert (report.status, cause(report), exit_code_of(report)) == ("failed", row["cause"], 3)
    assert report.failure is not None
    assert row["says"][:40] in report.failure.words


ENDS = rows(LOGS / "ends.jsonl")


@pytest.mark.parametrize("row", ENDS, ids=[row["case"] for row in ENDS])
def test_ends_in_the_words_of_all_versions_and_behind_all_launchers(row: dict[str, str]) -> None:
    report = read(row["text"])
    assert (report.status, cause(report)) == (row["status"], row["cause"])


MESSAGES = rows(LOGS / "messages.jsonl")
PATHS = {"os.py": "/usr/lib/python3.12/", "multiprocessing": "/usr/lib/python3.12/"}


def start_that_raised(raised: str, frame: str) -> str:
    """The log of vLLM 0.10.2 whose engine core raised this."""
    path, function = frame.split(":", 1)
    before = PATHS.get(path.split("/")[0], "/opt/venv/lib/python3.12/site-packages/")
    said = [
        "EngineCore failed to start.",
        "Traceback (most recent call last):",
        f'  File "{before}{path}", line 10, in {function}',
        "    raise Something(",
        *raised.split("\n"),
    ]
    prefix = "(EngineCore_DP0 pid=25) ERROR 11-22 08:49:07 [core.py:700] "
    return "".join(f"{prefix}{line}\n" for line in said) + (
        "(APIServer pid=1) Traceback (most recent call last):\n"
        "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s)\n"
    )


@pytest.mark.parametrize("row", MESSAGES, ids=[f"{row['cause']}-{i}" for i, row in enumerate(MESSAGES)])
def test_usual_messages_of_a_start_are_classified(row: dict[str, str]) -> None:
    report = read(start_that_raised(row["raised"], row["frame"]))
    assert (report.status, cause(report)) == ("failed", row["cause"])


def test_the_messages_are_a_hundred_of_most_classes() -> None:
    assert len(MESSAGES) >= 100
    assert len({row["cause"] for row in (*MESSAGES, *EXCERPTS, *ENDS)} - {None}) > 0.85 * len(CAUSES)


# ---------------------------------------------------------------- served and died

UP = (
    "INFO 11-23 18:24:00 [api_server.py:1043] vLLM API server version 0.8.5\n"
    "INFO:     Application startup complete.\n"
    "INFO 11-23 18:25:05 [metrics.py:486] Avg prompt throughput: 1.0 tokens/s, Avg generation throughput: 2.0 "
    "tokens/s, Running: 3 reqs, Swapped: 0 reqs, Pending: 4 reqs, GPU KV cache usage: 99.9%, CPU KV cache usage: 5%.\n"
)
OOM = (
    "ERROR 11-23 18:26:00 [engine.py:160] Traceback (most recent call last):\n"
    "ERROR 11-23 18:26:00 [engine.py:160] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n"
)
V0_DEAD = (
    "CRITICAL 11-23 18:26:01 [launcher.py:116] MQLLMEngine is already dead, terminating server process\n"
    "INFO:     Shutting down\nINFO:     Finished server process [1]\n"
)
V1_DEAD = "CRITICAL 11-23 18:26:01 [core_client.py:9] Got fatal signal from worker processes, shutting down.\nKilled\n"


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (OOM + V0_DEAD, "out of memory"),
        (OOM + V1_DEAD, "out of memory"),
        (V1_DEAD, "killed"),
        (V0_DEAD, "engine process gone"),
    ],
)
def test_a_server_that_served_and_died_has_failed(end: str, expected: str) -> None:
    report = read(UP + end)
    assert (report.status, cause(report), exit_code_of(report)) == ("failed", expected, 3)


def test_statistics_of_a_dead_engine_do_not_hide_why_it_died() -> None:
    """V0's server goes on to print its last figures, with nothing generated, until it sees that the engine is dead."""
    idle = (
        "INFO 11-23 18:26:00 [metrics.py:486] Avg prompt throughput: 6.5 tokens/s, Avg generation throughput: 0.0 "
        "tokens/s, Running: 1 reqs\n"
    )
    death = (
        '  File "/x/vllm/engine/llm_engine.py", line 1, in step\n'
        "    output = self.run()\n"
        "IndexError: list index out of range\n"
    )
    report = read(UP + death + idle + V0_DEAD)
    assert report.failure is not None
    assert report.failure.words == "IndexError: list index out of range"
    assert cause(report) == "request ended the engine"


def test_the_original_error_that_a_client_quotes_is_the_cause() -> None:
    said = (
        "ERROR 03-17 08:02:04 serving_chat.py:596] vllm.engine.multiprocessing.MQEngineDeadError: Engine loop is not "
        "running. Inspect the stacktrace to find the original error: RuntimeError('CUDA error: an illegal memory "
        "access was encountered').\n"
    )
    assert cause(read(UP + said + V0_DEAD)) == "CUDA error"


def test_that_vllm_kills_itself_is_not_the_hosts_memory() -> None:
    """As 0.7 and 0.8 do after any failure of V1; the shell then says Killed."""
    raised = "ERROR 02-04 23:21:45 core.py:210] ValueError: a shape that does not fit\n"
    report = read(raised + V1_DEAD)
    assert report.failure is not None
    assert report.failure.words == "a shape that does not fit"
    assert cause(report) != "killed"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Worker proc VllmWorker-1 died unexpectedly (exit code: -9), shutting down executor.", "killed"),
        (
            "Worker proc VllmWorker-1 died unexpectedly (exit code: -11), shutting down executor.",
            "crash in native code",
        ),
        ("Worker proc VllmWorker-1 died unexpectedly, shutting down executor.", "engine process gone"),
    ],
)
def test_deaths_of_workers_by_the_words_of_each_version(words: str, expected: str) -> None:
    said = (
        f"(EngineCore pid=9) ERROR 11-22 09:04:34 [multiproc_executor.py:381] {words}\n"
        "(EngineCore pid=9) ERROR 11-22 09:04:35 [core.py:1] EngineCore failed to start.\n"
        "(EngineCore pid=9) ERROR 11-22 09:04:35 [core.py:1] RuntimeError: cancelled\n"
        "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.\n"
    )
    assert cause(read(said)) == expected


# ---------------------------------------------------------------- told to end

BANNER = "INFO 07-31 16:31:38 [api_server.py:1755] vLLM API server version 0.10.0\n"
LOADING = "INFO 07-31 16:32:08 [gpu_model_runner.py:1] Starting to load model m...\n"
TOLD = '    raise KeyboardInterrupt("terminated")\nKeyboardInterrupt: terminated\n'


def test_a_start_that_was_told_to_end_says_so_and_after_how_long() -> None:
    report = read(BANNER + LOADING + TOLD)
    assert (report.status, cause(report), exit_code_of(report)) == ("ended", "told to end", 3)
    assert report.failure is not None
    assert report.failure.words.startswith("told to end 30 s after its first line, before it was up")
    assert report.failure.phase == "loading weights"


def test_what_failed_before_it_was_told_to_end_is_the_cause() -> None:
    report = read(BANNER + "ValueError: no\n" + TOLD)
    assert (report.status, cause(report)) == ("failed", "bad setting")


def test_a_server_that_was_told_to_end_ended_in_order() -> None:
    report = read(UP + TOLD)
    assert (report.status, report.failure, exit_code_of(report)) == ("ended", None, 0)


# ---------------------------------------------------------------- starts told apart

CUT = start_that_raised("ValueError: anything", "vllm/config.py:x")


def test_the_end_of_an_earlier_start_does_not_condemn_a_healthy_one() -> None:
    """As `docker logs --tail` cuts it: the earlier start has no banner."""
    report = read(CUT + UP)
    assert (report.status, report.failure, report.num_starts) == ("up", None, 2)
    assert [start.status for start in report.earlier] == ["failed"]


def test_an_end_without_its_reason_asks_for_the_whole_log() -> None:
    report = read("".join(CUT.splitlines(keepends=True)[-2:]))
    assert (report.status, cause(report)) == ("failed", "reason not in this log")


# ---------------------------------------------------------------- which exception


def test_the_last_of_a_chain_is_quoted_and_not_the_raise_statement() -> None:
    text = (
        "Traceback (most recent call last):\n"
        '  File "/x/vllm/a.py", line 1, in f\n'
        '    raise RuntimeError(f"CUDA error: {words}")\n'
        "KeyError: 'first'\n\n"
        "The above exception was the direct cause of the following exception:\n\n"
        "Traceback (most recent call last):\n"
        '  File "/x/vllm/b.py", line 1, in g\n'
        "    check(\n"
        '        "NCCL error: not said",\n'
        "    )\n"
        "RuntimeError: the reason\n"
    )
    failure = read(text).failure
    assert failure is not None
    assert failure.words == "the reason"


def test_ranks_that_write_at_the_same_time_are_read_apart() -> None:
    first, second = (f"(VllmWorker rank={rank} pid=1{rank}) ERROR 11-22 07:10:00 [x.py:1] " for rank in (0, 1))
    text = (
        f'{first}  File "/x/vllm/model_executor/models/a.py", line 1, in load_weights\n'
        f'{second}  File "/x/vllm/v1/b.py", line 1, in g\n'
        f"{first}    param = params[name]\n"
        f"{second}    wait()\n"
        f"{first}KeyError: 'proj'\n"
    )
    assert cause(read(text)) == "checkpoint does not fit the code"


def test_an_assertion_at_which_the_log_ends_is_the_cause() -> None:
    text = '  File "/x/vllm/model_executor/models/a.py", line 1, in forward\n    assert length > 0'
    failure = read(text).failure
    assert failure is not None
    assert (failure.words, failure.cause.name) == ("AssertionError: assert length > 0", "model's code failed")


def test_a_compilers_reason_below_its_message_is_quoted() -> None:
    row = next(row for row in MESSAGES if "Ninja" in row["raised"])
    failure = read(start_that_raised(row["raised"], row["frame"])).failure
    assert failure is not None
    assert "nvcc fatal : Unsupported gpu architecture" in failure.words
