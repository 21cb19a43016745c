"""Whether the load generator itself was the bottleneck: its CPU, its delays, and what they cost the figures."""

from __future__ import annotations

from dataclasses import dataclass

from planner.benchmark.metrics import BenchmarkResult

# --- the client -------------------------------------------------------------------------------------------------------

MAX_CPU_FRACTION = 0.9
MAX_THROUGHPUT_ERROR = 0.02
MAX_TTFT_ERROR = 0.15
"""What a client may add to the numbers before they are no longer the server's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientHealth:
    """What the client measured of itself during a run."""

    wall_s: float
    cpu_s: float
    num_processes: int = 1
    loop_lag_mean_s: float
    """How late a timer of the event loop fires: what an arriving chunk waits to be seen, about."""
    loop_lag_p99_s: float
    loop_lag_max_s: float
    dispatch_late_mean_s: float
    """From the moment a request should have been sent to its sending."""
    dispatch_late_p99_s: float
    dispatch_late_max_s: float
    bytes_sent: int
    bytes_received: int
    num_chunks: int

    @property
    def cpu_fraction(self) -> float:
        """Of the core or cores it may use."""
        return self.cpu_s / self.wall_s / self.num_processes if self.wall_s > 0 else 0.0

    @property
    def cpu_per_chunk_s(self) -> float:
        return self.cpu_s / self.num_chunks if self.num_chunks else 0.0


def client_fault(client: ClientHealth, result: BenchmarkResult) -> str | None:
    """Why the numbers are the client's and not the server's, in words; None where they are the server's.

    In a closed loop each request is longer by what the client adds before its send and after its last chunk, so the
    throughput is less by that share of the mean E2EL. The same, and TTFT, hold the limits above.
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
