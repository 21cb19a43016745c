"""The error tree: what its drawing promises."""

from __future__ import annotations

import re

import pytest

from planner import errors


def _subclasses(kind: type) -> set[type]:
    return {kind}.union(*(_subclasses(child) for child in kind.__subclasses__()))


def test_the_drawn_tree_names_every_error_under_its_parent() -> None:
    drawn: dict[str, str] = {}
    stack: list[tuple[int, str]] = []
    for indent, name in re.findall(r"^( {2,})([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE):
        while stack and stack[-1][0] >= len(indent):
            stack.pop()
        drawn[name] = stack[-1][1] if stack else "Exception"
        stack.append((len(indent), name))
    own = [kind for kind in _subclasses(errors.PlannerError) if kind.__module__ == errors.__name__]
    assert drawn == {kind.__name__: kind.__bases__[0].__name__ for kind in own}


@pytest.mark.parametrize(
    ("kind", "code"), [(errors.InputError, 2), (errors.BackendError, 1), (errors.BenchmarkError, 1)]
)
def test_exit_codes(kind: type[errors.PlannerError], code: int) -> None:
    assert kind("x").exit_code == code


def test_an_engine_error_carries_the_logs_end() -> None:
    error = errors.EngineOutOfMemory("CUDA out of memory", "last line")
    assert (str(error), error.log_tail, error.exit_code) == ("CUDA out of memory", "last line", 1)
    assert not isinstance(error, errors.BackendError)
