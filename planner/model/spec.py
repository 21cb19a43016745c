"""`ModelSpec`: the figures of a model that determine memory and speed. Values only; nothing is read here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from planner.model.layers import (
    Attention,
    Experts,
    FeedForward,
    LatentAttention,
    LayerStack,
    Mixer,
    Mlp,
    State,
)
from planner.model.modules import Module
from planner.model.quantization import Quantization
from planner.model.vision import VisionTower

if TYPE_CHECKING:
    from planner.model.held import Held

DTYPE_BYTES = {"float32": 4, "float16": 2, "half": 2, "bfloat16": 2}
SHORTEST_VIDEO_FRAMES = 2
"""Frames that make a token of a video, which then takes what an image does."""
_Kind = TypeVar("_Kind", bound=Mixer | FeedForward)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    name: str
    model_type: str
    is_known: bool
    """Whether the architecture is one we know and config.json gives its context; others count as ordinary decoders."""
    layers: LayerStack
    """Every layer with its own figures. The properties below sum them up: the first of a kind, the widest width."""
    beside: tuple[Module, ...]
    """Weights of the first pipeline stage besides the token embedding: positions, per-layer inputs, an encoder."""
    num_mtp_layers: int
    """Layers for multi-token prediction in the checkpoint, which are loaded if speculative_config asks for them."""
    draft_vocab_size: int
    """Tokens that a drafter's head knows, if they are fewer than its model's; 0: config.json does not say."""
    num_draft_states: int
    """Layers of the drafted model whose states a drafter takes; 0: config.json does not say."""
    has_head: bool
    """Whether there is a head that gives logits; encoders have none."""
    hidden_size: int
    vocab_size: int
    max_position_embeddings: int
    tie_word_embeddings: bool
    torch_dtype: str
    quantization: Quantization | None
    rope_factor: float
    """Factor by which rope scaling (yarn, linear, dynamic) extends the context; 1 without scaling."""
    rope_table_factor: int
    """Times the positions of the rotary tables exceed the context: models with videos have larger tables."""
    has_vision_tower: bool
    """Whether there are weights beside the language model: a vision or audio tower."""
    vision: VisionTower | None
    """The vision tower; None if there is none or its family is not known."""
    tower: tuple[Module, ...]
    """Weights of the tower and of what projects it to the language model; empty if nothing is known of it."""
    is_tower_rough: bool
    """Whether the tower's weights are reckoned from its depth and width only, as its family is not known."""
    lacks_tower: bool
    """Whether there is a tower of whose weights nothing is known, not even its depth."""
    doubtful: tuple[str, ...] = ()
    """What config.json says in words that are not known, each with what follows."""
    has_quantization_file: bool = False
    """Whether a file beside config.json says how the weights were quantised; vLLM reads it if it is told the method."""
    checkpoint_bytes: int | None
    """Total bytes of all tensors, from the safetensors headers or their index; None if only config.json is known."""
    held: Held | None = None
    """What the checkpoint holds, by layer and module, from the safetensors headers; None without them."""

    @property
    def is_modelled(self) -> bool:
        """Whether the architecture and the quantisation are known, so that weights and KV cache may be relied on."""
        is_quantisation_known = self.quantization is None or self.quantization.is_modelled
        return self.is_known and is_quantisation_known and not (self.lacks_tower and self.checkpoint_bytes is None)

    @property
    def max_context_tokens(self) -> int:
        """vLLM's derived limit of max_model_len, in tokens (vllm@0.8.5 config.py:_get_and_verify_max_len)."""
        return int(self.max_position_embeddings * self.rope_factor)

    def without_tower(self) -> ModelSpec:
        """The language model alone, as vLLM holds it with language_model_only or without any image, video and audio.

        Source: vllm@0.24 models/interfaces.py:_mark_tower_model; measured: a tower is then neither loaded nor profiled.
        """
        held = None if self.held is None else replace(self.held, beside=0)
        return replace(
            self, has_vision_tower=False, vision=None, tower=(), is_tower_rough=False, lacks_tower=False, held=held
        )

    def without_videos(self) -> ModelSpec:
        """The same model, whose profile run takes the largest image instead of a longer video."""
        vision = self.vision
        if vision is None or vision.video_frames <= SHORTEST_VIDEO_FRAMES:
            return self
        return replace(self, vision=replace(vision, video_frames=SHORTEST_VIDEO_FRAMES))

    def with_images(self, width: int, height: int) -> ModelSpec:
        """The same model, whose profile run takes images of at most this size in pixels; for Qwen's towers, which cut
        an image into as many patches as it has (transformers models/qwen2_vl/image_processing_qwen2_vl.py:
        smart_resize, without its limits)."""
        vision = self.vision
        if vision is None or not vision.video_frames:
            return self
        side = round(math.sqrt(vision.merged_patches))
        pixels = side * vision.patch_size
        patches = vision.merged_patches * max(1, round(width / pixels)) * max(1, round(height / pixels))
        return replace(self, vision=replace(vision, item_patches=min(vision.item_patches, patches)))

    def mixers(self, kind: type[_Kind]) -> Iterator[_Kind]:
        """Mixers of one class, one of each kind of layer."""
        return (mixer for layer in self.layers.kinds for mixer in layer.mixers if isinstance(mixer, kind))

    def feed_forwards(self, kind: type[_Kind]) -> Iterator[_Kind]:
        """Feed-forwards of one class, one of each kind of layer."""
        return (feed for layer in self.layers.kinds for feed in layer.feed_forwards if isinstance(feed, kind))

    def count(self, kind: type[Mixer | FeedForward]) -> int:
        """Number of layers with a mixer or feed-forward of one class."""
        return sum(
            number
            for layer, number in self.layers.counts()
            if any(isinstance(part, kind) for part in (*layer.mixers, *layer.feed_forwards))
        )

    @property
    def num_hidden_layers(self) -> int:
        return len(self.layers)

    @property
    def intermediate_size(self) -> int:
        """Width of the widest dense MLP; of the experts in a model that has no other."""
        widths = [mlp.intermediate_size for mlp in self.feed_forwards(Mlp)]
        return max(widths or [experts.intermediate_size for experts in self.feed_forwards(Experts)] or [0])

    @property
    def num_attention_heads(self) -> int:
        """Most query heads of a layer; 1 in a model without attention."""
        return max((mixer.num_heads for kind in ATTENTIONS for mixer in self.mixers(kind)), default=1)

    @property
    def attends(self) -> bool:
        """Whether a layer attends; in Mamba and Mamba-2 none does."""
        return any(True for kind in ATTENTIONS for _ in self.mixers(kind))

    @property
    def num_key_value_heads(self) -> int:
        """Most KV heads of a layer; the query heads where a latent vector serves them all."""
        return max((mixer.num_kv_heads for mixer in self.mixers(Attention)), default=self.num_attention_heads)

    @property
    def head_dim(self) -> int:
        """Widest head of a layer with keys and values of its own; hidden_size over the heads in other models."""
        widths = [mixer.head_dim for mixer in self.mixers(Attention)]
        return max(widths, default=self.hidden_size // self.num_attention_heads)

    @property
    def qk_norm(self) -> bool:
        """Whether queries and keys are normalised per head (Qwen3)."""
        return any(mixer.qk_norm == "head" for mixer in self.mixers(Attention))

    @property
    def sliding_window(self) -> int | None:
        """The widest sliding window, in tokens; None if no layer has one."""
        windows = [mixer.window or 0 for mixer in self.mixers(Attention) if mixer.reach == "sliding"]
        return max(windows, default=None)

    @property
    def experts(self) -> Experts | None:
        """The mixture of experts; None in a dense model."""
        return next(self.feed_forwards(Experts), None)

    @property
    def num_dense_layers(self) -> int:
        """Number of layers with an ordinary MLP."""
        return self.count(Mlp)

    @property
    def latent_attention(self) -> LatentAttention | None:
        return next(self.mixers(LatentAttention), None)

    @property
    def is_hybrid(self) -> bool:
        """Whether layers keep a state per request instead of a KV cache of tokens."""
        return any(isinstance(mixer, State) for layer in self.layers.kinds for mixer in layer.mixers)


ATTENTIONS: tuple[type[Attention] | type[LatentAttention], ...] = (Attention, LatentAttention)
"""Mixers that have a KV cache of tokens."""
