"""Values of a search space that no candidate of a study can have, such as drafts without layers for them.

In: what is searched, the models, the cards. Out: what is left of it, and why the rest is not. A value that the engine
would refuse or ignore under every combination multiplies the rows of the grid, so it goes before the grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from planner.engine import speculation_of
from planner.hardware import Placement
from planner.model import ModelSpec
from planner.study.candidate import LAYOUT, Layout, Value, parse_layout

DRAFTS, ALL_REDUCE = "speculative_config", "disable_custom_all_reduce"
PAIR = 2
"""Cards of a group without NVLink in which vLLM's own all-reduce may run (vllm@0.8.5, 0.32.0
distributed/device_communicators/custom_all_reduce.py); a larger group goes by NCCL anyway."""


def possible_values(
    searched: Mapping[str, list[Value]], models: Iterable[ModelSpec], placement: Placement, layout: Layout
) -> tuple[dict[str, list[Value]], tuple[str, ...]]:
    """What is searched without the values that no candidate can have, and a line for each kind left out.

    `layout`: that of all candidates where none is searched. Raises InputError for drafts that are no JSON.
    """
    left, words = dict(searched), list[str]()
    if (drafts := left.get(DRAFTS)) is not None and not any(_may_predict_tokens(model) for model in models):
        left[DRAFTS] = [value for value in drafts if not _needs_own_layers(value)]
        if len(left[DRAFTS]) < len(drafts):
            words.append(f"{DRAFTS} with mtp: the model has no layers for multi-token prediction")
    layouts = [parse_layout(str(text)) for text in left.get(LAYOUT, [])] or [layout]
    if ALL_REDUCE in left and not _has_own_all_reduce(layouts, placement):
        del left[ALL_REDUCE]
        words.append(
            f"{ALL_REDUCE}: vLLM's own all-reduce runs in a pair of cards or over NVLink, and no candidate has either"
        )
    if left.get(DRAFTS) in ([], [None]):
        del left[DRAFTS]
    return left, tuple(words)


def _may_predict_tokens(model: ModelSpec) -> bool:
    """Whether the model has layers for multi-token prediction, or planner does not know its architecture."""
    return model.num_mtp_layers > 0 or not model.is_known


def _needs_own_layers(value: Value) -> bool:
    speculation = speculation_of(None if value is None else str(value))
    return speculation is not None and speculation.drafting == "mtp" and speculation.model is None


def _has_own_all_reduce(layouts: Sequence[Layout], placement: Placement) -> bool:
    sizes = {layout.tensor_parallel_size for layout in layouts if layout.tensor_parallel_size > 1}
    return any(size == PAIR or placement.bridged(size) for size in sizes)
