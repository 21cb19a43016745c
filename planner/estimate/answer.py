"""Judge one deployment before launch: `Setup(...).answer() -> Answer`, with or without a study.

The verdict is one of four: `will not start` (it breaks a rule of vLLM or does not fit in memory), `at risk` (should
start, but may fail at start or under load as a figure is tight), `starts`, `cannot say` (the model's architecture or
quantisation is not modelled, so that no figure may be relied on). Prints nothing; `view.py` draws answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeVar

from packaging.version import Version

from planner import arrays as columns
from planner.constraints import OUT_OF_MEMORY, STARTS_ANYWAY, Constraint
from planner.engine import (
    TRAITS,
    ResolvedEngine,
    Unmodelled,
    VllmFlags,
    flag,
    knows,
    refused_choice,
    resolve,
)
from planner.estimate.chance import GUESSED_RULES, HOPELESS, OPEN_RULES, start_chance
from planner.estimate.deployment import Deployment
from planner.estimate.loaded import loaded_model, loading_danger
from planner.estimate.memory.intervals import Doubts
from planner.estimate.memory.kv_layers import drafter_is_guessed
from planner.estimate.memory.per_gpu import Calibrations, MemoryEstimate, RankMemory
from planner.estimate.risks import Danger, dangers, hints, kv_dangers
from planner.estimate.rules import check
from planner.files import pretty_json
from planner.hardware import Placement
from planner.model import ModelSpec
from planner.units import to_gib

Verdict = Literal["starts", "at risk", "will not start", "cannot say"]

NO_FLAGS = VllmFlags()
DIGITS = 4
"""Decimal places of GiB figures in documents, as in vLLM's log of the weights."""


