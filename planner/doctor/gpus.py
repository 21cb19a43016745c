"""Checks of the cards: driver, kind, memory and who else is on it, links, and the study's settings they can run."""

from __future__ import annotations

from planner.doctor.check import NO_GPU_NEEDED, Case, Check, skipped
from planner.errors import InputError
from planner.hardware import Card, recognise
from planner.study import Forecast, way_out
from planner.units import format_count, format_gib

MEMORY_TOLERANCE = 0.01
"""Tolerated error of a card's total memory, as a fraction; a study that is further off predicts another KV cache."""
LEAST_FOR_FLASH_ATTENTION_2 = (8, 0)
"""Lowest compute capability with FlashAttention-2 (vllm@0.8.5 platforms/cuda.py:get_attn_backend_cls)."""


def driver(case: Case) -> Check:
    name = "NVIDIA driver"
    if not case.needs_gpus:
        return skipped(name, NO_GPU_NEEDED)
    if case.gpus.error:
        fix = "install NVIDIA's driver and reboot; nvidia-smi must list the cards"
        if "mismatch" in case.gpus.error:
            fix = "the driver was updated while it ran: reboot"
        return Check(name, "problem", f"no NVIDIA GPU is visible: {case.gpus.error}", fix)
    major, minor = case.gpus.cuda
    return Check(name, "ok", f"{case.gpus.driver}, up to CUDA {major}.{minor}")


def cards(case: Case) -> Check:
    """Check number and kind of the cards against the study's."""
    name = "GPUs"
    if (unseen := _unseen(case, name)) is not None:
        return unseen
    seen = case.gpus.cards
    text = _count(seen)
    if case.spec is None:
        return Check(name, "ok", text)
    hardware = case.spec.hardware
    if len(case.cards) < hardware.num_gpus:
        if hardware.gpu_ids is not None:
            finding = f"{text}; the study uses GPU {', '.join(map(str, hardware.gpu_ids))}"
            return Check(name, "problem", finding, "correct hardware.gpu_ids, or free the other cards")
        finding = f"{text}; the study uses {hardware.num_gpus}"
        return Check(
            name, "problem", finding, f"{case.places.change('hardware.num_gpus', len(seen))}, or free the other cards"
        )
    known = {_table_name(card) for card in case.cards}
    if len(known) > 1:
        return Check(name, "warning", f"{text}: unlike cards, predicted as if all were {hardware.gpu}")
    if known != {case.problem.gpu.name if case.problem else hardware.gpu}:
        here = next(iter(known))
        fix = (
            case.places.change("hardware.gpu", here)
            if here
            else "add the card to planner/data/gpus.json, see CONTRIBUTING.md"
        )
        # A card of another kind answers another question; one that no table has may be the study's under another name.
        return Check(name, "problem" if here else "warning", f"{text}; the study predicts for {hardware.gpu}", fix)
    if len(seen) > hardware.num_gpus:
        which = "the first" if hardware.gpu_ids is None else "GPU"
        text += f"; the study uses {which} {', '.join(map(str, hardware.gpu_ids or (hardware.num_gpus,)))}"
    return Check(name, "ok", text)


def memory(case: Case) -> Check:
    """Check total and free memory of the study's cards, and list the processes on them."""
    name = "GPU memory"
    if (unseen := _unseen(case, name)) is not None:
        return unseen
    least = min(case.cards, key=lambda card: card.total_bytes)
    fullest = min(case.cards, key=lambda card: card.free_bytes)
    finding = f"{format_gib(least.total_bytes)} each, {format_gib(fullest.free_bytes)} free on the fullest"
    if people := _processes(case.cards):
        finding += f"; on them: {people}"
    share = _utilizations(case)
    if share is not None:
        low, high = share
        if fullest.free_bytes < low * fullest.total_bytes:
            wanted = f"{low:g} of the card is the least the study asks for"
            fix = f"stop the other processes, or lower {case.places.setting('gpu_memory_utilization')}"
            return Check(name, "problem", f"{finding}; {wanted}", fix)
        if fullest.free_bytes < high * fullest.total_bytes:
            wanted = f"the study asks for up to {high:g} of the card"
            fix = "stop the other processes, or those trials run out of memory"
            return Check(name, "warning", f"{finding}; {wanted}", fix)
    said = case.problem.gpu.memory_bytes if case.problem else least.total_bytes
    if abs(said - least.total_bytes) > MEMORY_TOLERANCE * least.total_bytes:
        finding += f"; the study predicts for {format_gib(said)}"
        fix = case.places.change("hardware.gpu_memory", format_gib(least.total_bytes).replace(" ", ""))
        return Check(name, "warning", finding, fix)
    return Check(name, "ok", finding)


