"""How sure a start is: `start_chance(deployment)`, from the doubts of the components that decide it.

In: one candidate. Out: the probability that the cards hold it, by the half widths of its 90 % intervals taken as those
of a normal distribution; the KV cache and what lies outside the budget are taken as independent.
"""

from __future__ import annotations

from math import erf, sqrt

from planner.estimate.deployment import Deployment
from planner.estimate.kv_rules import stages_counted

NINETY_PERCENT = 1.645
"""Half width of a 90 % interval in standard deviations."""
HOPELESS, SURE = 1 / 3, 0.9
"""Chance below which a start that lacks memory is refused, and from which on doubt is no risk; at risk between them. Of
18 recorded starts that failed for memory 15 are refused so, and none is called safe (tests/accuracy)."""
OPEN_RULES = frozenset({"KV cache has blocks", "KV cache holds one request", "CUDA graphs fit outside the budget"})
"""Rules whose excess is an estimate with a doubt; the others are sure."""
GUESSED_RULES = frozenset({"shards align", "max_num_seqs fits the Mamba cache blocks"})
"""Rules beside those of memory that rest on a guess where the architecture is not modelled: widths of its layers, and
states of layers that may keep none."""


def start_chance(d: Deployment) -> float:
    """Probability that the card holds the KV cache of one request, and what lies outside the budget."""
    return kv_chance(d) * outside_chance(d)


def kv_chance(d: Deployment) -> float:
    """Probability that what is left of the budget holds one request's KV cache."""
    memory = d.memory
    if d.engine.kv_cache_memory_bytes is not None or d.engine.num_gpu_blocks_override is not None:
        return 1.0 if memory.num_blocks >= memory.request_blocks else 0.0
    room = min((float(rank.available_bytes) for rank in memory.ranks if rank.block_bytes), default=None)
    if room is None:
        return 1.0
    needed = float(memory.request_blocks) * float(memory.kv_block_bytes) * stages_counted(d)
    return _chance(room - needed, float(memory.uncertainty_bytes))


def outside_chance(d: Deployment) -> float:
    """Probability that the CUDA context and graphs fit beside the budget."""
    memory = d.memory
    doubt = 0.0 if memory.graphs_in_budget else float(memory.doubts.graphs)
    return _chance(float(memory.spare_outside_bytes), doubt)


def _chance(spare: float, half_width: float) -> float:
    if not half_width:
        return float(spare >= 0)
    return 0.5 * (1 + erf(NINETY_PERCENT * spare / half_width / sqrt(2)))
