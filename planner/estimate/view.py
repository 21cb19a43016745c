"""Rich renderables that `planner estimate` shows for answers, fits, sweeps and comparisons. Prints nothing itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from planner.engine import ResolvedEngine, flags_in, words_of
from planner.estimate.answer import Answer
from planner.estimate.deployment import Deployment
from planner.estimate.explore import Fit, SideBySide, Sweep
from planner.estimate.fixes import Fix, Spelling
from planner.estimate.memory.per_gpu import MemoryEstimate
from planner.model import ModelSpec
from planner.terminal import Fitted
from planner.units import format_count, format_gib

BAR_WIDTH = 48
_UNBOUNDED = 1000
"""Width in which a table is measured, in columns; a smaller one would cap the result."""
_LEAST_SOURCE = 13
_COLUMNS = ("component", "GiB", "±", "share", "budget", "source of the number")
MOST_COLUMNS = 12
"""Most columns of a heat map; a wider one is shown as a list."""
_STYLES = {"starts": "bold green", "at risk": "bold yellow", "will not start": "bold red",
           "cannot say": "bold yellow"}  # fmt: skip
_HEAT = ("on color(17)", "on color(18)", "on color(24)", "on color(30)", "on color(28)", "black on color(70)")
"""Styles of heat map cells, from few KV tokens to many."""

Row = tuple[str, float, str, str, str]
"""Component, bytes, inside or outside the budget, source of the number, style."""


def exploration_view(found: Fit | Sweep | SideBySide) -> RenderableType:
    match found:
        case Fit():
            return fit_view(found)
        case Sweep():
            return sweep_view(found)
        case SideBySide():
            return comparison_view(found)


# --- one deployment ---


def estimate_view(answer: Answer, fixes: Sequence[Fix] = (), spelling: Spelling = Spelling.KEYS) -> RenderableType:
    """Components per GPU, a bar of the card, KV cache, verdict, reasons, fixes."""
    d = answer.deployment
    rows = _components(d)
    parts: list[RenderableType] = [*_title(d), _ComponentsTable(rows, d.memory)]
    if d.memory.total_bytes:
        parts.append(_bar(rows, d))
    parts += [*_capacity(answer), *_reasons(answer, spelling)]
    if fixes:
        parts.append(Text("fixes" if any(fix.makes_it_start for fix in fixes) else "to gain", "bold"))
        parts.append(_hanging([("", fix.words(spelling), "") for fix in fixes]))
    return Group(*parts)


@dataclass(frozen=True, slots=True)
class _ComponentsTable:
    """Components and their figures; if the terminal is too narrow for all columns, the last ones are left out."""

    rows: list[Row]
    memory: MemoryEstimate

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        def width(count: int) -> int:
            return Measurement.get(console, options.update(max_width=_UNBOUNDED), self._table(count)).maximum

        count = len(_COLUMNS)
        if width(count - 1) + _LEAST_SOURCE > options.max_width:  # the source, the last one, may be broken into lines
            count = next((n for n in range(count - 1, 2, -1) if width(n) <= options.max_width), 2)
        yield self._table(count)

    def _table(self, count: int) -> Table:
        table = Table()
        for i, name in enumerate(_COLUMNS[:count]):
            table.add_column(name, justify="right" if 1 <= i <= 3 else "left", no_wrap=i < 5)
        for name, num_bytes, place, source, _ in self.rows:
            share = f"{num_bytes / self.memory.total_bytes:.1%}" if self.memory.total_bytes else ""
            doubt = _doubts(self.memory).get(name)
            cells = (name, _gib(num_bytes), "" if doubt is None else _gib(doubt), share, place, source)
            table.add_row(*cells[:count])
        return table


def _title(d: Deployment) -> list[RenderableType]:
    """Model and card, then engine and layout: two lines, so that none is broken at 80 columns."""
    engine, cards = d.engine, d.instances * d.engine.num_gpus
    card = d.gpu.name if d.gpu.is_cpu else f"{cards} x {d.gpu.name}"
    card += f" ({d.placement.interconnect})" if cards > 1 else ""
    pipeline = f" pp {engine.pipeline_parallel_size}" if engine.pipeline_parallel_size > 1 else ""
    replicas = f" dp {engine.data_parallel_size}" if engine.data_parallel_size > 1 else ""
    layout = f"{d.instances} x tp {engine.tensor_parallel_size}{pipeline}{replicas}"
    return [
        Text(f"{d.model.name} on {card}", "bold", no_wrap=True, overflow="ellipsis"),
        Text(
            f"vLLM {engine.version} {engine.generation}, {layout}, context {engine.max_model_len}; memory per GPU:",
            no_wrap=True,
            overflow="ellipsis",
        ),
    ]


def _components(d: Deployment) -> list[Row]:
    memory, engine = d.memory, d.engine
    inside, outside = "inside", "outside"
    rows = [
        ("weights", float(memory.weight_bytes), inside, _weights_source(d.model), "blue"),
        ("activation peak", float(memory.activation_bytes), inside, "profile run, by formula", "magenta"),
        ("non-torch", float(memory.non_torch_bytes), inside, _non_torch_source(d), "cyan"),
        ("KV cache", float(memory.kv_cache_bytes), inside, _kv_source(engine), "green"),
        ("CUDA graphs", float(memory.graph_bytes), inside if memory.graphs_in_budget else outside,
         _graph_source(engine) or f"real starts of {engine.generation}", "yellow"),
        ("CUDA context", float(memory.context_bytes), "in non-torch" if memory.context_in_budget else outside,
         "real starts", "red"),
    ]  # fmt: skip
    if d.gpu.is_cpu:
        return [row for row in rows if row[1]]
    used = sum(row[1] for row in rows if row[2] != "in non-torch")
    if memory.calibrated_on is not None:
        learned = {"activation peak", "non-torch", "CUDA graphs"}
        rows = [(n, b, where, memory.calibrated_on if n in learned else s, style) for n, b, where, s, style in rows]
    return [*rows, ("free", max(0.0, memory.total_bytes - used), "", "", "dim")]


def _graph_source(engine: ResolvedEngine) -> str | None:
    """Why there are no graphs; None if there are."""
    if engine.enforce_eager:
        return "none: enforce_eager"
    return "none: cudagraph_mode" if engine.graphs == "NONE" else None


def _doubts(memory: MemoryEstimate) -> dict[str, float]:
    """Half width of the 90 % interval of each component that has one, by its row's name."""
    widths = {
        "weights": memory.doubts.weights,
        "activation peak": memory.doubts.activation,
        "non-torch": memory.doubts.non_torch,
        "KV cache": memory.uncertainty_bytes,
        "CUDA graphs": memory.doubts.graphs,
    }
    return {name: float(width) for name, width in widths.items() if width}


