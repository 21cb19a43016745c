"""`GivenPrompt`: one request of recorded traffic; `Traffic`: all of a file. `traces/` reads the files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec

MOST_TOKENS = 2**31 - 1
MOST_ARRIVAL_S = 1e9
TOKENS_PER_WORD = 1.3
"""Approximate tokens per word of English text, for texts whose tokens a file does not count."""
SUFFIXES = (".jsonl", ".json", ".csv", ".ndjson")
"""Names of files that --workload takes for traffic; what they hold is told by their content."""
Tokens = Annotated[int, msgspec.Meta(ge=1, le=MOST_TOKENS)]


class GivenPrompt(msgspec.Struct, frozen=True):
    """One recorded request: its prompt, or only the prompt's length."""

    prompt: str | None
    output_tokens: Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)] | None = None
    arrival_s: Annotated[float, msgspec.Meta(ge=-MOST_ARRIVAL_S, le=MOST_ARRIVAL_S * 10)] | None = None
    input_tokens: Tokens | None = None
    """Length of the prompt. If `prompt` is None, a prompt of this length is generated."""
    hash_ids: tuple[int, ...] = ()
    """One id for each `block_tokens` of the prompt, the last block may be shorter; equal ids stand for equal tokens."""
    block_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Traffic:
    """The requests of a file: in the order of their arrivals if all have one, else in the file's."""

    kind: str
    """Name of the file's format."""
    requests: tuple[GivenPrompt, ...]
    left_out: int = 0
    """Number of entries that are no request to send: failed ones, conversations without an answer."""

    is_cut: bool = False
    """Whether the file has more entries than are read."""

    @property
    def has_arrivals(self) -> bool:
        return all(one.arrival_s is not None for one in self.requests)
