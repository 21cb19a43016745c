"""The settings of a running server, as far as it tells them: `read_likeness(url)`. Nothing is generated.

/v1/models has the model and its context, /version the release, and the labels of `vllm:cache_config_info` the KV cache
(vllm@0.6.6 engine/metrics.py, 0.32 v1/metrics/loggers.py). No page has --max-num-seqs, the layout or the cards.
"""

from __future__ import annotations

from dataclasses import dataclass

from planner.benchmark.client.access import Access
from planner.benchmark.client.address import server_root
from planner.benchmark.client.asking import NoAnswer, asker_of
from planner.benchmark.watched import PAGE_S, read_page
from planner.engine import EngineConfig, cache_config, convert_settings
from planner.errors import BenchmarkError


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """None: the server does not tell."""

    url: str
    model: str | None
    """Model that the server was started with: a name of the Hub, or a path on its machine."""
    version: str | None
    max_model_len: int | None
    cache: dict[str, str]
    """Labels of the KV cache's configuration that were set."""

    @property
    def settings(self) -> EngineConfig:
        """The context and the KV cache, as settings of an engine that is like it."""
        caches, share = self.cache.get("enable_prefix_caching"), self.cache.get("gpu_memory_utilization")
        told = {
            "max_model_len": self.max_model_len,
            "gpu_memory_utilization": share,
            "kv_cache_dtype": self.cache.get("cache_dtype"),
            "enable_prefix_caching": None if caches is None else caches == "True",
        }
        return convert_settings({name: value for name, value in told.items() if value is not None}, self.url)


def read_likeness(url: str) -> Likeness:
    """Ask a server. Raises BenchmarkError if it does not answer, or serves no metrics."""
    where = server_root(url)
    with asker_of(where, Access(), PAGE_S) as asker:
        try:
            models = asker.ask_object("GET", f"{where}/v1/models").get("data")
            version = asker.ask_object("GET", f"{where}/version").get("version")
        except NoAnswer as error:
            raise BenchmarkError(f"{where} does not answer: {error}") from None
    first = next((one for one in models if isinstance(one, dict)), {}) if isinstance(models, list) else {}
    name, longest = first.get("root") or first.get("id"), first.get("max_model_len")
    return Likeness(
        url=where,
        model=str(name) if name else None,
        version=version.partition("+")[0] if isinstance(version, str) else None,
        max_model_len=longest if isinstance(longest, int) else None,
        cache=cache_config(read_page(where)),
    )
