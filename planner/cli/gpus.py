"""`planner gpus`: the cards planner knows, and those it sees here."""

from __future__ import annotations

import typer

from planner.cli.options import JsonOption


def gpus(as_json: JsonOption = False) -> None:
    """The cards planner knows, with where their figures are from, and those it sees here."""
    from planner.files import pretty_json
    from planner.hardware import GPUS, detect_gpus
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
