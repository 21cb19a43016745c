"""Changes that a person might make to a deployment: `moves(setup, base) -> Moves`, `changed(setup, changes) -> Setup`.

In: a `Setup` and its answer. Out: for each kind of change its points, from the nearest to the furthest; a point maps
names to new values. Beside settings a name may be MODEL, GPU, NUM_GPUS or INSTANCES. BOUNDS says what nobody would
follow. Judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, log2
from typing import Any

from planner.engine import (
    BITSANDBYTES_ALONE_SINCE,
    FP8_KV_ON_ADA_SINCE,
    ResolvedEngine,
    flag,
    knows,
    refused_choice,
)
from planner.estimate.answer import Answer, Setup, unknown_flags
from planner.hardware import GPUS, GpuSpec, interconnect_of
from planner.model import load_offline, variants_of

Point = Mapping[str, Any]
"""New values by name; None: the flag is no longer passed."""
MODEL, GPU, NUM_GPUS, INSTANCES = "model", "gpu", "num_gpus", "instances"
"""Names of changes that are no settings of the engine."""
LARGEST_UTILIZATION = 0.97
"""Largest gpu_memory_utilization advised; the driver and other programs need the rest."""
DRAFT = "speculative_config"
"""The setting of a drafter, which may be left out."""
HARDWARE = frozenset({GPU, NUM_GPUS})


@dataclass(frozen=True, slots=True)
class Ends:
    """What a change may end at. A value that is already beyond is not moved further that way."""

    least: float
    most: float
    least_share: float = 0.0
    """Least value as a share of the one that was asked for."""


BOUNDS = {
    "max_model_len": Ends(4096, 1 << 24, 0.25),
    "max_num_seqs": Ends(8, 8192),
    "max_num_batched_tokens": Ends(512, 1 << 20),
    "gpu_memory_utilization": Ends(0.4, LARGEST_UTILIZATION),
    "pipeline_parallel_size": Ends(1, 8),
}
"""Ends beyond which a change is no advice. A context of less than a quarter of what was asked serves other requests;
below 8 sequences little is gained, as below 512 tokens a step. A hybrid's sequences may go down to its states."""
FEW_SEQS, HIGH_UTILIZATION = 32, 0.95
"""Sequences and utilisation that another change is combined with."""
MOST_TENSOR = 32
"""Largest tensor parallel size of advice, four hosts of eight cards: a million cards would give as many points."""
MOST_CARDS = 8
"""Most cards of one host that advice goes up to."""
HEADROOM_BYTES = 1 << 29
"""Memory left on a card while 16-bit weights are loaded to be quantised there: the CUDA context and a layer's copy."""


@dataclass(frozen=True, slots=True)
class Move:
    """One kind of change."""

    points: tuple[Point, ...]
    """From the nearest to the furthest."""
    further: tuple[Point, ...] = ()
    """Points that another change may be made on top of."""
    is_ordered: bool = False
    """Whether the last point needs the least memory: if it does not start, none does."""


def changed(setup: Setup, changes: Point) -> Setup:
    """The setup with the changes made: settings, and what the engine runs and runs on."""
    settings = {name: value for name, value in {**setup.settings, **changes}.items() if value is not None}
    placement, model = setup.placement, setup.model
    instances = settings.pop(INSTANCES, setup.instances)
    num_gpus = settings.pop(NUM_GPUS, placement.num_gpus)
    if (card := settings.pop(GPU, None)) is not None:
        placement = replace(placement, gpu=_CARDS[card], interconnect=interconnect_of(card))
    if (name := settings.pop(MODEL, None)) is not None:
        model = _variant(name)
        if "quantization" not in changes:
            settings.pop("quantization", None)  # it named the other checkpoint's method
    gone = {constraint.message for constraint in unknown_flags(setup.settings, setup.version)}
    kept = tuple(constraint for constraint in setup.refused if constraint.message not in gone)
    flags = setup.flags
    if DRAFT in setup.settings and DRAFT not in settings:
        flags = replace(flags, doubts=tuple(doubt for doubt in flags.doubts if flag(DRAFT) not in doubt.flags))
    return replace(
        setup,
        flags=flags,
        model=model,
        placement=replace(placement, num_gpus=num_gpus),
        instances=instances,
        settings=settings,
        refused=(*kept, *unknown_flags(settings, setup.version)),
    )


