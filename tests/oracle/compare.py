"""Compare `planner estimate` with the golden files of tools/oracle: `differences(name) -> {aspect: words}`.

Three aspects. `refused`: vLLM builds the model, planner does not answer. `weights`: bytes of one rank as torch counts
them, within 1 %: the oracle's tensors go through the same model of torch's allocator as planner's own.
`kv`: requests that fit a pool of a given size, at two lengths, equal but for the two decimals of planner's document.
Each at every tensor-parallel size that vLLM builds. A verdict of `cannot say` is no difference.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from planner.estimate import answer_lines
from planner.estimate.memory.allocator import allocated_bytes
from tests.places import GOLDEN

ORACLE = GOLDEN / "oracle"
CONFIGS = ORACLE / "configs"
KNOWN = ORACLE / "known-differences.json"
"""By release and name the aspects in which planner differs; the file may only become shorter."""
CARDS = {"NVIDIA H100 80GB HBM3": "H100 80GB", "Tesla T4": "T4"}
"""By the driver's name of a faked card its name of `planner gpus`."""
MARLIN_CARD = "RTX PRO 6000"
"""Card whose kernel for MXFP4 experts is the one that the oracle builds for: the image has no Triton kernels, so vLLM
takes Marlin's, and a start on a real H100 has 1 % less (logged: 13.58 GiB of gpt-oss-20b, padded for Marlin 13.70)."""
PLATFORM = "cuda-9.0"
WEIGHTS_TOLERANCE = 0.01
WEIGHTS_ROUNDING = 0.0015
"""GiB: the last decimal of the document, and a block of the allocator, which is 1 % of the smallest models only."""
REQUESTS_TOLERANCE = 0.0051
"""Half of the last decimal of max_concurrency in planner's document, and the oracle's own rounding."""
GIB = 2**30


@dataclass(frozen=True)
class Case:
    """One question at one tensor-parallel size and length, and vLLM's answer."""

    name: str
    release: str
    tensor_parallel_size: int
    max_model_len: int | None
    card: str
    pool_gib: float
    answer: dict[str, Any]
    modules: dict[str, Any]
    """Shapes of all tensors by size of tensor parallelism; empty if vLLM did not tell."""


def golden_files() -> list[Path]:
    """All golden files: one for each release and config.json."""
    return sorted(ORACLE.glob("*.*/*.json"))


def key_of(path: Path) -> str:
    """Name of a golden file in the list of known differences: RELEASE/NAME."""
    return f"{path.parent.name}/{path.stem}"


def cases(path: Path) -> Iterator[Case]:
    """What vLLM answered of one config.json on PLATFORM, without the sizes that it refused or that nobody could ask."""
    golden = json.loads(path.read_text("utf-8"))
    for told in golden["answers"]:
        if told["platform"]["name"] != PLATFORM:
            continue
        for size, answer in told["tensor_parallel"].items():
            if "refused" in answer or "failed" in answer:
                continue
            for length in answer["requests"] or [None]:
                yield Case(
                    name=golden["name"], release=told["release"], tensor_parallel_size=int(size),
                    max_model_len=length and int(length), card=_card(told),
                    pool_gib=told["asked"]["pool_gib"], answer=answer, modules=told.get("modules") or {},
                )  # fmt: skip


def _card(told: dict[str, Any]) -> str:
    is_mxfp4 = "mxfp4" in str((told["defaults"] or {}).get("quantization"))
    return MARLIN_CARD if is_mxfp4 else CARDS[told["platform"]["card"]]


def request(case: Case, folder: str) -> dict[str, Any]:
    """The same question as a line of `planner estimate --requests`; the config.json is in `folder`."""
    engine: dict[str, Any] = {
        "tensor-parallel-size": case.tensor_parallel_size,
        "kv-cache-memory-bytes": int(case.pool_gib * GIB),
        "max-model-len": case.max_model_len,
    }
    return {
        "id": case.name,
        "model": folder,
        "gpu": {"name": case.card},
        "num_gpus": case.tensor_parallel_size,
        "vllm_version": case.release,
        "engine": {key: value for key, value in engine.items() if value is not None},
    }


