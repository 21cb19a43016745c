"""Ask vLLM's own engine about config.json files: no weights, no GPU. Runs inside a vLLM image or venv, beside fakes.py.

In, on stdin: one JSON object per line, a question: `name`, `files` (config.json and what lies beside it, by name), and
optionally `tensor_parallel_sizes`, `max_model_len`, `pool_gib`, `engine` (further EngineArgs). Out, on stdout: one JSON
object per line, an answer, in the order of the questions. vLLM's log goes to stderr.

vLLM's EngineCore runs as `vllm serve` would run it, with an executor that builds the model on torch's meta device and
says how large the pool for the KV cache is. `--platform cpu` leaves vLLM as it is installed. `--platform cuda-9.0` lets
vLLM take the machine for one with NVIDIA cards of that compute capability: compiled extensions that the CPU build lacks
are stubs. A stub may be looked at; one that is called makes the answer `failed`, as does anything else that is not a
refusal in vLLM's own words. Every answer names the release, the platform and the stubs.

Not answered: what vLLM does to weights after it has loaded them (repacking, padding of kernels), the activation peak,
CUDA graphs, ranks other than the first, models whose code is not in vLLM.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fakes
from fakes import GIB, StubCalledError, called, looked_at

COLLECT_EVERY = 10
"""Questions between two collections of what their models leave behind."""


class Done(BaseException):
    """Leaves EngineCore's constructor once the KV cache is planned; the scheduler would want a tokenizer."""


def executor_class(pool_bytes: int, found: dict[str, Any], constants: Any) -> Any:
    """An Executor that builds on the meta device and leaves with Done; what it saw is put into `found`.

    `constants` is a context in which the model is built, besides that of the device.
    """
    import torch
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.model_loader.utils import initialize_model
    from vllm.platforms import current_platform
    from vllm.utils.torch_utils import set_default_torch_dtype
    from vllm.v1.executor.abstract import Executor

    class MetaExecutor(Executor):
        """Answers the calls that EngineCore makes until the KV cache is planned."""

        def _init_executor(self) -> None:
            config = self.vllm_config
            config.device_config.device = torch.device("meta")
            fakes.fake_groups(config.parallel_config.tensor_parallel_size)
            with set_current_vllm_config(config):
                with set_default_torch_dtype(config.model_config.dtype), torch.device("meta"), constants:
                    found["model"] = initialize_model(vllm_config=config)
                current_platform.update_block_size_for_backend(config)

        def collective_rpc(self, method: Any, *_: Any, args: Any = (), **__: Any) -> Any:
            from vllm.v1.worker.gpu.attn_utils import get_kv_cache_spec
            from vllm.v1.worker.worker_base import WorkerBase

            if method == "initialize_from_config":
                found["kv_cache_config"] = args[0][0]
                raise Done
            with set_current_vllm_config(self.vllm_config):
                if method == "get_kv_cache_spec":
                    found["specs"] = get_kv_cache_spec(self.vllm_config)
                    return [found["specs"]]
                if method == "get_supported_kv_cache_layouts":
                    return [WorkerBase.get_supported_kv_cache_layouts(self)]
            if method == "determine_available_memory":
                return [pool_bytes]
            if method == "set_kv_cache_layout":
                return [None]
            called.append(f"Executor.{method}")
            raise StubCalledError(f"EngineCore asked the executor for {method}")

        def check_health(self) -> None:
            """Always well."""

        def execute_model(self, *_: Any, **__: Any) -> Any:
            raise StubCalledError("the model was run")

    return MetaExecutor


def ask(question: dict[str, Any], size: int, folder: str, found: dict[str, Any]) -> dict[str, Any]:
    """What vLLM says of the config.json in `folder` at one tensor-parallel size; the model comes to `found`.

    A model that reads numbers from tensors while it is built (slopes of ALiBi, windows of an image encoder) cannot be
    built on the meta device alone: then its constants are made on the CPU.
    """
    try:
        return _ask(question, size, folder, found, fakes.meta_device())
    except (NotImplementedError, RuntimeError) as error:
        if "meta" not in str(error) or called:
            raise
    found.clear()
    return _ask(question, size, folder, found, fakes.meta_device(constants_on_cpu=True))


