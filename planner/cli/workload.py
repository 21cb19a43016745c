"""`planner workload`: what is in recorded traffic, or what a server serves, and a workload file that is like it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner.cli.completion import one_of
from planner.cli.options import LOAD, OUTPUT, SERVER, JsonOption
from planner.cli.output import STDOUT, write_output
from planner.cli.servers import watched_seconds
from planner.errors import InputError

if TYPE_CHECKING:
    from planner.workload import Found

WATCHED = "10min"
"""How long a server is watched unless --for says otherwise."""


def workload(
    source: Annotated[
        str,
        typer.Argument(
            help="Recorded traffic (Mooncake, Azure, BurstGPT, ShareGPT, OpenAI's logs and batches, vLLM's JSONL, "
            "lines of planner's own), or the URL of a running vLLM."
        ),
    ],
    window: Annotated[
        str | None,
        typer.Option(
            "--window",
            help="Part of recorded traffic that is sent: busiest, typical, or start; busiest.",
            autocompletion=one_of("busiest", "typical", "start"),
            rich_help_panel=LOAD,
        ),
    ] = None,
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
    duration: Annotated[
        str | None,
        typer.Option("--for", help="Time for which a server's counters are watched; 10min.", rich_help_panel=SERVER),
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
    """Describe recorded traffic, or what a server serves: lengths, arrivals, shared prefixes; as a workload too."""
    from planner.files import encode, pretty_json
    from planner.terminal import make_console, print_table
    from planner.workload import traffic_document, traffic_table, workload_keys

    if as_json and output == STDOUT:
        raise InputError("--json says what the traffic is; with -o - the workload itself is on stdout: drop one")
    if output is not None and output != STDOUT and not output.absolute().parent.is_dir():
        raise InputError(f"--output {output}: no such folder: {output.absolute().parent}")
    if "://" in source:
        for option, value in {"--window": window, "--num-requests": num_requests}.items():
            if value is not None:
                raise InputError(f"{option}: is of recorded traffic, and {source} is a server; leave it out")
        name, found = _watched(source, duration or WATCHED)
    else:
        if duration is not None:
            raise InputError(f"--for: is how long a server is watched, and {source} is a file; leave it out")
        name, found = _recorded(source, window or "busiest", num_requests, output)
    if output == STDOUT:
        typer.echo(encode(workload_keys(found.workload)), nl=False)
        return
    if output is not None:
        write_output(output, encode(workload_keys(found.workload)))
        typer.echo(f"wrote {output}", err=True)
    if as_json:
        typer.echo(pretty_json(traffic_document(found)))
    else:
        print_table(make_console(), traffic_table(name, found))


def _recorded(source: str, window: str, num_requests: int | None, output: Path | None) -> tuple[str, Found]:
    import os

    from planner.workload import Found, parse_window, read_traffic, surveyed, window_words, windowed

    file, chosen = Path(source), parse_window(window)
    traffic = read_traffic(file)
    folder = Path() if output is None or output == STDOUT else output.parent
    workload = windowed(traffic.requests, os.path.relpath(file.absolute(), folder.absolute()), chosen, num_requests)
    cannot_show = window_words(traffic.requests, chosen, workload.num_requests)
    seen = surveyed(traffic.requests)
    return file.name, Found(traffic.kind, seen, workload, traffic.left_out, traffic.is_cut, cannot_show)


def _watched(url: str, duration: str) -> tuple[str, Found]:
    from planner.benchmark import watch_server
    from planner.terminal import working
    from planner.workload import Found

    seconds = watched_seconds(duration, "served", WATCHED)
    with working(f"watching the server for {duration}"):
        seen, workload = watch_server(url, seconds)
    cannot_show = "gaps between arrivals and order of lengths are in no counter: drawn at random"
    return url, Found("counters of a server", seen, workload, cannot_show=cannot_show)