@cache
def said(path: Path) -> tuple[tuple[Case, dict[str, Any]], ...]:
    """Every question that vLLM answered, with planner's answer."""
    asked = list(cases(path))
    with tempfile.TemporaryDirectory() as folder:
        for name in ("config", "hf_quant_config"):
            source = CONFIGS / (f"{path.stem}.json" if name == "config" else f"{path.stem}.{name}.json")
            if source.exists():
                shutil.copy(source, Path(folder, f"{name}.json"))
        lines = answer_lines(json.dumps(request(case, folder)) for case in asked)
        answers = [json.loads(line.replace(Path(folder).name, "MODEL")) for line in lines]
    return tuple(zip(asked, answers, strict=True))


def differences(path: Path) -> dict[str, str]:
    """By aspect the first difference between planner and the golden file, in words."""
    found: dict[str, str] = {}
    for case, answer in said(path):
        for aspect, words in _differ(case, answer):
            found.setdefault(aspect, f"tp {case.tensor_parallel_size}: {words}")
    return found


def _differ(case: Case, said: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "error" in said:
        yield "refused", said["error"]
        return
    if said["verdict"] == "cannot say":
        return
    weights = loaded_gib(case)
    if abs(said["weights_gib"] - weights) > max(WEIGHTS_TOLERANCE * weights, WEIGHTS_ROUNDING):
        yield "weights", f"{said['weights_gib']:.3f} GiB, vLLM {weights:.3f}"
    if case.max_model_len is not None:
        requests = case.answer["requests"][str(case.max_model_len)]
        if abs(said["max_concurrency"] - requests) > REQUESTS_TOLERANCE:
            yield "kv", f"{case.max_model_len} tokens: {said['max_concurrency']:.2f} requests, vLLM {requests:.2f}"


def loaded_gib(case: Case) -> float:
    """What torch counts as allocated for the tensors that vLLM made; their plain sum where no shapes are told."""
    sizes = list(_tensors(case.modules, str(case.tensor_parallel_size)))
    if not sizes:
        return weights_gib(case.answer)
    beside: int = case.answer["buffer_bytes"] + case.answer["kept_bytes"]
    return (allocated_bytes(sizes) + beside) / GIB


ITEMSIZE = {"float32": 4, "int64": 8, "int32": 4, "bfloat16": 2, "float16": 2, "int8": 1, "uint8": 1}


def _tensors(modules: dict[str, Any], size: str) -> Iterator[int]:
    """Bytes of each tensor of a rank in about the order of creation: rows of one stack of layers, layer by layer."""
    run: list[tuple[int, int]] = []
    stack = ""
    for row in modules.get("rows", ()):
        shape = row[modules["columns"].index(size)]
        if shape is None:
            continue
        num_bytes = ITEMSIZE.get(row[1], 1)
        for length in shape:
            num_bytes *= length
        here = row[0].partition("*")[0] if "*" in row[0] else ""
        if here != stack:
            yield from _layers(run)
            run, stack = [], here
        run.append((num_bytes, row[2]))
    yield from _layers(run)


def _layers(rows: Sequence[tuple[int, int]]) -> Iterator[int]:
    for number in range(max((count for _, count in rows), default=0)):
        yield from (num_bytes for num_bytes, count in rows if number < count)


def weights_gib(answer: dict[str, Any]) -> float:
    """What vLLM would log as "Model loading took", but for what it does to weights after it has loaded them."""
    return (answer["parameter_bytes"] + answer["buffer_bytes"] + answer["kept_bytes"]) / GIB


def known_differences() -> dict[str, list[str]]:
    """By release and name the aspects in which planner is known to differ."""
    return json.loads(KNOWN.read_text("utf-8"))


def write_known(known: dict[str, list[str]]) -> None:
    """Write the list, one name a line."""
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(aspects)}" for name, aspects in sorted(known.items()))
    KNOWN.write_text(f"{{\n{lines}\n}}\n", "utf-8")
