"""One request as the client saw it: sent, first token, each later chunk, end or error."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """Raw times of one request, all in seconds on one clock; `error` is None if the answer is complete."""

    index: int
    started_s: float
    chunk_s: tuple[float, ...]
    """Arrival time of each chunk that carried tokens."""
    finished_s: float
    input_tokens: int
    output_tokens: int
    finish_reason: str | None = None
    error: str | None = None
    due_s: float | None = None
    """Time at which the request should have been sent: its arrival time, or when its slot in a closed loop was free."""
    text: str = ""
    """Text of the answer; empty unless it was asked to be kept."""

    @property
    def queue_s(self) -> float:
        """How late the client sent the request, in seconds."""
        return 0.0 if self.due_s is None else max(0.0, self.started_s - self.due_s)

    @property
    def ttft_s(self) -> float:
        return self.chunk_s[0] - self.started_s

    @property
    def e2el_s(self) -> float:
        return self.finished_s - self.started_s

    @property
    def tpot_s(self) -> float | None:
        if self.output_tokens < 2:
            return None
        return (self.chunk_s[-1] - self.chunk_s[0]) / (self.output_tokens - 1)