def _weights_source(model: ModelSpec) -> str:
    if model.quantization is not None and model.quantization.method == "gguf":
        return "size of the GGUF file"
    if model.held is not None:
        return "from the checkpoint's headers"
    if not model.is_modelled:
        return "a guess" if model.checkpoint_bytes is None else "size of the checkpoint"
    if model.has_vision_tower and not model.tower:
        return "without the vision tower" if model.checkpoint_bytes is None else "tower from the checkpoint's size"
    return "from config.json, tower reckoned" if model.is_tower_rough else "exact from config.json"


def _non_torch_source(d: Deployment) -> str:
    if d.engine.world_size == 1:
        return "real starts, one GPU"
    return "real starts, NVLink" if d.placement.bridged(d.engine.world_size) else "real starts, PCIe"


def _kv_source(engine: ResolvedEngine) -> str:
    if engine.num_gpu_blocks_override is not None:
        return "num_gpu_blocks_override"
    return "what is left" if engine.kv_cache_memory_bytes is None else "kv_cache_memory_bytes"


def _bar(rows: list[Row], d: Deployment) -> Text:
    bar = Text("           ")
    whole = max(float(d.memory.total_bytes), sum(row[1] for row in rows))
    for name, num_bytes, place, _, style in rows:
        if place != "in non-torch":
            bar.append(("·" if name == "free" else "█") * round(BAR_WIDTH * num_bytes / whole), style)
    return bar.append(f" {format_gib(d.memory.total_bytes)}")


