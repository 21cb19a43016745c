"""`make dist`: sdist and wheel in dist/, made and then tried as a new user would, in an empty environment.

In: this checkout, uv and a package index. Out: two files, and exit code 1 where one of them cannot be made, the wheel
does not answer `planner estimate`, or the tag of the release ($RELEASE_TAG, `v0.1.0`) is not that of the version.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from planner.version import __version__
from tests.places import ROOT
from tests.ranges import uv

TAG_ENV = "RELEASE_TAG"
ESTIMATE = ("planner", "estimate", "--model", "Qwen/Qwen3-8B", "--gpu", "RTX 4090")
"""The README's first command."""
ANSWERS = (0, 3)
"""Exit codes of an estimate that was made: it starts, or it will not."""


def build(folder: Path) -> Path:
    """The wheel, made from the sdist, which is left beside it. Raises RuntimeError with uv's words."""
    done = uv("build", "--out-dir", folder, ROOT)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    (wheel,) = folder.glob(f"vllm_planner-{__version__}-*.whl")
    return wheel


def run_installed(wheel: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the wheel as `uvx --from WHEEL ...` does: in an environment with only what it asks for."""
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    argv = [sys.executable, "-m", "uv", "--quiet", "tool", "run", "--isolated", "--from", wheel, *words]
    return subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def wrong_tag(tag: str) -> str:
    """What is wrong with the tag of a release, or nothing; no tag is not wrong."""
    if tag in {"", f"v{__version__}"}:
        return ""
    return f"the tag is {tag}, the version {__version__}: planner/version.py and the tag must name the same"


def main() -> int:
    if wrong := wrong_tag(os.environ.get(TAG_ENV, "")):
        print(f"dist: {wrong}")
        return 1
    try:
        wheel = build(ROOT / "dist")
    except RuntimeError as error:
        print(f"dist: {error}")
        return 1
    with tempfile.TemporaryDirectory() as empty:
        done = run_installed(wheel, *ESTIMATE, cwd=Path(empty))
    print(done.stdout, done.stderr, sep="")
    print(
        f"dist: {wheel.name} {'answers' if done.returncode in ANSWERS else 'does not answer'} in an empty environment"
    )
    return 0 if done.returncode in ANSWERS else 1


if __name__ == "__main__":
    sys.exit(main())
