"""`planner workload`: what is in recorded traffic, and a workload file that sends a window of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from planner.cli.completion import one_of
from planner.cli.options import LOAD, OUTPUT, JsonOption
from planner.cli.output import STDOUT, write_output
from planner.errors import InputError


def workload(
    file: Annotated[
        Path,
        typer.Argument(
            help="Recorded traffic: Mooncake, Azure, BurstGPT, ShareGPT, OpenAI's logs and batches, vLLM's JSONL, "
            "or lines of planner's own."
        ),
    ],
    window: Annotated[
        str,
        typer.Option(
            "--window",
            help="Part of the traffic that is sent: busiest, typical, or start.",
            autocompletion=one_of("busiest", "typical", "start"),
            rich_help_panel=LOAD,
        ),
    ] = "busiest",
    num_requests: Annotated[
        int | None,
        typer.Option(
            "--num-requests",
            help="Requests in the window; 256, or all of a shorter file.",
            min=1,
            max=1_000_000,
            rich_help_panel=LOAD,
        ),
    ] = None,
    as_json: JsonOption = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="YAML file to write for --workload of bench and tune; - is stdout, with nothing beside it.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
) -> None:
    """What is in recorded traffic: lengths, arrivals, bursts, shared prefixes; with -o a workload file of it."""
    import os

    from planner.files import encode, pretty_json
    from planner.terminal import make_console, print_table
    from planner.workload import (
        parse_window,
        read_traffic,
        surveyed,
        traffic_document,
        traffic_table,
        window_words,
        windowed,
        workload_keys,
    )

    if as_json and output == STDOUT:
        raise InputError("--json says what the traffic is; with -o - the workload itself is on stdout: drop one")
    chosen = parse_window(window)
    traffic = read_traffic(file)
    folder = Path() if output is None or output == STDOUT else output.parent
    written = windowed(traffic, os.path.relpath(file.absolute(), folder.absolute()), chosen, num_requests)
    if output == STDOUT:
        typer.echo(encode(workload_keys(written)), nl=False)
        return
    seen, cannot_show = surveyed(traffic.requests), window_words(traffic.requests, chosen, written.num_requests)
    if output is not None:
        write_output(output, encode(workload_keys(written)))
        typer.echo(f"wrote {output}", err=True)
    if as_json:
        typer.echo(pretty_json(traffic_document(traffic, seen, written, cannot_show)))
    else:
        print_table(make_console(), traffic_table(file.name, traffic, seen, cannot_show))
