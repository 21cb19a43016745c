"""Pictures of real output in the pages: `python -m tests.pictures` runs each command and writes docs/images.

In: a command. Out: what it printed in colour, as an SVG that loads no font and nothing else. tests/test_docs.py checks
that the picture says what the command prints now.
"""

from __future__ import annotations

import html
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from tests.places import ROOT

HOME = ROOT / "docs" / "images"
PICTURES = {"estimate.svg": 'planner estimate --model Qwen/Qwen3-8B --gpu "RTX 4090"'}
"""File -> the command that it shows."""
WIDTH = 92
"""Columns, of the terminal that the command prints to."""
FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
"""Rich's, without the fonts that a browser would fetch from a server: it takes its own of fixed width."""


def output(command: str) -> str:
    """What the command prints on a colour terminal, in an empty folder. Its exit code may be that of a bad verdict."""
    argv = [sys.executable, "-m", *shlex.split(command)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FORCE_COLOR": "1", "COLUMNS": str(WIDTH)}
    environment.pop("NO_COLOR", None)
    with tempfile.TemporaryDirectory() as empty:
        done = subprocess.run(argv, cwd=empty, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        raise RuntimeError(f"{command}: {done.stderr}")
    return done.stdout


def picture(command: str) -> str:
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(output(command)), end="")
    return console.export_svg(title=f"$ {command}", code_format=FORMAT, unique_id="planner")


def words(svg: str) -> list[str]:
    """The texts of a picture in their order, without place and colour, which another release of Rich may change."""
    texts = re.findall(r"<text[^>]*>(.*?)</text>", svg, re.DOTALL)
    return " ".join(html.unescape(text).replace("\xa0", " ") for text in texts).split()


def paths() -> dict[Path, str]:
    """Each picture's file and command."""
    return {HOME / name: command for name, command in PICTURES.items()}


def main() -> None:
    HOME.mkdir(exist_ok=True)
    for path, command in paths().items():
        made = picture(command)
        if not path.exists() or words(path.read_text("utf-8")) != words(made):
            path.write_text(made, "utf-8")
            print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
