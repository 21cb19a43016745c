"""`make audit`: known vulnerabilities of the packages that are installed here, as PyPI tells them to pip-audit.

Exit code 1 on a finding. Where nobody could be asked nothing is known, which is said and ends with 0: a machine without
a network is no finding, and no finding is then no proof.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

LIMIT_S = 60
COMMAND = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--timeout", "10"]


def asked() -> tuple[list[dict[str, Any]], str]:
    """pip-audit's answer on each package, or nothing and why."""
    try:
        done = subprocess.run(
            [*COMMAND, "--skip-editable"], capture_output=True, text=True, check=False, timeout=LIMIT_S
        )
        return json.loads(done.stdout)["dependencies"], ""
    except subprocess.TimeoutExpired:
        return [], f"no answer in {LIMIT_S} s"
    except (ValueError, KeyError):
        return [], (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1][:300]


def judged(packages: list[dict[str, Any]], why: str) -> tuple[str, int]:
    """What to print, and the exit code."""
    known = [package for package in packages if "vulns" in package]
    found = [
        f"{package['name']} {package['version']}: {one['id']}, mended in {', '.join(one['fix_versions']) or 'none'}"
        for package in known
        for one in package["vulns"]
    ]
    if not known:
        reason = why or (packages[0]["skip_reason"] if packages else "no packages are installed")
        return f"audit: could not look, so nothing is known: {reason}", 0
    unknown = f", {len(packages) - len(known)} could not be looked up" if len(known) < len(packages) else ""
    summary = f"audit: {len(found)} known vulnerabilities in {len(known)} packages{unknown}"
    return "\n".join([*found, summary]), 1 if found else 0


def main() -> int:
    words, code = judged(*asked())
    print(words)
    return code


if __name__ == "__main__":
    sys.exit(main())