@dataclass(frozen=True, slots=True)
class Answer:
    deployment: Deployment
    violated: tuple[Constraint, ...]
    """Rules it breaks, in the order in which vLLM would check them; empty if it starts."""
    lacking: tuple[Constraint, ...] = ()
    """Rules of memory that it breaks by the best estimate, while its doubt leaves the start open."""
    dangers: tuple[Danger, ...] = ()
    """Risks that may make it fail, at start or under load."""
    notes: tuple[str, ...] = ()
    """What is wasted or not modelled; notes do not change the verdict."""
    unmodelled: tuple[Unmodelled, ...] = ()
    """Flags that move memory in a way that is not modelled; the KV cache's interval is wider by what they may take."""
    set_aside: tuple[str, ...] = ()
    """Flags that move no GPU memory."""

    @property
    def verdict(self) -> Verdict:
        if self.violated:
            return "will not start"
        if not self.deployment.model.is_modelled:
            return "cannot say"
        return "at risk" if self.dangers or self.lacking else "starts"

    @property
    def is_likely(self) -> bool:
        """Whether it breaks no rule by the best estimate."""
        return not self.violated and not self.lacking

    @property
    def reasons(self) -> list[str]:
        doubts = [doubt.words for doubt in self.unmodelled]
        return [*(constraint.message for constraint in self.violated), *map(str, self.dangers), *doubts, *self.notes]

    @property
    def kv_tokens_interval(self) -> tuple[int, int]:
        """Lower and upper end of the 90 % interval of the KV cache size, in tokens."""
        memory = self.deployment.memory
        low, high = memory.kv_interval_bytes
        if not memory.kv_block_bytes:  # the model keeps no KV cache
            return 0, 0
        blocks = (int(low // memory.kv_block_bytes), int(high // memory.kv_block_bytes))
        return int(replace(memory, num_blocks=blocks[0]).kv_tokens), int(
            replace(memory, num_blocks=blocks[1]).kv_tokens
        )

    @property
    def kv_tokens_total(self) -> int:
        """KV cache of all instances together, in tokens."""
        return int(self.deployment.memory.kv_tokens) * self.deployment.instances

    def document(self, name: str | int) -> dict[str, Any]:
        """The answer as docs/formats.md describes it; `name` becomes its id."""
        memory, doubts = self.deployment.memory, self.deployment.memory.doubts
        document: dict[str, Any] = {"id": name, "verdict": self.verdict, "reasons": self.reasons}
        for key, value, doubt in (
            ("weights_gib", memory.weight_bytes, doubts.weights),
            ("non_torch_gib", memory.non_torch_bytes, doubts.non_torch),
            ("activation_peak_gib", memory.activation_bytes, doubts.activation),
            ("cudagraph_gib", memory.graph_bytes, doubts.graphs),
            ("kv_cache_gib", memory.kv_cache_bytes, memory.uncertainty_bytes),
        ):
            document[key] = _gib(value)
            document[f"{key}_interval"] = [_gib(max(float(value) - float(doubt), 0.0)), _gib(float(value + doubt))]
        document |= {
            "kv_blocks": int(memory.num_blocks),
            "kv_tokens": int(memory.kv_tokens),
            "max_concurrency": round(float(memory.max_concurrency), 2),
        }
        if len(memory.ranks) > 1:
            document["ranks"] = [_rank_document(rank) for rank in memory.ranks]
        if self.unmodelled:
            document["doubts"] = [{"flags": list(one.flags), "reason": one.reason} for one in self.unmodelled]
        if self.set_aside:
            document["set_aside"] = list(self.set_aside)
        return document

    def to_json(self, name: str | int) -> str:
        return pretty_json(self.document(name))


def _rank_document(rank: RankMemory) -> dict[str, Any]:
    return {
        "rank": rank.number,
        "weights_gib": _gib(rank.weight_bytes),
        "non_torch_gib": _gib(rank.non_torch_bytes),
        "activation_peak_gib": _gib(rank.activation_bytes),
        "available_kv_cache_gib": _gib(rank.available_bytes),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Inputs of one estimate. Changes of its settings are judged one by one, or all at once as arrays."""

    model: ModelSpec
    placement: Placement
    version: Version
    settings: Mapping[str, Any]
    """Values by EngineConfig's field names; a setting that is left out has vLLM's default."""
    instances: int = 1
    refused: tuple[Constraint, ...] = field(default=())
    """Settings that vLLM's command line refuses, whatever the other settings are."""
    calibrations: Calibrations = field(default_factory=dict)
    """Corrections learned from engine starts on this machine."""
    flags: VllmFlags = NO_FLAGS
    """Flags that the engine gets beside its settings."""

    def deployment(self, changes: Mapping[str, Any] | None = None) -> Deployment:
        """The deployment with `changes` applied. A value may be an array, one entry per candidate; None: not passed."""
        settings = {**self.settings, **(changes or {}), TRAITS: self.flags.traits}
        model = loaded_model(self.model, self.flags, self.version)
        engine = resolve(settings, model, self.placement.gpu, self.version)
        return Deployment.of(model, self.placement, engine, self.instances, self.calibrations)

    def answer(self) -> Answer:
        """The answer with these settings. A max_model_len of auto is the longest context that fits, as vLLM picks it.

        Source: vllm@0.14.0 v1/core/kv_cache_utils.py: it cuts max_model_len to what the KV cache holds.
        """
        found = self._answer(None)
        if not self.flags.is_context_auto:
            return found
        longest = int(found.deployment.engine.max_model_len)
        low, high, best = 0, longest, found
        if not found.is_likely:
            while high - low > 1:
                middle = (low + high) // 2
                tried = self._answer(middle)
                low, high, best = (middle, high, tried) if tried.is_likely else (low, middle, best)
        if not best.is_likely:
            return found
        fits = best.deployment.engine.max_model_len
        adapts = kv_dangers(best.deployment) if best.deployment.memory.kv_interval_bytes[0] > 0 else []
        return replace(
            best,
            dangers=tuple(danger for danger in best.dangers if danger not in adapts),  # less memory, less context
            notes=(f"max_model_len auto: {fits} of {longest} tokens fit", *best.notes),
        )

    def _answer(self, max_model_len: int | None) -> Answer:
        changes = {"max_model_len": max_model_len} if max_model_len is not None else None
        return answer_of(self.deployment(changes), self.refused, self.flags)

    def answers(self, names: Sequence[str], points: Sequence[Sequence[Any]]) -> list[Answer]:
        """One answer per point, a value for each name. Numeric settings of many points are judged as arrays."""
        if len(points) <= FEW_POINTS:
            return [
                answer_of(self.deployment(dict(zip(names, point, strict=True))), self.refused, self.flags)
                for point in points
            ]
        import numpy as np

        found: dict[int, Answer] = {}
        words = [i for i, name in enumerate(names) if name not in COLUMNS or any(point[i] is None for point in points)]
        groups: dict[tuple[Any, ...], list[int]] = {}
        for row, point in enumerate(points):
            groups.setdefault(tuple(point[i] for i in words), []).append(row)
        for key, rows in groups.items():
            changes: dict[str, Any] = {names[i]: value for i, value in zip(words, key, strict=True)}
            for i, name in enumerate(names):
                if i not in words:
                    changes[name] = np.asarray([points[row][i] for row in rows])
            deployment = self.deployment(changes)
            found |= {row: answer_of(one_of(deployment, i), self.refused, self.flags) for i, row in enumerate(rows)}
        return [found[row] for row in range(len(points))]


COLUMNS = frozenset({
    "max_model_len", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization", "block_size", "swap_space",
    "cpu_offload_gb", "enable_chunked_prefill", "enable_prefix_caching", "enforce_eager", "max_seq_len_to_capture",
    "kv_cache_memory_bytes", "num_gpu_blocks_override", "max_cudagraph_capture_size", "async_scheduling",
})  # fmt: skip
"""Settings whose values `resolve` takes as arrays; the others select the formulas."""

FEW_POINTS = 48
"""Up to this many points, judging one by one is faster than importing NumPy."""

_Part = TypeVar("_Part", ResolvedEngine, MemoryEstimate, RankMemory, Doubts)


def one_of(deployment: Deployment, index: int) -> Deployment:
    """The candidate at `index` of a deployment whose columns are arrays."""
    return replace(deployment, engine=_one(deployment.engine, index), memory=_one(deployment.memory, index))


def _one(part: _Part, index: int) -> _Part:
    """A copy in which every array, also in nested values, is replaced by its entry at `index`."""
    return replace(part, **{column.name: _entry(getattr(part, column.name), index) for column in fields(part)})


def _entry(value: Any, index: int) -> Any:
    if columns.is_array(value):
        return value[index].item()
    if isinstance(value, tuple):
        return tuple(_entry(part, index) for part in value)
    if isinstance(value, RankMemory):
        return _one(value, index)
    return _one(value, index) if isinstance(value, Doubts) else value


def answer_of(deployment: Deployment, refused: Sequence[Constraint] = (), flags: VllmFlags = NO_FLAGS) -> Answer:
    """Judge a deployment; `refused` holds what vLLM's command line already refuses, `flags` what it gets beside."""
    reads_images = deployment.model.has_vision_tower
    doubts = tuple(one for one in flags.doubts if reads_images or not one.images_only)
    broken = check(deployment)
    doubtful = [c for c in broken if c.kind == STARTS_ANYWAY or _is_guessed(c, deployment)]
    lacking = tuple(c for c in broken if c not in doubtful and c.name in OPEN_RULES)
    chance = start_chance(deployment) if lacking and not deployment.gpu.is_cpu else 0.0
    if chance < HOPELESS:
        lacking = ()
    violated = (*refused, *_refused(flags), *(c for c in broken if c not in doubtful and c not in lacking))
    may = f"by the best estimate; with its doubt about {round(10 * chance) or 1} of 10 such starts succeed"
    found = [*(Danger(c.name, f"{c.message.rstrip('.')} ({may})") for c in lacking)]
    found += [Danger(c.name, c.message) for c in doubtful]
    if (loading := loading_danger(deployment, flags)) is not None:
        found.append(loading)
    deployment = _widened(deployment, sum(_share(one, deployment) for one in doubts))
    return Answer(
        deployment,
        violated=violated,
        lacking=lacking,
        dangers=(*found, *dangers(deployment)),
        notes=(*hints(deployment), *flags.notes),
        unmodelled=doubts,
        set_aside=flags.set_aside,
    )


def _is_guessed(broken: Constraint, deployment: Deployment) -> bool:
    """Whether a broken rule rests on figures of an architecture that is not modelled, so that it refuses nothing."""
    return not deployment.model.is_modelled and (broken.kind == OUT_OF_MEMORY or broken.name in GUESSED_RULES)


def _share(doubt: Unmodelled, deployment: Deployment) -> float:
    """Share of the budget that flags may take; less if a drafter's weights and KV cache are counted."""
    speculation = deployment.engine.speculation
    is_counted = speculation is not None and not drafter_is_guessed(speculation)
    return min(doubt.share, COUNTED_DRAFT) if is_counted and flag(DRAFT) in doubt.flags else doubt.share


DRAFT, COUNTED_DRAFT = "speculative_config", 0.05
"""Share of the budget for the buffers and graphs of a drafter whose layers are counted: 16 starts with multi-token
prediction had a KV cache of -6 to +20 % of the one predicted without them."""


def _widened(deployment: Deployment, share: float) -> Deployment:
    """The deployment with a wider interval of the KV cache, by a share of the budget that something else may take."""
    if not share:
        return deployment
    memory = deployment.memory
    widened = replace(memory, uncertainty_bytes=memory.uncertainty_bytes + min(share, 1.0) * memory.budget_bytes)
    return replace(deployment, memory=widened)


def _refused(flags: VllmFlags) -> list[Constraint]:
    return [Constraint("flags of this version", 1.0, f"vllm: error: {problem}") for problem in flags.refused]


def unknown_flags(settings: Mapping[str, Any], version: Version) -> list[Constraint]:
    """Settings, or values of them, that this version's command line does not know, in argparse's words."""
    found: list[str] = []
    for name, value in settings.items():
        if value is not None and not knows(version, name):
            found.append(f"unrecognized arguments: {flag(name)} (vLLM {version})")
        elif value is not None and (problem := refused_choice(version, name, value)) is not None:
            found.append(f"argument {flag(name)}: {problem} (vLLM {version})")
    return [Constraint("flags of this version", 1.0, f"vllm: error: {words}") for words in found]


def _gib(num_bytes: Any) -> float:
    return round(to_gib(float(num_bytes)), DIGITS)
