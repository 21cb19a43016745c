"""A model's config.json and safetensors headers from the Hugging Face Hub: `read_hub(name, near)`. Never its weights.

Needs the extra `hub`. HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE mean what they mean to huggingface_hub, whose
cache is used: a model that was read once needs no network the next time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from planner.errors import InputError
from planner.files import parse_json, read_text
from planner.model.checkpoint import StoredTensor
from planner.version import install_hint

CONNECT_TIMEOUT_S = 5.0


def read_hub(name: str, near: str) -> tuple[Mapping[str, Any], tuple[Mapping[str, StoredTensor], int] | None]:
    """config.json of a repository, its tensors by name and their total bytes; None for these if no header can be read.

    Raises InputError with the reason, ending in `near`: the shipped names closest to this one.
    """
    import httpx

    not_here = f"model {name!r}: no such directory, config.json or shipped name"
    try:
        import huggingface_hub as hub
        from huggingface_hub import errors
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ImportError:
        hint = f"{install_hint('hub')} reads it from the Hugging Face Hub"
        raise InputError(f"{not_here}; {hint}; {near}") from None
    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    reason = _unreachable(hub)
    try:
        path = hub.hf_hub_download(name, "config.json", local_files_only=reason is not None)
    except errors.GatedRepoError:
        hint = "accept its licence on the Hub and log in (hf auth login), or give its directory"
        raise InputError(f"model {name!r}: the Hub gives it to registered users only: {hint}; {near}") from None
    except errors.RepositoryNotFoundError:
        raise InputError(f"{not_here}; the Hub knows no such public repository; {near}") from None
    except errors.LocalEntryNotFoundError:
        raise InputError(f"{not_here}; {reason or 'the Hub went away'}; {near}") from None
    except errors.EntryNotFoundError:
        raise InputError(f"model {name!r}: its repository on the Hub has no config.json; {near}") from None
    except (httpx.HTTPError, errors.HFValidationError, OSError) as error:
        raise InputError(f"model {name!r}: the Hub did not answer as expected: {_first_line(error)}; {near}") from None
    config = parse_json(read_text(Path(path)), f"model {name!r}: its config.json")
    if not isinstance(config, dict):
        raise InputError(f"model {name!r}: its config.json is not a JSON object")
    if reason is not None:
        return config, None
    try:
        return config, _tensors(hub.get_safetensors_metadata(name))
    except (httpx.HTTPError, errors.NotASafetensorsRepoError, OSError):
        return config, None  # the architecture alone gives an estimate
    except errors.SafetensorsParsingError as error:
        raise InputError(f"model {name!r}: its safetensors headers: {_first_line(error)}") from None


def _tensors(metadata: Any) -> tuple[dict[str, StoredTensor], int]:
    every = [pair for file in metadata.files_metadata.values() for pair in file.tensors.items()]
    stored = [(name, StoredTensor(one.dtype, tuple(one.shape), tuple(one.data_offsets))) for name, one in every]
    return dict(stored), sum(tensor.num_bytes for _, tensor in stored)


def _unreachable(hub: Any) -> str | None:
    """Why the Hub cannot be used; None if it answers. It is tried once; the library would retry for half a minute."""
    import httpx

    if hub.constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE forbids asking the Hub"
    try:
        httpx.head(hub.constants.ENDPOINT, timeout=CONNECT_TIMEOUT_S)
    except httpx.HTTPError:
        return f"the Hub ({hub.constants.ENDPOINT}) cannot be reached"
    return None


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
