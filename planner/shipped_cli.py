"""The commands that list what ships with planner: schemas, cards, models; `cli.py` registers them."""

from __future__ import annotations

from typing import Annotated

import typer

from planner.options import JsonOption, one_of


def schema(
    kind: Annotated[
        str,
        typer.Argument(
            help="study, search-space, workload, hardware, ladder or fleet.",
            autocompletion=one_of("study", "search-space", "workload", "hardware", "ladder", "fleet"),
        ),
    ],
) -> None:
    """The JSON Schema of a YAML file, for editors."""
    import json

    from planner.files import json_schema

    typer.echo(json.dumps(json_schema(kind), indent=2))


def gpus(as_json: JsonOption = False) -> None:
    """The cards planner knows, with where their figures are from, and those it sees here."""
    from planner.estimate.answer import pretty_json
    from planner.hardware.driver import detect_gpus
    from planner.hardware.gpus import GPUS
    from planner.terminal import make_console, print_listing
    from planner.units import format_bandwidth, format_flop_rate, format_gib

    seen = [card.name for card in detect_gpus()]
    if as_json:
        typer.echo(pretty_json({"cards": [card.document() for card in GPUS], "visible": seen}))
        return
    rows = [
        (
            card.name,
            format_gib(card.memory_bytes),
            format_bandwidth(card.memory_bandwidth_bytes_per_s),
            format_flop_rate(card.peak_flop_per_s),
            ".".join(map(str, card.compute_capability)),
            card.source,
        )
        for card in GPUS
    ]
    print_listing(make_console(), ("card", "memory", "bandwidth", "16-bit", "CC", "source"), rows)
    typer.echo(f"visible here: {', '.join(seen) or 'none'}")


def models(as_json: JsonOption = False) -> None:
    """The model architectures shipped with planner; with the extra hub any other is read from the Hugging Face Hub."""
    from planner.estimate.answer import pretty_json
    from planner.estimate.memory.weights import weight_bytes
    from planner.model.catalog import load_model, shipped_sources
    from planner.terminal import make_console, print_listing
    from planner.units import format_gib

    rows = [(load_model(name), source) for name, source in shipped_sources()]
    sizes = [weight_bytes(model, model.torch_dtype, 1) for model, _ in rows]
    if as_json:
        found = [
            {
                "name": model.name,
                "model_type": model.model_type,
                "weights_bytes": size,
                "max_context_tokens": model.max_context_tokens,
                "quantization": None if model.quantization is None else model.quantization.method,
                "source": source,
            }
            for (model, source), size in zip(rows, sizes, strict=True)
        ]
        typer.echo(pretty_json({"models": found}))
        return
    shown = [
        (
            model.name,
            format_gib(size, 1),
            str(model.max_context_tokens),
            "" if model.quantization is None else model.quantization.method,
            source,
        )
        for (model, source), size in zip(rows, sizes, strict=True)
    ]
    print_listing(make_console(), ("model", "weights", "context", "quantised", "source"), shown)