def links(case: Case) -> Check:
    """Check NVLink and peer access between the study's cards, and say how vLLM uses them."""
    name = "GPU links"
    if (unseen := _unseen(case, name)) is not None:
        return unseen
    facts = case.gpus.only(case.cards)
    if len(facts.cards) < 2:
        return Check(name, "ok", "one card: nothing to join")
    paths = ", ".join(sorted({link.path for link in facts.links}))
    peers = sum(link.has_peer_access for link in facts.links)
    words = {"nvlink": "NVLink between all", "nvlink-pairs": "NVLink in pairs", "pcie": "PCIe only", "none": ""}
    finding = f"{words[facts.interconnect]} ({paths}), peer access between {peers} of {len(facts.links)} pairs"
    finding += f"; custom all-reduce {_all_reduce(case)}"
    if case.spec is not None and case.spec.hardware.interconnect != facts.interconnect:
        said = case.spec.hardware.interconnect
        finding += f"; the study says {said}"
        return Check(name, "warning", finding, case.places.change("hardware.interconnect", facts.interconnect))
    return Check(name, "ok", finding)


def _all_reduce(case: Case) -> str:
    """What vLLM decides at each tensor parallel size that the study asks for.

    Source: vllm@0.8.5, 0.32.0 distributed/device_communicators/custom_all_reduce.py: NVLink between all, or two cards
    with peer access; else NCCL.
    """
    facts = case.gpus.only(case.cards)
    count = len(facts.cards)
    first_two = {card.index for card in facts.cards[:2]}
    asked = {c.layout.tensor_parallel_size for c in case.candidates} or {2, count}
    parts = []
    for size in sorted(size for size in asked if 2 <= size <= count):
        if facts.interconnect == "nvlink":
            parts.append(f"on at tp {size}")
        elif size > 2:
            parts.append(f"off at tp {size} (more than two cards without NVLink between all: NCCL, no loss to mend)")
        elif any(link.has_peer_access for link in facts.links if {link.first, link.second} == first_two):
            parts.append("on at tp 2 where vLLM's own test of peer access passes")
        else:
            parts.append("off at tp 2 (no peer access: NCCL through /dev/shm)")
    return ", ".join(parts) or "not asked for"


def settings(case: Case) -> Check | None:
    """Check whether anything of the search space can start on these cards, by the rules that remove candidates."""
    judged = case.here or case.forecast
    if judged is None:
        return None
    name = "settings"
    grid = judged.grid
    count, feasible = format_count(len(grid.indices)), format_count(len(grid.feasible_rows))
    if not len(grid.feasible_rows):
        rules = "; ".join(f"{rule}: {number}" for rule, number in list(grid.removed_by().items())[:3])
        first = judged.check(judged.problem.default)
        words = first[0].message if first else rules
        found = way_out(judged, case.places)
        fix = found or "planner estimate says what each setting needs"
        return Check(name, "problem", f"none of {count} combinations can start ({rules}): {words}", fix)
    whose = "" if case.cards or not case.needs_gpus else f", by the figures of {judged.problem.gpu.name}"
    return Check(name, "ok", f"{feasible} of {count} combinations can start{whose}; {_engine_words(judged)}")


def _engine_words(judged: Forecast) -> str:
    """The card's choices for the default: dtype, quantization, attention."""
    d = judged.deployment(judged.problem.default)
    engine, capability = d.engine, d.gpu.compute_capability
    words = f"dtype {engine.dtype}, quantization {engine.quantization or 'none'}, attention {engine.attention_backend}"
    if d.gpu.is_cpu:
        return words
    lacks = "" if capability >= LEAST_FOR_FLASH_ATTENTION_2 else ", no FlashAttention-2 there"
    return f"on compute capability {capability[0]}.{capability[1]}: {words}{lacks}"


def _unseen(case: Case, name: str) -> Check | None:
    if not case.needs_gpus:
        return skipped(name, NO_GPU_NEEDED)
    if case.gpus.error:
        return skipped(name, "not checked: no NVIDIA driver answers")
    if not case.gpus.cards:
        return Check(name, "problem", "the driver sees no card", "see dmesg and CUDA_VISIBLE_DEVICES")
    return None


def _count(seen: tuple[Card, ...]) -> str:
    kinds = {card.name: card.compute_capability for card in seen}
    counts = {name: sum(card.name == name for card in seen) for name in kinds}
    return ", ".join(
        f"{counts[name]} x {name} (compute capability {major}.{minor})" for name, (major, minor) in kinds.items()
    )


def _table_name(card: Card) -> str | None:
    try:
        return recognise(card.name, card.total_bytes).name
    except InputError:
        return None


def _processes(seen: tuple[Card, ...]) -> str:
    parts = []
    for card in seen:
        for process in card.processes:
            used = "" if process.used_bytes is None else f", {format_gib(process.used_bytes)}"
            parts.append(f"{process.name} (pid {process.pid}, GPU {card.index}{used})")
    return ", ".join(parts)


def _utilizations(case: Case) -> tuple[float, float] | None:
    """Smallest and largest share of a card's memory that a trial asks for."""
    judged = case.here or case.forecast
    if judged is None:
        return None
    shares = [float(judged.deployment(candidate).engine.gpu_memory_utilization) for candidate in case.candidates]
    return min(shares), max(shares)
