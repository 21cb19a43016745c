"""NVIDIA cards at this moment: memory, power, temperature, load. `read_cards() -> Readings`, through NVML.

In: nothing. Out: one `CardReading` per card, or why there is none. A figure that a card does not report is None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MILLIWATTS = 1000
"""NVML tells power in milliwatts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardReading:
    index: int
    name: str
    used_bytes: int | None
    total_bytes: int | None
    power_w: float | None
    power_limit_w: float | None
    temperature_c: int | None
    """Temperature of the chip, in degrees Celsius."""
    busy: float | None
    """Share of the last sampling period in which at least one kernel ran."""


@dataclass(frozen=True, slots=True)
class Readings:
    cards: tuple[CardReading, ...] = ()
    error: str = ""
    """Why nothing can be read; empty if it can."""


def read_cards() -> Readings:
    """The cards as they are now; without a driver, readings whose `error` says why."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Readings(error=str(error))
    try:
        return Readings(tuple(_reading(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())))
    except pynvml.NVMLError as error:
        return Readings(error=str(error))
    finally:
        pynvml.nvmlShutdown()


def _reading(nvml: Any, index: int) -> CardReading:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)

    def told(ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except nvml.NVMLError:  # this card, or its driver, does not report it
            return None

    memory = told(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    rates = told(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    power, limit = (
        told(lambda: nvml.nvmlDeviceGetPowerUsage(handle)),
        told(lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle)),
    )
    return CardReading(
        index=index,
        name=nvml.nvmlDeviceGetName(handle),
        used_bytes=None if memory is None else memory.used,
        total_bytes=None if memory is None else memory.total,
        power_w=None if power is None else power / MILLIWATTS,
        power_limit_w=None if limit is None else limit / MILLIWATTS,
        temperature_c=told(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        busy=None if rates is None else rates.gpu / 100,
    )
