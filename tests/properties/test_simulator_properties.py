"""The simulated engine, which advances runs of decode steps at once, gives what the step-by-step reference gives.

Over random loads, releases and shortages: the same order of ends, preemptions and hits; times to the last bit.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version

from planner.benchmark.records import RequestRecord
from planner.engine.defaults import resolve
from planner.estimate.speed.step import StepModel
from planner.hardware.by_name import find_gpu
from planner.hardware.placement import Placement
from planner.model.catalog import load_model
from planner.simulated import load as fast
from planner.simulated.scheduler import SimulatedEngine
from planner.workload.shapes import ClosedLoop, OpenLoop, Shape
from planner.workload.workload import PromptBlocks, RequestPlan
from tests import stepwise

MODEL = load_model("Qwen/Qwen3-32B-AWQ")
CARDS = {"0.8.5": find_gpu("RTX 2080 Ti 22GB"), "0.14.1": find_gpu("RTX 2080 Ti 22GB"), "0.24.0": find_gpu("H200")}
"""A card for each release: V0, V1, and V1 with asynchronous scheduling."""


def steps_of(version: str, **asked: Any) -> StepModel:
    card = CARDS[version]
    layout = {"dtype": "half", "tensor_parallel_size": 4, "max_model_len": 4096, "max_num_batched_tokens": 4096}
    return StepModel(MODEL, Placement(card, 4), resolve({**layout, **asked}, MODEL, card, Version(version)))


@st.composite
def engine_steps(draw: st.DrawFn) -> StepModel:
    version = draw(st.sampled_from(sorted(CARDS)))
    chunked = None if version != "0.8.5" else draw(st.booleans())
    asked: dict[str, Any] = {
        "max_num_seqs": draw(st.sampled_from([1, 3, 8, 64])),
        "enable_prefix_caching": draw(st.booleans()),
        "enable_chunked_prefill": chunked,
        "enforce_eager": draw(st.booleans()),
    }
    if chunked is not False:
        asked["max_num_batched_tokens"] = draw(st.sampled_from([64, 200, 512, 4096]))
    if version == "0.8.5":
        asked["max_seq_len_to_capture"] = draw(st.sampled_from([300, 4096]))
    return steps_of(version, **asked)


@st.composite
def traces(draw: st.DrawFn) -> list[RequestPlan]:
    """Requests whose prompts share blocks of 64 tokens: a tree, each id with one parent, as a trace's hashes have."""
    count = draw(st.integers(1, 24))
    most = draw(st.sampled_from([6, 40, 400]))
    plans = []
    for index in range(count):
        branch, depth = draw(st.integers(0, 2)), draw(st.integers(0, 6))
        own = draw(st.integers(0, 4))
        ids = [100 * branch + i for i in range(depth)] + [10_000 + 100 * index + i for i in range(own + 1)]
        tokens = 64 * (len(ids) - 1) + draw(st.integers(1, 64))
        plans.append(RequestPlan(index, tokens, draw(st.integers(1, most)), 0, blocks=PromptBlocks(tuple(ids), 64)))
    return plans


SHAPES: st.SearchStrategy[Shape] = st.one_of(
    st.builds(ClosedLoop, st.integers(1, 12)),
    st.builds(OpenLoop, st.sampled_from([0.2, 2.0, 20.0]), st.just(1.0), st.sampled_from([None, 3])),
)


def outcome(loop: Any, plans: list[RequestPlan], shape: Shape) -> tuple[list[RequestRecord], list[Any]]:
    records = loop.run(plans, shape, 3)
    engines = [one.engine for one in loop.instances] if hasattr(loop, "instances") else loop.engines
    counters = [(e.num_preemptions, e.prefix_query_tokens, e.prefix_hit_tokens, e.pool.num_used) for e in engines]
    return records, [*counters, loop.kv_usage_peak, loop.now_s]


@given(engine_steps(), traces(), SHAPES, st.integers(1, 3), st.sampled_from([12, 30, 60, 90, 2000]))
@settings(max_examples=60, deadline=None)
def test_runs_of_steps_give_what_single_steps_give(
    steps: StepModel, plans: list[RequestPlan], shape: Shape, instances: int, num_blocks: int
) -> None:
    slow = stepwise._Loop([stepwise.StepwiseEngine(steps, num_blocks, seed) for seed in range(instances)])
    quick = fast._Loop([SimulatedEngine(steps, num_blocks, seed) for seed in range(instances)])
    for _ in range(2):  # the second load finds what the first left in the cache
        expected, counted = outcome(slow, plans, shape)
        found, counts = outcome(quick, plans, shape)
        assert counts == counted
        assert found == expected
