"""Engines in YAML that is no container: values of the production-stack's Helm chart, KServe's InferenceService.

In: a mapping of such a file. Out: the container that it makes, as `manifests.py` reads containers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from planner.engine.command.arity import is_flag_name

GPU_RESOURCE = "nvidia.com/gpu"
_KSERVE = {"--model_id": "--model", "--model_name": "--served-model-name", "--model_dir": "--model"}
"""Flags of KServe's Hugging Face server -> vLLM's (kserve@0.15 python/huggingfaceserver); the others are vLLM's."""


def containers_of(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The containers that a chart's values or an InferenceService stand for, by name."""
    engines = document.get("servingEngineSpec")
    models = engines.get("modelSpec") if isinstance(engines, dict) else None
    for model in models if isinstance(models, list) else []:
        if isinstance(model, dict) and "modelURL" in model:
            yield str(model.get("name", "modelSpec")), _of_chart(model)
    spec = document.get("spec")
    predictor = spec.get("predictor") if isinstance(spec, dict) else None
    served = predictor.get("model") if isinstance(predictor, dict) else None
    if isinstance(served, dict) and "modelFormat" in served:
        yield "predictor.model", _of_kserve(served)


def _of_chart(model: Mapping[str, Any]) -> dict[str, Any]:
    """One entry of modelSpec (vllm-project/production-stack helm/templates/deployment-vllm-multi.yaml)."""
    config = model.get("vllmConfig")
    args = ["--model", str(model["modelURL"])]
    further: list[str] = []
    for key, value in config.items() if isinstance(config, dict) else ():
        flag = "--" + re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", str(key)).lower()
        if key == "extraArgs" and isinstance(value, list):
            further += map(str, value)
        elif is_flag_name(flag) and isinstance(value, bool):
            args.append(flag if value else "--no-" + flag.removeprefix("--"))
        elif is_flag_name(flag) and value not in (None, ""):
            args += [flag, str(value)]
    return {
        "image": f"{model.get('repository', 'vllm/vllm-openai')}:{model.get('tag', 'latest')}",
        "command": ["vllm", "serve"],
        "args": [*args, *further],
        "env": model.get("env"),
        "resources": {"limits": {GPU_RESOURCE: model.get("requestGPU", 1)}},
    }


def _of_kserve(served: Mapping[str, Any]) -> dict[str, Any]:
    words = [str(word) for word in served.get("args") or ()]
    args = []
    for word in words:
        name, equals, value = word.partition("=")
        args.append(f"{_KSERVE.get(name, name)}{equals}{value}")
    if not any(word.partition("=")[0] == "--model" for word in args) and "storageUri" in served:
        args += ["--model", str(served["storageUri"]).removeprefix("hf://")]
    return {**served, "command": ["vllm", "serve"], "args": args}