def _capacity(answer: Answer) -> list[RenderableType]:
    d, memory = answer.deployment, answer.deployment.memory
    verdict = Text(f"verdict    {_verdict_words(answer)}", _STYLES[answer.verdict])
    if not memory.kv_block_bytes:
        return [Text("KV cache   none: each request is computed in one step"), verdict]
    low, high = memory.kv_interval_bytes
    few, many = answer.kv_tokens_interval
    lines: list[RenderableType] = [
        Text(
            f"KV cache   {format_count(float(memory.num_blocks))} blocks of {memory.block_size}, "
            f"{format_count(float(memory.kv_tokens))} tokens"
        )
    ]
    if high > low:
        lines.append(
            Text(
                f"likely     {_gib(low)} to {format_gib(high)}, {format_count(few)} to {format_count(many)} tokens "
                "(90 % interval)"
            )
        )
    each = " each" if d.instances > 1 else ""
    concurrency = f"{float(memory.max_concurrency):.2f} requests of {d.engine.max_model_len} tokens at once{each}"
    return [*lines, Text(f"capacity   {concurrency}"), verdict]


def _verdict_words(answer: Answer) -> str:
    return "starts, at risk" if answer.verdict == "at risk" else answer.verdict


def _reasons(answer: Answer, spelling: Spelling = Spelling.KEYS) -> list[RenderableType]:
    def named(text: str) -> str:
        return text if spelling is Spelling.KEYS else flags_in(text)

    rows = [("broken", f"{constraint.name}: {constraint.message}", "red") for constraint in answer.violated]
    rows += [("risk", named(danger), "yellow") for danger in answer.dangers]
    rows += [("doubt", doubt.words, "yellow") for doubt in answer.unmodelled]
    rows += [("note", named(note), "dim") for note in answer.notes]
    if answer.set_aside:
        rows.append(("note", f"no effect on GPU memory: {', '.join(answer.set_aside)}", "dim"))
    return [_hanging(rows)] if rows else []


