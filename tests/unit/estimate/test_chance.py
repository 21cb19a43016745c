"""How sure a start is, and what the verdict makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.estimate.answer import Answer, answer_of
from planner.estimate.chance import HOPELESS, SURE, kv_chance, outside_chance, start_chance
from planner.estimate.deployment import Deployment
from planner.units import GIB
from tests.unit.estimate.test_fixes import setup_for

SMALL = {"model": "Qwen/Qwen3-8B", "gpu": "RTX 4090", "num_gpus": 1, "version": "0.10.0"}


def with_room(d: Deployment, lacking_gib: float) -> Deployment:
    """The deployment with so much less memory than one request needs, in GiB."""
    memory = d.memory
    needed = int(memory.request_blocks) * int(memory.kv_block_bytes)
    room = needed - lacking_gib * GIB
    rank = replace(memory.ranks[0], available_bytes=room)
    return replace(d, memory=replace(memory, ranks=(rank,), num_blocks=max(0, int(room // memory.kv_block_bytes))))


@pytest.mark.parametrize(("lacking", "chance"), [(0.0, 0.5), (1.0, 0.05), (-1.0, 0.95)])
def test_the_end_of_a_90_percent_interval_is_reached_by_one_in_twenty(lacking: float, chance: float) -> None:
    d = setup_for(**SMALL, max_model_len=8192).deployment()
    doubt = float(d.memory.uncertainty_bytes) / GIB
    assert kv_chance(with_room(d, lacking * doubt)) == pytest.approx(chance, abs=0.002)


def test_what_is_set_leaves_no_doubt() -> None:
    enough = setup_for(**SMALL, max_model_len=8192, kv_cache_memory_bytes=2 * GIB).deployment()
    short = setup_for(**SMALL, max_model_len=8192, kv_cache_memory_bytes=GIB).deployment()
    assert (kv_chance(enough), kv_chance(short)) == (1.0, 0.0)
    eager = setup_for(**SMALL, max_model_len=8192, enforce_eager=True).deployment()
    assert outside_chance(eager) == 1.0


def judged(lacking_gib: float) -> Answer:
    return answer_of(with_room(setup_for(**SMALL, max_model_len=8192).deployment(), lacking_gib))


def test_a_little_that_lacks_is_a_risk_and_much_is_a_refusal() -> None:
    little, much = judged(0.05), judged(3.0)
    assert (little.verdict, little.violated, little.is_likely) == ("at risk", (), False)
    assert little.lacking[0].name == "KV cache holds one request"
    assert "by the best estimate; with its doubt about 4 of 10 such starts succeed" in little.dangers[0]
    assert (much.verdict, much.lacking, much.is_likely) == ("will not start", (), False)


def test_graphs_whose_doubt_is_larger_than_what_is_there_are_a_risk() -> None:
    """A start of 0.8.5 on four A10 that ran out of memory while capturing (vllm's issue 17469)."""
    answer = setup_for("Qwen/Qwen3-30B-A3B", "A10", 4, "0.8.5", tensor_parallel_size=4, max_model_len=1024,
                       max_num_seqs=1).answer()  # fmt: skip
    assert HOPELESS < start_chance(answer.deployment) < SURE
    assert answer.verdict == "at risk"
    assert answer.dangers[0].startswith("the CUDA graphs take 0.00 GiB to ")


def test_a_context_that_the_engine_picks_fits_by_the_best_estimate() -> None:
    setup = setup_for(**SMALL)
    picked = replace(setup, flags=replace(setup.flags, is_context_auto=True)).answer()
    longest = picked.deployment.engine.max_model_len
    assert picked.is_likely
    assert not replace(setup, settings={"max_model_len": longest + 64}).answer().is_likely
