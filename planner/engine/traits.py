"""What flags that are no settings leave of the engine, and of what it loads: `EngineTraits`, one value for all of them.

In: nothing; the modules of `command/` read the flags. Out: a value that `resolve` takes as one more setting, `TRAITS`.
Says nothing of memory. Source: vllm@0.24.0 config/compilation.py, config/vllm.py, config/lora.py, config/multimodal.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from planner.engine.adapters import Lora

TRAITS = "traits"
"""Key of an `EngineTraits` among the settings that `resolve` takes."""
GraphMode = Literal["NONE", "PIECEWISE", "FULL", "FULL_DECODE_ONLY", "FULL_AND_PIECEWISE"]
"""Kinds of CUDA graphs, by vLLM's names (CUDAGraphMode)."""


@dataclass(frozen=True, slots=True)
class Compilation:
    """What a compilation config says of compiling and of CUDA graphs; None is the release's default."""

    compiles: bool = True
    mode: GraphMode | None = None
    sizes: tuple[int, ...] | None = None
    """Batches that graphs are captured for, in tokens, ascending."""
    largest: int | None = None
    """Largest captured batch, in tokens."""

    @property
    def graphs(self) -> GraphMode | None:
        """The kind of graphs that are captured: piecewise ones need compiled pieces (config/vllm.py:__post_init__)."""
        return "NONE" if not self.compiles and self.mode in {None, "PIECEWISE", "FULL_AND_PIECEWISE"} else self.mode

    @property
    def is_eager(self) -> bool:
        """Whether nothing is compiled and no graph captured, so that memory is as with enforce_eager."""
        return not self.compiles and self.graphs == "NONE"


PLAIN = Compilation()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTraits:
    """Features of an engine that are made of several flags, or of a part of one."""

    without: frozenset[str] = frozenset()
    """Kinds of input that no prompt may have (image, video, audio); what only reads them is not loaded."""
    image_size: tuple[int, int] | None = None
    """Width and height in pixels of the images that are profiled, where they are said; None: the largest."""
    lora: Lora | None = None
    """Room for LoRA adapters; None without them."""
    compilation: Compilation = PLAIN
    pools: bool = False
    """Whether the model is to embed, classify or score, whatever it was made for."""

    def under(self, then: EngineTraits) -> EngineTraits:
        """Both together; where both say something, `then` wins."""
        return EngineTraits(
            without=self.without | then.without,
            image_size=then.image_size or self.image_size,
            lora=then.lora or self.lora,
            compilation=then.compilation if then.compilation != PLAIN else self.compilation,
            pools=self.pools or then.pools,
        )


NO_TRAITS = EngineTraits()
