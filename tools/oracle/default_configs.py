"""Print the default config.json of every model type that the installed vLLM serves and transformers knows.

Run inside a vLLM image or venv. Out, on stdout: one JSON object per line: `name`, `source`, `config` with all keys of
the class's defaults, and with the architecture that vLLM serves. A type whose defaults cannot be built is one line on
stderr.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

KINDS = (
    "_TEXT_GENERATION_MODELS", "_MULTIMODAL_MODELS", "_EMBEDDING_MODELS", "_SEQUENCE_CLASSIFICATION_MODELS",
    "_TOKEN_CLASSIFICATION_MODELS", "_LATE_INTERACTION_MODELS", "_REWARD_MODELS", "_TRANSFORMERS_SUPPORTED_MODELS",
)  # fmt: skip
"""Tables of vllm@0.32.0 model_executor/models/registry.py; a type in several is taken from the first. Drafters of
speculation are left out: nobody serves one alone."""


def architectures() -> dict[str, str]:
    """By model type the architecture that vLLM serves, from transformers' own tables of its classes."""
    import vllm.model_executor.models.registry as registry
    from transformers.models.auto import modeling_auto

    types: dict[str, list[str]] = {}
    tables = sorted(name for name in vars(modeling_auto) if name.endswith("_MAPPING_NAMES"))
    for table in tables:
        for model_type, names in getattr(modeling_auto, table).items():
            for name in names if isinstance(names, tuple | list) else (names,):
                types.setdefault(name, []).append(model_type)
    found: dict[str, str] = {}
    for kind in KINDS:
        for name in getattr(registry, kind, {}):
            for model_type in types.get(name, []):
                found.setdefault(model_type, name)
    return found


def default_config(model_type: str, architecture: str) -> dict[str, Any]:
    """All keys of the class's defaults. Raises whatever the class raises."""
    from transformers import AutoConfig

    config = AutoConfig.for_model(model_type).to_dict()
    return {**config, "architectures": [architecture], "model_type": model_type}


def main() -> None:
    """Print them all."""
    os.environ.update(HF_HUB_OFFLINE="1", VLLM_LOGGING_LEVEL="ERROR")
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import transformers

    source = f"defaults of transformers {transformers.__version__}"
    for model_type, architecture in sorted(architectures().items()):
        try:
            config = json.dumps(default_config(model_type, architecture))
        except Exception as error:  # noqa: BLE001  (of foreign classes; the type is reported)
            print(f"{model_type}: no defaults: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
            continue
        entry = {"name": f"default-{model_type}", "source": source, "config": json.loads(config)}
        print(json.dumps(entry), file=lines, flush=True)


if __name__ == "__main__":
    main()
