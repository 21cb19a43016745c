"""What flags say of compilation and CUDA graphs: `compilation(flags) -> Compilation`, and how much of one is counted.

In: flags as they were given. Out: the kinds and sizes of graphs. Source: vllm@0.24.0 config/compilation.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from planner.engine.command.words import GivenFlag
from planner.engine.traits import PLAIN, Compilation, GraphMode
from planner.errors import InputError
from planner.files import parse_json

CONFIG = "compilation_config"
SIZES = ("cudagraph_capture_sizes", "cuda_graph_sizes")
"""Flags that list captured batches, by release; one value of the second is the largest batch (vllm@0.10.2
config/__init__.py:_set_cudagraph_sizes)."""
PLAIN_KEYS = frozenset({
    "pass_config", "custom_ops", "backend", "use_inductor", "use_inductor_graph_partition", "splitting_ops",
    "inductor_compile_config", "inductor_passes", "cache_dir", "debug_dump_path",
})  # fmt: skip
"""Keys of the compilation config that choose kernels and passes, and no sizes of graphs (vllm@0.33.0
config/compilation.py)."""
COUNTED_KEYS = frozenset({"level", "mode", "cudagraph_mode", "cudagraph_capture_sizes", "max_cudagraph_capture_size"})
OFF, FULL_COMPILE = frozenset({"0", "NONE"}), frozenset({"3", "VLLM_COMPILE"})
"""Words for the mode (once level) that compiles nothing, and for the default one."""

Effect = Literal["none", "counted", "eager", "unknown"]


def compilation(given: Sequence[GivenFlag]) -> Compilation:
    """Compilation and graphs as the flags leave them; what is not understood is as by default."""
    found = PLAIN
    for one in given:
        if one.flag.field == CONFIG:
            found = _of_config(config_of(one))
        elif one.flag.field in SIZES and (sizes := _sizes(one.values)):
            is_largest = one.flag.field == SIZES[1] and len(sizes) == 1
            found = Compilation(
                found.compiles, found.mode, None if is_largest else sizes, sizes[0] if is_largest else None
            )
    return found


def effect_on_graphs(given: GivenFlag) -> Effect:
    """How far a flag is modelled: it changes no graph, its graphs are counted, it is as enforce_eager, or unknown."""
    if given.flag.field in SIZES:
        return "counted" if _sizes(given.values) else "unknown"
    config = config_of(given)
    if not config.keys() <= PLAIN_KEYS | COUNTED_KEYS or (not config and given.values != ("{}",)):
        return "unknown"
    found = _of_config(config)
    is_read = _mode_word(config) in OFF | FULL_COMPILE and _is_mode(config.get("cudagraph_mode"))
    if not is_read or (found.sizes is None) != (config.get("cudagraph_capture_sizes") is None):
        return "unknown"
    if found.is_eager:
        return "eager"
    return "none" if found == PLAIN else "counted"


def config_of(given: GivenFlag) -> dict[str, Any]:
    """The compilation config's keys; empty if the word is no JSON object."""
    try:
        found: Any = parse_json(given.values[0], "") if given.values else None
    except InputError:
        return {}
    return found if isinstance(found, dict) else {}


def _of_config(config: Mapping[str, Any]) -> Compilation:
    mode, largest = config.get("cudagraph_mode"), config.get("max_cudagraph_capture_size")
    named: GraphMode | None = next((one for one in get_args(GraphMode) if mode and one == str(mode).upper()), None)
    listed = config.get("cudagraph_capture_sizes")
    return Compilation(
        compiles=_mode_word(config) not in OFF,
        mode=named,
        sizes=_sizes(listed) if isinstance(listed, list) else None,
        largest=largest if isinstance(largest, int) and not isinstance(largest, bool) and largest > 0 else None,
    )


def _mode_word(config: Mapping[str, Any]) -> str:
    return str(config.get("level", config.get("mode", "3"))).upper()


def _is_mode(word: Any) -> bool:
    return word is None or str(word).upper() in get_args(GraphMode)


def _sizes(words: Sequence[Any]) -> tuple[int, ...] | None:
    """Sizes in ascending order, each once; None if one of them is no positive whole number."""
    found = {int(str(word)) if str(word).isdecimal() else 0 for word in words}
    return tuple(sorted(found)) if found and min(found) > 0 else None