_CARDS = {card.name: card for card in GPUS}
_variant = lru_cache(maxsize=16)(load_offline)


def unknown_settings(setup: Setup) -> Point:
    """Settings that this version does not take, each left out."""
    return {
        name: None
        for name, value in setup.settings.items()
        if not knows(setup.version, name) or refused_choice(setup.version, name, value) is not None
    }


def moves(setup: Setup, base: Answer, for_starting: bool) -> list[Move]:
    """Every kind of change within its bounds; those that only help a start are left out where it starts."""
    if setup.placement.gpu.is_cpu:  # the KV cache of the CPU backend is a setting, not the memory left over
        return []
    light = [_sequences(base, for_starting), *_batches(setup, base), _utilization(base, for_starting)]
    light.append(Move(({"enforce_eager": True},), ({"enforce_eager": True},)))
    anchors = [_small_kv_cache(base), _layouts(setup, base, for_starting), _other_backend(setup, base)]
    if for_starting:
        light += [_contexts(setup, base), _whole_prompts(base), *_host(setup)]
        anchors += [_dtype(setup, base), _variants(setup), _quantised(base), *_left_out(setup)]
    engine = base.deployment.engine
    anchors = [Move(move.points, move.points) for move in anchors]
    found = [
        replace(move, points=_useful(move.points, setup, engine), further=_useful(move.further, setup, engine))
        for move in (*light, *anchors)
    ]
    return [move for move in found if move.points]


def _useful(points: Iterable[Point], setup: Setup, engine: ResolvedEngine) -> tuple[Point, ...]:
    """The points without what stays as it is, and only those that this version takes."""
    kept = []
    for point in points:
        point = {name: value for name, value in point.items() if value != before(setup, engine, name)}
        is_taken = all(
            value is None
            or name in {MODEL, GPU, NUM_GPUS, INSTANCES}
            or (knows(setup.version, name) and refused_choice(setup.version, name, value) is None)
            for name, value in point.items()
        )
        if point and is_taken and point not in kept:
            kept.append(point)
    return tuple(kept)


def before(setup: Setup, engine: ResolvedEngine, name: str) -> Any:
    """The present value of what a change names."""
    now = {
        MODEL: setup.model.name,
        GPU: setup.placement.gpu.name,
        NUM_GPUS: setup.placement.num_gpus,
        INSTANCES: setup.instances,
    }
    return now[name] if name in now else getattr(engine, name, None)


# --- light moves ---


def _sequences(base: Answer, for_starting: bool) -> Move:
    now, memory = int(base.deployment.engine.max_num_seqs), base.deployment.memory
    least = int(BOUNDS["max_num_seqs"].least)
    if for_starting and memory.has_states:  # each needs a block, which may be few
        least = 1 if 0 < int(memory.num_blocks) < least else least
    fewer = [{"max_num_seqs": seqs} for seqs in halvings(now, least)]
    return Move(tuple(fewer), tuple(fewer[-1:] if now <= FEW_SEQS else [{"max_num_seqs": FEW_SEQS}]), True)


def _batches(setup: Setup, base: Answer) -> list[Move]:
    """Fewer tokens a step; where prefills are not chunked, only together with chunking them."""
    engine = base.deployment.engine
    batched, length, least = int(engine.max_num_batched_tokens), int(engine.max_model_len), int(engine.max_num_seqs)
    smaller = [n for n in halvings(batched, int(BOUNDS["max_num_batched_tokens"].least)) if n >= least]
    if engine.enable_chunked_prefill:
        points = tuple({"max_num_batched_tokens": n} for n in smaller)
        return [Move(points, points[-1:], True)]
    sizes = [n for n in (*smaller, 2048) if n < length]
    found = [Move(tuple({"enable_chunked_prefill": True, "max_num_batched_tokens": n} for n in sizes))]
    if setup.settings.get("max_num_batched_tokens") is not None:  # otherwise its default changes too
        found.append(Move(({"enable_chunked_prefill": True},)))
    return found


def _utilization(base: Answer, for_starting: bool) -> Move:
    here, bounds = float(base.deployment.engine.gpu_memory_utilization), BOUNDS["gpu_memory_utilization"]
    steps = [(round(here + sign * step / 100, 4)) for step in (*range(1, 9), *range(10, 60, 5)) for sign in (1, -1)]
    within = [u for u in steps if bounds.least <= u <= bounds.most and (for_starting or u > here)]
    further = ({"gpu_memory_utilization": HIGH_UTILIZATION},) if here < HIGH_UTILIZATION else ()
    return Move(tuple({"gpu_memory_utilization": u} for u in within), further)


