"""Advice is checked against the log's own numbers and settings."""

from __future__ import annotations

from planner.engine.log.advice import advise
from planner.engine.log.patterns import PHASE_ADVICE
from planner.engine.log.report import read_log

ASKED = (
    "INFO 11-22 09:03:35 [utils.py:223] non-default args: {{'model': 'm', 'gpu_memory_utilization': {share}{more}}}\n"
)
LOADED = "INFO 11-22 09:03:41 [gpu_model_runner.py:1] Model loading took {weights} GiB memory and 1.0 seconds\n"
OOM = (
    "ERROR 11-22 09:03:45 [core.py:1] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.02 GiB. GPU 0 "
    "has a total capacity of 15.47 GiB of which 857.31 MiB is free.\n"
)
SHORT = (
    "ERROR 11-22 09:03:45 [core.py:1] ValueError: To serve at least one request with the models's max seq len (40960), "
    "({needed} GiB KV cache is needed, which is larger than the available KV cache memory (3.10 GiB).\n"
)
CARD = "INFO 11-22 09:03:44 [worker.py:1] Free memory on device (21.1/21.48 GiB) on startup.\n"


def advice(text: str, share: float = 0.7, more: str = "") -> str:
    return advise(read_log(ASKED.format(share=share, more=more) + text))


def test_weights_above_the_budget_are_never_told_to_lower_the_batch() -> None:
    said = advice(LOADED.format(weights=14.19) + OOM)
    assert said.startswith("The weights alone (14.19 GiB) are more than gpu_memory_utilization 0.7 allows")
    assert "(10.83 of 15.47 GiB)" in said
    assert "max_num_batched_tokens" not in said
    assert "above 0.94 would hold them" in said


def test_weights_of_the_whole_card_are_not_told_to_raise_the_share() -> None:
    assert "would hold them" not in advice(LOADED.format(weights=15.3) + OOM)


def test_weights_within_the_budget_have_the_phases_advice() -> None:
    assert advice(LOADED.format(weights=4.5) + OOM) == PHASE_ADVICE["profiling"]


def test_a_short_kv_cache_says_what_closes_the_gap() -> None:
    said = advice(CARD + SHORT.format(needed="5.00"), share=0.8)
    assert "It lacks 1.90 GiB. gpu_memory_utilization 0.89 closes the gap if that much of the card is free." in said
    assert "kv_cache_dtype fp8 (about half of it) alone closes it." in said
    said = advice(CARD + SHORT.format(needed="15.00"), share=0.8)
    assert "No gpu_memory_utilization closes the gap." in said
    assert "alone does not close it." in said


def test_what_was_asked_already_is_said() -> None:
    error = "ERROR 11-22 09:03:45 [core.py:1] RuntimeError: CUDA error: an illegal memory access was encountered\n"
    assert advice(error, more=", 'enforce_eager': True").endswith("Set here already: enforce_eager.")
    assert "Set here already" not in advice(error)


def test_a_log_without_failure_has_no_advice() -> None:
    assert advice("") == ""
