"""`planner simulate`: the simulated engine as an HTTP server, for trying things out without a GPU."""

from __future__ import annotations

from typing import Annotated

import typer

from planner.cli.options import SERVER, STUDY, GpuOption, InterconnectOption, ModelOption, NumGpusOption, VersionOption
from planner.errors import InputError


def simulate(
    context: typer.Context,
    model: ModelOption = None,
    gpu: GpuOption = None,
    num_gpus: NumGpusOption = None,
    gpu_memory: Annotated[
        str | None,
        typer.Option(
            "--gpu-memory",
            help="Memory of one card as CUDA reports it, for example 21.48GiB.",
            rich_help_panel=STUDY,
        ),
    ] = None,
    interconnect: InterconnectOption = None,
    vllm_version: VersionOption = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.", rich_help_panel=SERVER)] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", help="Port to listen on.", min=1, max=65535, rich_help_panel=SERVER)
    ] = 8000,
    served_model_name: Annotated[
        str | None,
        typer.Option(
            "--served-model-name",
            help="Name under which the model is served; by default that of --model.",
            rich_help_panel=SERVER,
        ),
    ] = None,
    speedup: Annotated[
        float,
        typer.Option(
            "--speedup", help="Virtual seconds per real one: 10 is ten times as fast.", rich_help_panel=SERVER
        ),
    ] = 1.0,
    start_delay: Annotated[
        float,
        typer.Option("--start-delay", help="Real seconds before the server listens.", rich_help_panel=SERVER),
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the noise.", min=0, rich_help_panel=SERVER)] = 0,
) -> None:
    """Serve a SIMULATED vLLM over HTTP, with vLLM's log, metrics and refusals, and filler text; Ctrl-C ends it."""
    from planner.simulated import ServeAsk, serve_simulated
    from planner.study import asked_version

    if model is None or gpu is None:
        raise InputError("simulate: name the model and the card, as --model Qwen/Qwen3-8B --gpu 'RTX 4090'")
    version = asked_version(vllm_version)
    asked = ServeAsk(
        model=model, gpu=gpu, num_gpus=num_gpus or 1, gpu_memory=gpu_memory, interconnect=interconnect or "pcie",
        version=str(version), host=host, port=port, served_model_name=served_model_name,
        speedup=speedup, start_delay=start_delay, seed=seed,
    )  # fmt: skip
    if code := serve_simulated(asked, context.obj.read(version)):
        raise typer.Exit(code)
