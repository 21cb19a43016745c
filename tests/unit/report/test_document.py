"""Documents about a study: figures that agree with each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[[str], tuple[int, str, str]]


def test_what_is_deployed_has_the_figures_of_the_finals(run: Run, study: Path) -> None:
    code, out, _ = run("tune --backend simulated --trials 4 --json --quiet")
    assert code == 0
    found = json.loads(out)
    finals = {one["trial"]: one["values"] for one in found["finals"]}
    assert found["measured_again"]
    assert 0 in finals
    for name in ("deploy", "default"):
        values = finals[found[name]["trial"]]
        assert min(values) <= found[name]["value"] <= max(values)
        assert found[name]["metrics"]["output_throughput"] == pytest.approx(found[name]["value"], rel=1e-3)
        assert found[name]["metrics_in_search"]["output_throughput"] == pytest.approx(found[name]["value_in_search"])
    if not found["keeps_default"]:
        assert found["deploy"]["value"] / found["default"]["value"] - 1 == pytest.approx(found["gain"]["value"])
        assert found["deploy"]["value"] != found["deploy"]["value_in_search"]
    assert study.exists()
