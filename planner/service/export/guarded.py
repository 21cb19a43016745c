"""A trial for `planner guard`: `ladder_yaml`, which it runs, and `systemd_unit`, which keeps the guard itself up."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from planner.files import encode
from planner.service.export.header import header, port_plan
from planner.service.reliefs import make_ladder
from planner.study import Forecast, Problem
from planner.trials import Trial


def ladder_yaml(forecast: Forecast, trial: Trial, default: Trial | None) -> str:
    """The ladder file: the winner and the rungs below it."""
    head = header(forecast.problem, trial, default, port_plan(forecast.problem, trial.candidate))
    return f"{head}\n{encode(make_ladder(forecast, trial))}"


def systemd_unit(problem: Problem, trial: Trial, default: Trial | None, ladder: Path) -> str:
    """A systemd unit that keeps the guard up. Stopping it leaves the service as it is.

    Variables that the engine gets by name must be in the guard's own environment. They are read from a file that only
    its owner needs to be able to read.
    """
    program = Path(sys.executable).with_name("planner")
    name = problem.spec.serve.name
    secrets = f"/etc/planner/{name}.env"
    names = problem.spec.engine.pass_env
    words = f"{secrets}, mode 600, must have a line NAME=VALUE for: {', '.join(names)}" if names else ""
    environment = f"EnvironmentFile={secrets}\n" if names else ""
    return f"""\
{header(problem, trial, default, words)}
[Unit]
Description=planner guard of {name}
After=docker.service network-online.target
Wants=docker.service network-online.target
StartLimitIntervalSec=0

[Service]
{environment}ExecStart={_unit_word(program)} guard {_unit_word(ladder.absolute())}
Restart=always
RestartSec=5
RestartPreventExitStatus=2

[Install]
WantedBy=multi-user.target
"""


def _unit_word(path: Path) -> str:
    """A path as one word of a unit's command: `%`, `$`, quotes and backslashes are escaped.

    Control characters are written as systemd.service(5) does; a raw line end would start a new line of the unit.
    """
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    text = re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\x{ord(found[0]):02x}", text)
    return f'"{text}"'
