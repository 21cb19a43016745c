"""A log compared with a study: predicted memory with real, and settings asked for with those in effect.

`compare_with_study(report, study) -> StudyComparison`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from packaging.version import Version

from planner.engine import FIELDS, LogReport, Scalar, SettingDifference, differences, parsed, settings
from planner.errors import InputError
from planner.estimate import SAME_CARD_FRACTION, load_calibrations, predicted_figures, real_figures
from planner.study import Forecast, Problem, Workspace, load
from planner.tuning import stored_trials
from planner.units import format_gib


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedFigure:
    name: str
    predicted: float
    doubt: float | None
    """Half width of the 90 % interval, in bytes."""
    real: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyComparison:
    name: str
    """Name of the study, with the trial's number."""
    asked: Mapping[str, Scalar]
    expected: Mapping[str, Scalar]
    """The settings asked for, and for the rest what the model of vLLM's defaults predicts."""
    differences: tuple[SettingDifference, ...]
    """Differences between the expected settings and those in effect."""
    memory: tuple[ComparedFigure, ...]
    """Predicted and real memory, in bytes per GPU."""
    predicted_kv_tokens: int | None
    remarks: tuple[str, ...]


def compare_with_study(
    report: LogReport, study: Path, trial: int | None = None, is_simulated: bool = False
) -> StudyComparison:
    """Compare predictions for the study's default, or for a trial, with what the log says.

    A trial's prediction is the one recorded before its launch. Raises InputError.
    """
    spec, folder = load(study)
    problem = Problem.of(spec)
    forecast = Forecast(problem, load_calibrations(Workspace(folder, is_simulated).calibration_path))
    candidate, name, recorded = problem.default, f"{spec.name}, {problem.default_words}", None
    if trial is not None:
        found = next((t for t in stored_trials(spec, folder, is_simulated, None)[1] if t.number == trial), None)
        if found is None:
            raise InputError(f"{folder}: no trial {trial}")
        candidate, name, recorded = found.candidate, f"{spec.name}, trial {trial}", found.predicted_memory
    deployment = forecast.deployment(candidate)
    memory, asked = deployment.memory, settings(candidate.engine)
    predicted, real = recorded or predicted_figures(memory), real_figures(report.facts)
    doubts = {
        "weight_bytes": memory.doubts.weights,
        "non_torch_bytes": memory.doubts.non_torch,
        "activation_bytes": memory.doubts.activation,
        "graph_bytes": memory.doubts.graphs,
        "kv_cache_bytes": memory.uncertainty_bytes,
    }
    figures = tuple(
        ComparedFigure(name=key, predicted=value, doubt=float(doubts[key]), real=getattr(real, key))
        for key in doubts
        if (value := getattr(predicted, key)) is not None
    )
    compared = {*FIELDS} - {"swap_space", "cpu_offload_gb"}  # V1 logs the flags' values, which it does not use
    resolved = {field.name: getattr(deployment.engine, field.name) for field in fields(deployment.engine)}
    expected = {**{name: value for name, value in resolved.items() if name in compared and value is not None}, **asked}
    remarks = [f"calibrated on {memory.calibrated_on}"] if memory.calibrated_on and recorded is None else []
    logged = report.facts.vllm_version
    if logged is not None and _differ(logged, problem.version):
        remarks.append(f"the study is for vLLM {problem.version}, the log is of {logged}")
    card = report.facts.total_bytes
    if card is not None and abs(card / max(memory.total_bytes, 1) - 1) > SAME_CARD_FRACTION:
        remarks.append(f"the study's card has {format_gib(memory.total_bytes)}, the log's {format_gib(card)}")
    return StudyComparison(
        name=name,
        asked=asked,
        expected=expected,
        differences=differences(expected, report.in_effect),
        memory=figures,
        predicted_kv_tokens=predicted.kv_tokens,
        remarks=tuple(remarks),
    )


def _differ(logged: str, version: Version) -> bool:
    known = parsed(logged)
    return known is None or known.release != version.release
