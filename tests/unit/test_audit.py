"""The audit of packages: a finding fails it, and not to have looked is neither a finding nor a proof."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.audit import judged
from tests.places import ROOT

CLEAN = {"name": "a", "version": "1.0", "vulns": []}
HIT = {"name": "b", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited: c (1.0)"}


def test_a_finding_fails() -> None:
    assert judged([CLEAN, HIT], "") == (
        "b 2.0: PYSEC-1, mended in 2.1\naudit: 1 known vulnerabilities in 2 packages", 1,
    )  # fmt: skip


def test_no_finding_says_of_how_many() -> None:
    words = "audit: 0 known vulnerabilities in 1 packages, 1 could not be looked up"
    assert judged([CLEAN, SKIPPED], "") == (words, 0)


def test_where_nobody_answers_nothing_is_known() -> None:
    """A mirror that knows none of the packages, and a service that is not there."""
    assert judged([SKIPPED], "")[0].startswith("audit: could not look, so nothing is known: Dependency not found")
    env = {**os.environ, "HTTPS_PROXY": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": ""}
    done = subprocess.run(
        [sys.executable, "-m", "tests.audit"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("audit: could not look, so nothing is known: ")
