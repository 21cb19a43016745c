"""How a log is shown: Rich renderables built from a `LogReport`. Prints nothing itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from planner.engine import (
    FIELDS,
    FailureInLog,
    LogEvent,
    LogReport,
    RunSummary,
    Scalar,
    SeenNote,
    StartFacts,
    StartTimes,
    Status,
    advise,
    flags_in,
    words_of,
)
from planner.estimate import Spelling
from planner.trials import SIMULATED_BANNER
from planner.units import format_count, format_duration, to_gib

if TYPE_CHECKING:
    from planner.report.log.beside_study import ComparedFigure, StudyComparison
    from planner.report.log.remedies import Remedies


LABEL_WIDTH = 10
_STATUS: dict[Status, tuple[str, str]] = {
    "up": ("up", "bold green"),
    "ended": ("ended in order", "bold green"),
    "starting": ("not up", "bold yellow"),
    "failed": ("failed", "bold red"),
}
_MARKS = {"act": ("!", "bold yellow"), "know": ("i", "cyan")}
_COMPONENTS = {
    "weight_bytes": "weights",
    "non_torch_bytes": "non-torch",
    "activation_bytes": "activation peak",
    "graph_bytes": "CUDA graphs",
    "kv_cache_bytes": "KV cache",
}
_EVENT_STYLES = {"note": "yellow", "error": "red", "up": "green", "stop": "bold", "start": "bold", "run": "dim"}


def log_view(
    report: LogReport, name: str, compared: StudyComparison | None = None, estimated: Remedies | None = None
) -> RenderableType:
    """The whole report, from what became of the engine to what was not understood."""
    parts: list[RenderableType] = [_title(report, name)]
    if report.is_simulated:
        parts.insert(0, Text(SIMULATED_BANNER, "bold yellow"))
    if report.failure is not None:
        parts.append(_failure(report.failure, advise(report)))
    if estimated is not None:
        parts.append(_rows(_estimated(estimated)))
    parts.append(_rows([*_start(report), *_capacity(report.facts, compared), *_run(report.run)]))
    if memory := _memory(report.facts, compared):
        parts.append(memory)
    if settings := _settings(report, compared):
        parts.append(settings)
    parts += [*_notes(report), _rows(_counts(report))]
    return Group(*parts)


def event_text(event: LogEvent) -> Text:
    """One line for one event of a followed log."""
    when = event.when.partition(" ")[2] or "        "
    words = event.text if event.note is None else f"{event.note.name}: {event.text}"
    return Text(f"{when}  {event.kind:<8}{words}", _EVENT_STYLES.get(event.kind, ""))


def _title(report: LogReport, name: str) -> Text:
    facts = report.facts
    engine = " ".join(word for word in ("vLLM", facts.vllm_version, facts.engine_generation) if word)
    words, style = _STATUS[report.status]
    if report.status == "starting":
        words = f"{words}: the log ends {f'while {report.phase}' if report.phase else 'before anything was loaded'}"
    if report.status == "ended" and report.start_s is None and report.run is None:
        words = "told to end"
    return Text.assemble(
        (f"{name}\n", "bold"), f"{engine}, {report.model}: " if report.model else f"{engine}: ", (words, style)
    )


def _rows(rows: Iterable[tuple[str, str | Text]]) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=LABEL_WIDTH)
    grid.add_column(overflow="fold")
    for label, words in rows:
        grid.add_row(Text(label), words if isinstance(words, Text) else Text(words))
    return grid


def _failure(failure: FailureInLog, advice: str) -> Table:
    phase = f", {'' if failure.phase == 'under load' else 'while '}{failure.phase}" if failure.phase else ""
    line = f" (line {failure.number})" if failure.number else ""
    return _rows(
        [
            ("cause", Text(f"{failure.cause.name}{phase}{line}", "bold red")),
            ("it says", failure.words),
            ("change", Text(flags_in(advice), "bold")),
        ]
    )


def _estimated(found: Remedies) -> list[tuple[str, str | Text]]:
    """What the memory estimate says of the settings as they were, then the changes with which it expects a start."""
    if found.reason:
        return [("estimate", f"none: {found.reason}")]
    rows: list[tuple[str, str | Text]] = [("estimate", f"{found.verdict} ({found.basis})")]
    rows += [("" if number else "fixes", fix.words(Spelling.COMMAND)) for number, fix in enumerate(found.fixes)]
    if not found.fixes and found.verdict == "will not start":
        rows.append(("fixes", "none near these settings"))
    return rows


def _start(report: LogReport) -> list[tuple[str, str | Text]]:
    rows: list[tuple[str, str | Text]] = []
    if report.num_starts > 1:
        last = report.earlier[-1]
        words = f"the last of {report.num_starts} in this log; the one before {last.status}"
        rows.append(("start", f"{words}: {last.words}" if last.status == "failed" else words))
    times = _stages(report.times)
    if report.start_s is not None:
        url = f" at {report.url}" if report.url else ""
        routes = f", {report.num_routes} routes" if report.num_routes else ""
        rows.append(("API", f"{format_duration(report.start_s)} after the first line{url}{routes}"))
    if times:
        rows.append(("took", times))
    return rows


def _stages(times: StartTimes) -> str:
    named = (
        ("weights", times.load_s), ("profile", times.profile_s), ("torch.compile", times.compile_s),
        ("graphs", times.graph_s), ("engine init", times.init_s),
    )  # fmt: skip
    return ", ".join(f"{name} {seconds:.3g} s" for name, seconds in named if seconds is not None)


def _capacity(facts: StartFacts, compared: StudyComparison | None) -> list[tuple[str, str | Text]]:
    parts = []
    if facts.num_gpu_blocks is not None:
        parts.append(f"{format_count(facts.num_gpu_blocks)} blocks")
    if facts.kv_tokens is not None:
        parts.append(f"{format_count(facts.kv_tokens)} tokens")
    if facts.max_concurrency is not None:
        parts.append(f"{facts.max_concurrency:g} requests of full length at once")
    if compared is not None and compared.predicted_kv_tokens is not None:
        parts.append(f"predicted {format_count(compared.predicted_kv_tokens)} tokens")
    return [("KV cache", ", ".join(parts))] if parts else []


def _run(run: RunSummary | None) -> list[tuple[str, str | Text]]:
    if run is None:
        return []
    rows: list[tuple[str, str | Text]] = []
    if run.lines:
        engines = f", lines of {run.num_engines} engines" if run.num_engines > 1 else ""
        rows += [
            ("tokens/s", f"generated {run.mean_generation_tokens_per_s:.1f}, at most "
                         f"{run.max_generation_tokens_per_s:.1f}; prompts {run.mean_prompt_tokens_per_s:.1f}, at most "
                         f"{run.max_prompt_tokens_per_s:.1f} (mean of busy lines{engines})"),
            ("requests", f"at most {run.max_running} running, {run.max_waiting} waiting"),
        ]  # fmt: skip
        usage = [] if run.max_kv_usage is None else [f"KV cache at most {run.max_kv_usage:.1%} full"]
        hits = [] if run.prefix_hit_rate is None else [f"prefix hits {run.prefix_hit_rate:.1%} at the end"]
        preempted = (
            "preemptions not in V1's log: see /metrics"
            if run.preemptions is None
            else f"{run.preemptions} preemptions or more"
            if run.preemptions
            else "no preemptions"
        )
        rows.append(("cache", "; ".join([*usage, *hits, preempted])))
    answers = [
        f"{count} {words}"
        for count, words in (
            (run.answered, "answered"),
            (run.refused, "refused (4xx)"),
            (run.failed, "failed (5xx)"),
            (run.aborted, "given up by the client"),
        )
        if count
    ]
    return [*rows, ("answers", ", ".join(answers))] if answers else rows


def _memory(facts: StartFacts, compared: StudyComparison | None) -> Table | None:
    predicted: dict[str, ComparedFigure] = (
        {} if compared is None else {figure.name: figure for figure in compared.memory}
    )
    real = {
        "weight_bytes": facts.weights_bytes,
        "non_torch_bytes": facts.non_torch_bytes,
        "activation_bytes": facts.activation_bytes,
        "graph_bytes": facts.graph_bytes,
        "kv_cache_bytes": facts.kv_cache_bytes,
    }
    if not predicted and not any(value is not None for value in real.values()):
        return None
    table = Table(title="memory per GPU, GiB", title_justify="left")
    table.add_column("component")
    table.add_column("log", justify="right")
    if predicted:
        for name in ("predicted", "±", "off"):
            table.add_column(name, justify="right")
    for key, name in _COMPONENTS.items():
        value, figure = real[key], predicted.get(key)
        if value is None and figure is None:
            continue
        row = [Text(name), Text("not said" if value is None else _gib(value), "" if value is not None else "dim")]
        if predicted:
            row += _against(figure, value)
        table.add_row(*row)
    if facts.total_bytes is not None:
        table.add_row("card", _gib(facts.total_bytes), *(["", "", ""] if predicted else []))
    return table


def _against(figure: ComparedFigure | None, real: int | None) -> list[Text]:
    if figure is None:
        return [Text(), Text(), Text()]
    cells = [Text(_gib(figure.predicted)), Text("" if figure.doubt is None else _gib(figure.doubt))]
    if real is None:
        return [*cells, Text()]
    off = figure.predicted - real
    is_inside = figure.doubt is None or abs(off) <= figure.doubt
    return [*cells, Text(f"{to_gib(off):+.2f}", "green" if is_inside else "bold yellow")]


def _gib(num_bytes: float) -> str:
    return f"{to_gib(num_bytes):.2f}"


def _settings(report: LogReport, compared: StudyComparison | None) -> RenderableType | None:
    asked = dict(report.asked)
    of_study = {} if compared is None else dict(compared.asked)
    differing = {difference.setting for difference in report.differences}
    if compared is not None:
        differing |= {difference.setting for difference in compared.differences}
    names = [name for name in FIELDS if name in asked or name in of_study or name in differing]
    rest = [
        f"{name} {_word(report.in_effect[name])}" for name in FIELDS if name in report.in_effect and name not in names
    ]
    parts: list[RenderableType] = []
    if names:
        table = Table(title="settings", title_justify="left")
        columns = ["setting", *(["study"] if compared is not None else []), "asked", "in effect"]
        for column in columns:
            table.add_column(column, overflow="fold")
        for name in names:
            cells = [name, *([_of_study(compared, name)] if compared is not None else [])]
            cells += [_said(asked, name), _said(report.in_effect, name)]
            mark = name in differing
            table.add_row(*(Text(cell) for cell in cells), style="bold yellow" if mark else "")
        parts.append(table)
    rows: list[tuple[str, str | Text]] = []
    if rest:
        rows.append(("in effect", ", ".join(rest)))
    if report.others:
        rows.append(("passed too", ", ".join(report.others)))
    if compared is not None:
        rows += [("study", compared.name), *(("", remark) for remark in compared.remarks)]
    if rows:
        parts.append(_rows(rows))
    return Group(*parts) if parts else None


def _of_study(compared: StudyComparison, name: str) -> str:
    return _said(compared.expected, name) + ("" if name in compared.asked else " (default)")


def _said(values: Mapping[str, Scalar], name: str) -> str:
    return _word(values[name]) if name in values else ""


def _word(value: Scalar) -> str:
    return "none" if value is None else words_of(value)


def _notes(report: LogReport) -> list[RenderableType]:
    shown = sorted((n for n in report.notes if n.note.weight != "harmless"), key=lambda n: (n.note.weight, n.number))
    harmless = [n for n in report.notes if n.note.weight == "harmless"]
    parts: list[RenderableType] = []
    if shown:
        parts.append(Text("warnings", "bold"))
        parts.append(_note_grid(shown, report.facts.vllm_version))
    if harmless:
        parts.append(_rows([("harmless", ", ".join(f"{n.note.name}{_times(n)}" for n in harmless))]))
    return parts


def _note_grid(notes: Sequence[SeenNote], version: str | None) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column()
    for seen in notes:
        mark, style = _MARKS[seen.note.weight]
        head = Text.assemble((seen.note.name, style), (f"{_times(seen)}, line {seen.number}", "dim"))
        grid.add_row(Text(mark, style), head)
        grid.add_row("", Text(f"{seen.note.meaning} {flags_in(seen.note.advice_for(version))}"))
    return grid


def _times(seen: SeenNote) -> str:
    return f" x{seen.times}" if seen.times > 1 else ""


def _counts(report: LogReport) -> list[tuple[str, str | Text]]:
    counts = report.counts
    unknown = counts.unknown_warnings + counts.unknown_errors
    words = f"{format_count(counts.lines)}, of which {format_count(counts.understood)} are in this report; "
    words += (
        f"{counts.unknown_warnings} warnings and {counts.unknown_errors} errors are not in the table"
        if unknown
        else "no warning or error that is not in the table"
    )
    rows: list[tuple[str, str | Text]] = [("lines", words)]
    for sample in report.samples:
        times = f" (x{sample.times})" if sample.times > 1 else ""
        rows.append((f"line {sample.number}", Text(f"{sample.level} {sample.text}{times}", "dim")))
    return rows
