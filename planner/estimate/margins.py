"""How far a deployment is from running out of memory, in standard deviations: `start_margins(deployment)`.

In: a `Deployment`, of one candidate or with arrays. Out: two margins, of the KV cache and of the memory outside the
budget. What is above 0 is expected to start; how surely says the margin.
"""

from __future__ import annotations

from planner import arrays as columns
from planner.arrays import FloatColumn
from planner.estimate.chance import NINETY_PERCENT
from planner.estimate.deployment import Deployment
from planner.estimate.kv_rules import stages_counted
from planner.estimate.risks import SAFE_SPARE_BYTES
from planner.units import MIB

MOST_MARGIN = 6.0
"""Largest margin that is told apart from others, in standard deviations."""
LEAST_DOUBT_BYTES = 1 * MIB
"""Least standard deviation of a memory margin, in bytes: a log says no more than hundredths of a GiB."""


def start_margins(d: Deployment) -> tuple[FloatColumn, FloatColumn]:
    """Margins of memory, in standard deviations of the estimate, from -MOST_MARGIN to MOST_MARGIN.

    The first: the KV cache beyond one request of max_model_len tokens. The second: what stays free outside the budget
    beside context and CUDA graphs; their interval, and what fragments take (SAFE_SPARE_BYTES), make its doubt.
    """
    memory = d.memory
    needed = memory.request_blocks * memory.kv_block_bytes * stages_counted(d)
    kv = _margin(memory.kv_cache_bytes - needed, memory.uncertainty_bytes)
    if d.gpu.is_cpu:
        return kv, MOST_MARGIN
    graphs = 0.0 if memory.graphs_in_budget else memory.doubts.graphs
    return kv, _margin(memory.spare_outside_bytes, columns.sqrt(graphs**2 + SAFE_SPARE_BYTES**2))


def _margin(spare_bytes: FloatColumn, half_width_bytes: FloatColumn) -> FloatColumn:
    doubt = columns.maximum(half_width_bytes / NINETY_PERCENT, LEAST_DOUBT_BYTES)
    margin: FloatColumn = columns.clip(spare_bytes / doubt, -MOST_MARGIN, MOST_MARGIN)
    return margin
