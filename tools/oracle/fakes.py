"""Stand-ins that let vLLM's CPU build run as if it found NVIDIA cards, and groups of processes that are not there.

In: a compute capability, a tensor-parallel size. Out: a changed torch and vLLM. What stands for compiled code is a
Stub: it may be looked at, imported and passed on; to call it raises StubCalledError and is noted in `called`. torch
and vLLM are imported inside functions, because the order matters.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import re
import sys
import types
from typing import Any, ClassVar

GIB = 2**30
CARDS = {"9.0": ("NVIDIA H100 80GB HBM3", 80), "7.5": ("Tesla T4", 16)}
"""Name and GiB of the card that a faked platform pretends to have: defaults of vLLM depend on both."""
STUB_MODULES = re.compile(
    r"vllm\.(_C|_C_stable_libtorch|_moe_C|_moe_C_stable_libtorch|_qutlass_C|_flashmla_C|_flashmla_extension_C"
    r"|_deepselect_C|_flashkda_C|vllm_flash_attn\._vllm_fa[23]_C|third_party\.(flashmla\..+|deep_gemm(\..+)?))"
)
"""Extension modules of vLLM's CUDA wheel, which a CPU build has not."""
STUB_OPS = re.compile(
    r"_C|_C_cache_ops|_C_custom_ar|_C_stable_libtorch|_moe_C|_qutlass_C|_flash(mla|kda)_C|_vllm_fa[23]_C"
)
"""Namespaces of torch.ops that those modules fill."""
CPU_OPS = re.compile("cpu|onednn|4bit_int|_with_quant|convert_weight_packed")
"""Ops that a wheel for CUDA has not."""
LEAST_CAPABILITY = {
    "cutlass_scaled_mm_supports_fp8": 89,
    "cutlass_scaled_mm_supports_block_fp8": 90,
    "cutlass_scaled_mm_supports_fp4": 100,
    "cutlass_group_gemm_supported": 90,
    "cutlass_sparse_scaled_mm_supported": 90,
}
"""Ops that only say what a card can do, and the capability from which they say yes, for a wheel built for all cards
(vllm@0.32.0 csrc/libtorch_stable/quantization/w8a8/cutlass/scaled_mm_entry.cu)."""
SETTERS = {"vllm.third_party.deep_gemm.set_pdl"}
"""Functions that are called when a module is imported, and only switch a feature of kernels."""
called: list[str] = []
"""Stubs that were called since the current question began."""
looked_at: set[str] = set()
"""Stubs that vLLM has imported or looked up in this process."""


STAND_INS = {
    "torch.accelerator", "torch.cuda", "torch.cuda.Stream", "torch.ops.torchvision", "triton.runtime.driver",
    "vllm.platforms.current_platform",
}  # fmt: skip
"""What else is changed; all other names of an answer's `stubs` are stubs of compiled code."""


def is_known(stub: str) -> bool:
    """Whether a name in an answer's `stubs` is one that this module makes."""
    space, _, op = stub.removeprefix("torch.ops.").partition(".")
    known_op = stub.startswith("torch.ops.") and STUB_OPS.fullmatch(space) and (not op or op in LEAST_CAPABILITY)
    return stub in STAND_INS or bool(known_op or STUB_MODULES.fullmatch(stub))


class StubCalledError(RuntimeError):
    """Code that only exists as a stub was run, so nothing after it can be trusted."""


class Stub:
    """Stands for a compiled function: it can be looked at, not called."""

    def __init__(self, name: str, capability: int = 0) -> None:
        self.__name__ = name
        self.capability = capability

    def __getattr__(self, name: str) -> Stub:
        if name.startswith("__"):
            raise AttributeError(name)
        return Stub(f"{self.__name__}.{name}", self.capability)  # (an overload of the op)

    def __call__(self, *given: Any, **_: Any) -> Any:
        op = self.__name__.rpartition(".")[2]
        if op in LEAST_CAPABILITY:
            looked_at.add(self.__name__)
            return (given[0] if given else self.capability) >= LEAST_CAPABILITY[op]
        if self.__name__ in SETTERS:
            looked_at.add(self.__name__)
            return None
        called.append(self.__name__)
        raise StubCalledError(f"the stub {self.__name__} was called")


class StubModule(types.ModuleType):
    """Stands for a compiled module, whatever names are asked of it."""

    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        whole = f"{self.__name__}.{name}"
        return type(name, (), {}) if name[0].isupper() else Stub(whole)


class StubFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Last of the import system's finders: makes a StubModule where a module of STUB_MODULES is missing."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:  # noqa: ARG002
        return importlib.machinery.ModuleSpec(fullname, self) if STUB_MODULES.fullmatch(fullname) else None

    def create_module(self, spec: Any) -> StubModule:
        looked_at.add(spec.name)
        return StubModule(spec.name)

    def exec_module(self, module: Any) -> None:
        """Nothing to run."""


def stub_ops(capability: int) -> None:
    """Give torch.ops the ops of STUB_OPS that are missing. Shapes that vLLM registers for one are of no use."""
    import torch._ops
    import torch.library

    real, register = torch._ops._OpNamespace.__getattr__, torch.library.register_fake

    def found(space: Any, name: str) -> Any:
        try:
            return real(space, name)
        except AttributeError:
            if name.startswith("__") or not STUB_OPS.fullmatch(space.name) or CPU_OPS.search(name):
                raise
            looked_at.add(f"torch.ops.{space.name}")
            stub = Stub(f"torch.ops.{space.name}.{name}", capability)
            setattr(space, name, stub)
            return stub

    def registered(op: Any, function: Any = None, **options: Any) -> Any:
        space, _, name = op.partition("::") if isinstance(op, str) else ("", "", "")
        if STUB_OPS.fullmatch(space) and isinstance(getattr(getattr(torch.ops, space), name), Stub):
            return function or (lambda later: later)
        return register(op, function, **options)

    torch._ops._OpNamespace.__getattr__ = found  # type: ignore[method-assign]
    torch.library.register_fake = registered


class StubStream:
    """Stands for torch.cuda.Stream and Event, which models make when they are built and use when they run."""

    def __init__(self, *_: Any, **__: Any) -> None:
        looked_at.add("torch.cuda.Stream")

    def __getattr__(self, name: str) -> Stub:
        return Stub(f"torch.cuda.Stream.{name}")


def fake_cuda(capability: str) -> None:
    """Let vLLM find NVIDIA cards of `capability`, as "9.0"; call before vLLM is imported."""
    import torch

    major, minor = map(int, capability.split("."))
    name, gib = CARDS[capability]
    sys.meta_path.append(StubFinder())
    stub_ops(major * 10 + minor)
    # Empty: vLLM keeps Triton although no driver is active (vllm@0.32.0 triton_utils/importing.py).
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    _fake_triton(major * 10 + minor)
    import vllm.platforms
    from vllm.platforms.cuda import NonNvmlCudaPlatform
    from vllm.platforms.interface import DeviceCapability

    class FakeCuda(NonNvmlCudaPlatform):
        """A host with eight cards joined by NVLink."""

        get_device_capability = classmethod(lambda cls, device_id=0: DeviceCapability(major, minor))  # noqa: ARG005
        get_device_name = classmethod(lambda cls, device_id=0: name)  # noqa: ARG005
        get_device_total_memory = classmethod(lambda cls, device_id=0: gib * GIB)  # noqa: ARG005
        device_count = classmethod(lambda cls: 8)  # noqa: ARG005
        current_device = classmethod(lambda cls: torch.device("meta"))  # noqa: ARG005
        is_fully_connected = classmethod(lambda cls, physical_device_ids: True)  # noqa: ARG005
        num_compute_units = classmethod(lambda cls, device_id=0: 132)  # noqa: ARG005
        is_integrated_gpu = classmethod(lambda cls, device_id=0: False)  # noqa: ARG005

        @classmethod
        def has_device_capability(cls, capability: Any, device_id: int = 0) -> bool:  # noqa: ARG003
            least = capability if isinstance(capability, tuple) else divmod(capability, 10)
            return (major, minor) >= tuple(least)

    vllm.platforms._current_platform = FakeCuda()
    vllm.platforms.vllm_version_matches_substr = lambda text: False  # noqa: ARG005  (the wheel says "cpu")
    properties = types.SimpleNamespace(
        multi_processor_count=132, major=major, minor=minor, total_memory=gib * GIB, name=name,
        shared_memory_per_block_optin=227 << 10, warp_size=32, L2_cache_size=50 << 20,
    )  # fmt: skip
    cuda: Any = torch.cuda
    cuda.get_device_capability = lambda *_, **__: (major, minor)
    cuda.get_device_properties = lambda *_, **__: properties
    cuda.get_device_name = lambda *_, **__: name
    cuda.device_count = lambda: 8
    cuda.is_available = lambda: True
    cuda.current_device = lambda: 0
    cuda.Stream = cuda.Event = StubStream
    cuda.current_stream = cuda.default_stream = StubStream
    accelerator: Any = torch.accelerator
    accelerator.current_device_index = lambda *_, **__: 0
    accelerator.device_count = lambda *_, **__: 8
    accelerator.current_accelerator = lambda *_, **__: torch.device("cuda")
    accelerator.is_available = lambda *_, **__: True
    looked_at.update(("torch.cuda", "torch.accelerator", "vllm.platforms.current_platform"))


