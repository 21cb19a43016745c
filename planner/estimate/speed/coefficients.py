"""Constants of the speed model: the share of a card's peak rates that an engine reaches, and its overheads."""

from __future__ import annotations

from dataclasses import dataclass

from planner.engine import ResolvedEngine
from planner.hardware import GpuSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficients:
    """What hardware data sheets do not say. Priors: a study's own measurements are worth more."""

    gemm_efficiency: float = 0.60
    """Share of the peak that large 16-bit GEMMs reach with the small kernels around them; 0.5-0.7 is usual."""
    bandwidth_efficiency: float = 0.80
    """Share of the memory bandwidth that reading weights reaches; 0.75-0.85 is usual for decode GEMMs."""
    fused_bandwidth_efficiency: float = 0.45
    """The same for plain AWQ and GPTQ kernels reading packed weights: unpacking hides little behind the loads."""
    fused_gemm_efficiency: float = 0.30
    """Arithmetic of those kernels; puts their crossing with dequantise-then-GEMM near 256 tokens, vLLM's switch."""
    fused_tile_rows: int = 16
    """Rows of a tile of those kernels: 17 tokens cost as much as 32."""
    marlin_efficiency: float = 0.75
    """Marlin keeps near 4x over fp16 up to batch 16-32 (Frantar et al. 2024), so it nearly reaches the bandwidth."""
    launch_s_per_layer: float = 0.0007
    """Python and kernel launches of one decoder layer without graphs: V1 0.24, 36 layers, 27 ms a decode step."""
    graph_launch_s: float = 0.0005
    """Replay of a captured graph and the preparation of its inputs."""
    host_s: float = 0.0015
    """Scheduler, input preparation and output handling of a step, one rank."""
    host_s_per_rank: float = 0.0002
    """What each rank adds: the broadcast of a step's inputs."""
    host_s_per_seq: float = 0.00003
    """What each running sequence adds; V1 0.24 at 128 sequences lost 5.5 ms a step with asynchronous scheduling off."""
    attention_efficiency: float = 1.0
    """Times what each backend's entry says of prefill and of decoding."""
    sampler_bytes_per_logit: float = 24.0
    """Memory traffic of sampling per row and vocabulary entry: fp32 copy, log-softmax, argmax."""
    frontend_s_per_token: float = 0.00008
    """The API server process per streamed token: one process saturates at 10-13 thousand tokens a second."""


V0 = Coefficients(
    launch_s_per_layer=0.0004,  # no custom-op dispatch of torch.compile, about ten plain kernels a layer
    host_s=0.003,  # scheduler, SequenceGroup bookkeeping and detokenisation share the engine's process
    host_s_per_rank=0.0012,  # pickled inputs to every worker: 8 ms a step at tensor parallel 4 with the above
    host_s_per_seq=0.00008,  # Python loops over sequence groups; 64 of them add 5 ms
)
V1 = Coefficients()
CPU = Coefficients(
    launch_s_per_layer=0.0,  # a launch is the call itself
    graph_launch_s=0.0,
    gemm_efficiency=1.0,  # the CPU entry of the table holds what is reached, not a peak
    bandwidth_efficiency=1.0,
    frontend_s_per_token=0.0003,  # the API server shares the cores with the model
)


def default_coefficients(engine: ResolvedEngine, gpu: GpuSpec) -> Coefficients:
    return CPU if gpu.is_cpu else V0 if engine.generation == "V0" else V1
