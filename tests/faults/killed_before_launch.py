"""`planner`, killed when it has asked for the trial of the faulty candidate and is about to start its engine."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from planner.cli.main import main

FAULTY = "--max-num-seqs 6"


def kill_before_launch(event: str, args: tuple[Any, ...]) -> None:
    """Python raises this event before it forks."""
    if event == "subprocess.Popen" and FAULTY in " ".join(args[1]):
        os.kill(os.getpid(), signal.SIGKILL)


sys.addaudithook(kill_before_launch)
main()
