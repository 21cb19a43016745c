"""From the logged KV cache to the logged number of requests: `python -m tests.accuracy.kv_pools [FILE]`.

In: recorded starts with their pool (tests/golden/starts/kv-pools.json). Out: blocks, tokens and concurrency that the
division of the KV cache makes of that pool, beside what the engine's log said. Nothing else of the memory model counts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from planner.engine import parse_version, resolve
from planner.estimate.memory.kv_cache import KvDivision, kv_division
from planner.estimate.memory.weights import Rank
from planner.hardware import GpuRequest, card_of
from planner.model import spec_from_config
from planner.units import GIB
from tests.places import GOLDEN

POOLS = GOLDEN / "starts" / "kv-pools.json"
LOG_STEP_GIB = 0.005
"""Rounding error of the logged pool."""


@dataclass(frozen=True, slots=True)
class PoolStart:
    """One start: what the log said, and what follows from its pool at both ends of the log's rounding."""

    id: str
    observed: dict[str, Any]
    division: KvDivision
    max_model_len: int

    def blocks(self, gib: float) -> int:
        return int(gib * GIB // int(self.division.block_bytes))

    def concurrency(self, gib: float) -> float:
        """Requests of max_model_len tokens at once."""
        return self.blocks(gib) / int(self.division.request_blocks)

    def tokens(self, gib: float) -> int:
        """The log's "GPU KV cache size" as its version means it."""
        if self.division.size_means == "requests":
            return int(self.concurrency(gib) * self.max_model_len)
        return self.blocks(gib) // self.division.num_groups * int(self.division.block_size)

    @property
    def error(self) -> float:
        """Relative error of the concurrency, or of the tokens where the log has no concurrency."""
        real, pool = self.observed.get("max_concurrency"), self.observed["kv_cache_gib"]
        return self.concurrency(pool) / real - 1 if real else self.tokens(pool) / self.observed["kv_tokens"] - 1

    @property
    def says_tokens(self) -> bool:
        """Whether the logged tokens lie between those of the two ends of the pool's rounding; True if none are said."""
        real, pool = self.observed.get("kv_tokens"), self.observed["kv_cache_gib"]
        return real is None or self.tokens(pool - LOG_STEP_GIB) <= real <= self.tokens(pool + LOG_STEP_GIB)


def load_pools(path: Path = POOLS) -> Iterator[PoolStart]:
    document = json.loads(path.read_text("utf-8"))
    for record in document["records"]:
        config = {**document["models"][record["model"]]}
        if "quantization_config" in record:
            config["quantization_config"] = record["quantization_config"]
        yield _start(record, config)


def _start(record: dict[str, Any], config: dict[str, Any]) -> PoolStart:
    model = spec_from_config(config, record["model"])
    settings = dict(record["engine"])
    if "speculative_config" in settings:
        settings["speculative_config"] = json.dumps(settings["speculative_config"])
    gpu, _ = card_of(msgspec.convert(record["gpu"], GpuRequest))
    engine = resolve(settings, model, gpu, parse_version(record["vllm_version"]))
    rank = Rank(0, 0, 0, len(model.layers), is_first=True, is_last=True, samples=True)
    return PoolStart(record["id"], record["observed"], kv_division(model, engine, rank), int(engine.max_model_len))


def main() -> None:
    starts = sorted(load_pools(*map(Path, sys.argv[1:2])), key=lambda start: -abs(start.error))
    for start in starts:
        pool = start.observed["kv_cache_gib"]
        print(f"{start.error:+8.2%}  {start.concurrency(pool):8.2f} requests, logged "
              f"{start.observed.get('max_concurrency', '-')}; {start.tokens(pool)} tokens, logged "
              f"{start.observed.get('kv_tokens', '-')}; {start.id}")  # fmt: skip
    print(f"{sum(abs(start.error) <= 0.01 for start in starts)} of {len(starts)} within 1 %")


if __name__ == "__main__":
    main()