def _hanging(rows: Sequence[tuple[str, str, str]]) -> Table:
    """Rows of label, text and style, with a hanging indent: further lines of a text start where its first does."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(min_width=5 if any(label for label, _, _ in rows) else 1)
    grid.add_column()
    for label, text, style in rows:
        grid.add_row(Text(f" {label}", style), Text(text, style))
    return grid


def _gib(num_bytes: Any) -> str:
    return format_gib(num_bytes).removesuffix(" GiB")


# --- fit ---


def fit_view(fit: Fit) -> RenderableType:
    """The largest value, what it gives, and where the others fail."""
    low, high, count = fit.tried
    tried = f"{format_count(count)} values from {words_of(low)} to {words_of(high)} judged"
    title = _title(fit.answer.deployment)[:1]
    if fit.value is None:
        return Group(*title, Text(f"no {fit.field} is feasible ({tried})", "bold red"), *_reasons(fit.answer))
    lines: list[RenderableType] = [Text(f"largest {fit.field}: {words_of(fit.value)} ({tried})", "bold")]
    lines += [*_capacity(fit.answer), *_reasons(fit.answer)]
    if fit.safe is not None:
        tokens = format_count(float(fit.safe[1].deployment.memory.kv_tokens))
        lines.append(Text(f"no risk    up to {words_of(fit.safe[0])}: {tokens} tokens"))
    if len(fit.feasible) > 1:
        runs = ", ".join(f"{words_of(a)} to {words_of(b)}" if a != b else words_of(a) for a, b in fit.feasible)
        note = f"; {fit.note}" if fit.note else ""
        lines.append(_hanging([("gaps", f"not every smaller value is feasible, only {runs}{note}", "yellow")]))
    if fit.beyond is not None and fit.beyond[1].reasons:
        value, answer = fit.beyond
        lines.append(_hanging([("next", f"{words_of(value)}: {answer.reasons[0]}", "dim")]))
    return Group(*title, *lines)


# --- sweep ---


def sweep_view(sweep: Sweep) -> RenderableType:
    """A table for one setting, a heat map for two; a letter marks what does not start, with a legend below."""
    title = _title(sweep.answers[0].deployment)[:1]
    if len(sweep.names) == 2 and min(map(len, sweep.values)) <= MOST_COLUMNS:
        return Group(*title, *_heat_map(sweep))
    table = Table()
    for name in sweep.names:
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("KV GiB", "KV tokens", "requests"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict")
    for point, answer in sweep.cells():
        memory = answer.deployment.memory
        figures = (_gib(memory.kv_cache_bytes), _tokens(memory), f"{float(memory.max_concurrency):.2f}")
        why = f": breaks '{answer.violated[0].name}'" if answer.violated else ""
        shown = figures if not answer.violated else ("", "", "")
        table.add_row(*map(words_of, point), *shown, Text(answer.verdict + why, _STYLES[answer.verdict]))
    return Group(*title, Fitted(table))


def _heat_map(sweep: Sweep) -> list[RenderableType]:
    (down, across), (rows, columns) = sweep.names, sweep.values
    cells = dict(sweep.cells())
    if len(columns) > MOST_COLUMNS:
        down, across, rows, columns = across, down, columns, rows
        cells = {point[::-1]: answer for point, answer in cells.items()}
    tokens = [float(answer.deployment.memory.kv_tokens) for answer in cells.values() if not answer.violated]
    least, most = min(tokens, default=0.0), max(tokens, default=0.0)
    letters: dict[str, str] = {}
    for answer in cells.values():
        if answer.violated:
            letters.setdefault(answer.violated[0].name, chr(ord("a") + len(letters)))
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1))
    table.add_column("", justify="right", style="bold", no_wrap=True)
    for value in columns:
        table.add_column(words_of(value), justify="right", no_wrap=True)
    for row in rows:
        line = [_cell(cells[row, column], least, most, letters) for column in columns]
        table.add_row(words_of(row), *line)
    legend = [("!", "at risk", "yellow")] if any(answer.verdict == "at risk" for answer in cells.values()) else []
    legend += [(letter, f"will not start: breaks '{rule}'", "red") for rule, letter in letters.items()]
    heading = Text(f"KV tokens by {down} (down) and {across} (across)")
    return [heading, Fitted(table), *([_hanging(legend)] if legend else [])]


def _cell(answer: Answer, least: float, most: float, letters: dict[str, str]) -> Text:
    if answer.violated:
        return Text(letters[answer.violated[0].name] + " ", "red")
    share = (float(answer.deployment.memory.kv_tokens) - least) / (most - least) if most > least else 1.0
    mark = "!" if answer.verdict == "at risk" else " "
    return Text(_tokens(answer.deployment.memory) + mark, _HEAT[min(int(share * len(_HEAT)), len(_HEAT) - 1)])


def _tokens(memory: MemoryEstimate) -> str:
    return format_count(float(memory.kv_tokens))


# --- compare ---


def comparison_view(comparison: SideBySide) -> RenderableType:
    """A table of models and layouts; below it why some do not start."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("model", overflow="fold")
    table.add_column("layout", no_wrap=True)
    for head in ("weights\nGiB", "KV\nGiB", "tokens\neach", "tokens\nin all", "requests\nin all"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    reasons = []
    for model, layout, answer in comparison.rows:
        memory = answer.deployment.memory
        requests = float(memory.max_concurrency) * answer.deployment.instances
        kv = (_gib(memory.kv_cache_bytes), _tokens(memory), format_count(answer.kv_tokens_total), f"{requests:.2f}")
        shown = kv if not answer.violated else ("", "", "", "")
        verdict = Text(answer.verdict, _STYLES[answer.verdict])
        table.add_row(model.rpartition("/")[2], layout, _gib(memory.weight_bytes), *shown, verdict)
        reasons += [
            ("", f"{model} {layout}: {reason}", "") for reason in answer.reasons[:1] if answer.verdict != "starts"
        ]
    lengths = {int(answer.deployment.engine.max_model_len) for _, _, answer in comparison.rows}
    context = f"requests of {max(lengths)} tokens" if len(lengths) == 1 else "requests of each one's full length"
    first = comparison.rows[0][2].deployment
    title = Text(f"{first.placement.num_gpus} x {first.gpu.name}, vLLM {first.engine.version}, {context}; GiB per GPU")
    return Group(title, Fitted(table), *([_hanging(reasons)] if reasons else []))
