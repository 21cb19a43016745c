"""`Learned`: what real starts have taught of the memory of each host, as a value that grows by making a new one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from planner.estimate import (
    Calibration,
    Calibrations,
    Deployment,
    MemoryFigures,
    calibrate,
    calibration_key,
    estimate_memory,
    strictest,
)


@dataclass(frozen=True, slots=True)
class Learned:
    """Calibrations by `calibration_key`. Of several hosts each keeps its own; all are judged by the strictest."""

    calibrations: Calibrations = field(default_factory=dict)
    of_hosts: Mapping[str, Mapping[str | None, Calibration]] = field(default_factory=dict)
    """By key, then by the host's name; None: the only host."""

    def learn(self, deployment: Deployment, real: MemoryFigures, source: str, host: str | None = None) -> Learned:
        """What is known after one more start of this deployment; the same value where its log told nothing."""
        plain = estimate_memory(deployment.model, deployment.placement, deployment.engine)
        calibration = calibrate(plain, real, source)
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
        """What is known of this host, and of the others where nothing is."""
        return {key: self.of_hosts.get(key, {}).get(host, found) for key, found in self.calibrations.items()}
