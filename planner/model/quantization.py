"""How a checkpoint is quantised, module by module: `read_quantization(keys) -> Quantization | None`.

In: config.json's quantization_config (or hf_quant_config.json's `quantization`). Out: the ordinary `Scheme`, those of
modules that differ, and what stays in 16 bits, by names of modules as vLLM matches them. Source: vllm@0.32
layers/quantization/*.py; each reader names its own.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import translate
from typing import Any, Literal

import msgspec

from planner.errors import InputError
from planner.model.keys import whole
from planner.model.words import FP8_ACTIVATIONS, TENSOR_TYPES, refuse_other

MOST_BITS = 32
Packing = Literal["int", "gptq", "awq", "fp8", "nvfp4", "mxfp4", "bitsandbytes", "gguf", "unknown"]
"""How a weight lies in memory; `planner/estimate/memory/weights.py` knows the tensors of each."""


class Scheme(msgspec.Struct, frozen=True, kw_only=True):
    """How one weight is stored."""

    packing: Packing
    bits: int = 4
    group_size: int = 128
    """Number of weights along the inputs that share one scale; -1: a whole row shares one."""
    block_size: tuple[int, int] | None = None
    """Block of outputs x inputs that shares one FP8 scale; None: one scale per tensor or row."""
    has_zeros: bool = False
    """Whether each group keeps a zero point (compressed-tensors' asymmetric integers)."""
    width_multiple: int = 64
    """What the width of an MXFP4 expert is padded to on each rank, which the card's kernel decides."""


class Names(msgspec.Struct, frozen=True):
    """Names of modules: whole, by their parts, or as patterns. Patterns match from the beginning, as `re.match` does.

    Checkpoints list up to a thousand names, so that what needs no pattern is kept without one.
    """

    exact: frozenset[str] = frozenset()
    within: frozenset[str] = frozenset()
    """Names that stand anywhere in a module's path, as whole components."""
    inside: tuple[str, ...] = ()
    """Texts that stand anywhere in a module's path."""
    pattern: str = ""

    def match(self, names: Iterable[str]) -> bool:
        """Whether one of these names of a module is among them."""
        compiled = re.compile(self.pattern) if self.pattern else None
        return any(
            name in self.exact
            or any(text in name for text in self.inside)
            or not self.within.isdisjoint(_runs(name) if self.within else ())
            or (compiled is not None and compiled.match(name) is not None)
            for name in names
        )


def _runs(name: str) -> Iterator[str]:
    """Every run of whole components of a path: a, a.b, b of a.b."""
    ends = [index for index, letter in enumerate(name) if letter == "."] + [len(name)]
    for start in (0, *(end + 1 for end in ends[:-1])):
        yield from (name[start:end] for end in ends if end >= start)


class Quantization(msgspec.Struct, frozen=True, kw_only=True):
    method: str
    """quantization_config.quant_method, for example awq or fp8; never guessed from a repository's name."""
    bits: int = 4
    group_size: int = 128
    """Number of weights along the inputs that share one scale; -1: a whole row shares one."""
    block_size: tuple[int, int] | None = None
    """Block of outputs x inputs that shares one FP8 scale; None: one scale per tensor or row."""
    scheme: Scheme | None
    """Scheme of a linear module that no rule names; None: such modules stay in 16 bits."""
    rules: tuple[tuple[Names, Scheme | None], ...] = ()
    """Modules that differ, by name, the first that matches counts; None: they stay in 16 bits."""
    reaches_tower: bool = False
    """Whether it quantises a vision tower and a projector too, where no rule names them."""
    names_fused: bool = False
    """Whether rules are compared with the names of vLLM's fused modules only (AWQ's substrings)."""
    kv_cache_dtype: str | None = None
    """What the checkpoint makes of kv_cache_dtype `auto`, for example fp8; None: it leaves it alone."""
    activation_scheme: str = ""
    """Kind of compressed-tensors' ordinary scheme, weights and activations together: WNA16, W4A8, int8, fp8, NVFP4,
    MXFP4; empty for other methods."""
    is_modelled: bool = True
    """Whether the method's memory is known; False: weights lie between its bits and 16."""

    def scheme_of(self, names: Sequence[str], is_expert: bool = False, is_listed: bool = False) -> Scheme | None:
        """The scheme of a module with these names; `is_listed`: it counts only if a rule names it (head, tower)."""
        for known, scheme in self.rules:
            if known.match(names):
                return scheme
        if is_listed or (self.method == "mxfp4" and not is_expert):  # gpt-oss quantises its experts only
            return None
        return self.scheme


def read_quantization(config: Mapping[str, Any] | None, name: str) -> Quantization | None:
    """Read quantization_config; None where vLLM takes no notice of it. Raises InputError for an unknown method.

    A block of ModelOpt's that names no quant_method counts only in the form of hf_quant_config.json; any other is
    loaded as if it were not there (vllm@0.32 transformers_utils/model_arch_config_convertor.py:
    _normalize_quantization_config).
    """
    if not config:
        return None
    where = f"{name}: config.json: quantization_config"
    if isinstance(config.get("quantization"), Mapping):  # hf_quant_config.json
        if not _is_by_modelopt(config) and not config.get("quant_method"):
            return None
        config = {"quant_method": "modelopt", **config["quantization"]}
    method = config.get("quant_method")
    if not method and (config.get("quant_algo") or _is_by_modelopt(config)):
        return None
    reader = READERS.get(str(method))
    if reader is None:
        raise InputError(f"{where}.quant_method: {reprlib.repr(method)}; known: {', '.join(READERS)}")
    return reader(config, where)


def _is_by_modelopt(config: Mapping[str, Any]) -> bool:
    producer = config.get("producer")
    return isinstance(producer, Mapping) and producer.get("name") == "modelopt"


def _group(value: Any, where: str) -> int:
    """Check a group size in weights; -1 means one scale per row."""
    return -1 if value == -1 else whole(value, f"{where}: group_size")


def _texts(config: Mapping[str, Any], *keys: str) -> list[str]:
    found: Any = next((config[key] for key in keys if config.get(key)), [])
    return [str(entry) for entry in found] if isinstance(found, list | tuple) else [str(found)]


def names_of(patterns: Iterable[str]) -> Names:
    """Patterns, each a regular expression of its own."""
    parts = [_checked(pattern) for pattern in patterns]
    return Names(pattern="|".join(f"(?:{part})" for part in parts))


def _checked(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise InputError(f"quantization_config: {pattern!r} is not a regular expression: {error}") from None
    return pattern


def _within(names: Iterable[str]) -> Names:
    """Names that stand anywhere in a module's path, whole components (layers/quantization/utils/quant_utils.py)."""
    return Names(within=frozenset(names))


def _kept(names: Names) -> tuple[tuple[Names, Scheme | None], ...]:
    return ((names, None),) if names != Names() else ()


def _awq(config: Mapping[str, Any], where: str) -> Quantization:
    """AWQ: modules_to_not_convert are parts of names (auto_awq.py:is_layer_skipped)."""
    bits = whole(config.get("bits", config.get("w_bit", 4)), f"{where}.bits", 1, MOST_BITS)
    group = _group(config.get("group_size", config.get("q_group_size", 128)), where)
    kept = Names(inside=tuple(_texts(config, "modules_to_not_convert")))
    scheme = Scheme(packing="awq", bits=bits, group_size=group)
    return Quantization(
        method="awq", bits=bits, group_size=group, scheme=scheme, rules=_kept(kept), names_fused=True
    )  # fmt: skip


def _gptq(config: Mapping[str, Any], where: str) -> Quantization:
    """GPTQ: `dynamic` has patterns with `-:` for what stays and `+:` for other figures (utils/gptq_utils.py)."""
    bits = whole(config.get("bits", 4), f"{where}.bits", 1, MOST_BITS)
    group = _group(config.get("group_size", 128), where)
    rules: list[tuple[Names, Scheme | None]] = []
    dynamic = config.get("dynamic")
    for pattern, other in (dynamic if isinstance(dynamic, Mapping) else {}).items():
        scheme = None
        if not pattern.startswith("-:"):
            inner = whole(other.get("bits", bits), f"{where}.dynamic: bits", 1, MOST_BITS)
            scheme = Scheme(packing="gptq", bits=inner, group_size=_group(other.get("group_size", group), where))
        rules.append((names_of([pattern.removeprefix("-:").removeprefix("+:")]), scheme))
    own = Scheme(packing="gptq", bits=bits, group_size=group)
    if config.get("lm_head"):
        rules.append((names_of(["lm_head$"]), own))
    rules += _kept(_within(_texts(config, "modules_to_not_convert")))
    return Quantization(method="gptq", bits=bits, group_size=group, scheme=own, rules=tuple(rules))


def _auto_round(config: Mapping[str, Any], where: str) -> Quantization:
    """AutoRound: `extra_config` with names or patterns (inc/config_parser.py); GPTQ's or AWQ's kernels serve it."""
    bits = whole(config.get("bits", 4), f"{where}.bits", 1, MOST_BITS)
    group = _group(config.get("group_size", 128), where)
    packing: Packing = "awq" if "awq" in str(config.get("packing_format", "")) else "gptq"
    extra = config.get("extra_config")
    rules: list[tuple[Names, Scheme | None]] = []
    for text, other in (extra if isinstance(extra, Mapping) else {}).items():
        inner = whole(other.get("bits", bits), f"{where}.extra_config: bits", 1, MOST_BITS)
        scheme = Scheme(packing=packing, bits=inner, group_size=_group(other.get("group_size", group), where))
        names = names_of(
            [f".*(?:{text})" if re.search(r"[*+?^$()\[\]{}|\\]", text) else rf"(?:.*\.)?{re.escape(text)}$"]
        )
        rules.append((names, None if inner >= 16 else scheme))
    own = Scheme(packing=packing, bits=bits, group_size=group)
    return Quantization(method="auto-round", bits=bits, group_size=group, scheme=own, rules=tuple(rules))


def _fp8(config: Mapping[str, Any], where: str) -> Quantization:
    """FP8 with one scale per tensor or block (fp8.py)."""
    if (activations := config.get("activation_scheme")) is not None:
        refuse_other(activations, FP8_ACTIVATIONS, f"{where}.activation_scheme")
    block = config.get("weight_block_size")
    rows, columns = block or (1, 1)
    sizes = (whole(rows, f"{where}.weight_block_size"), whole(columns, f"{where}.weight_block_size"))
    scheme = Scheme(packing="fp8", bits=8, group_size=-1, block_size=sizes if block else None)
    kept = _within(_texts(config, "ignored_layers", "modules_to_not_convert"))
    return Quantization(
        method=str(config.get("quant_method")), bits=8, group_size=-1, block_size=scheme.block_size, scheme=scheme,
        rules=_kept(kept), reaches_tower=True,
    )  # fmt: skip


def _bitsandbytes(config: Mapping[str, Any], _where: str) -> Quantization:
    """bitsandbytes, pre-quantised (bitsandbytes.py)."""
    bits = 8 if config.get("load_in_8bit") else 4
    kept = _within(_texts(config, "llm_int8_skip_modules"))
    scheme = Scheme(packing="bitsandbytes", bits=bits, group_size=64)
    return Quantization(method="bitsandbytes", bits=bits, group_size=64, scheme=scheme, rules=_kept(kept))


def _mxfp4(_config: Mapping[str, Any], _where: str) -> Quantization:
    """MXFP4 of gpt-oss: experts only (mxfp4.py)."""
    return Quantization(method="mxfp4", bits=4, group_size=32, scheme=Scheme(packing="mxfp4", bits=4, group_size=32))


def _modelopt_scheme(algorithm: str, group: Any, where: str) -> Scheme | None:
    """Scheme of a quant_algo (modelopt.py: QUANT_ALGOS)."""
    name = algorithm.upper()
    if "NVFP4" in name or "FP4" in name:
        return Scheme(packing="nvfp4", bits=4, group_size=_group(group or 16, where))
    if "MXFP8" in name:
        return Scheme(packing="mxfp4", bits=8, group_size=32)
    if "FP8" in name:
        block = (128, 128) if "PB" in name or "BLOCK" in name else None
        return Scheme(packing="fp8", bits=8, group_size=-1, block_size=block)
    if name.startswith("W4A"):
        return Scheme(packing="int", bits=4, group_size=_group(group or 128, where))
    return None


def _modelopt(config: Mapping[str, Any], where: str) -> Quantization:
    """ModelOpt: quant_algo; MIXED_PRECISION lists every module (modelopt.py:ModelOptMixedPrecisionConfig)."""
    algorithm = str(config.get("quant_algo") or ("NVFP4" if config.get("quant_method") != "modelopt_fp8" else "FP8"))
    kept = _texts(config, "ignore", "exclude_modules")
    rules = list(_kept(_modelopt_names(kept)))
    scheme: Scheme | None = None
    if algorithm.upper().startswith("MIXED"):
        groups: dict[Scheme | None, set[str]] = {}
        for text, other in dict(config.get("quantized_layers") or {}).items():
            own = _modelopt_scheme(str(other.get("quant_algo")), other.get("group_size"), where)
            groups.setdefault(own, set()).add(text)
        rules += [(Names(exact=frozenset(names)), own) for own, names in groups.items()]
        if not groups:
            rules += _target_rules(config, where)
    else:
        scheme = _modelopt_scheme(algorithm, config.get("group_size"), where)
        if scheme is None:
            raise InputError(f"{where}.quant_algo: {reprlib.repr(algorithm)}; known: FP8, NVFP4, MIXED_PRECISION")
    bits, group = (scheme.bits, scheme.group_size) if scheme else (4, 16)
    return Quantization(
        method=str(config.get("quant_method") or "modelopt"), bits=bits, group_size=group, scheme=scheme,
        rules=tuple(rules), reaches_tower=scheme is not None, kv_cache_dtype=_modelopt_kv_dtype(config),
    )  # fmt: skip


def _modelopt_names(texts: Sequence[str]) -> Names:
    """Texts that stand anywhere in a module's path, without stars at their end, and globs (vllm@0.32 modelopt.py)."""
    plain = [text.rstrip("*") for text in texts]
    globs = [text for text, stem in zip(texts, plain, strict=True) if set("*?[") & set(stem)]
    return Names(
        inside=tuple(stem for stem in plain if "*" not in stem),
        pattern="|".join(f"(?:{translate(text)})" for text in globs),
    )


def _modelopt_kv_dtype(config: Mapping[str, Any]) -> str | None:
    """kv_cache_dtype that the checkpoint asks for (utils/torch_utils.py:get_kv_cache_quant_algo_string).

    It must name its quant_method, which others accept without.
    """
    if not str(config.get("quant_method")).startswith("modelopt"):
        return None
    asked = config.get("kv_cache_scheme") or config.get("kv_cache_quant_algo")
    if isinstance(asked, Mapping):
        if asked.get("type") != "float":
            return None
        is_static_fp8 = asked.get("num_bits") == 8 and asked.get("dynamic") is False
        return "fp8" if is_static_fp8 else "nvfp4" if asked.get("num_bits") == 4 else None
    return {"fp8": "fp8", "nvfp4": "nvfp4"}.get(str(asked).lower())


def _tensors_scheme(weights: Mapping[str, Any], where: str) -> Scheme:
    """Scheme of a group's `weights` (compressed_tensors/compressed_tensors.py:_get_scheme_from_parts)."""
    bits = whole(weights.get("num_bits", 8), f"{where}: num_bits", 1, MOST_BITS)
    group = _group(weights.get("group_size") or -1, where)
    refuse_other(weights.get("type", "int"), TENSOR_TYPES, f"{where}: type")
    if weights.get("type") == "float" and bits == 4:
        return Scheme(packing="mxfp4" if group == 32 else "nvfp4", bits=4, group_size=group)
    block = weights.get("block_structure")
    if isinstance(block, list | tuple) and len(block) == 2:
        sizes = (whole(block[0], f"{where}: block_structure"), whole(block[1], f"{where}: block_structure"))
        return Scheme(packing="fp8", bits=bits, group_size=-1, block_size=sizes)
    return Scheme(packing="int", bits=bits, group_size=group, has_zeros=weights.get("symmetric") is False and bits < 8)


def _target_rules(config: Mapping[str, Any], where: str) -> list[tuple[Names, Scheme | None]]:
    """Rules of groups whose targets are names or `re:` patterns, and not classes."""
    rules: list[tuple[Names, Scheme | None]] = []
    for group in dict(config.get("config_groups") or {}).values():
        targets = [text for text in _texts(group, "targets") if text not in CLASSES]
        if targets and isinstance(group.get("weights"), Mapping):
            rules.append((_tensors_names(targets), _tensors_scheme(group["weights"], where)))
    return rules


CLASSES = {"Linear", "FusedMoE", "MoEGate", "Attention"}
"""Targets of compressed-tensors that are classes of modules, not names."""


def _tensors_names(texts: Iterable[str]) -> Names:
    """Whole names, and patterns after `re:` (compressed_tensors/utils.py:check_equal_or_regex_match)."""
    texts = list(texts)
    patterns = names_of(text[3:] for text in texts if text.startswith("re:")).pattern
    return Names(exact=frozenset(text for text in texts if not text.startswith("re:")), pattern=patterns)


def _compressed_tensors(config: Mapping[str, Any], where: str) -> Quantization:
    """compressed-tensors: groups with targets, `ignore` first (compressed_tensors/compressed_tensors.py)."""
    rules = list(_kept(_tensors_names(_texts(config, "ignore")))) + _target_rules(config, where)
    groups = dict(config.get("config_groups") or {}).values()
    ordinary = [group for group in groups if CLASSES & set(_texts(group, "targets")) or not group.get("targets")]
    weighted: Mapping[str, Any] = next((group for group in ordinary if group.get("weights")), {})
    weights = weighted.get("weights")
    scheme = _tensors_scheme(weights or {}, where) if weights or not rules else None
    bits, group_size = (scheme.bits, scheme.group_size) if scheme else (4, -1)
    return Quantization(
        method="compressed-tensors", bits=bits, group_size=group_size, scheme=scheme, rules=tuple(rules),
        block_size=scheme.block_size if scheme else None, reaches_tower=True,
        kv_cache_dtype="fp8" if config.get("kv_cache_scheme") else None,  # layers/attention/attention.py
        activation_scheme=_activation_scheme(weighted),
    )  # fmt: skip


def _activation_scheme(group: Mapping[str, Any]) -> str:
    """Kind of a group's scheme (compressed_tensors/compressed_tensors.py:_get_scheme_from_parts)."""
    weights, inputs = group.get("weights"), group.get("input_activations")
    if not isinstance(weights, Mapping):
        return ""
    bits = weights.get("num_bits")
    if weights.get("type") == "float":
        return "fp8" if bits != 4 else "MXFP4" if weights.get("group_size") == 32 else "NVFP4"
    if not isinstance(inputs, Mapping):
        return "WNA16"
    return "W4A8" if bits == 4 else "int8"


def _unknown(config: Mapping[str, Any], _where: str) -> Quantization:
    """Methods that vLLM has and whose memory is not modelled: the bits are taken where they are said."""
    bits = config.get("nbits", config.get("bits", 8))
    bits = bits if isinstance(bits, int) and 1 <= bits <= 16 else 8
    scheme = Scheme(packing="unknown", bits=bits, group_size=-1)
    return Quantization(
        method=str(config.get("quant_method")), bits=bits, group_size=-1, scheme=scheme, is_modelled=False
    )  # fmt: skip


GGUF = Quantization(method="gguf", scheme=Scheme(packing="gguf"))
"""A GGUF file's quantisation; the file's size is the weights' size."""
READERS = {
    "awq": _awq, "gptq": _gptq, "fp8": _fp8, "bitsandbytes": _bitsandbytes, "mxfp4": _mxfp4, "modelopt": _modelopt,
    "compressed-tensors": _compressed_tensors, "auto-round": _auto_round, "auto_round": _auto_round,
    "intel/auto-round": _auto_round, "inc": _auto_round, "fbgemm_fp8": _fp8, "modelopt_fp4": _modelopt,
    "modelopt_fp8": _modelopt, "modelopt_mixed": _modelopt, "gptq_marlin": _gptq, "awq_marlin": _awq,
    "quark": _unknown, "torchao": _unknown, "hqq": _unknown, "aqlm": _unknown, "eetq": _unknown,
}  # fmt: skip
"""Readers by quant_method."""