def _contexts(setup: Setup, base: Answer) -> Move:
    """Shorter contexts in steps of at most a quarter; none where the engine itself picks the longest that fits."""
    if setup.flags.is_context_auto:
        return Move(())
    asked, most = setup.settings.get("max_model_len"), setup.model.max_context_tokens
    length = int(base.deployment.engine.max_model_len)
    bounds = BOUNDS["max_model_len"]
    least = bounds.least if asked is None else max(bounds.least, bounds.least_share * length)
    tops = [most] if length > most else []
    steps = [part << power for power in range(22, 7, -1) for part in (7, 6, 5, 4)]
    lengths = [n for n in [*tops, *steps] if n < length and min(least, most) <= n <= most]
    return Move(tuple({"max_model_len": n} for n in lengths), tuple({"max_model_len": n} for n in tops), True)


def _whole_prompts(base: Answer) -> Move:
    """The least max_num_batched_tokens that the engine's own checks take."""
    engine = base.deployment.engine
    seqs, length = int(engine.max_num_seqs), int(engine.max_model_len)
    return Move(tuple({"max_num_batched_tokens": n} for n in (max(length, seqs), seqs) if n >= 512))


def _host(setup: Setup) -> list[Move]:
    named = ("kv_cache_memory_bytes", "num_gpu_blocks_override", "num_scheduler_steps")
    left_out = [Move(({name: None},)) for name in named if setup.settings.get(name) is not None]
    mended = [Move(({"swap_space": 0.0},)), Move(({"block_size": 16}, {"block_size": 32})), *left_out]
    return [Move(move.points, move.points) for move in mended]


# --- other kernels, layouts, checkpoints ---


def _small_kv_cache(base: Answer) -> Move:
    """An fp8 KV cache where this card, engine and version have kernels for it."""
    d, engine = base.deployment, base.deployment.engine
    capability = d.gpu.compute_capability
    if engine.kv_cache_dtype.startswith("fp8") or engine.kv_cache_dtype not in {"auto", engine.dtype, "bfloat16"}:
        return Move(())
    if engine.generation == "V0":
        if d.model.latent_attention is not None or engine.quantization == "fp8":
            return Move(())
        return Move(({"kv_cache_dtype": "fp8_e5m2" if capability < (8, 9) else "fp8"},))
    least = (8, 9) if engine.version >= FP8_KV_ON_ADA_SINCE else (9, 0)
    return Move(({"kv_cache_dtype": "fp8"},) if capability >= least else ())


def _layouts(setup: Setup, base: Answer, for_starting: bool) -> Move:
    """Other tensor and pipeline parallel sizes for the cards that are there; the most cards first, tensors first."""
    engine = base.deployment.engine
    now = engine.world_size
    most = setup.placement.num_gpus // (setup.instances * engine.data_parallel_size)
    pairs = list(parallel_sizes(most, setup.model.num_hidden_layers))
    if not for_starting:
        pairs = [(tp, pp) for tp, pp in pairs if pp == engine.pipeline_parallel_size]
    pairs.sort(key=lambda pair: (abs(log2(pair[0] * pair[1] / now)), -pair[0]))
    points: list[Point] = [{"tensor_parallel_size": tp, "pipeline_parallel_size": pp} for tp, pp in pairs]
    if for_starting and setup.instances * engine.data_parallel_size > 1:
        alone = {INSTANCES: 1, "data_parallel_size": 1}
        cards = setup.placement.num_gpus
        points += [
            {**alone, "tensor_parallel_size": tp, "pipeline_parallel_size": pp}
            for tp, pp in parallel_sizes(cards, setup.model.num_hidden_layers)
            if most < tp * pp
        ]
    return Move(tuple(points))


