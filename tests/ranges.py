"""`make ranges`: unit tests with the lowest and the newest allowed versions of all packages, on each Python found here.

`python -m tests.ranges` runs a few telling tests and is part of CI; with `--whole` it runs all of tests/unit, for
`make prove`. Each Python from 3.11 gets two virtual environments under build/ranges. Only wheels are installed: where
the lowest allowed version has none for a Python, the lowest that has one is taken. Exit code 1 where a test fails or
the versions cannot be had together. Where no package index answers nothing is known, which is said and ends with 0.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.places import ROOT

FIRST_MINOR, LAST_MINOR = 11, 19
"""Minor versions of Python 3 that are looked for."""
EXPECTED = ("python3.11", "python3.12", "python3.13", "python3.14")
"""Released ones: where one of them is absent, the last line says so."""
EXTRAS = ("server", "hub", "postgresql")
"""Extras whose packages are lowered and raised too. The unit tests skip or do without the others, which are large."""
TELLING = (
    "tests/unit/cli/test_main.py::test_bad_input_exits_2_with_one_line",
    "tests/unit/cli/test_main.py::test_what_will_not_start_exits_3_and_says_why",
    "tests/unit/cli/test_main.py::test_a_study_is_reported_as_a_page",
    "tests/unit/estimate/test_batch.py",
    "tests/unit/files/test_structured.py",
    "tests/unit/files/test_writing.py",
    "tests/unit/study/test_space.py",
    "tests/unit/test_errors.py",
)
"""What reads command lines, files and requests, and says what is wrong with them: where versions differ most."""
RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest"}
HOME = ROOT / "build" / "ranges"


def pythons() -> list[Path]:
    """One interpreter for each minor version, first of those on the PATH, then of pyenv."""
    found = (next(filter(_runs, _candidates(minor)), None) for minor in range(FIRST_MINOR, LAST_MINOR + 1))
    return [path for path in found if path]


def _candidates(minor: int) -> list[Path]:
    name = f"python3.{minor}"
    on_path = (shutil.which(name, path=folder) for folder in os.environ.get("PATH", "").split(os.pathsep))
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return [*(Path(path) for path in on_path if path), *sorted(pyenv.glob(f"versions/3.{minor}.*/bin/{name}"))]


def _runs(python: Path) -> bool:
    """Whether it is an interpreter with what a virtual environment needs; pyenv's shims may be none."""
    return subprocess.run([python, "-c", "import ssl, venv"], capture_output=True, check=False).returncode == 0


def uv(*words: str | Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "uv", "--quiet", "--no-python-downloads", *words]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)


def index_answers() -> bool:
    """Whether the package index names a release of a package that planner needs; answers of before are not taken."""
    return uv("pip", "install", "--dry-run", "--refresh", "--reinstall", "--no-deps", "--target", HOME / "none",
              "packaging").returncode == 0  # fmt: skip


def install(python: Path, versions: str, venv: Path) -> str:
    """Make the environment; what went wrong, or nothing."""
    pins = venv.with_name(f"{venv.name}.txt")
    extras = [word for extra in EXTRAS for word in ("--extra", extra)]
    steps: tuple[tuple[str | Path, ...], ...] = (
        ("venv", "--clear", "--no-project", "--python", python, venv),
        ("pip", "compile", "pyproject.toml", *extras, "--python", venv, "--only-binary", ":all:", "--no-annotate",
         "--resolution", RESOLUTIONS[versions], "--upgrade", "--output-file", pins),
        ("pip", "install", "--python", venv, "--only-binary", ":all:", "--requirements", pins, "--constraints", pins,
         "--requirements", "pyproject.toml", "--extra", "test"),
        ("pip", "install", "--python", venv, "--no-deps", "--editable", "."),
    )  # fmt: skip
    for words in steps:
        done = uv(*words)
        if done.returncode:
            return done.stderr.strip() or f"uv {words[0]} ended with {done.returncode}"
    return ""


def run_tests(venv: Path, tests: Sequence[str]) -> tuple[bool, str]:
    """Whether all passed, and pytest's last line, after its whole output where they did not."""
    argv = [venv / "bin" / "python", "-m", "pytest", *tests, "-q", "-m", "not prove", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines() or [done.stderr.strip()[-300:]]
    return done.returncode == 0, lines[-1].strip("= ") if done.returncode == 0 else f"\n{done.stdout}{done.stderr}"


def versions_in(venv: Path) -> str:
    """Versions that the environment has of the packages that differ most."""
    listed = uv("pip", "freeze", "--python", venv).stdout
    return ", ".join(re.findall(r"^(?:msgspec|numpy|rich|typer)==\S+", listed, re.MULTILINE))


@dataclass(frozen=True)
class Outcome:
    """What the tests said of one Python with one choice of versions; `is_good` is None where nothing could be asked."""

    is_good: bool | None
    said: str


def tried(python: Path, versions: str, tests: Sequence[str]) -> Outcome:
    venv = HOME / f"{python.name}-{versions}"
    if wrong := install(python, versions, venv):
        if index_answers():
            return Outcome(False, wrong)
        return Outcome(None, f"no package index answers, so nothing is known: {wrong.splitlines()[-1]}")
    is_good, said = run_tests(venv, tests)
    return Outcome(is_good, f"{versions_in(venv)}: {said}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--whole", action="store_true", help="all of tests/unit")
    tests = ("tests/unit",) if parser.parse_args().whole else TELLING
    HOME.mkdir(parents=True, exist_ok=True)
    found = pythons()
    cells = [(python, versions) for python in found for versions in RESOLUTIONS]
    outcomes = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for (python, versions), outcome in zip(cells, pool.map(lambda cell: tried(*cell, tests), cells), strict=True):
            print(f"ranges: {python.name}, {versions} allowed versions: {outcome.said}", flush=True)
            outcomes.append(outcome)
    absent = [name for name in EXPECTED if name not in {path.name for path in found}]
    print(f"ranges: {len(outcomes)} tried; not on this machine: {', '.join(absent) or 'none'}")
    return 1 if any(outcome.is_good is False for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
