"""`LiveSequence`: a request inside a simulated engine, waiting or running.

In: its token counts and the hashes of its prompt's blocks. Out: what is computed, emitted and held. The scheduler
changes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class LiveSequence:
    request_id: str
    input_tokens: int
    output_tokens: int
    block_hashes: Sequence[int]
    emitted: int = 0
    computed: int = 0
    """Number of tokens whose keys and values are in the cache."""
    num_blocks: int = 0
    num_named: int = 0
    """Number of block hashes handled so far: shared, given to a block, or already held by another block."""
    held: list[tuple[int, int]] = field(default_factory=list)
    """Stretches of the prompt's blocks that this sequence uses and that have a hash."""

    @property
    def is_named(self) -> bool:
        """Whether all block hashes are handled."""
        return self.num_named >= len(self.block_hashes)

    @property
    def num_new(self) -> int:
        """Number of tokens to compute before the next one can be emitted; 1 while decoding."""
        return self.input_tokens + self.emitted - self.computed

    @property
    def is_decoding(self) -> bool:
        return self.emitted > 0 and self.num_new == 1
