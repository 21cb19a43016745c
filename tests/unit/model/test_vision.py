"""Vision towers: their weights, and what the profile run's images take."""

from __future__ import annotations

from typing import Any

import pytest

from planner.engine.defaults import resolve
from planner.engine.versions import parse_version
from planner.estimate.memory.image_encoder import encoder_bytes
from planner.hardware.by_name import find_gpu
from planner.model import load_model
from planner.model.catalog import shipped_config
from planner.model.config_json import spec_from_config
from planner.model.spec import ModelSpec
from planner.model.tower_modules import tower_modules
from planner.model.vision import vision_tower
from planner.units import GIB, MIB

TEXT = {**shipped_config("Qwen/Qwen2.5-7B"), "vision_config": {}}


def model(family: str, **changes: Any) -> ModelSpec:
    return spec_from_config({**TEXT, "model_type": family, "max_position_embeddings": 131072, **changes}, family)


def peak_and_kept(spec: ModelSpec, version: str = "0.12.0", **settings: Any) -> tuple[float, float]:
    gpu = find_gpu("A100 80GB")
    return encoder_bytes(spec, resolve({"max_model_len": 32768} | settings, spec, gpu, parse_version(version)))


def test_the_towers_weights_are_those_of_the_published_ones() -> None:
    """Qwen2-VL: 675 M parameters, by its paper; Qwen2-VL-7B-AWQ loads 6.47 GiB, 1.26 more than its language model."""
    tower = model("qwen2_vl").vision
    assert tower is not None
    parameters = 0
    for module in tower_modules(tower, "qwen2_vl", {}, 3584):
        outputs, inputs = module.shape(1)
        parameters += outputs * inputs + module.has_bias * outputs
    assert parameters == pytest.approx(675e6, rel=0.01)
    assert 2 * parameters / GIB == pytest.approx(1.26, abs=0.01)


def test_config_json_comes_before_what_is_known_of_the_family() -> None:
    config = {"vision_config": {"hidden_size": 1024, "depth": 24, "patch_size": 16, "deepstack_visual_indexes": [5]}}
    tower = vision_tower(config, "qwen3_vl")
    assert tower is not None
    assert (tower.hidden_size, tower.depth, tower.patch_size, tower.deepstack_levels) == (1024, 24, 16, 1)
    assert vision_tower({"vision_config": {}}, "some_new_family") is None


def test_a_longer_context_lets_the_profile_feed_a_longer_video() -> None:
    spec = model("qwen2_5_vl")
    short, _ = peak_and_kept(spec, max_model_len=16384)
    long, _ = peak_and_kept(spec, max_model_len=65536)
    assert long == 4 * short
    capped, _ = peak_and_kept(spec, max_model_len=131072)
    assert capped == 8 * short  # 16 frames, two a token


def test_text_models_have_no_encoder() -> None:
    assert peak_and_kept(spec_from_config(shipped_config("Qwen/Qwen3-8B"), "text")) == (0.0, 0.0)


def test_tensor_parallelism_cuts_the_projections_and_no_hidden_state() -> None:
    """Qwen2.5-VL's MLP: three projections of 3420 beside five hidden states of 1280, pixels and rotary tables."""
    spec = model("qwen2_5_vl")
    alone, kept = peak_and_kept(spec)
    four, kept_by_four = peak_and_kept(spec, tensor_parallel_size=4)
    patches = 2 * 16384 * 4
    assert alone - four == patches * 3 * 3420 * 0.75 * 2
    assert alone / 2 < four < 0.6 * alone
    assert kept == kept_by_four


def test_qwen3_vl_kept_an_embedding_for_every_timestamp_for_a_while() -> None:
    """vLLM 0.12 on two H100: 2.7 GiB more than the text model of the same size takes."""
    spec = model("qwen3_vl", hidden_size=2048)
    _, kept = peak_and_kept(spec, "0.12.0")
    _, later = peak_and_kept(spec, "0.13.0")
    assert kept / GIB == pytest.approx(2.53, abs=0.01)
    assert later / MIB == 16384 * 2048 * 2 * 4 / MIB  # an image's tokens, with three deep features each


@pytest.mark.parametrize(
    ("size", "patches"),
    [((512, 512), 4 * 18 * 18), ((512, 256), 4 * 18 * 9), ((10, 10), 4), ((100_000, 100_000), 65_536)],
)
def test_images_of_a_size_have_its_patches_and_never_more_than_the_largest(size: tuple[int, int], patches: int) -> None:
    vision = load_model("Qwen/Qwen2.5-VL-7B-Instruct").with_images(*size).vision
    assert vision is not None
    assert vision.item_patches == patches
