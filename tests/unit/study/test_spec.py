"""What a study's own types refuse, and how it calls its deployment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from planner.errors import InputError
from planner.files.structured import convert
from planner.study.spec import StudySpec


@pytest.mark.parametrize("key", ["hardware__gpu_memory", "hardware__host_memory", "container__shm_size"])
@pytest.mark.parametrize("size", [24, 0, "1", "512KiB"])
def test_a_size_without_its_unit_is_refused(study_data: Callable[..., dict[str, Any]], key: str, size: Any) -> None:
    name = key.partition("__")[2]
    with pytest.raises(InputError, match=rf"{name}: \d+ means \d+ bytes; write the unit, for example {name}: 24GiB"):
        convert(study_data(**{key: size}), StudySpec, "study.yaml")
    assert convert(study_data(**{key: "24GiB"}), StudySpec, "study.yaml")


def test_a_deployment_is_called_by_what_decides_its_answer(study_data: Callable[..., dict[str, Any]]) -> None:
    spec = convert(study_data(), StudySpec, "study.yaml")
    assert spec.deployment_words == (
        "Qwen3-8B on 2 x RTX 2080 Ti 22GB (pcie), vLLM 0.8.5, dtype half, max_model_len 4096"
    )