def _fake_triton(capability: int) -> None:
    """A Triton driver that knows its target and can launch nothing. Raises ImportError without triton."""
    import torch
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    class FakeDriver:
        """What Triton's decorators ask while kernels are defined."""

        get_current_target = staticmethod(lambda: GPUTarget("cuda", capability, 32))
        get_current_device = staticmethod(lambda: 0)
        get_device_interface = staticmethod(lambda: torch.cuda)
        is_active = staticmethod(lambda: True)
        utils = types.SimpleNamespace(
            get_device_properties=lambda device: {  # noqa: ARG005
                "max_shared_mem": 227 << 10, "multiprocessor_count": 132, "warpSize": 32, "max_num_regs": 65536,
                "sm_clock_rate": 1, "mem_clock_rate": 1, "mem_bus_width": 1,
            }
        )  # fmt: skip

        def __getattr__(self, name: str) -> Stub:
            return Stub(f"triton.runtime.driver.{name}")

    driver.set_active(FakeDriver())
    looked_at.add("triton.runtime.driver")


def declare_torchvision() -> None:
    """Declare the two ops that a torchvision built for CUDA wants of its compiled part, which does not load on CPU."""
    import importlib.util

    if importlib.util.find_spec("torchvision") is None:
        return
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for op in ("nms", "qnms"):
        library.define(f"{op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    declare_torchvision.library = library  # type: ignore[attr-defined]  # (it lives as long as its ops)
    looked_at.add("torch.ops.torchvision")


class FakeGroup:
    """Stands for a group of processes that nobody talks through: sizes and ranks, seen from the first rank."""

    def __init__(self, size: int) -> None:
        self.world_size = size
        self.rank = self.rank_in_group = self.local_rank = self.first_rank = 0
        self.next_rank, self.prev_rank, self.last_rank = 1 % size, size - 1, size - 1
        self.ranks = list(range(size))
        self.is_first_rank, self.is_last_rank = True, size == 1
        self.device_group = self.cpu_group = types.SimpleNamespace(size=lambda: size, rank=lambda: 0)
        self.device_communicator = self.mq_broadcaster = None
        self.use_custom_op_call = False
        self.unique_name = "oracle"


def fake_groups(size: int) -> None:
    """Set vLLM's groups: `size` ranks in tensor and expert parallel, one in all others."""
    import torch
    import vllm.distributed.parallel_state as state

    FakeGroup.device = torch.device("meta")  # type: ignore[attr-defined]
    for name, value in vars(state).copy().items():
        if re.fullmatch(r"_[A-Z_]+", name) and (value is None or isinstance(value, FakeGroup)):
            setattr(state, name, FakeGroup(1))
    state._TP, state._WORLD, state._EP = FakeGroup(size), FakeGroup(size), FakeGroup(size)
    state._NODE_COUNT = 1


def meta_device(constants_on_cpu: bool = False) -> Any:
    """A context in which nothing is put on a card: what asks for one gets the meta device.

    With `constants_on_cpu` tensors that are made with their values lie on the CPU, so that they can be read. Zeros
    and ones by the million stay where they are: they are parameters.
    """
    import math

    import torch
    from torch.overrides import TorchFunctionMode

    with_values = {torch.tensor, torch.arange, torch.linspace, torch.full}
    by_shape = {torch.zeros, torch.ones}

    def is_constant(func: Any, shape: tuple[Any, ...]) -> bool:
        if func in with_values:
            return True
        return func in by_shape and math.prod(shape[0] if shape and not isinstance(shape[0], int) else shape) <= 2**20

    class NoCard(TorchFunctionMode):
        """Changes the device of each call."""

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            given = dict(kwargs or {})
            if given.get("device") is not None and torch.device(given["device"]).type == "cuda":
                given["device"] = "meta"
            elif constants_on_cpu and given.get("device") is None and is_constant(func, args):
                given["device"] = "cpu"
            return func(*args, **given)

    return NoCard()
