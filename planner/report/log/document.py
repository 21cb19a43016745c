"""What `planner log --json` prints, and the exit code for the engine's state."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec

from planner.engine import LogEvent, LogReport, SeenNote, advise

if TYPE_CHECKING:
    from planner.report.log.beside_study import StudyComparison
    from planner.report.log.remedies import Remedies


NOT_UP = 3
"""Exit code for a log that shows a failure, or that ends before the engine was up."""


def exit_code_of(report: LogReport) -> int:
    is_ended_early = report.status == "ended" and not report.was_up
    return NOT_UP if report.status in ("failed", "starting") or is_ended_early else 0


# --- JSON ---


def log_document(
    report: LogReport, source: str, compared: StudyComparison | None = None, estimated: Remedies | None = None
) -> dict[str, Any]:
    """The report as docs/log.md describes it: bytes, seconds, shares of one."""
    failure = report.failure
    found: dict[str, Any] = {
        "source": source,
        "status": report.status,
        "simulated": report.is_simulated,
        "model": report.model,
        **asdict(report.facts),
        "start_s": report.start_s,
        **asdict(report.times),
        "url": report.url,
        "num_routes": report.num_routes,
        "phase": report.phase,
        "asked": dict(report.asked),
        "other_arguments": list(report.others),
        "in_effect": dict(report.in_effect),
        "differences": [asdict(difference) for difference in report.differences],
        "notes": [note_document(seen, report.facts.vllm_version) for seen in report.notes],
        "failure": None
        if failure is None
        else {
            "kind": failure.kind.__name__,
            "cause": failure.cause.name,
            "fault": failure.cause.fault,
            "phase": failure.phase,
            "line": failure.number,
            "words": failure.words,
            "advice": advise(report),
            "estimate": None if estimated is None else estimated.document(),
        },
        "run": None if report.run is None else asdict(report.run),
        "counts": asdict(report.counts),
        "not_in_the_table": [asdict(sample) for sample in report.samples],
        "num_starts": report.num_starts,
        "earlier_starts": [asdict(start) for start in report.earlier],
    }
    if compared is not None:
        found["study"] = asdict(compared)
    return found


def note_document(seen: SeenNote, version: str | None) -> dict[str, Any]:
    note = seen.note
    return {
        "name": note.name,
        "weight": note.weight,
        "times": seen.times,
        "line": seen.number,
        "text": seen.text,
        "meaning": note.meaning,
        "advice": note.advice_for(version),
    }


def event_json(event: LogEvent) -> str:
    """One line of JSON for one event of a followed log."""
    found: dict[str, Any] = {"event": event.kind, "line": event.number, "when": event.when, "text": event.text}
    return json_line(found if event.note is None else {**found, "note": event.note.name})


def json_line(found: dict[str, Any]) -> str:
    return msgspec.json.encode(found).decode()
