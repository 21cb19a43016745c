"""Reading figures from config.json: `Keys(config, name).number("hidden_size", "d_model")`.

In: the mapping of a config.json with its class's defaults. Out: checked numbers; InputError names the key otherwise.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from planner.errors import InputError

MOST_SIZE = 1 << 26
"""Largest value accepted for any figure of config.json; the longest contexts have 10 million positions."""
EXPERT_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
MOST = {"num_hidden_layers": 1 << 12, "num_attention_heads": 1 << 14, "num_key_value_heads": 1 << 14,
        "head_dim": 1 << 14, "hidden_size": 1 << 20, "intermediate_size": 1 << 24, "moe_intermediate_size": 1 << 20,
        **dict.fromkeys(EXPERT_COUNTS, 1 << 16)}  # fmt: skip
"""Tighter limits for some keys: layers are counted one by one; products of the others must fit 64 bits."""
WIDTHS = ("hidden_size", "d_model", "n_embd", "model_dim")
"""Keys of the width of the hidden state."""


class Keys:
    """The keys of one config.json. Methods raise InputError for a value that is missing or has the wrong form."""

    def __init__(self, config: Mapping[str, Any], name: str) -> None:
        self.config = config
        self.name = name

    def value(self, *keys: str) -> Any:
        """The first of these keys that is there and not null; None without one."""
        for key in keys:
            if self.config.get(key) is not None:
                return self.config[key]
        return None

    def has(self, *keys: str) -> bool:
        """Whether one of these keys is there and neither null, zero, empty nor false."""
        return any(self.config.get(key) for key in keys)

    def number(self, *keys: str, default: int | None = None, least: int = 1) -> int:
        """A whole number from `least`, under the first of these keys that is there; `default` if none is."""
        for key in keys:
            if self.config.get(key) is not None:
                return self.whole(self.config[key], key, least)
        return self._default(default, keys, least)

    def number_at(self, index: int, *keys: str, default: int | None = None, least: int = 1) -> int:
        """As `number`, for a layer; a list has one entry per layer (Hunyuan, Gemma 3n)."""
        for key in keys:
            value = self.config.get(key)
            if isinstance(value, list | tuple):
                return self.whole(value[index] if index < len(value) else None, f"{key}[{index}]", least)
            if value is not None:
                return self.whole(value, key, least)
        return self._default(default, keys, least)

    def flag(self, *keys: str, default: bool = False) -> bool:
        """Whether the first of these keys that is there is true."""
        value = self.value(*keys)
        return default if value is None else bool(value)

    def list_of(self, key: str, length: int) -> list[Any] | None:
        """A list with an entry per layer; None if the key holds none."""
        value = self.config.get(key)
        if not isinstance(value, list | tuple):
            return None
        if len(value) < length:
            raise InputError(f"{self.name}: config.json: {key}: {len(value)} entries for {length} layers")
        return list(value[:length])

    def _default(self, default: int | None, keys: tuple[str, ...], least: int) -> int:
        """`default`; InputError with the keys that were looked for if there is none."""
        if default is None and len(keys) > 1:
            others = ", ".join(keys[1:])
            raise InputError(f"{self.name}: config.json: {keys[0]}: None is no number; looked for {others} as well")
        return self.whole(default, keys[0], least)

    def whole(self, value: Any, key: str, least: int = 1) -> int:
        """`value`, which stands under `key`, if it is a whole number from `least` to the most that any model has."""
        return whole(value, f"{self.name}: config.json: {key}", least, MOST.get(key.partition("[")[0], MOST_SIZE))


def whole(value: Any, where: str, least: int = 1, most: int = MOST_SIZE) -> int:
    """Return `value`. Raises InputError unless it is a whole number from `least` to `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        kind = "a positive whole number" if least == 1 else f"a whole number from {least}"
        raise InputError(f"{where}: {reprlib.repr(value)} is not {kind}")
    if value > most:
        raise InputError(f"{where}: {reprlib.repr(value)} is more than any model has ({most})")
    return value