def parallel_sizes(cards: int, layers: int) -> Iterator[tuple[int, int]]:
    """Tensor and pipeline parallel sizes, each up to what is advised, that need at most this number of cards."""
    for pp in range(1, min(cards, layers, int(BOUNDS["pipeline_parallel_size"].most)) + 1):
        yield from ((tp, pp) for tp in range(1, min(cards // pp, MOST_TENSOR) + 1))


def _other_backend(setup: Setup, base: Answer) -> Move:
    engine, gpu = base.deployment.engine, setup.placement.gpu
    is_doubtful = "FLASHINFER" in engine.attention_backend and gpu.compute_capability < (8, 0)
    return Move(({"attention_backend": "TRITON_ATTN"},) if is_doubtful and engine.generation == "V1" else ())


def _left_out(setup: Setup) -> list[Move]:
    named = ("attention_backend", "kv_cache_dtype", "quantization", "async_scheduling", DRAFT)
    return [Move(({name: None},)) for name in named if setup.settings.get(name) is not None]


def _dtype(setup: Setup, base: Answer) -> Move:
    engine, gpu = base.deployment.engine, setup.placement.gpu
    wants_half = engine.dtype == "bfloat16" and (gpu.compute_capability < (8, 0) or engine.quantization in HALF_ONLY)
    return Move(({"dtype": "half"},) if wants_half else ())


HALF_ONLY = ("awq", "gptq")
"""Kernels that compute in float16 only."""


def _variants(setup: Setup) -> Move:
    """The same model in another quantisation, among the names that ship; one that names no context keeps its own."""
    return Move(tuple({MODEL: name} for name in variants_of(setup.model.name)))


def _quantised(base: Answer) -> Move:
    """Quantisation of a 16-bit checkpoint while it is loaded: fp8 where the 16 bits fit the card first, else 4 bits."""
    d, engine = base.deployment, base.deployment.engine
    if d.model.quantization is not None or engine.quantization is not None or not d.model.is_modelled:
        return Move(())
    points: list[Point] = []
    fits = d.memory.fullest_weight_bytes + HEADROOM_BYTES <= d.memory.total_bytes
    if fits and d.gpu.compute_capability >= (8, 0):
        points.append({"quantization": "fp8"})
    if engine.version >= BITSANDBYTES_ALONE_SINCE and d.model.experts is None and not d.model.is_hybrid:
        points.append({"quantization": "bitsandbytes"})
    return Move(tuple(points))


# --- other cards ---


def hardware(setup: Setup, base: Answer) -> Iterator[Move]:
    """More cards of this kind, then larger cards of the same or a newer generation, the smallest first."""
    gpu, engine, placement = setup.placement.gpu, base.deployment.engine, setup.placement
    if gpu.is_cpu:
        return
    layers = setup.model.num_hidden_layers
    counts = [n for n in (2, 4, 8) if placement.num_gpus < n <= MOST_CARDS]
    per_instance = setup.instances * engine.data_parallel_size
    points = [
        {NUM_GPUS: cards, "tensor_parallel_size": tp, "pipeline_parallel_size": pp}
        for cards in counts
        for tp, pp in sorted(parallel_sizes(cards // per_instance, layers), key=lambda pair: pair[1])
        if tp * pp * per_instance == cards
    ]
    yield Move(_useful(points, setup, engine))
    yield Move(tuple({GPU: card.name} for card in _larger(gpu)), is_ordered=True)


def _larger(gpu: GpuSpec) -> list[GpuSpec]:
    bought = [c for c in GPUS if not c.is_cpu and not any(word in c.name for word in NOT_ALONE)]
    newer = [c for c in bought if c.compute_capability >= gpu.compute_capability]
    rate = LEAST_AS_FAST * gpu.memory_bandwidth_bytes_per_s
    fast = [c for c in newer if c.memory_bandwidth_bytes_per_s >= rate]
    wider = [c for c in fast if c.memory_bytes > gpu.memory_bytes * LEAST_LARGER]
    by_size: dict[int, GpuSpec] = {}
    for card in wider:
        by_size.setdefault(ceil(card.memory_bytes / (1 << 30)), card)
    return [by_size[size] for size in sorted(by_size)]


NOT_ALONE = ("Laptop", "GB10", "Thor", "GH200")
"""Words in the names of cards that come with a machine."""
LEAST_LARGER, LEAST_AS_FAST = 1.1, 0.8
"""Memory and memory bandwidth of another card over those of this one from which it is offered."""


def halvings(number: int, least: int) -> Sequence[int]:
    """The powers of two below a number, down to `least`."""
    top = ceil(log2(max(number, 2))) - 1
    return [1 << power for power in range(top, -1, -1) if 1 << power >= least]
