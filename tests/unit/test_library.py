"""planner as a library: light to import, the same answers as the commands, the documented example."""

from __future__ import annotations

import ast
import inspect
import json
import os
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest

import planner
from planner.cli.main import main
from planner.launch.runs import service_runs
from planner.study.problem import Problem
from tests.places import ROOT

EXAMPLE = ROOT / "docs" / "examples" / "library.py"
STUDY = ROOT / "studies" / "qwen3-32b-awq-4x2080ti"
FUNCTIONS = ("bench", "estimate_memory", "load_study", "tune")


def test_everything_that_is_exported_is_there() -> None:
    assert planner.__all__ == sorted(planner.__all__)
    assert set(planner.__all__) <= set(dir(planner))
    for name in planner.__all__:
        assert getattr(planner, name) is not None, name
    with pytest.raises(AttributeError, match="has no attribute 'optimise'"):
        _ = planner.optimise


def test_type_checkers_see_the_same_names() -> None:
    """What is imported for them is what `__getattr__` finds."""
    tree = ast.parse((ROOT / "planner" / "__init__.py").read_text("utf-8"))
    (guard,) = [node for node in tree.body if isinstance(node, ast.If)]
    shown = {alias.name for node in guard.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert shown == set(planner.__all__) - {"__version__"} == set(planner._HOMES)
    assert (ROOT / "planner" / "py.typed").exists()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_typed_and_documented(name: str) -> None:
    function = getattr(planner, name)
    assert callable(function)
    assert "Raises" in inspect.getdoc(function)
    parameters = inspect.signature(function).parameters.values()
    assert all(parameter.annotation is not inspect.Parameter.empty for parameter in parameters)
    assert inspect.signature(function).return_annotation is not inspect.Signature.empty


def test_functions_survive_the_import_of_the_modules_behind_them() -> None:
    """A module planner.tune would take the function's place."""
    code = (
        "import planner, planner.tuning.session, planner.benchmark.run, planner.cli.tune\n"
        "print(*map(callable, (planner.tune, planner.bench, planner.estimate_memory)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True True True\n"
    modules = {path.stem for path in (ROOT / "planner").iterdir()}
    assert not modules & set(FUNCTIONS)


def test_the_import_is_light() -> None:
    """No package but the standard library's, until a name is used."""
    code = "import sys; before = set(sys.modules); import planner; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    added = {name.partition(".")[0] for name in done.stdout.split()}
    assert added <= {*sys.stdlib_module_names, "planner"}
    assert "planner.library" not in done.stdout.split()


def test_an_estimate_is_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    answer = planner.estimate_memory(STUDY, max_num_seqs=64, swap_space=0)
    main_exit(["estimate", str(STUDY), "--max-num-seqs", "64", "--swap-space", "0", "--json"])
    document = json.loads(capsys.readouterr().out)
    del document["fixes"]
    assert answer.document(document["id"]) == document
    loaded = planner.estimate_memory(planner.load_study(STUDY), max_num_seqs=64, swap_space=0)
    assert loaded.document(document["id"]) == document


def main_exit(argv: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(argv)


def test_what_was_asked_wrongly_is_one_error() -> None:
    with pytest.raises(planner.InputError, match="together"):
        planner.estimate_memory(model="Qwen/Qwen3-8B")
    with pytest.raises(planner.InputError, match="max_num_sequences"):
        planner.estimate_memory(STUDY, max_num_sequences=64)
    with pytest.raises(planner.InputError, match="no such study"):
        planner.load_study("nowhere.yaml")
    assert issubclass(planner.InputError, planner.PlannerError)


@pytest.fixture
def study(study_data: Any, tmp_path: Path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(json.dumps(study_data()), "utf-8")
    return path


def test_a_study_is_tuned_and_goes_on(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = planner.tune(study, trials=2, backend="simulated", finals=False)
    assert capsys.readouterr().out == ""
    assert (first.simulated, first.folder, first.study_name) == (True, study.parent / "simulated", "tiny")
    assert [trial.number for trial in first.trials] == [0, 1]
    more = planner.tune(study, trials=4, backend="simulated", quiet=False)
    assert more.trials[:2] == first.trials
    assert "SIMULATED" in capsys.readouterr().out
    assert more.default == more.trials[0]
    assert any(trial.rerun is not None for trial in more.trials)
    assert more.best is not None
    assert (more.folder / "run.sh").exists()
    problem = Problem.of(planner.load_study(study))
    name = service_runs(problem, more.best.candidate)[0].name
    assert f"--name {name} " in (more.folder / "run.sh").read_text("utf-8").replace("\\\n", " ")


def test_an_interrupt_is_a_keyboard_interrupt(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command would end its process; a library leaves that to its caller, and the trials are kept."""
    import planner.tuning.executor as loop

    told = 0
    real = loop.evaluate

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        nonlocal told
        told += 1
        if told == 3:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(loop, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        planner.tune(study, trials=4, backend="simulated")
    monkeypatch.undo()
    assert len(planner.tune(study, trials=2, backend="simulated", finals=False).trials) == 2


def test_the_example_runs_and_is_what_the_docs_show(tmp_path: Path) -> None:
    shown = (ROOT / "docs" / "library.md").read_text("utf-8")
    assert f"```python\n{EXAMPLE.read_text('utf-8')}```" in shown
    done = subprocess.run(
        [sys.executable, str(EXAMPLE)], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("starts: ")
    assert "SIMULATED: True" in lines[1]
    assert "value_output_throughput_tokens_per_s" in lines[3]
    for line in lines[:2]:
        assert line in shown, "docs/library.md shows another output"


def test_annotations_resolve() -> None:
    assert typing.get_type_hints(planner.load_study)["return"] is planner.StudySpec
