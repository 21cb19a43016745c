"""What `planner fleet` is asked: a fleet.yaml, or a study or plain numbers with options; options win over the file.

In: a path and the options by the keys of `FleetSpec`. Out: the `FleetSpec` and the folder its paths are relative to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from planner.benchmark import split_slo
from planner.errors import InputError
from planner.files import convert, decode, read_text
from planner.fleet.spec import SOURCES, FleetSpec

Options = Mapping[str, Mapping[str, Any]]
"""Options by section: `demand`, `host`, `layout` and `fleet`. The value is None if an option was not given."""


def asked_fleet(path: Path | None, options: Options) -> tuple[FleetSpec, Path]:
    """The fleet that the path and the options describe. Raises InputError."""
    given = {section: {k: v for k, v in found.items() if v is not None} for section, found in options.items()}
    if "slo" in given["fleet"]:
        given["fleet"]["slo"] = split_slo(given["fleet"]["slo"], "ttft_p95=2s")
    if path is not None and _is_fleet(path):
        return _overlaid(decode(read_text(path), FleetSpec, str(path)), given), path.parent
    layout = given["layout"]
    if path is not None:
        if named := [name for name in SOURCES if name in layout]:
            raise InputError(f"{path} is a study, and --{named[0]} says another instance: give one of them")
        layout = {**layout, "study": str(path.absolute())}
    if not any(name in layout for name in SOURCES):
        raise InputError("what is an instance? give a fleet.yaml, a study, --bench, or --capacity with --service-time")
    if not {"rate", "trace"} & set(given["demand"]):
        raise InputError("what is asked of the fleet? give --rate, with --peak, or --trace")
    if "slo" not in given["fleet"]:
        raise InputError("--slo is missing: which limits are to be kept? for example --slo ttft_p95=2s,e2el_p95=30s")
    data = {**given["fleet"], "demand": given["demand"], "host": given["host"], "layouts": [layout]}
    return convert(data, FleetSpec, "command line"), Path()


def _is_fleet(path: Path) -> bool:
    """Whether it is a fleet's file. Anything else is read as a study, whose reader reports what is wrong."""
    return path.is_file() and re.search(r"^demand:", read_text(path), re.MULTILINE) is not None


def _overlaid(spec: FleetSpec, given: Options) -> FleetSpec:
    if given["layout"]:
        raise InputError(f"{', '.join(given['layout'])}: the file says what an instance is; leave out these options")
    data = msgspec.to_builtins(spec, enc_hook=float)
    demand = {**data["demand"], **given["demand"]}
    if "trace" in given["demand"]:
        demand |= {"rate": None, "peak": 1.0, "burstiness": 1.0}
    elif "rate" in given["demand"]:
        demand["trace"] = None
    host = {**data["host"], **given["host"]}
    return convert({**data, **given["fleet"], "demand": demand, "host": host}, FleetSpec, "command line")
