"""Constants of the speed model: the fraction of a card's peak rates that an engine reaches, and its overheads."""

from __future__ import annotations

from dataclasses import dataclass

from planner.engine import ResolvedEngine
from planner.hardware import GpuSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficients:
    """Efficiencies and overheads that data sheets do not give. Priors: a study's own measurements are worth more."""

    gemm_efficiency: float = 0.60
    """Fraction of the peak that large 16-bit GEMMs reach with the small kernels around them; 0.5-0.7 is usual."""
    bandwidth_efficiency: float = 0.80
    """Fraction of the memory bandwidth that reading weights reaches; 0.75-0.85 is usual for decode GEMMs."""
    fused_bandwidth_efficiency: float = 0.45
    """The same for plain AWQ and GPTQ kernels that read packed weights: unpacking overlaps little with the loads."""
    fused_gemm_efficiency: float = 0.30
    """Fraction of the peak that those kernels reach; puts their crossing with dequantise-then-GEMM near 256 tokens,
    where vLLM switches."""
    fused_tile_rows: int = 16
    """Rows per tile of those kernels: 17 tokens cost as much as 32."""
    marlin_efficiency: float = 0.75
    """Fraction of the bandwidth with Marlin, which keeps near 4x over fp16 up to batch 16-32 (Frantar et al. 2024), so
    it nearly reaches it."""
    launch_s_per_layer: float = 0.0007
    """Python and kernel launches of one decoder layer without graphs: V1 0.24, 36 layers, 27 ms per decode step."""
    graph_launch_s: float = 0.0005
    """Time to prepare the inputs of a captured graph and replay it."""
    host_s: float = 0.0015
    """Host time per step with one rank: scheduler, input preparation and output handling."""
    host_s_per_rank: float = 0.0002
    """Host time that each rank adds per step: the broadcast of the inputs."""
    host_s_per_seq: float = 0.00003
    """Host time that each running sequence adds per step; V1 0.24 at 128 sequences lost 5.5 ms per step with
    asynchronous scheduling off."""
    attention_efficiency: float = 1.0
    """Factor on each attention backend's efficiencies of prefill and of decoding."""
    sampler_bytes_per_logit: float = 24.0
    """Memory traffic of sampling per row and vocabulary entry: fp32 copy, log-softmax, argmax."""
    frontend_s_per_token: float = 0.00008
    """Time of the API server per streamed token: one process saturates at 10-13 thousand tokens per second."""


V0 = Coefficients(
    launch_s_per_layer=0.0004,  # no custom-op dispatch of torch.compile, about ten plain kernels a layer
    host_s=0.003,  # scheduler, SequenceGroup bookkeeping and detokenisation share the engine's process
    host_s_per_rank=0.0012,  # pickled inputs to every worker: 8 ms per step at tensor parallel 4, with the above
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
