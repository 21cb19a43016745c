"""The demand on a fleet at its peak: arrivals, and the work in each request.

In: a rate with burstiness, or a trace. Out: `DemandedLoad`s to simulate, with the part of each that is judged. A
steady load begins with the number of requests in flight that it will have, so that little has to be discarded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.errors import InputError
from planner.fleet.instance import Column, MeasuredInstance
from planner.fleet.spec import DemandSpec
from planner.workload import GivenPrompt

MIN_REQUESTS = 30_000
NUM_BATCHES = 10
JUDGED, WARMUP, FOLLOWING = 1.5, 1.0, 4.0
"""Parts of a steady load, in mean latencies at the knee: the judged part (MIN_REQUESTS, if that is more), the warm-up
before it, and the part after it that keeps the fleet busy until all judged requests have ended.
"""
NUM_REPEATS = 5
"""Number of simulations of a trace; their request sizes differ if the trace does not give them."""


@dataclass(frozen=True, slots=True)
class DemandedLoad:
    arrivals_s: Column
    sizes: Column
    batch: NDArray[np.int64]
    """Batch of each request; negative if it is not judged."""

    @property
    def num_wanted(self) -> int:
        """Number of requests up to the last that is judged."""
        return int(np.flatnonzero(self.batch >= 0)[-1]) + 1


@dataclass(frozen=True, slots=True)
class Steady:
    mean_rate_per_s: float
    peak_rate_per_s: float
    burstiness: float

    def part(self, share: float) -> Steady:
        return Steady(self.mean_rate_per_s * share, self.peak_rate_per_s * share, self.burstiness)

    def loads(self, instance: MeasuredInstance, num_instances: int, seed: int) -> Iterator[DemandedLoad]:
        """Loads of equal arrivals and sizes for any number of instances, so that more never look worse by luck."""
        rate = self.peak_rate_per_s
        in_flight = rate * float(instance.latency_s[instance.knee])
        judged, warmup = math.ceil(max(MIN_REQUESTS, JUDGED * in_flight)), math.ceil(WARMUP * in_flight)
        count = warmup + judged + math.ceil(FOLLOWING * in_flight)
        rng = np.random.default_rng((seed, 1))
        shape = self.burstiness
        gaps = np.ones(count) if math.isinf(shape) else rng.gamma(shape, 1 / shape, count)
        sizes = drawn_sizes(rng, instance.size_cv, count)
        first = round(num_instances * instance.in_flight_at(rate / num_instances))
        batch = (np.arange(count) - warmup) * NUM_BATCHES // judged
        batch[batch >= NUM_BATCHES] = -1
        yield DemandedLoad(
            np.concatenate([np.zeros(first), np.cumsum(gaps) / rate]),
            np.concatenate([_left_over(np.random.default_rng((seed, 2)), instance.size_cv, first), sizes]),
            np.concatenate([np.full(first, -1), batch]),
        )


@dataclass(frozen=True, slots=True)
class Trace:
    """The busiest window of a trace, and the same time before it, in which queues fill."""

    mean_rate_per_s: float
    peak_rate_per_s: float
    arrivals_s: Column
    output_tokens: Column | None
    is_judged: NDArray[np.bool_]
    mean_output_tokens: float | None
    """Mean output tokens of a request, over the whole trace."""

    def loads(self, instance: MeasuredInstance, num_instances: int, seed: int) -> Iterator[DemandedLoad]:  # noqa: ARG002
        for repeat in range(NUM_REPEATS):
            if self.output_tokens is not None and self.mean_output_tokens is not None:
                sizes = self.output_tokens / (instance.output_tokens or self.mean_output_tokens)
            else:
                rng = np.random.default_rng((seed, 1, repeat))
                sizes = drawn_sizes(rng, instance.size_cv, len(self.arrivals_s))
            yield DemandedLoad(self.arrivals_s, sizes, np.where(self.is_judged, 0, -1))


Demand = Steady | Trace


def demand_of(spec: DemandSpec, prompts: Sequence[GivenPrompt], where: str) -> Demand:
    """The demand of a fleet.yaml. Raises InputError for a trace without arrivals."""
    if spec.rate is not None:
        return Steady(spec.rate, spec.rate * spec.peak, spec.burstiness)
    times = [prompt.arrival_s for prompt in prompts]
    if any(time is None or not math.isfinite(time) for time in times):
        raise InputError(f"{where}: a line has no arrival_s, and a trace needs it in each")
    order = np.argsort(np.array(times, dtype=float), kind="stable")
    arrivals = np.array(times, dtype=float)[order] / spec.trace_speed
    length_s = float(arrivals[-1] - arrivals[0])
    if len(arrivals) < 2 or length_s <= 0:
        raise InputError(f"{where}: a trace needs requests at two times or more")
    tokens = None
    if all(prompt.output_tokens is not None for prompt in prompts):
        tokens = np.array([prompt.output_tokens for prompt in prompts], dtype=float)[order]
    window_s = min(float(spec.peak_window), length_s)
    begins = np.minimum(arrivals, arrivals[-1] - window_s)
    counts = np.searchsorted(arrivals, begins + window_s, "right") - np.searchsorted(arrivals, begins, "left")
    begin_s = float(begins[int(np.argmax(counts))])
    kept = (arrivals >= begin_s - window_s) & (arrivals <= begin_s + window_s)
    return Trace(
        mean_rate_per_s=len(arrivals) / length_s,
        peak_rate_per_s=int(counts.max()) / window_s,
        arrivals_s=arrivals[kept] - arrivals[kept][0],
        output_tokens=None if tokens is None else np.maximum(tokens[kept], 1.0),
        is_judged=arrivals[kept] >= begin_s,
        mean_output_tokens=None if tokens is None else float(tokens.mean()),
    )


def drawn_sizes(rng: np.random.Generator, cv: float, count: int) -> Column:
    """Sizes from a gamma distribution of mean 1 and coefficient of variation `cv`: all equal at 0, exponential at 1."""
    return rng.gamma(1 / cv**2, cv**2, count) if cv > 0 else np.ones(count)


def _left_over(rng: np.random.Generator, cv: float, count: int) -> Column:
    """Work left in the requests in service at a random moment: longer ones are met more often, in their midst."""
    met = rng.gamma(1 / cv**2 + 1, cv**2, count) if cv > 0 else np.ones(count)
    return met * rng.random(count)
