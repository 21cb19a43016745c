"""`BlockPool`: the KV blocks of one engine, shared by the hashes of their prompts and forgotten least recent first.

In: counts of blocks, and for each prompt one hash per full block, over everything before it. Out: what is cached, used
and free. Neighbouring blocks that are used and forgotten together are one run, so a prompt of a thousand blocks costs
as much as one of ten.

Source: vllm@0.8.5 v1/core/block_pool.py:BlockPool, v1/core/kv_cache_utils.py:FreeKVCacheBlockQueue.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from planner.simulated.prompt_blocks import TraceBlocks, first_difference


@dataclass(slots=True, eq=False)
class _Run:
    """Blocks `start` to `end` of a prompt, all with the same number of users."""

    hashes: Sequence[int]
    start: int
    end: int
    users: int
    is_loose: bool
    """Whether its first user did not hold the block before it: that one may then be forgotten first."""

    @property
    def size(self) -> int:
        return self.end - self.start


class BlockPool:
    """KV blocks. A block with a hash can be shared; without a user it stays cached until evicted (oldest first).

    Hashes of a prompt are positions in it: the same hash means the same position and the same hashes before it. What
    a sequence holds is a list of stretches (start, end) of its prompt's blocks, in their order.
    """

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self.num_used = 0
        self.num_unused = 0
        """Number of blocks that are cached without a user."""
        self._runs: dict[int, _Run] = {}
        """Each run by the hash of its first block."""
        self._unused: OrderedDict[_Run, None] = OrderedDict()  # in order of release; of a run the end goes first
        self._num_loose = 0
        self._found: tuple[Sequence[int], int, tuple[int, int]] | None = None
        """The last `lookup`, its hashes and bound, while it holds: the next step asks the same again."""

    @property
    def num_free(self) -> int:
        """Number of blocks that can be taken, including cached ones without a user."""
        return self.num_blocks - self.num_used

    def lookup(self, hashes: Sequence[int], most: int) -> tuple[int, int]:
        """Number of blocks from the start, up to `most`, that are cached without a gap; and how many of these have no
        user: sharing them reduces `num_free`."""
        if self._found is not None and self._found[0] is hashes and self._found[1] == most:
            return self._found[2]
        asked, most, found, unused = most, min(most, len(hashes)), 0, 0
        while found < most and (run := self._runs.get(hashes[found])) is not None:
            end = _agreement(run, hashes, most)
            unused += 0 if run.users else end - found
            found = end
        self._found = hashes, asked, (found, unused)
        return found, unused

    def share(self, hashes: Sequence[int], count: int) -> None:
        """Use the first `count` blocks, which `lookup` found."""
        position, self._found = 0, None
        while position < count:
            run = self._runs[hashes[position]]
            end = _agreement(run, hashes, count)
            if end < run.end:
                run = self._split(run, end)
            elif not run.users:
                del self._unused[run]
            if not run.users:
                self.num_used += run.size
                self.num_unused -= run.size
            run.users += 1
            position = end

    def take(self, count: int) -> None:
        """Take blocks without a hash; evicts cached ones when nothing else is left."""
        self.num_used += count
        excess = self.num_used + self.num_unused - self.num_blocks
        if excess > 0:
            self._found = None
        while excess > 0 and self._unused:
            run = next(iter(self._unused))
            evicted = min(excess, run.size)
            run.end -= evicted
            self.num_unused -= evicted
            excess -= evicted
            if not run.size:
                del self._unused[run], self._runs[run.hashes[run.start]]
                self._num_loose -= run.is_loose

    def name(self, hashes: Sequence[int], start: int, end: int, held: list[tuple[int, int]]) -> None:
        """Give taken blocks their hashes and add them to what the sequence holds. A block whose hash another one
        already has stays without."""
        position, self._found = start, None
        while position < end:
            known = self._known(hashes, position, end, held)
            if known > position:
                position = known
                continue
            stop = end
            if self._num_loose:  # only then can blocks be cached behind one that is not
                stop = next((i for i in range(position + 1, end) if hashes[i] in self._runs), end)
            continues = bool(held) and held[-1][1] == position
            run = _Run(hashes, position, stop, 1, position > 0 and not continues)
            self._num_loose += run.is_loose
            self._runs[hashes[position]] = run
            if continues:
                held[-1] = (held[-1][0], stop)
            else:
                held.append((position, stop))
            position = stop

    def release(self, num_nameless: int, hashes: Sequence[int], held: Sequence[tuple[int, int]]) -> None:
        """Give back blocks without a hash, and what is held of those with one."""
        self.num_used -= num_nameless
        self._found = None
        for start, end in reversed(held):  # the end of a prompt is forgotten before its beginning
            runs, position = [], start
            while position < end:
                runs.append(self._runs[hashes[position]])
                position = runs[-1].end
            for run in reversed(runs):
                run.users -= 1
                if not run.users:
                    self._unused[run] = None
                    self.num_used -= run.size
                    self.num_unused += run.size

    def _known(self, hashes: Sequence[int], position: int, end: int, held: Sequence[tuple[int, int]]) -> int:
        """End of the stretch of cached blocks that begins at `position`; `position` itself if that block is not."""
        begins_run = position == 0 or (held and held[-1][1] == position)
        at = position if begins_run else 0
        while at <= position:
            run = self._runs.get(hashes[at])
            if run is not None:
                at = _agreement(run, hashes, end)
            elif self._num_loose:
                at += 1
            else:
                break
            if run is not None and at > position:
                return at
        return position

    def _split(self, run: _Run, position: int) -> _Run:
        """The part of a run before `position`, as a run of its own; the part behind keeps its place among the unused,
        where the part before has none."""
        front = _Run(run.hashes, run.start, position, run.users, run.is_loose)
        run.start, run.is_loose = position, False
        self._runs[front.hashes[front.start]] = front
        self._runs[run.hashes[position]] = run
        return front


def _agreement(run: _Run, hashes: Sequence[int], most: int) -> int:
    """Position, `most` or before it, up to which the blocks of a run are those of `hashes`; the first one is."""
    own, end = run.hashes, run.end if run.end < most else most
    if own is hashes:
        return end
    if isinstance(own, TraceBlocks) and isinstance(hashes, TraceBlocks):
        return min(end, own.num_common(hashes))
    if own[end - 1] == hashes[end - 1]:
        return end
    return first_difference(own, hashes, run.start + 1, end - 1)
