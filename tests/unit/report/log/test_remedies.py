"""Fixes for a start that failed: what the log tells is judged by the memory estimate, and so is each change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from planner.cli.main import main
from planner.engine.log.report import read_log
from planner.errors import InputError
from planner.estimate.fixes import works
from planner.hardware.by_name import cards_of_memory
from planner.report.log.remedies import Remedies, remedies
from planner.units import GIB
from tests.places import GOLDEN

REFUSED = GOLDEN / "logs" / "vllm-0.8.5-v0-h200" / "fp16_32b_tp4.log"
SEED = GOLDEN / "logs" / "vllm-0.8.5-v0-h200" / "seed_tp4.log"

OUT_OF_MEMORY = """\
INFO 11-20 10:00:00 [api_server.py:1900] vLLM API server version 0.13.0
INFO 11-20 10:00:00 [utils.py:253] non-default args: {'model': 'Qwen/Qwen2.5-Coder-7B-Instruct', 'dtype': 'bfloat16', \
'max_model_len': 32768}
INFO 11-20 10:00:20 [gpu_model_runner.py:3600] Model loading took 14.2488 GiB memory and 9.1 seconds
ERROR 11-20 10:00:30 [core.py:842] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.02 GiB. GPU 0 has a \
total capacity of 15.47 GiB of which 857.31 MiB is free.
RuntimeError: Engine core initialization failed. See root cause above.
"""


def found(text: str, gpu: str | None = None) -> Remedies:
    estimated = remedies(read_log(text, exit_code=1), gpu)
    assert estimated is not None
    return estimated


def test_every_fix_is_accepted_by_the_estimate() -> None:
    estimated = found(OUT_OF_MEMORY)
    assert (estimated.verdict, estimated.reason) == ("will not start", "")
    assert len(estimated.fixes) >= 2
    assert all(works(fix.answer) for fix in estimated.fixes)


def test_without_a_name_the_card_is_any_of_that_memory() -> None:
    cards = cards_of_memory(15.47 * GIB)
    assert {card.compute_capability for card in cards} > {(8, 6), (12, 0)}
    basis = found(OUT_OF_MEMORY).basis
    assert "RTX 5060 Ti 16GB" in basis
    assert "V100" not in basis, "it has no bfloat16, so it would not have come as far as memory"


def test_a_named_card_that_is_another_than_the_logs_is_said() -> None:
    assert "with 23.53 GiB; the log's card has 15.47" in found(OUT_OF_MEMORY, "RTX 4090").basis
    assert "the log's card" not in found(OUT_OF_MEMORY, "RTX 5080").basis


def test_settings_in_effect_count_where_none_was_passed() -> None:
    estimated = found(REFUSED.read_text())
    assert estimated.verdict == "will not start", "gpu_memory_utilization 0.15 stands in a line of the profile only"
    assert any("gpu_memory_utilization" in fix.changes for fix in estimated.fixes)


@pytest.mark.parametrize(
    ("gone", "reason"),
    [
        ("total capacity of 15.47 GiB", "the log does not show the card: name it with --gpu"),
        ("'model': 'Qwen/Qwen2.5-Coder-7B-Instruct', ", "the log does not name the model"),
        ("version 0.13.0", "the log does not name vLLM's version"),
    ],
)
def test_what_the_log_does_not_tell_is_said(gone: str, reason: str) -> None:
    assert found(OUT_OF_MEMORY.replace(gone, "")).reason == reason


def test_a_model_that_nobody_knows_is_said_and_a_card_that_nobody_knows_is_refused() -> None:
    assert "my-own" in found(OUT_OF_MEMORY.replace("Qwen/Qwen2.5-Coder-7B-Instruct", "/models/my-own")).reason
    assert "no known card has the 1.00 GiB" in found(OUT_OF_MEMORY.replace("15.47", "1.00")).reason
    with pytest.raises(InputError, match="RTX 40900"):
        found(OUT_OF_MEMORY, "RTX 40900")


def test_a_start_that_did_not_fail_for_its_settings_has_none() -> None:
    served = read_log(SEED.read_text())
    assert remedies(served) is None
    refused = remedies(served, "H200")
    assert refused is not None
    assert refused.reason == "the log shows no start that failed for its settings"


def test_the_command_shows_them_and_its_json_holds_them(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "failed.log"
    path.write_text(OUT_OF_MEMORY)
    with pytest.raises(SystemExit):
        main(["log", str(path), "--gpu", "RTX 5080"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "estimate will not start (Qwen2.5-Coder-7B-Instruct, vLLM 0.13.0, 1 x RTX 5080)" in shown
    assert " fixes " in shown
    assert ": starts" in shown.partition(" fixes ")[2]
    with pytest.raises(SystemExit):
        main(["log", str(path), "--gpu", "RTX 5080", "--json"])
    document = json.loads(capsys.readouterr().out)["failure"]["estimate"]
    assert document["verdict"] == "will not start"
    assert {fix["verdict"] for fix in document["fixes"]} <= {"starts", "at risk"}
