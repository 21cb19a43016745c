"""Changes with which the memory estimate expects a failed start to succeed: `remedies(report, gpu, study) -> Remedies`.

The log gives the model, the settings and the version; the card is the one named, the study's, or any known card with
the memory that the log shows: a change counts only if it works on all of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from planner.constraints import OUT_OF_MEMORY
from planner.engine import LogReport, Scalar, card_gib, convert_settings
from planner.errors import EngineOutOfMemory, InputError
from planner.estimate import SAME_CARD_FRACTION, Fix, Setup, changed, nearest_fixes, works
from planner.hardware import GpuSpec, cards_of_memory, find_gpu
from planner.study import StudySource, calibrated, read_study, setup_of
from planner.units import GIB, to_gib

BY_SETTINGS = frozenset({"setting", "model"})
"""Faults of a failure that other settings may avoid."""
IN_EFFECT = frozenset({
    "max_model_len", "tensor_parallel_size", "pipeline_parallel_size", "dtype", "quantization", "enforce_eager",
    "kv_cache_dtype", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization",
})  # fmt: skip
"""Settings that are taken from those in effect: `LLM(...)` logs none that were passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedies:
    """What the estimate says of a failed start; either `reason` or `basis` is empty."""

    basis: str = ""
    """Model, version and card for which the changes are judged."""
    verdict: str = ""
    """Verdict of the estimate on the settings as they were."""
    fixes: tuple[Fix, ...] = ()
    reason: str = ""
    """Why there is no estimate of this start."""

    def document(self) -> dict[str, Any]:
        """The same as docs/log.md describes it."""
        return {
            "basis": self.basis or None,
            "verdict": self.verdict or None,
            "fixes": [fix.document() for fix in self.fixes],
            "reason": self.reason or None,
        }


def remedies(report: LogReport, gpu: str | None = None, study: Path | None = None) -> Remedies | None:
    """Judge the settings of a log's last start and the changes near them.

    `gpu` is the card as `planner gpus` names it, `study` a study with the cards. None if neither is named and the log
    shows no failure of a setting, or not enough of one that is no memory failure. Raises InputError for a card or study
    that is not known; what the log does not tell becomes the `reason`.
    """
    failure, is_asked = report.failure, gpu is not None or study is not None
    if failure is None or report.was_up or failure.cause.fault not in BY_SETTINGS:
        return Remedies(reason="the log shows no start that failed for its settings") if gpu is not None else None
    found = _estimated(report, gpu, study)
    is_said = is_asked or not found.reason or issubclass(failure.kind, EngineOutOfMemory)
    return found if is_said else None


def _estimated(report: LogReport, gpu: str | None, study: Path | None) -> Remedies:
    memory_gib = card_gib(report)
    if study is None and report.model is None:
        return Remedies(reason="the log does not name the model")
    if study is None and report.facts.vllm_version is None:
        return Remedies(reason="the log does not name vLLM's version")
    if study is None and gpu is None and memory_gib is None:
        return Remedies(reason="the log does not show the card: name it with --gpu")
    cards = _cards((memory_gib or 0.0) * GIB, gpu, study)
    if not cards:
        return Remedies(reason=f"no known card has the {memory_gib:.2f} GiB that the log shows: name it with --gpu")
    if gpu is not None:
        find_gpu(gpu)  # an unknown card is the caller's mistake, the rest may be the log's
    try:
        setups = [_setup(report, card, study) for card in cards]
    except InputError as error:
        if study is not None:
            raise
        return Remedies(reason=str(error))
    return _judged(report, setups)


def _cards(memory_bytes: float, gpu: str | None, study: Path | None) -> Sequence[str | None]:
    """Names of the cards that it may have been; None for the study's own."""
    if gpu is not None:
        return [gpu]
    if study is not None:
        return [None]
    found: dict[tuple[int, int], GpuSpec] = {}
    for card in cards_of_memory(memory_bytes):
        found.setdefault(card.compute_capability, card)
    return [card.name for card in found.values()]


def _setup(report: LogReport, card: str | None, study: Path | None) -> Setup:
    """The start as the log tells it, on one card or the study's. Raises InputError."""
    asked = _asked(report)
    given = convert_settings(asked, "the log")
    ranks = (given.tensor_parallel_size or 1) * (given.pipeline_parallel_size or 1)
    source = StudySource(study=study, gpu=card)
    if study is None:
        source = StudySource(model=report.model, gpu=card, num_gpus=ranks, version=report.facts.vllm_version)
    found = read_study(source, given)
    return calibrated(setup_of(found.spec, given), found.folder if found.is_read else None, None)


def _asked(report: LogReport) -> dict[str, Scalar]:
    """The settings of the start: those passed, and those in effect of what the log does not show as passed."""
    in_effect = {name: value for name, value in report.in_effect.items() if name in IN_EFFECT}
    return {name: value for name, value in {**in_effect, **report.asked}.items() if value not in (None, "auto")}


def _judged(report: LogReport, setups: Sequence[Setup]) -> Remedies:
    """The fixes of the likeliest card that work on every card it may have been."""
    is_memory = report.failure is not None and issubclass(report.failure.kind, EngineOutOfMemory)
    bases = [(setup, setup.answer()) for setup in setups]
    if is_memory:  # it got as far as memory, so no other rule refused it
        bases = [pair for pair in bases if all(rule.kind == OUT_OF_MEMORY for rule in pair[1].violated)] or bases
    (first, base), *others = bases
    named = " or ".join(setup.placement.gpu.name for setup, _ in bases)
    basis = f"{first.model.name}, vLLM {first.version}, {first.placement.num_gpus} x {named}"
    if others:
        basis += "; speeds are the first one's"
    seen_gib, has_gib = card_gib(report), to_gib(first.placement.gpu.memory_bytes)
    if seen_gib and abs(seen_gib / has_gib - 1) > SAME_CARD_FRACTION:
        basis += f" with {has_gib:.2f} GiB; the log's card has {seen_gib:.2f}"
    if base.is_likely and not is_memory:  # nothing that the estimate knows of was the cause
        return Remedies(basis=basis, verdict=base.verdict)
    fixes = [
        fix
        for fix in nearest_fixes(first, base)
        if all(works(changed(other, fix.changes).answer()) for other, _ in others)
    ]
    return Remedies(basis=basis, verdict=base.verdict, fixes=tuple(fixes))
