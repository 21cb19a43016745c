"""One request as the client saw it: sent, first token, each later chunk, end or error."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """Raw times of one request on one clock, in seconds; `error` is None where the answer is complete."""

    index: int
    started_s: float
    chunk_s: tuple[float, ...]
    """Arrival of each chunk that carried tokens."""
    finished_s: float
    input_tokens: int
    output_tokens: int
    finish_reason: str | None = None
    error: str | None = None
    due_s: float | None = None
    """When it should have been sent: its arrival time, or the moment its place in the loop was free."""
    text: str = ""
    """The answer, where it was asked to be kept."""

    @property
    def queue_s(self) -> float:
        """How late the client sent it."""
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
