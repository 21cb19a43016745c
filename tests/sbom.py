"""`make sbom`: the software bill of materials of an installed planner, in build/sbom/, as CycloneDX JSON.

In: this checkout, uv and a package index. Out: one file with the name, version, licence and package URL of planner and
of each package that it brings; cyclonedx-py makes it from an empty environment into which the wheel was installed. Exit
code 1 where it cannot be made, or where it lacks what planner asks for by name.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path

from planner.version import __version__
from tests.dist import build
from tests.places import ROOT
from tests.ranges import uv

TOOL = "cyclonedx-bom>=5,<8"
"""Kept out of the dev extra: it and pip-audit ask for the same library in versions that need not meet."""
HOME = ROOT / "build" / "sbom"
NAME = "vllm-planner"


def normal(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def asked() -> set[str]:
    """Packages that planner asks for without an extra and whatever the platform is."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return {normal(re.split(r"[\s\[<>=!~;]", one, maxsplit=1)[0]) for one in project["dependencies"] if ";" not in one}


def lacking(text: str, names: Iterable[str]) -> list[str]:
    """Those of the names, and of planner in this version, that a CycloneDX bill lacks. ValueError for other text."""
    bill = json.loads(text)
    if bill.get("bomFormat") != "CycloneDX":
        raise ValueError("no CycloneDX")
    found = {normal(part["name"]): part.get("version") for part in bill.get("components", [])}
    root = bill.get("metadata", {}).get("component", {})
    found[normal(root.get("name", ""))] = root.get("version") or found.get(NAME)
    missing = sorted(set(names) - set(found))
    return [*missing, *([] if found.get(NAME) == __version__ else [f"{NAME} {__version__}"])]


def made(wheel: Path, target: Path) -> str:
    """Write the bill of an environment with only the wheel; what went wrong, or nothing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "venv" / "bin" / "python"
        for words in (
            ("venv", "--python", sys.executable, python.parents[1]),
            ("pip", "install", "--python", python, wheel),
        ):
            if (done := uv(*words)).returncode:
                return done.stderr.strip()
        argv = [sys.executable, "-m", "uv", "--quiet", "tool", "run", "--isolated", "--from", TOOL, "cyclonedx-py"]
        words = ("environment", "--output-reproducible", "--pyproject", ROOT / "pyproject.toml", "-o", target, python)
        done = subprocess.run([*argv, *words], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        return done.stderr.strip()
    bill = json.loads(target.read_bytes())
    bill["metadata"]["component"] |= {"version": __version__, "purl": f"pkg:pypi/{NAME}@{__version__}"}  # is dynamic
    target.write_text(json.dumps(bill, indent=2) + "\n", "utf-8")
    return ""


def main() -> int:
    target = HOME / f"{NAME}-{__version__}.cdx.json"
    try:
        with tempfile.TemporaryDirectory() as folder:
            wrong = made(build(Path(folder)), target)
        missing = [] if wrong else lacking(target.read_text("utf-8"), asked())
    except (RuntimeError, ValueError, OSError) as error:
        wrong, missing = str(error), []
    if wrong or missing:
        print(f"sbom: {wrong or 'not in the bill: ' + ', '.join(missing)}")
        return 1
    print(f"sbom: wrote {target.relative_to(ROOT)}: {len(json.loads(target.read_bytes())['components'])} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