def _ask(question: dict[str, Any], size: int, folder: str, found: dict[str, Any], constants: Any) -> dict[str, Any]:
    from vllm.engine.arg_utils import EngineArgs
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.core import EngineCore

    def config(length: int | None) -> Any:
        return EngineArgs(
            model=folder, load_format="dummy", skip_tokenizer_init=True, tensor_parallel_size=size,
            max_model_len=length, distributed_executor_backend="mp" if size > 1 else None,
            **question.get("engine", {}),
        ).create_engine_config(UsageContext.OPENAI_API_SERVER)  # fmt: skip

    try:
        vllm_config = config(question.get("max_model_len"))
    except ValueError as error:
        if "max_model_len" not in str(error):
            raise
        vllm_config = config(None)
    pool_bytes = int(question.get("pool_gib", 40) * GIB)
    try:
        EngineCore(vllm_config, executor_class(pool_bytes, found, constants), log_stats=False)
    except Done:
        return describe(vllm_config, found)
    raise StubCalledError("EngineCore did not plan the KV cache")


def describe(config: Any, found: dict[str, Any]) -> dict[str, Any]:
    """The answer's figures of one rank: bytes, tokens, blocks."""
    kv_cache = _kv_cache(config, found["specs"], found["kv_cache_config"])
    return {**_weights(found["model"]), **kv_cache, "defaults": _defaults(config)}


def _weights(model: Any) -> dict[str, Any]:
    """Bytes of parameters and buffers, and of tensors that modules merely keep (buffers for DeepStack, say).

    All three are in vLLM's "Model loading took".
    """
    parameters: dict[str, int] = {}
    for _, tensor in model.named_parameters():
        parameters[_dtype(tensor)] = parameters.get(_dtype(tensor), 0) + tensor.nbytes
    registered = {one.untyped_storage()._cdata for one in (*model.parameters(), *model.buffers())}
    kept = {}
    for module in model.modules():
        for tensor in _tensors([value for name, value in vars(module).items() if name not in REGISTERED]):
            kept[tensor.untyped_storage()._cdata] = tensor.nbytes
    return {
        "architecture": type(model).__name__,
        "parameter_bytes": sum(parameters.values()),
        "parameter_bytes_by_dtype": dict(sorted(parameters.items())),
        "buffer_bytes": sum(tensor.nbytes for tensor in model.buffers()),
        "kept_bytes": sum(size for storage, size in kept.items() if storage not in registered),
    }


REGISTERED = {"_parameters", "_buffers", "_modules"}
"""Attributes of a torch module in which it keeps what it has registered."""


def _tensors(value: Any) -> Iterator[Any]:
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _tensors(one)


