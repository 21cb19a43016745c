"""Predict the most load that keeps limits on latencies: `predict_capacity(deployment, workload, limits)`.

In: a deployment, a workload, limits in seconds. Out: requests in flight, and the requests per second that these are.
The latencies are those that `predict` gives a closed loop of each concurrency; between two of them the room to the
limits is interpolated. An open loop's requests in flight vary about their mean, which lowers what it can carry: that is
left to what the search learns. A capacity above `most_load` is given as this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from planner.arrays import plain
from planner.estimate.deployment import Deployment
from planner.estimate.speed.coefficients import Coefficients
from planner.estimate.speed.prediction import predict
from planner.units import Seconds
from planner.workload import Workload, most_load

WAVES = 8
"""Waves of requests of each load that is predicted, so that fill and drain weigh little."""
LEAST = 1e-9
"""Stands in for a latency or a rate of 0, which has no logarithm."""


def predict_capacity(
    deployment: Deployment, workload: Workload, limits: Mapping[str, float], coefficients: Coefficients | None = None
) -> tuple[Any, Any]:
    """Most requests in flight that keep every limit, and requests per second at them; arrays if columns are.

    `limits`: upper bounds on latencies by metric, in seconds. A deployment that misses a limit with one request alone
    gets less than one, the further it misses the less, so that such deployments can still be compared.
    """
    most = int(most_load(workload, by_rate=False))
    level, before = 1, None
    capacity: Any = None
    rate: Any = None
    keeps: Any = None
    while True:
        metrics = predict(deployment, _in_flight(workload, level), coefficients)
        room = np.min([np.log(bound / np.maximum(metrics[name], LEAST)) for name, bound in limits.items()], axis=0)
        log_rate = np.log(np.maximum(np.asarray(metrics["request_throughput"], dtype=float), LEAST))
        if before is None:
            capacity, rate, keeps = np.exp(np.minimum(room, 0.0)), log_rate + np.minimum(room, 0.0), room >= 0
        else:
            share = np.clip(before[0] / np.maximum(before[0] - room, LEAST), 0.0, 1.0)
            share = np.where(room >= 0, 1.0, share)
            capacity = np.where(keeps, before[1] * (level / before[1]) ** share, capacity)
            rate = np.where(keeps, before[2] + share * (log_rate - before[2]), rate)
            keeps = keeps & (room >= 0)
        if level >= most or not np.any(keeps):
            return plain(capacity), plain(np.exp(rate))
        before, level = (room, level, log_rate), min(2 * level, most)


def _in_flight(workload: Workload, level: int) -> Workload:
    return msgspec.structs.replace(
        workload,
        concurrency=level,
        request_rate=None,
        start_rate=None,
        ramp=Seconds(0.0),
        num_requests=WAVES * level * workload.turns,
    )
