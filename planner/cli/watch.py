"""`planner watch`: a study under way as a page of this machine, which refreshes itself."""

from __future__ import annotations

from typing import Annotated

import typer

from planner.cli.options import OUTPUT, NotifyOption, SimulatedOption, StorageOption, StudyArgument


def watch(
    study: StudyArgument = None,
    port: Annotated[
        int,
        typer.Option(
            "--port",
            help="Loopback port of the page; 0: any that is free.",
            min=0,
            max=65535,
            rich_help_panel=OUTPUT,
        ),
    ] = 9478,
    notify: NotifyOption = None,
    simulated: SimulatedOption = False,
    storage: StorageOption = None,
) -> None:
    """Show a study under way as a page on this machine that refreshes itself; Ctrl-C ends it, and not the study.

    It only reads: the best so far and its noise, what is left to gain, the time left, the cards, the engine's log.
    """
    from planner.report import receiver_of, run_watch
    from planner.study import load

    receivers = [receiver_of(url) for url in notify or ()]
    spec, folder = load(study)
    run_watch(spec, folder, simulated, storage, port, receivers)
