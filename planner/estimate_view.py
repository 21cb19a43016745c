"""What `planner estimate` shows: rich renderables made of an `Answer`. Prints nothing itself."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from planner.estimate import Answer
from planner.feasibility import Deployment
from planner.units import format_count, format_gib

BAR_WIDTH = 48
_STYLES = {"starts": "bold green", "at risk": "bold yellow", "will not start": "bold red"}


def estimate_view(answer: Answer) -> RenderableType:
    """Components per GPU, a bar of the card, KV cache, verdict, reasons."""
    d = answer.deployment
    memory = d.memory
    layout = f"{d.instances} x tp {d.engine.tensor_parallel_size}"
    where = f"{d.model.name} on {d.gpu.name}, {layout}, vLLM {d.engine.version} {d.engine.generation}"
    table = Table(title=f"Memory per GPU: {where}", title_justify="left")
    table.add_column("component")
    table.add_column("GiB", justify="right")
    table.add_column("share", justify="right")
    table.add_column("where")
    rows = _components(d)
    for name, num_bytes, place, _ in rows:
        share = f"{num_bytes / memory.total_bytes:.1%}" if memory.total_bytes else ""
        table.add_row(name, format_gib(num_bytes).removesuffix(" GiB"), share, place)
    parts: list[RenderableType] = [table]
    if memory.total_bytes:
        parts.append(_bar(rows, memory.total_bytes))
    parts += [
        Text(
            f"KV cache   {format_count(float(memory.num_blocks))} blocks of {memory.block_size}, "
            f"{format_count(float(memory.kv_tokens))} tokens"
        ),
        Text(f"capacity   {float(memory.max_concurrency):.2f} requests of {d.engine.max_model_len} tokens at once"),
        Text(f"verdict    {answer.verdict}", _STYLES[answer.verdict]),
    ]
    parts += [Text(f"  {constraint.name}: {constraint.message}", "red") for constraint in answer.violated]
    parts += [Text(f"  risk: {danger}", "yellow") for danger in answer.dangers]
    parts += [Text(f"  note: {note}", "dim") for note in answer.notes]
    return Group(*parts)


def _components(d: Deployment) -> list[tuple[str, float, str, str]]:
    """Name, bytes, where it counts, style."""
    memory = d.memory
    rows = [
        ("weights", float(memory.weight_bytes), "in the budget", "blue"),
        ("activation peak", float(memory.activation_bytes), "in the budget, profile run", "magenta"),
        ("non-torch", float(memory.non_torch_bytes), "in the budget, NCCL and kernels", "cyan"),
        ("KV cache", float(memory.kv_cache_bytes), "in the budget, what is left", "green"),
        ("CUDA graphs", float(memory.graph_bytes), "outside the budget", "yellow"),
        ("CUDA context", float(memory.context_bytes), "outside the budget", "red"),
    ]
    if memory.total_bytes:
        rows.append(("free", max(0.0, memory.total_bytes - sum(row[1] for row in rows)), "", "dim"))
    return rows


def _bar(rows: list[tuple[str, float, str, str]], total_bytes: float) -> Text:
    bar = Text("           ")
    for name, num_bytes, _, style in rows:
        bar.append(("·" if name == "free" else "█") * round(BAR_WIDTH * num_bytes / total_bytes), style)
    return bar.append(f" {format_gib(total_bytes)}")
