"""One of the faults on the real engine, for `make prove`. `make faults` injects all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.on_vllm import REPRESENTATIVE, VLLM_FAULTS, meet


@pytest.mark.prove
@pytest.mark.container
@pytest.mark.vllm
@pytest.mark.usefixtures("_containers")
def test_a_study_on_the_real_engine_survives(tmp_path: Path) -> None:
    met = meet(VLLM_FAULTS[REPRESENTATIVE], tmp_path)
    assert met.wrong() == [], met.output
