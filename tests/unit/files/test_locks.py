"""Who holds a lock, asked by somebody who does not want it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from planner.files.locks import held, is_held

HOLDER = """
import sys
from pathlib import Path
from planner.files import held
with held(Path(sys.argv[1]), "taken"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_is_held_until_its_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    assert not is_held(path)
    assert not path.exists(), "asking makes nothing"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert is_held(path)
        holder.kill()
        holder.wait()
    assert not is_held(path)
    with held(path, "taken"):
        assert is_held(path)
    assert not is_held(path)
