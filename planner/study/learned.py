"""`Learned`: memory calibrations from real starts on each host. It is immutable; learning returns a new value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from planner.estimate import (
    Calibration,
    Calibrations,
    Deployment,
    ImpossibleCalibrationError,
    MemoryFigures,
    calibrate,
    calibration_key,
    estimate_memory,
    strictest,
)


@dataclass(frozen=True, slots=True)
class Learned:
    """Calibrations by `calibration_key`. Each host keeps its own; candidates are judged by the strictest."""

    calibrations: Calibrations = field(default_factory=dict)
    of_hosts: Mapping[str, Mapping[str | None, Calibration]] = field(default_factory=dict)
    """Calibrations by key, then by the host's name; None is the only host of a study without several."""
    refused: tuple[str, ...] = ()
    """In words, starts whose figures cannot be and which taught nothing."""

    def learn(self, deployment: Deployment, real: MemoryFigures, source: str, host: str | None = None) -> Learned:
        """The value after one more start of this deployment; `self` if its log had no memory figures to learn from.

        Raises InputError if the start was on another card.
        """
        plain = estimate_memory(deployment.model, deployment.placement, deployment.engine)
        try:
            calibration = calibrate(plain, real, source)
        except ImpossibleCalibrationError as error:
            return replace(self, refused=(*self.refused, str(error)))
        if calibration is None:
            return self
        key = calibration_key(deployment.placement, deployment.engine)
        hosts = {**self.of_hosts.get(key, {}), host: calibration}
        return replace(
            self,
            calibrations={**self.calibrations, key: strictest(list(hosts.values()))},
            of_hosts={**self.of_hosts, key: hosts},
        )

    def of_host(self, host: str) -> Calibrations:
        """This host's calibrations, and the strictest of the other hosts for keys it has none for."""
        return {key: self.of_hosts.get(key, {}).get(host, found) for key, found in self.calibrations.items()}
