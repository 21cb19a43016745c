"""Whether the load generator itself was the bottleneck: its CPU use, its delays, and their effect on the figures."""

from __future__ import annotations

from dataclasses import dataclass

from planner.benchmark.metrics import BenchmarkResult

# --- the client -------------------------------------------------------------------------------------------------------

MAX_CPU_FRACTION = 0.9
MAX_THROUGHPUT_ERROR = 0.02
MAX_TTFT_ERROR = 0.15
"""Limits of CPU use and of the client's part of E2EL and TTFT, all fractions, above which it is the bottleneck."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientHealth:
    """What the client measured of itself during a run."""

    wall_s: float
    cpu_s: float
    num_processes: int = 1
    loop_lag_mean_s: float
    """How late a timer of the event loop fires, in seconds: about the time that an arriving chunk waits to be seen."""
    loop_lag_p99_s: float
    loop_lag_max_s: float
    dispatch_late_mean_s: float
    """Seconds from when a request should have been sent until it was sent."""
    dispatch_late_p99_s: float
    dispatch_late_max_s: float
    bytes_sent: int
    bytes_received: int
    num_chunks: int

    @property
    def cpu_fraction(self) -> float:
        """CPU use as a fraction of one core per process."""
        return self.cpu_s / self.wall_s / self.num_processes if self.wall_s > 0 else 0.0

    @property
    def cpu_per_chunk_s(self) -> float:
        return self.cpu_s / self.num_chunks if self.num_chunks else 0.0


def client_fault(client: ClientHealth, result: BenchmarkResult) -> str | None:
    """Why the client was the bottleneck, as a sentence; None if it was not.

    In a closed loop the client's delays before a send and after the last chunk lengthen each request, so throughput
    drops by their share of the mean E2EL. That share and the client's share of TTFT must stay within the limits above.
    """
    added_s = client.dispatch_late_mean_s + client.loop_lag_mean_s
    of_e2el = added_s / result.metrics["e2el_mean"] if result.metrics["e2el_mean"] > 0 else 0.0
    of_ttft = client.loop_lag_mean_s / result.metrics["ttft_mean"] if result.metrics["ttft_mean"] > 0 else 0.0
    if client.cpu_fraction >= MAX_CPU_FRACTION:
        return f"the client used {client.cpu_fraction:.0%} of the processor time it may have"
    if of_e2el > MAX_THROUGHPUT_ERROR:
        return f"the client itself added {of_e2el:.1%} to the mean end-to-end latency"
    if of_ttft > MAX_TTFT_ERROR:
        return f"the client saw chunks so late that it added {of_ttft:.0%} to the mean time to first token"
    return None
