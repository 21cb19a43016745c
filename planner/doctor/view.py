"""How the doctor's checks are shown: Rich renderables. Prints nothing itself."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from planner.doctor.check import Case, Check, Status

STYLES: dict[Status, str] = {"ok": "green", "warning": "yellow", "problem": "bold red", "skipped": "dim"}


def doctor_view(case: Case, checks: Sequence[Check]) -> RenderableType:
    """One line per check, its fix below it, and the verdict."""
    about = f"{case.spec.name} on this machine" if case.spec else "this machine; name a study to have it checked too"
    head = [Text(f"{about}, backend {case.backend}", "bold")]
    head += [Text(case.spec.deployment_words, "dim")] if case.spec else []
    table = Table.grid(padding=(0, 1))
    for _ in range(3):
        table.add_column(overflow="fold")
    for check in checks:
        style = STYLES[check.status]
        finding = Text(check.finding, "dim" if check.status == "skipped" else "")
        table.add_row(Text(f" {check.status}", style), Text(check.name), finding)
        if check.fix:
            table.add_row("", "", Text(f"fix: {check.fix}", style))
    return Group(*head, table, verdict(checks))


def verdict(checks: Sequence[Check]) -> Text:
    problems, warnings = (sum(check.status == status for check in checks) for status in ("problem", "warning"))
    counts = ", ".join(
        f"{count} {word}{'s' if count > 1 else ''}"
        for count, word in ((problems, "problem"), (warnings, "warning"))
        if count
    )
    if problems:
        return Text(f"{counts}: not ready", STYLES["problem"])
    return Text(f"{counts}: ready" if counts else "ready", STYLES["warning" if counts else "ok"])
