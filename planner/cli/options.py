"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand


def one_of(*names: str) -> Callable[[str], list[str]]:
    """Shell completion of an option with few values."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


def _gpu_names(incomplete: str) -> list[str]:
    from planner.hardware import GPUS

    return [gpu.name for gpu in GPUS if gpu.name.lower().startswith(incomplete.lower())]


def _model_names(incomplete: str) -> list[str]:
    from planner.model import shipped_names

    return [name for name in shipped_names() if name.lower().startswith(incomplete.lower())]


def studies(incomplete: str) -> list[str]:
    from planner.study import study_folders

    return [folder for folder in study_folders() if folder.startswith(incomplete)]


def workload_names(incomplete: str) -> list[str]:
    from planner.files import shipped_files

    return [name for name in sorted(shipped_files("workloads")) if name.startswith(incomplete)]


def metrics_completion(ending: str = "") -> Callable[[str], list[str]]:
    """Shell completion of names of metrics in a list; what stands before the last comma stays."""

    def complete(incomplete: str) -> list[str]:
        from planner.benchmark import METRICS

        done, comma, name = incomplete.rpartition(",")
        return [f"{done}{comma}{metric}{ending}" for metric in METRICS if metric.startswith(name)]

    return complete


class TakesFlags(TyperCommand):
    """A command after which vLLM's own flags may follow: the shell completes them too."""

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        from planner.engine import FIELDS, flag

        found = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            item = type(super().shell_complete(ctx, "--help")[0])  # a class that typer keeps to itself
            found += [item(word) for word in map(flag, FIELDS) if word.startswith(incomplete)]
        return found


StudyArgument = Annotated[
    Path | None,
    typer.Argument(help="study.yaml or its folder; by default the one here.", autocompletion=studies),
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="Model directory, config.json or name (no YAML).", autocompletion=_model_names),
]
GpuOption = Annotated[
    str | None,
    typer.Option("--gpu", help="Card, for example 'RTX 2080 Ti 22GB' (planner gpus).", autocompletion=_gpu_names),
]
NumGpusOption = Annotated[int, typer.Option("--num-gpus", help="How many cards.", min=1)]
InterconnectOption = Annotated[
    str,
    typer.Option(
        "--interconnect",
        help="pcie, nvlink, nvlink-pairs or none.",
        autocompletion=one_of("pcie", "nvlink", "nvlink-pairs", "none"),
    ),
]
VersionOption = Annotated[str, typer.Option("--vllm-version", help="vLLM version, for example 0.8.5.")]
LeversOption = Annotated[
    str | None,
    typer.Option("--levers", help="Groups of settings to search: scheduler, layout, numerics, engine, or all."),
]
LOAD, LIMITS, SERVER, OUTPUT, COMPARE, TRIALS = "Load", "Limits", "Server", "Output", "Comparison", "Trials"
MOST_IN_FLIGHT = 1_000_000
"""Highest --concurrency, as a workload's."""
INSTANCE, HOST = "Instance", "Host"
"""Panels of the help."""
KEPT_IN = "output"
"""Name of the parameter of `-o`."""


def given_options(context: typer.Context) -> dict[str, str]:
    """What the command line itself says, by parameter: the option's longest spelling, or the argument's name."""
    found = {}
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is not None and source.name == "COMMANDLINE":
            is_option = parameter.param_type_name == "option"
            found[parameter.name or ""] = max(parameter.opts, key=len) if is_option else (parameter.name or "").upper()
    return found


WorkloadOption = Annotated[
    str | None,
    typer.Option(
        "--workload",
        help="Shipped name, YAML file, or JSONL or ShareGPT file of prompts; chat.",
        autocompletion=workload_names,
        rich_help_panel=LOAD,
    ),
]
SloOption = Annotated[
    str | None,
    typer.Option(
        "--slo",
        help="Limits to keep: ttft_p95=10s,output_throughput=500.",
        autocompletion=metrics_completion("="),
        rich_help_panel=LIMITS,
    ),
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        "--storage", help="Optuna storage URL; by default the database in the study's folder.", rich_help_panel=TRIALS
    ),
]
SimulatedOption = Annotated[
    bool, typer.Option("--simulated", help="Take the study's simulated trials.", rich_help_panel=TRIALS)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.", rich_help_panel=OUTPUT)]
OutputOption = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="File to write what is printed to; - is stdout.", rich_help_panel=OUTPUT),
]
QuietOption = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print only results and errors: no plan, no progress.", rich_help_panel=OUTPUT),
]
