"""A model by name, folder or config.json. In: a name or path. Out: a `ModelSpec`, or InputError with near names."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planner.errors import InputError
from planner.files import near_names, parse_json, read_text
from planner.model.config_json import spec_from_config
from planner.model.spec import ModelSpec

if TYPE_CHECKING:
    from planner.model.checkpoint import StoredTensor


def load_model(source: str, name: str | None = None) -> ModelSpec:
    """Read a model from a directory, a config.json, a shipped name, or the Hugging Face Hub.

    Raises InputError naming what is missing and which names ship with the program.
    """
    path = Path(os.path.expanduser(source))
    if os.path.isdir(path):
        path = path / "config.json"
        if not os.path.isfile(path):
            raise InputError(f"{source}: a directory without config.json; copy the model's config.json there")
    if os.path.isfile(path) and path.suffix == ".gguf":
        return _from_gguf(path, name or path.stem)
    if os.path.isfile(path):
        return _from_directory(path, name or path.parent.name)
    full = _shipped_name(source)
    if full is None and HUB_NAME.fullmatch(source):
        from planner.model.hub import read_hub

        config, tensors = read_hub(source, near_models(source))
        return with_tensors(spec_from_config(config, name or source), tensors)
    return spec_from_config(shipped_config(source), name or source)


def load_offline(source: str) -> ModelSpec:
    """A model from a directory, a config.json or a shipped name; the Hub is not asked. Raises InputError."""
    if not os.path.exists(os.path.expanduser(source)) and _shipped_name(source) is None:
        raise InputError(f"model {source!r}: no such directory, config.json or shipped name; {near_models(source)}")
    return load_model(source)


def _from_directory(path: Path, name: str) -> ModelSpec:
    """The model of a config.json and the files beside it: hf_quant_config.json, weights, their index."""
    from planner.model.checkpoint import index_bytes, read_tensors

    config = dict(_read_json(path))
    beside = path.parent / MODELOPT_FILE
    if not config.get("quantization_config") and os.path.isfile(beside):
        config["quantization_config"] = _read_json(beside)
    model = spec_from_config(config, name)
    if any(os.path.isfile(path.parent / file) for file in QUANTIZATION_FILES):
        model = replace(model, has_quantization_file=True)
    if os.path.isfile(path.parent / POOLING_FILE):
        model = replace(model, has_head=False)
    if (tensors := read_tensors(path.parent)) is not None:
        return with_tensors(model, tensors)
    return replace(model, checkpoint_bytes=index_bytes(path.parent))


def _from_gguf(path: Path, name: str) -> ModelSpec:
    """The model of a GGUF file, whose weights stay quantised in memory."""
    from planner.model.gguf import read_gguf
    from planner.model.quantization import GGUF

    config, num_bytes = read_gguf(path)
    return replace(spec_from_config(config, name), checkpoint_bytes=num_bytes, quantization=GGUF)


def with_tensors(model: ModelSpec, found: tuple[Mapping[str, StoredTensor], int] | None) -> ModelSpec:
    """The model with the weights that its checkpoint holds; as it is if no header could be read."""
    if found is None:
        return model
    from planner.model.held import held_weights

    tensors, total = found
    return replace(model, checkpoint_bytes=total, held=held_weights(tensors, model.layers, model.hidden_size))


POOLING_FILE = "modules.json"
"""What sentence-transformers puts beside an embedding model, which vLLM then loads without its head (vllm@0.32
transformers_utils/config.py:get_pooling_config)."""
QUANTIZATION_FILES = ("quant_config.json", "quantize_config.json")
"""Where old checkpoints of AWQ and GPTQ say how they were quantised (vllm@0.8.5 quantization/awq.py and gptq.py:
get_config_filenames)."""
MODELOPT_FILE = "hf_quant_config.json"
"""Where ModelOpt says how it quantised (vllm@0.32 transformers_utils/config.py:get_hf_file_to_dict)."""
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
"""`organisation/model`: a name that may be a repository of the Hub."""


def shipped_names() -> list[str]:
    return sorted({*_shipped(), *_published()})


def shipped_sources() -> list[tuple[str, str]]:
    """Every shipped name, with the source of its figures."""
    return [(name, str(_entry(name).get("_source", ""))) for name in shipped_names()]


def variants_of(name: str) -> list[str]:
    """Shipped names of the same model in another quantisation or in none, with or without its organisation's name."""
    wanted, own = _without_method(name), name.rstrip("/").rpartition("/")[2].lower()
    return [
        full
        for full in sorted(_shipped())
        if _without_method(full) == wanted and full.rpartition("/")[2].lower() != own
    ]


METHOD_IN_NAME = re.compile(r"(-(awq|fp8|gptq|int[48]|nvfp4|mxfp4|w[48]a(8|16)|dynamic|quantized))+$")
"""How repositories' names end if their weights are quantised."""


def _without_method(name: str) -> str:
    short = name.rstrip("/").rpartition("/")[2].lower().removeprefix("meta-")
    return METHOD_IN_NAME.sub("", short)


def _shipped_name(name: str) -> str | None:
    """The full shipped name for a name with or without its organisation; None if nothing is shipped under it."""
    names = shipped_names()
    by_short = {full.rpartition("/")[2].lower(): full for full in names}
    return name if name in names else by_short.get(name.rstrip("/").rpartition("/")[2].lower())


def is_shipped(name: str) -> bool:
    """Whether a model ships under this name, with or without its organisation, or under a path's last name."""
    return _shipped_name(name) is not None


def near_models(name: str) -> str:
    """The end of an error message: the shipped names closest to this one."""
    said = name.rstrip("/")
    spelled = {full if "/" in said else full.rpartition("/")[2]: full for full in shipped_names()}
    near = [spelled[found] for found in near_names(said, spelled, cutoff=0.5)]
    known = f"near names: {', '.join(near)}" if near else "planner models lists the names"
    return f"{known}; a directory with the model's config.json works for every model"


def shipped_config(name: str) -> Mapping[str, Any]:
    """The architecture shipped under a Hub name, with or without its organisation. Raises InputError."""
    full = _shipped_name(name)
    if full is None:
        raise InputError(f"model {name!r}: no such directory, config.json or shipped name; {near_models(name)}")
    entry = dict(_entry(full))
    base = entry.pop("_base", None)
    return {**_entry(base), **entry} if base else entry


def _entry(name: str) -> Mapping[str, Any]:
    """What is shipped under a full name: figures of models.json, or a whole config.json of the folder `published`."""
    if (found := _shipped().get(name)) is not None:
        return found
    config: dict[str, Any] = json.loads(_published()[name].read_text("utf-8"))
    return config


@cache
def _published() -> dict[str, Traversable]:
    """Whole config.json files by the model's name; one is only read when it is asked for."""
    folder = resources.files("planner").joinpath("data/published")
    return {path.name.removesuffix(".json").replace("--", "/", 1): path for path in folder.iterdir()}


@cache
def _shipped() -> dict[str, dict[str, Any]]:
    text = resources.files("planner").joinpath("data/models.json").read_text("utf-8")
    table: dict[str, dict[str, Any]] = json.loads(text)
    return table


def _read_json(path: Path) -> Mapping[str, Any]:
    value = parse_json(read_text(path), str(path))
    if not isinstance(value, dict):
        raise InputError(f"{path}: is not a JSON object")
    return value
