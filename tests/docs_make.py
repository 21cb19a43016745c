"""Write what the docs take from the code: `python tests/docs_make.py`. `test_docs.py` fails where that was forgotten.

docs/cli.md is made whole; elsewhere only the text between `<!-- made: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer.main

from planner.cli import app
from planner.defaults import resolve
from planner.diagnosis import StartFacts, read_start_facts
from planner.engine import (
    ATTENTION_BACKEND_ENV,
    ATTENTION_BACKEND_FLAG_SINCE,
    FIELDS,
    SINCE,
    UNTIL,
    EngineConfig,
    flag,
    parse_version,
)
from planner.hardware import find_gpu
from planner.memory import MemoryEstimate, estimate_memory
from planner.model import load_model
from planner.units import GIB, format_count

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
LOGS = ROOT / "tests" / "golden" / "logs" / "vllm-0.8.5-v0-h200"

Row = Iterable[str]


def table(head: Row, rows: Iterable[Row]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


# --- docs/cli.md ---


def cli_page() -> str:
    """One section a command, from the objects that `--help` is printed from."""
    group: Any = typer.main.get_command(app)
    commands = group.commands
    parts = [
        "# Commands",
        "Made from the code by `python tests/docs_make.py`; `planner COMMAND --help` says the same.",
        table(("command", "what it does"), ((f"[`{name}`](#{name})", _text(c)) for name, c in commands.items())),
        *(_section(name, command) for name, command in commands.items()),
        "Exit codes are in [errors.md](errors.md#exit-codes).",
    ]
    return "\n\n".join(parts) + "\n"


def _section(name: str, command: Any) -> str:
    parameters = [p for p in command.params if "--help" not in p.opts]
    words = [p for p in parameters if p.param_type_name == "argument"]
    usage = " ".join([f"planner {name}", *(p.name.upper() if p.required else f"[{p.name.upper()}]" for p in words)])
    usage += " [OPTIONS]" if len(parameters) > len(words) else ""
    rows = [(_names(p), p.help or "", _default(p)) for p in parameters]
    parts = [f"## {name}", f"```\n{usage}\n```", _text(command)]
    if rows:
        parts.append(table(("parameter", "meaning", "default"), rows))
    if command.epilog:
        parts.append(f"{command.epilog.strip()} They are listed in [search-spaces.md](search-spaces.md#settings).")
    return "\n\n".join(parts)


def _text(command: Any) -> str:
    return str(command.help or "").strip().split("\n\n")[0].replace("\n", " ")


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}`"
    return ", ".join(f"`{word}`" for word in sorted(parameter.opts, key=len))


def _default(parameter: Any) -> str:
    default = parameter.default
    if default is None or default is False or callable(default) or "UNSET" in repr(default).upper():
        return "required" if parameter.required else ""
    return f"`{default}`"


# --- settings of EngineConfig, in search-spaces.md ---


def settings_table() -> str:
    hints = get_type_hints(EngineConfig, include_extras=True)
    return table(
        ("setting", "flag", "value", "vLLM"),
        ((f"`{field}`", f"`{flag(field)}`", _values(hints[field]), _versions(field)) for field in FIELDS),
    )


def _values(kind: Any) -> str:
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return ", ".join(_values(part) for part in get_args(kind) if part is not type(None))
    if origin is Literal:
        return ", ".join(map(str, get_args(kind)))
    if origin is Annotated:
        base, meta = get_args(kind)[0], get_args(kind)[1]
        limits = [f"{sign} {getattr(meta, name)}" for name, sign in _LIMITS if getattr(meta, name) is not None]
        return f"{_values(base)} {', '.join(limits)}"
    return {bool: "on, off", int: "whole number", float: "number", str: "word"}[kind]


_LIMITS = (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))


def _versions(field: str) -> str:
    parts = []
    if field in SINCE:
        parts.append(f"since {SINCE[field]}")
    if field in UNTIL:
        parts.append(f"before {UNTIL[field]}")
    if field == "attention_backend":
        parts.append(f"before {ATTENTION_BACKEND_FLAG_SINCE} as `{ATTENTION_BACKEND_ENV}`")
    return ", ".join(parts)


# --- predicted and real memory, in model.md ---

_COMMON: dict[str, Any] = {"dtype": "float16", "block_size": 16, "max_model_len": 32768}
_LOGGED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("seed_tp4", "Qwen/Qwen3-32B-AWQ", {"tensor_parallel_size": 4, "gpu_memory_utilization": 0.1487,
     "max_num_batched_tokens": 32768, "max_num_seqs": 64, "enable_prefix_caching": True}),
    ("tp2_b8192_s64", "Qwen/Qwen3-32B-AWQ", {"tensor_parallel_size": 2, "gpu_memory_utilization": 0.1487,
     "max_num_batched_tokens": 8192, "max_num_seqs": 64, "enable_chunked_prefill": True, "max_model_len": 16384}),
    ("tp1_b8192_s64", "Qwen/Qwen3-32B-AWQ", {"tensor_parallel_size": 1, "gpu_memory_utilization": 0.5,
     "max_num_batched_tokens": 8192, "max_num_seqs": 64, "enable_chunked_prefill": True, "enforce_eager": True}),
    ("8b_fp16_b8192_s256", "Qwen/Qwen3-8B", {"tensor_parallel_size": 1, "gpu_memory_utilization": 0.3,
     "max_num_batched_tokens": 8192, "max_num_seqs": 256, "enable_chunked_prefill": True}),
    ("fp16_32b_tp4", "Qwen/Qwen3-32B", {"tensor_parallel_size": 4, "gpu_memory_utilization": 0.1487,
     "max_num_batched_tokens": 8192, "max_num_seqs": 64, "enable_chunked_prefill": True, "enforce_eager": True}),
)  # fmt: skip
_TURING: dict[str, Any] = {"tensor_parallel_size": 4, "gpu_memory_utilization": 0.96, "max_num_batched_tokens": 32768,
                           "max_num_seqs": 64, "enable_chunked_prefill": False}  # fmt: skip
_TURING_FACTS = StartFacts(
    weights_bytes=round(4.58 * GIB),
    non_torch_bytes=round(0.20 * GIB),
    activation_bytes=round(2.74 * GIB),
    kv_cache_bytes=round(13.10 * GIB),
    num_gpu_blocks=13414,
    graph_bytes=round(0.37 * GIB),
)
"""The start of four RTX 2080 Ti 22GB over PCIe; its log is not ours to ship."""


def accuracy_table() -> str:
    """`predicted / real` of the real starts of vLLM 0.8.5 (V0), GiB of rank 0."""
    starts = [("Qwen/Qwen3-32B-AWQ", "RTX 2080 Ti 22GB", _TURING, _TURING_FACTS)]
    for name, model, settings in _LOGGED:
        facts = read_start_facts((LOGS / f"{name}.log").read_text("utf-8"))
        starts.append((model, "H200", {**settings, "attention_backend": "XFORMERS"}, facts))
    rows = [_accuracy_row(*start) for start in starts]
    return table(("start", "weights", "non-torch", "activation", "KV cache", "graphs", "blocks", "error"), rows)


_V1_STARTS = (
    # max_num_batched_tokens, max_num_seqs; GiB of weights, non-torch, activation, KV cache, graphs; KV tokens
    (512, 16, 7.56, 0.22, 0.73, 12.28, 0.15, 89408),
    (2048, 64, 7.56, 0.22, 0.74, 12.26, 0.24, 89296),
    (8192, 128, 7.56, 0.22, 0.80, 12.21, 0.42, 88880),
    (16384, 256, 7.56, 0.22, 1.26, 11.75, 0.61, 85536),
)
"""Starts of vLLM 0.24 (V1) with Qwen3-4B in fp16 on one H200 held to 20.79 GiB, from their logs."""


def accuracy_v1_table() -> str:
    """`predicted / real` of real starts of V1: the formulas were read in V0."""
    rows = []
    for num_tokens, num_seqs, *real_gib, kv_tokens in _V1_STARTS:
        settings = {"max_num_batched_tokens": num_tokens, "max_num_seqs": num_seqs, "max_model_len": 16384}
        mine = estimate("Qwen/Qwen3-4B", "H200", {**settings, "gpu_memory_utilization": 0.1487}, "0.24.0")
        ours = (mine.weight_bytes, mine.non_torch_bytes, mine.activation_bytes, mine.kv_cache_bytes, mine.graph_bytes)
        cells = [f"{float(a) / GIB:.2f} / {b:.2f}" for a, b in zip(ours, real_gib, strict=True)]
        tokens = int(mine.kv_tokens)
        error = f"{tokens / kv_tokens - 1:+.1%}"
        rows.append(
            [f"N {num_tokens}, S {num_seqs}", *cells, f"{format_count(tokens)} / {format_count(kv_tokens)}", error]
        )
    return table(("start", "weights", "non-torch", "activation", "KV cache", "graphs", "KV tokens", "error"), rows)


def _accuracy_row(model: str, gpu: str, settings: dict[str, Any], real: StartFacts) -> list[str]:
    mine = estimate(model, gpu, settings)
    what = f"{model.rpartition('/')[2]} tp {settings['tensor_parallel_size']}, "
    what += f"N {settings['max_num_batched_tokens']}, S {settings['max_num_seqs']}, {gpu}"
    pairs = (
        (mine.weight_bytes, real.weights_bytes),
        (mine.non_torch_bytes, real.non_torch_bytes),
        (mine.activation_bytes, real.activation_bytes),
        (mine.kv_cache_bytes, real.kv_cache_bytes),
        (mine.graph_bytes, real.graph_bytes),
    )
    blocks = int(mine.num_blocks)
    assert real.num_gpu_blocks is not None
    error = blocks / real.num_gpu_blocks - 1
    cells = [f"{float(ours) / GIB:.2f} / {'-' if its is None else f'{its / GIB:.2f}'}" for ours, its in pairs]
    return [what, *cells, f"{format_count(blocks)} / {format_count(real.num_gpu_blocks)}", f"{error:+.2%}"]


def estimate(model: str, gpu: str, settings: dict[str, Any], version: str = "0.8.5") -> MemoryEstimate:
    spec, card = load_model(model), find_gpu(gpu)
    engine = resolve({**_COMMON, **settings}, spec, card, parse_version(version))
    return estimate_memory(spec, card, engine, "pcie" if "2080" in gpu else "nvlink")


# --- writing ---

BLOCKS: dict[str, tuple[str, Callable[[], str]]] = {
    "settings": ("search-spaces.md", settings_table),
    "accuracy": ("model.md", accuracy_table),
    "accuracy-v1": ("model.md", accuracy_v1_table),
}
"""Name of a made block -> the page it is in, and what makes it."""


def with_block(page: str, name: str, text: str) -> str:
    """The page with the block's text replaced. Raises ValueError when it has no such block."""
    pattern = re.compile(rf"(<!-- made: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"no block {name!r}")
    return pattern.sub(lambda match: f"{match[1]}\n{text}\n\n{match[2]}", page)


def pages() -> dict[Path, str]:
    """Every page that is made or has made blocks, as it should be now."""
    made = {DOCS / "cli.md": cli_page()}
    for name, (file, make) in BLOCKS.items():
        path = DOCS / file
        made[path] = with_block(made.get(path) or path.read_text("utf-8"), name, make())
    return made


def main() -> None:
    for path, text in pages().items():
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
