"""The block pool shares and forgets block by block, as the reference does that holds each block alone."""

from __future__ import annotations

import random

import pytest

from planner.simulated.block_pool import BlockPool
from tests.stepwise import StepwisePool


def test_cached_blocks_make_room_least_recent_first() -> None:
    pool, held = BlockPool(4), list[tuple[int, int]]()
    pool.take(2)
    pool.name([1, 2], 0, 2, held)
    pool.release(0, [1, 2], held)
    assert (pool.num_free, pool.lookup([1, 2], 2)) == (4, (2, 2))
    pool.take(3)
    assert (pool.num_free, pool.lookup([1, 2], 2)) == (1, (1, 1)), "the end of the prefix went first"
    pool.take(1)
    assert (pool.num_free, pool.lookup([1], 1)) == (0, (0, 0))


class _Holder:
    """A sequence in both pools: it takes blocks chunk by chunk and names them, at once or later."""

    def __init__(self, hashes: list[int]) -> None:
        self.hashes = hashes
        self.blocks = self.named = 0
        self.shared: list[int] = []
        self.held: list[tuple[int, int]] = []


def _path(draw: random.Random) -> list[int]:
    """Blocks of a prompt in a tree with few branches, so that prompts share beginnings."""
    path, at = list[int](), 0
    for _ in range(draw.randint(1, 9)):
        at = hash((at, draw.choice((0, 0, 0, 1))))
        path.append(at)
    return path


@pytest.mark.parametrize("seed", range(40))
def test_runs_of_blocks_are_what_single_blocks_are(seed: int) -> None:
    draw = random.Random(seed)
    size = draw.choice((12, 25, 60))
    pool, single, holders = BlockPool(size), StepwisePool(size), list[_Holder]()
    for _ in range(250):
        action = draw.choice(["starts", "starts", "names", "names", "ends", "take"])
        if action == "starts":
            one = _Holder(_path(draw))
            hits = min(single.num_hits(one.hashes), len(one.hashes) - 1)
            unused = single.num_unused(one.hashes[:hits])
            assert pool.lookup(one.hashes, len(one.hashes) - 1) == (hits, unused)
            if len(one.hashes) - hits + unused > single.num_free:
                continue
            single.share(one.hashes[:hits])
            pool.share(one.hashes, hits)
            for each in (single, pool):
                each.take(len(one.hashes) - hits)
            one.blocks, one.named, one.shared = len(one.hashes), hits, one.hashes[:hits]
            one.held = [(0, hits)] if hits else []
            holders.append(one)
        elif action == "names" and holders:
            one = draw.choice(holders)
            end = draw.randint(one.named, len(one.hashes))
            one.shared += [block for block in one.hashes[one.named : end] if single.name(block)]
            pool.name(one.hashes, one.named, end, one.held)
            one.named = end
        elif action == "ends" and holders:
            one = holders.pop(draw.randrange(len(holders)))
            single.release(one.blocks - len(one.shared), one.shared)
            pool.release(one.blocks - len(one.shared), one.hashes, one.held)
        elif action == "take" and single.num_free:
            for each in (single, pool):
                each.take(1)
                each.release(1, [], []) if each is pool else each.release(1, [])
        for one in holders:
            assert [block for start, end in one.held for block in one.hashes[start:end]] == one.shared
        assert (pool.num_used, pool.num_unused) == (single.num_used, len(single._unused))
        probe = _path(draw)
        hits = single.num_hits(probe)
        assert pool.lookup(probe, len(probe)) == (hits, single.num_unused(probe[:hits]))