def _dtype(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _kv_cache(config: Any, specs: dict[str, Any], plan: Any) -> dict[str, Any]:
    kinds: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for layer, spec in specs.items():
        kinds.setdefault(repr(_spec(spec)), (_spec(spec), []))[1].append(layer)
    groups: list[dict[str, Any]] = []
    for one in plan.kv_cache_groups:
        group = {"groups": 1, "layers": len(one.layer_names), **_spec(one.kv_cache_spec)}
        if groups and {**groups[-1], "groups": 1} == group:
            groups[-1]["groups"] += 1
        else:
            groups.append(group)
    return {
        "kv_cache_layers": [{"layers": _numbers(names), **spec} for spec, names in kinds.values()],
        "kv_cache_groups": groups,
        "block_size": config.cache_config.block_size,
        "num_blocks": plan.num_blocks if groups else None,
        "bytes_per_block": max(map(_block_bytes, groups)) if groups else None,
        "requests": {str(length): _requests(config, plan, length) for length in _lengths(config)} if groups else {},
    }


def _block_bytes(group: dict[str, Any]) -> int:
    """Bytes of one block over a group's layers; groups overlay each other, so the largest takes from the pool."""
    return group["page_bytes"] * (1 if "of" in group else group["layers"])


def _spec(spec: Any) -> dict[str, Any]:
    """One KVCacheSpec: its kind, block and page, and what of it is not the usual."""
    entry: dict[str, Any] = {
        "kind": type(spec).__name__,
        "block_size": spec.block_size,
        "page_bytes": spec.page_size_bytes,
    }
    for name in ("num_kv_heads", "head_size", "head_size_v", "dtype", "sliding_window", "attention_chunk_size",
                 "shapes", "dtypes", "mamba_cache_mode", "num_speculative_blocks", "page_size_padded"):  # fmt: skip
        value = getattr(spec, name, None)
        if value is not None and not (name == "head_size_v" and value == spec.head_size):
            if isinstance(value, tuple):
                value = [str(one).removeprefix("torch.") if name == "dtypes" else list(one) for one in value]
            entry[name] = value if isinstance(value, int | list | str) else str(value).removeprefix("torch.")
    if hasattr(spec, "kv_cache_specs"):
        inner = [_spec(one) for one in spec.kv_cache_specs.values()]
        entry["of"] = [one for number, one in enumerate(inner) if one not in inner[:number]]
    return entry


def _numbers(names: list[str]) -> str:
    """Layers by number, runs as "0-47"; by name where a name has no number."""
    numbers = [re.search(r"\.(\d+)\.", name) for name in names]
    if None in numbers or len({re.sub(r"\d+", "*", name) for name in names}) > 1:
        return ", ".join(names) if len(names) < 5 else f"{len(names)} layers, {names[0]} to {names[-1]}"
    runs: list[list[int]] = []
    for number in sorted(int(one[1]) for one in numbers if one):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def _lengths(config: Any) -> list[int]:
    """Two lengths, from which a further token's bytes follow."""
    longest = config.model_config.max_model_len
    return sorted({min(1024, longest), longest})


def _requests(config: Any, plan: Any, length: int) -> float:
    """Requests of `length` tokens that the pool holds: the engine's "Maximum concurrency"."""
    import vllm.v1.core.kv_cache_utils as planning

    kept = config.model_config.max_model_len
    config.model_config.max_model_len = length
    try:
        return round(planning.get_max_concurrency_for_kv_cache_config(config, plan), 4)
    finally:
        config.model_config.max_model_len = kept


def _defaults(config: Any) -> dict[str, Any]:
    model, cache, scheduler, compilation = (
        config.model_config, config.cache_config, config.scheduler_config, config.compilation_config
    )  # fmt: skip
    backends = set()
    for layer in compilation.static_forward_context.values():
        if hasattr(layer, "get_attn_backend"):
            backends.add(layer.get_attn_backend().get_name())
    return {
        "max_model_len": model.max_model_len,
        "max_num_batched_tokens": scheduler.max_num_batched_tokens,
        "max_num_seqs": scheduler.max_num_seqs,
        "enable_chunked_prefill": scheduler.enable_chunked_prefill,
        "async_scheduling": scheduler.async_scheduling,
        "disable_hybrid_kv_cache_manager": scheduler.disable_hybrid_kv_cache_manager,
        "enable_prefix_caching": cache.enable_prefix_caching,
        "kv_cache_dtype": cache.cache_dtype,
        "mamba_cache_mode": cache.mamba_cache_mode,
        "dtype": str(model.dtype).removeprefix("torch."),
        "quantization": model.quantization,
        "runner_type": model.runner_type,
        "attention_backends": sorted(backends),
        "cudagraph_mode": getattr(compilation.cudagraph_mode, "name", None),
        "max_cudagraph_capture_size": compilation.max_cudagraph_capture_size,
    }


def modules(models: dict[str, Any]) -> list[list[Any]]:
    """Parameters of one model at several sizes, by kind: name with "*" for numbers, dtype, count, a shape per size.

    A size at which the kernel wants another dtype has a row of its own.
    """
    by_size = {size: dict(model.named_parameters()) for size, model in models.items()}
    kinds: dict[str, list[Any]] = {}
    for name in dict.fromkeys(name for named in by_size.values() for name in named):
        held = [named.get(name) for named in by_size.values()]
        for dtype in dict.fromkeys(_dtype(one) for one in held if one is not None):
            shapes = [list(one.shape) if one is not None and _dtype(one) == dtype else None for one in held]
            key = [re.sub(r"\.\d+(?=\.)", ".*", name), dtype, 0, *shapes]
            kinds.setdefault(repr(key), key)[2] += 1
    return list(kinds.values())


def answer(question: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """The answer to one question: `told` says where it was asked."""
    sizes, models = {}, {}
    stubs: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        for name, content in question["files"].items():
            Path(folder, name).write_text(json.dumps(content))
        for size in question.get("tensor_parallel_sizes", [1, 2, 4]):
            called.clear()
            found: dict[str, Any] = {}
            try:
                sizes[str(size)] = ask(question, size, folder, found)
                models[str(size)] = found["model"]
            except Exception as error:  # noqa: BLE001  (whatever stops the engine is the answer)
                weights = _weights(found["model"]) if "model" in found else {}
                sizes[str(size)] = {_kind_of(error): _words(error, folder), **weights}
                traceback.print_exc()
            if called:
                sizes[str(size)] = {"failed": f"called: {', '.join(sorted(set(called)))}"}
                models.pop(str(size), None)
            stubs |= looked_at
    answered = [one for one in sizes.values() if "defaults" in one]
    common = answered[0]["defaults"] if answered else None
    for one in answered:
        one["defaults"] = {key: value for key, value in one["defaults"].items() if value != common[key]}
    return {
        "name": question["name"],
        **told,
        "asked": {key: value for key, value in question.items() if key not in {"name", "files"}},
        "stubs": sorted(stubs),
        "defaults": common,
        "tensor_parallel": sizes,
        "modules": {"columns": ["name", "dtype", "count", *models], "rows": modules(models)} if models else None,
    }


def _kind_of(error: Exception) -> str:
    """Whether vLLM refuses, or the oracle could not ask."""
    refuses = isinstance(error, ValueError | NotImplementedError | AssertionError)
    return (
        "refused"
        if refuses and not re.search(r"meta tensor|stub|inspected|Torch not compiled", str(error))
        else "failed"
    )


def _words(error: Exception, folder: str) -> str:
    lines = [line for line in str(error).replace(folder, "MODEL").splitlines() if "errors.pydantic.dev" not in line]
    text = " ".join(" ".join(lines).split())
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{frame.filename.partition('/vllm/')[2] or Path(frame.filename).name}:{frame.name}"
    return f"{type(error).__name__}: {text[:400]} ({place})"


def main() -> None:
    """Answer the questions on stdin until it ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--platform", default="cpu", choices=["cpu", *(f"cuda-{one}" for one in fakes.CARDS)])
    asked = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1", VLLM_USE_MODELSCOPE="0")
    os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    fakes.declare_torchvision()
    kind, _, capability = asked.platform.partition("-")
    if kind == "cuda":
        fakes.fake_cuda(capability)
    import vllm
    import vllm.compilation.backends
    import vllm.model_executor.models.registry as registry
    import vllm.v1.engine.core

    registry._run_in_subprocess = lambda inspect: inspect()  # (the other process would not know the stubs)
    card, gib = fakes.CARDS.get(capability, (None, None))
    told = {
        "release": vllm.__version__.partition("+")[0],
        "platform": {"name": asked.platform, "card": card, "memory_gib": gib},
        "usage_context": "OPENAI_API_SERVER",
    }
    imported = frozenset(looked_at)
    gc.disable()  # (a collection visits all of vLLM and takes longer than most answers)
    for number, line in enumerate(sys.stdin):
        if number % COLLECT_EVERY == 0:
            gc.collect()
            gc.freeze()
        looked_at.clear()
        looked_at.update(imported)
        print(json.dumps(answer(json.loads(line), told)), file=lines, flush=True)


if __name__ == "__main__":
    main()
