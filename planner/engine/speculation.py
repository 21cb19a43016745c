"""What `--speculative-config` asks for: `speculation_of(text) -> Speculation`, with vLLM's own keys and methods.

In: the flag's JSON. Out: a method, the drafter's name and the number of tokens. Says nothing of memory.
Source: vllm@0.33 config/speculative.py:SpeculativeConfig.__post_init__.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import msgspec

from planner.errors import InputError

Drafting = Literal["none", "mtp", "eagle", "dflash", "dflash2", "model"]
"""What proposes tokens: nothing with a KV cache (n-grams, Medusa); layers for multi-token prediction; one layer on the
model's own states (EAGLE); a block-diffusion drafter (DFlash, whose second kind keeps a window); a whole model."""
_METHODS: dict[str, Drafting] = {
    "ngram": "none", "ngram_gpu": "none", "suffix": "none", "medusa": "none", "mlp_speculator": "none",
    "[ngram]": "none", "eagle": "eagle", "eagle3": "eagle", "dflash": "dflash", "draft_model": "model", "mtp": "mtp",
}  # fmt: skip
MOST_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Speculation:
    """Speculative decoding as asked for; `method` is vLLM's word."""

    method: str
    drafting: Drafting
    model: str | None
    """Name or path of the drafter; None if the model drafts for itself."""
    num_tokens: int
    """Tokens proposed at once; one per layer for multi-token prediction if the flag does not say."""
    tensor_parallel_size: int | None = None
    """Ranks that share a draft model; None: those of the model."""


@lru_cache(maxsize=32)
def speculation_of(text: str | None) -> Speculation | None:
    """The flag's value; None without one. Raises InputError if it is not JSON of the expected form."""
    if text is None:
        return None
    try:
        found = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise InputError(f"speculative_config: is not a JSON object: {error}") from None
    for key in ("model", "method"):
        if isinstance(found.get(key), dict | list):
            raise InputError(
                f"speculative_config: {key}: {msgspec.json.encode(found[key]).decode()[:60]} is not a text"
            )
    tokens, model = found.get("num_speculative_tokens"), found.get("model")
    method = str(found.get("method") or _method_of(str(model or "")))
    drafting: Drafting = "mtp" if method.endswith("_mtp") else _METHODS.get(method, "model")
    if tokens is None:
        tokens = int(drafting == "mtp")
    if not isinstance(tokens, int) or isinstance(tokens, bool) or not 0 <= tokens <= MOST_TOKENS:
        raise InputError(f"speculative_config: num_speculative_tokens: {tokens!r} is not from 0 to {MOST_TOKENS}")
    if drafting == "dflash" and "dflash2" in str(model or "").lower():
        drafting = "dflash2"
    is_own = model is None or model in _METHODS
    ranks = found.get("draft_tensor_parallel_size")
    shared = ranks if isinstance(ranks, int) and not isinstance(ranks, bool) and ranks > 0 else None
    return Speculation(method, drafting, None if is_own else str(model), tokens, shared)


def _method_of(model: str) -> str:
    """The method that vLLM reads from the drafter's name if none is given."""
    lowered = model.lower()
    if lowered in _METHODS:
        return lowered
    named = next((word for word in ("eagle3", "eagle", "dflash", "medusa") if word in lowered), None)
    return named or ("draft_model" if model else "mtp")
