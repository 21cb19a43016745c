"""`planner --version`: what a report of a fault should name, one version a line."""

from __future__ import annotations

import platform
from typing import Annotated

import typer

from planner.version import __version__


def versions() -> dict[str, str]:
    """Name of a program or package -> its version, or `not installed`. Nothing is imported or started for it."""
    return {
        "planner": __version__,
        "Python": platform.python_version(),
        "Optuna": _installed("optuna"),
        "Docker client (Python package docker)": _installed("docker"),
    }


def _installed(package: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _print_versions(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo("\n".join(f"{name} {version}" for name, version in versions().items()))
        raise typer.Exit


def top(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version",
            "-V",
            help="Print the versions of planner, Python, Optuna and Docker's client.",
            callback=_print_versions,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Which vLLM settings fit and are fastest on the GPUs you have, and the proof."""
