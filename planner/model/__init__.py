"""A model's config.json and checkpoint as a `ModelSpec`: the figures that memory and speed follow from.

In: a name, a folder or a config.json. Out: `ModelSpec`. It knows no card and no engine version.
Read `spec.py` first.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "catalog": ["is_shipped", "load_model", "load_offline", "shipped_names", "shipped_sources", "variants_of"],
        "checkpoint": ["read_safetensors_header"],
        "config_json": ["spec_from_config"],
        "layer_modules": ["modules_of"],
        "layers": [
            "Attention",
            "DeltaNet",
            "Experts",
            "Indexer",
            "LatentAttention",
            "Layer",
            "LayerStack",
            "LightningAttention",
            "Mamba",
            "Mlp",
            "PER_LAYER_INPUTS",
            "ShortConvolution",
            "State",
            "without_shared_keys",
        ],
        "modules": ["Module", "Part", "by_outputs", "whole"],
        "quantization": ["Quantization", "Scheme"],
        "spec": ["DTYPE_BYTES", "ModelSpec"],
        "vision": ["ENLARGED_ROPE_FACTOR", "VisionTower"],
    },
)
