"""The words for vLLM on a command line of planner, before the version is known: `TypedWords`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec
from packaging.version import Version

from planner.engine.command.arity import is_flag
from planner.engine.command.meaning import VllmFlags, read_flags
from planner.engine.command.pasted import VISIBLE
from planner.engine.command.words import read_words
from planner.engine.flag_table import release_of
from planner.engine.flags import ATTENTION_BACKEND_ENV, flag
from planner.files import is_secret


def tensor_parallel_words() -> tuple[str, str]:
    """vLLM's default for a line that does not say how many cards share a layer."""
    return WORLD[0], "1"


OF_ENGINE = ("VLLM_", "NCCL_", "CUDA_", "PYTORCH_", "TORCH")
"""How the names of variables begin that a pasted line's engine gets here too; others are its machine's own."""
WORLD = tuple(map(flag, ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")))


@dataclass(frozen=True, slots=True)
class TypedWords:
    """vLLM's words as they were typed or pasted. They are read when the version is known: it decides what they mean."""

    words: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables that a pasted line sets for the engine."""
    own: tuple[str, ...] = ()
    """Options of the command, of which a misspelt word may mean one."""

    def read(self, version: Version) -> VllmFlags:
        """What the words mean to this version. Raises InputError that names all that it does not know."""
        found = read_flags(self.words, version, own=self.own)
        env = {name: value for name, value in self.env.items() if name.startswith(OF_ENGINE) and not is_secret(name)}
        env.pop(VISIBLE, None)  # planner says which cards an engine gets
        backend = env.pop(ATTENTION_BACKEND_ENV, None)
        if backend is not None and found.settings.attention_backend is None:
            found = replace(found, settings=msgspec.structs.replace(found.settings, attention_backend=backend.upper()))
        return replace(found, env={name: value for name, value in env.items() if "$" not in value})

    @property
    def names(self) -> list[str]:
        """The flags among the words, as they were typed."""
        return [word.partition("=")[0] for word in self.words if is_flag(word)]


def sizes_of(words: tuple[str, ...], version: Version) -> tuple[int | None, int]:
    """The tensor parallel size that words give, and how many cards all their sizes need; errors are ignored."""
    last = read_words(words, release_of(version)).last()
    needed = 1
    for name in WORLD:
        given = last.get(name)
        needed *= int(given.values[0]) if given is not None and given.values[0].isdigit() else 1
    tensor = last.get(WORLD[0])
    return int(tensor.values[0]) if tensor is not None and tensor.values[0].isdigit() else None, needed
