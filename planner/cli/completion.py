"""The values that the shell offers after an option: enumerations, cards, models, studies, metrics, vLLM's values.

In: the word so far. Out: whole words. Heavy imports happen inside the functions: the shell waits for each answer.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args, get_origin, get_type_hints

Complete = Callable[[str], list[str]]
"""From the word so far to the words that it may become."""


def one_of(*names: str) -> Complete:
    """Completion of an option with few values."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


def several_of(*names: str) -> Complete:
    """Completion of a list of values; what stands before the last comma stays."""

    def complete(incomplete: str) -> list[str]:
        done, comma, name = incomplete.rpartition(",")
        return [f"{done}{comma}{one}" for one in names if one.startswith(name)]

    return complete


def metrics(ending: str = "") -> Complete:
    """Completion of a list of metrics, each followed by `ending`."""

    def complete(incomplete: str) -> list[str]:
        from planner.benchmark import METRICS

        return several_of(*(f"{metric}{ending}" for metric in METRICS))(incomplete)

    return complete


def objectives(incomplete: str) -> list[str]:
    """Completion of `--objective`: what people call it, then the metrics."""
    from planner.benchmark import GOALS
    from planner.study import RECIPES

    return several_of(*RECIPES, *GOALS)(incomplete)


def compared_metrics(incomplete: str) -> list[str]:
    """Completion of `--fail-on`: the metrics that a comparison has."""
    from planner.benchmark import HEADLINES

    return [f"{metric}:" for metric in HEADLINES if metric.startswith(incomplete)]


def cards(incomplete: str) -> list[str]:
    """Names of cards, as the shell inserts them."""
    from planner.hardware import GPUS

    return [_inserted(gpu.name) for gpu in GPUS if gpu.name.lower().startswith(incomplete.lower())]


def models(incomplete: str) -> list[str]:
    """Names of the models that ship with planner."""
    from planner.model import shipped_names

    return [name for name in shipped_names() if name.lower().startswith(incomplete.lower())]


def workloads(incomplete: str) -> list[str]:
    """Names of the loads that ship with planner; the shell adds files."""
    from planner.files import shipped_files

    return [name for name in sorted(shipped_files("workloads")) if name.startswith(incomplete)]


def studies(incomplete: str) -> list[str]:
    """Folders of studies; after a vLLM flag the values that it may have, since both stand at the same place."""
    from planner.study import study_folders

    if (values := flag_values(_word_before(incomplete))) is not None:
        return [value for value in values if value.startswith(incomplete)]
    return [folder for folder in study_folders() if folder.startswith(incomplete)]


def flag_values(word: str) -> list[str] | None:
    """The values that a vLLM flag may have: empty if they are not few, None for a word that takes no value."""
    from planner.engine import FIELDS, EngineConfig, flag, short_names

    flags = {flag(field): field for field in FIELDS}
    field = flags.get(short_names().get(word, word))
    if field is None:
        return None
    kinds = list(_parts(get_type_hints(EngineConfig)[field]))
    if bool in kinds:
        return None
    return [str(value) for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)]


def _parts(kind: Any) -> Iterable[Any]:
    """The types inside a union; any other type itself."""
    if get_origin(kind) in (None, Literal) or not get_args(kind):
        yield kind
        return
    for part in get_args(kind):
        yield from _parts(part)


def _word_before(incomplete: str) -> str:
    """The word before the one that is being completed, from what the shell hands over; empty if that is not known."""
    line = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS") or ""
    try:
        words = shlex.split(line)
    except ValueError:  # a quote is still open
        words = line.split()
    if incomplete and words and words[-1].endswith(incomplete):
        words = words[:-1]
    return words[-1] if words else ""


class _Offered(str):
    """A word as the shell inserts it. It stands for a name, whose beginning may be typed in small letters."""

    __slots__ = ("name",)
    name: str

    def startswith(self, prefix: Any, *_: Any) -> bool:  # which is how typer asks whether a word fits
        return self.name.lower().startswith(str(prefix).lower())


def _inserted(name: str) -> str:
    """The name as the shell inserts it: bash takes an answer as it is, so a blank would end the word."""
    is_bash = any(key.endswith("_COMPLETE") and value == "complete_bash" for key, value in os.environ.items())
    line = os.environ.get("COMP_WORDS", "")
    is_quoted = line.count("'") % 2 or line.count('"') % 2
    word = _Offered(name.replace(" ", "\\ ") if is_bash and not is_quoted else name)
    word.name = name
    return word
