"""`planner models`: the models whose config.json ships with planner."""

from __future__ import annotations

import typer

from planner.cli.options import JsonOption


def models(as_json: JsonOption = False) -> None:
    """The model architectures shipped with planner; with the extra hub any other is read from the Hugging Face Hub."""
    from planner.estimate import weight_bytes
    from planner.files import pretty_json
    from planner.model import load_model, shipped_sources
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
            source.partition(" (")[0],  # where exactly: --json
        )
        for (model, source), size in zip(rows, sizes, strict=True)
    ]
    print_listing(make_console(), ("model", "weights", "context", "quantised", "source"), shown)
