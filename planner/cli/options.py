"""Options that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from planner.cli.completion import cards, metrics, models, objectives, one_of, several_of, studies, workloads
from planner.errors import InputError
from planner.study import StudySource


class TakesFlags(TyperCommand):
    """A command after which vLLM's own flags may follow: the shell completes them too.

    They reach the command as context.obj, a `planner.engine.TypedWords`.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        from planner.cli.words import OwnOptions, PartedWords, part
        from planner.engine import TypedWords

        options = OwnOptions.of(self.params)
        try:
            parted = part(args, options)
        except InputError:
            if not ctx.resilient_parsing:  # else the shell asks for completions of an unfinished line
                raise
            parted = PartedWords(own=args)
        ctx.obj = TypedWords(tuple(parted.vllm), parted.env, tuple(sorted(options.names)))
        return super().parse_args(ctx, parted.own)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        from planner.engine import NEWEST, release_of

        found = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            item = type(super().shell_complete(ctx, "--help")[0])  # a class that typer keeps to itself
            found += [item(word) for word in release_of(NEWEST).flags if word.startswith(incomplete)]
        return found


STUDY, SEARCH, LIMITS, CLUSTER, OUTPUT = "Study", "Search", "Limits", "Cluster", "Output"
LOAD, SERVER, COMPARE, TRIALS = "Load", "Server", "Comparison", "Trials"
INSTANCE, HOST = "Instance", "Host"
"""Panels of options in `--help`."""
MOST_IN_FLIGHT = 1_000_000
"""Highest --concurrency, as a workload's."""
KEPT_IN = "output"
"""Name of the parameter of `-o`."""

StudyArgument = Annotated[
    Path | None,
    typer.Argument(help="study.yaml or its folder; by default the one here.", autocompletion=studies),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Model directory, config.json or name; with --gpu in place of a study.",
        autocompletion=models,
        rich_help_panel=STUDY,
    ),
]
GpuOption = Annotated[
    str | None,
    typer.Option(
        "--gpu",
        help="Card, for example 'RTX 2080 Ti 22GB' (planner gpus); beside a study in place of its own.",
        autocompletion=cards,
        rich_help_panel=STUDY,
    ),
]
NumGpusOption = Annotated[
    int | None,
    typer.Option(
        "--num-gpus", help="Number of cards; 1, or the study's number.", min=1, max=1_000_000, rich_help_panel=STUDY
    ),
]
InterconnectOption = Annotated[
    str | None,
    typer.Option(
        "--interconnect",
        help="How the cards are joined: pcie, nvlink, nvlink-pairs or none; pcie, or what the study says.",
        autocompletion=one_of("pcie", "nvlink", "nvlink-pairs", "none"),
        rich_help_panel=STUDY,
    ),
]
VersionOption = Annotated[
    str | None,
    typer.Option(
        "--vllm-version",
        help="vLLM version, for example 0.32.0, or latest: the newest that planner knows. By default the study's; "
        "without a study the newest image of vllm/vllm-openai here for tune and doctor, else latest.",
        autocompletion=one_of("latest"),
        rich_help_panel=STUDY,
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        help="Name of the study: its results go to studies/NAME. Without it a name is made from what is asked.",
        rich_help_panel=STUDY,
    ),
]
LeversOption = Annotated[
    str | None,
    typer.Option(
        "--levers",
        help="Groups of settings to search: scheduler, layout, numerics, engine, or all.",
        autocompletion=several_of("scheduler", "layout", "numerics", "engine", "all"),
        rich_help_panel=SEARCH,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.", rich_help_panel=OUTPUT)]
OutputOption = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="File that gets what is printed; - is stdout.", rich_help_panel=OUTPUT),
]
QuietOption = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print only results and errors: no plan, no progress.", rich_help_panel=OUTPUT),
]
WorkloadOption = Annotated[
    str | None,
    typer.Option(
        "--workload",
        help="Shipped name, YAML file, or recorded traffic in a format of planner workload; chat.",
        autocompletion=workloads,
        rich_help_panel=LOAD,
    ),
]
SloOption = Annotated[
    str | None,
    typer.Option(
        "--slo",
        help="Limits to keep: ttft_p95=10s,output_throughput=500.",
        autocompletion=metrics("="),
        rich_help_panel=LIMITS,
    ),
]
ObjectiveOption = Annotated[
    str | None,
    typer.Option(
        "--objective",
        help="The objective: throughput, latency (e2el_p95), cost (per token: throughput), capacity (most requests in "
        "flight that keep --slo) or capacity_rate (requests/s), another metric, or weights: "
        "output_throughput=1,ttft_p95=0.3; in place of the study's.",
        autocompletion=objectives,
        rich_help_panel=LIMITS,
    ),
]
LikeOption = Annotated[
    str | None,
    typer.Option(
        "--like",
        help="URL of a running vLLM whose settings are the baseline to beat and whose traffic is the load; with --gpu.",
        rich_help_panel=STUDY,
    ),
]
ForOption = Annotated[
    str | None,
    typer.Option(
        "--for",
        help="Time for which the server of --like is watched to learn its traffic; 10min.",
        rich_help_panel=STUDY,
    ),
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        "--storage", help="Optuna storage URL; by default the database in the study's folder.", rich_help_panel=TRIALS
    ),
]
AllOption = Annotated[
    bool,
    typer.Option(
        "--all",
        help="Print every trial, the finals and all reasons, not the result in short.",
        rich_help_panel=OUTPUT,
    ),
]
SimulatedOption = Annotated[
    bool, typer.Option("--simulated", help="Take the study's simulated trials.", rich_help_panel=TRIALS)
]
NotifyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--notify",
        envvar="PLANNER_NOTIFY",
        help="URL that is told of the end, of failures and of when one can stop: a webhook, an ntfy topic or Slack; "
        "may be repeated. In PLANNER_NOTIFY no list of processes shows it.",
        rich_help_panel=OUTPUT,
    ),
]


def _source(
    study: StudyArgument = None,
    model: ModelOption = None,
    gpu: GpuOption = None,
    num_gpus: NumGpusOption = None,
    interconnect: InterconnectOption = None,
    vllm_version: VersionOption = None,
    name: NameOption = None,
) -> StudySource:
    return StudySource(
        study=study,
        model=model,
        gpu=gpu,
        num_gpus=num_gpus,
        interconnect=interconnect,
        version=vllm_version,
        name=name,
    )


SOURCE = "source"
"""Parameter of a command that stands for the seven options of a study."""


def takes_study(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the seven options of a `StudySource` in place of its parameter `source`, as Typer reads them."""
    ours, seven = (inspect.signature(one, eval_str=True) for one in (command, _source))
    parameters: list[inspect.Parameter] = []
    for parameter in ours.parameters.values():
        parameters += seven.parameters.values() if parameter.name == SOURCE else [parameter]

    def wrapped(**given: Any) -> None:
        source = _source(**{name: given.pop(name) for name in seven.parameters})
        command(**given, **{SOURCE: source})

    wrapped.__name__, wrapped.__doc__, wrapped.__module__ = command.__name__, command.__doc__, command.__module__
    vars(wrapped)["__signature__"] = ours.replace(parameters=parameters)
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapped


def given_options(context: typer.Context) -> dict[str, str]:
    """The parameters that the command line itself names: the option's longest spelling, or the argument's name."""
    found = {}
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is not None and source.name == "COMMANDLINE":
            is_option = parameter.param_type_name == "option"
            found[parameter.name or ""] = max(parameter.opts, key=len) if is_option else (parameter.name or "").upper()
    return found
