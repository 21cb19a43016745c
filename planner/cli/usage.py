"""The exception that typer raises for a command line that it does not understand, in every allowed release."""

from __future__ import annotations

import typer


def _oldest_ancestor(kind: type[Exception]) -> type[Exception]:
    """Class of the family of `kind` that stands directly below Exception."""
    return next(parent for parent in kind.__mro__ if Exception in parent.__bases__)


USAGE_ERROR = _oldest_ancestor(typer.BadParameter)
"""Every usage error is one: `typer.TyperException` since typer 0.28, `ClickException` before, of the package click or,
since 0.26, of typer's own copy of it."""
