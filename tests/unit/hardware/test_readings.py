"""What the cards do now: what the driver tells, what it does not, and no driver at all."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from planner.hardware.readings import CardReading, Readings, read_cards


class NoNvml(Exception):  # noqa: N818  (NVML's own name ends otherwise)
    pass


def nvml(**changes: Any) -> SimpleNamespace:
    """A driver with one H200, in NVML's units; a changed call replaces its own."""
    calls: dict[str, Any] = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": lambda _: "NVIDIA H200",
        "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(used=3 << 30, total=141 << 30),
        "nvmlDeviceGetUtilizationRates": lambda _: SimpleNamespace(gpu=87),
        "nvmlDeviceGetPowerUsage": lambda _: 412_500,
        "nvmlDeviceGetEnforcedPowerLimit": lambda _: 700_000,
        "nvmlDeviceGetTemperature": lambda _, sensor: 61 + sensor,
    }
    return SimpleNamespace(NVMLError=NoNvml, NVML_TEMPERATURE_GPU=0, **(calls | changes))


def refuse(*_: object) -> Any:
    raise NoNvml("Not Supported")


def test_each_figure_has_its_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml())
    card = CardReading(
        index=0, name="NVIDIA H200", used_bytes=3 << 30, total_bytes=141 << 30, power_w=412.5, power_limit_w=700.0,
        temperature_c=61, busy=0.87,
    )  # fmt: skip
    assert read_cards() == Readings((card,))


def test_what_a_card_does_not_report_is_not_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ("PowerUsage", "EnforcedPowerLimit", "Temperature", "UtilizationRates", "MemoryInfo")
    monkeypatch.setitem(sys.modules, "pynvml", nvml(**{f"nvmlDeviceGet{name}": refuse for name in asked}))
    (card,) = read_cards().cards
    assert {card.power_w, card.power_limit_w, card.temperature_c, card.busy, card.used_bytes} == {None}


def test_no_driver_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(nvmlInit=refuse))
    assert read_cards() == Readings(error="Not Supported")
