"""Batches that V1 captures CUDA graphs for where requests decode several tokens at once, as speculative ones do.

In: the engine's settings. Out: tokens that a request decodes at once, and numbers of captured sizes. Formulas over
arrays of candidates. Source: vllm@0.24.0 config/vllm.py:_set_cudagraph_sizes, config/compilation.py:
adjust_cudagraph_sizes_for_spec_decode, v1/cudagraph_dispatcher.py:initialize_cudagraph_keys.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from planner import arrays as columns
from planner.arrays import IntColumn
from planner.engine import GRAPHS_FOLLOW_DRAFTS_SINCE, GRAPHS_OF_DRAFT_BATCHES_SINCE, ResolvedEngine

MOST_GRAPH_TOKENS = 1024
"""Largest batch that any default captures, in tokens."""


def decoded_at_once(engine: ResolvedEngine) -> int:
    """Number of tokens that a request decodes in one step: the next one and those that were drafted."""
    speculation = engine.speculation
    return 1 + (speculation.num_tokens if speculation is not None else 0)


def tokens_of_full_batch(engine: ResolvedEngine) -> IntColumn:
    """Tokens of a batch in which max_num_seqs requests decode, as the largest default size counts them."""
    counted = decoded_at_once(engine) if engine.version >= GRAPHS_FOLLOW_DRAFTS_SINCE else 1
    return engine.max_num_seqs * counted


def num_rounded_sizes(engine: ResolvedEngine, least: int, most: Any) -> Any:
    """Number of captured sizes from `least` to `most` tokens, each a multiple of what a request decodes at once."""
    sizes = _rounded_sizes(decoded_at_once(engine), engine.version >= GRAPHS_OF_DRAFT_BATCHES_SINCE)
    return sum((size <= most) * 1 for size in sizes if size >= least)


def listed_up_to(engine: ResolvedEngine) -> IntColumn:
    """Largest of the captured batches that a compilation config lists, in tokens: none exceeds max_num_batched_tokens.

    With drafts it is rounded up to whole requests (config/compilation.py:adjust_cudagraph_sizes_for_spec_decode).
    """
    largest: Any = 0
    for size in _listed(engine):
        largest = columns.where(size <= engine.max_num_batched_tokens, size, largest)
    found: IntColumn = largest
    return found


def num_listed(engine: ResolvedEngine, most: Any) -> IntColumn:
    """Number of listed batches of at most `most` tokens that are captured."""
    fits: Any = sum(((size <= most) & (size <= engine.max_num_batched_tokens)) * 1 for size in _listed(engine))
    found: IntColumn = fits
    return found


def _listed(engine: ResolvedEngine) -> list[int]:
    """The listed sizes in ascending order, each a multiple of what a request decodes at once."""
    multiple = decoded_at_once(engine)
    return sorted({-(-size // multiple) * multiple for size in engine.compilation.sizes or ()})


@lru_cache(maxsize=32)
def _rounded_sizes(multiple: int, of_requests: bool) -> tuple[int, ...]:
    """Sizes of the default list, rounded up; `of_requests`: those of 1, 2, 4, 8 ... decoding requests too."""
    plain = [1, 2, 4, *range(8, 256, 8), *range(256, MOST_GRAPH_TOKENS + 1, 16)]
    rounded = {-(-size // multiple) * multiple for size in plain}
    if of_requests:
        rounded |= {size * multiple for size in plain}
    return tuple(sorted(size for size in rounded if size <= MOST_GRAPH_TOKENS))
