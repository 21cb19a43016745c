"""What a running server says of itself: `EngineTelemetry` at `/metrics`, `ServerFacts` when asked what it can do.

In: the page's text, or a base URL. Out: counts, counters and the size of the KV cache, under one name each whatever
the version calls them; model, version, vocabulary. The only place that knows vLLM's metric names.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from planner.access import Access
from planner.errors import BenchmarkError, InputError

OPEN = Access()
"""No key, public authorities."""
NAMES: dict[str, tuple[str, ...]] = {
    "num_requests_running": ("vllm:num_requests_running",),
    "num_requests_waiting": ("vllm:num_requests_waiting",),
    # 0.9.2 writes both names, 0.14 only the first, 0.8 and before (V0 and V1) only the second.
    "kv_cache_usage_fraction": ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
    "preemptions": ("vllm:num_preemptions_total",),
    "prompt_tokens": ("vllm:prompt_tokens_total",),
    "generation_tokens": ("vllm:generation_tokens_total",),
    # V1 only; 0.6.6 and 0.8.5 V0 have at most a hit rate, as a gauge.
    "prefix_cache_queries": ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"),
    "prefix_cache_hits": ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"),
}
"""Sample names by field, first match counts. Read in vllm/engine/metrics.py and vllm/v1/metrics/loggers.py of
0.6.6.post1, 0.8.5 and 0.32; prometheus_client adds `_total` to every counter."""

CACHE_CONFIG = "vllm:cache_config_info"
"""The cache's configuration, as labels of a gauge; an unset one is the word None."""

COUNTERS = ("preemptions", "prompt_tokens", "generation_tokens", "prefix_cache_queries", "prefix_cache_hits")

PAGE_TIMEOUT_S = 5.0
"""Of a server's metrics while it is measured: one that hangs holds up nothing for long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTelemetry:
    """One reading. Sums over the engines of a data parallel server; None where this version does not say."""

    num_requests_running: int | None = None
    num_requests_waiting: int | None = None
    kv_cache_usage_fraction: float | None = None
    """0 to 1; of several engines the fullest, because that one preempts."""
    preemptions: int | None = None
    prompt_tokens: int | None = None
    generation_tokens: int | None = None
    prefix_cache_queries: int | None = None
    """Tokens looked up, not requests."""
    prefix_cache_hits: int | None = None
    num_gpu_blocks: int | None = None
    block_size: int | None = None
    kv_cache_tokens: int | None = None


def parse_telemetry(text: str) -> EngineTelemetry:
    """Read a /metrics page. Raises ValueError when it is not one."""
    try:
        return _telemetry(text)
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:  # the parser's, of what is no page
        raise ValueError(f"is no page of metrics: {error}") from None


def _telemetry(text: str) -> EngineTelemetry:
    samples: dict[str, list[float]] = {}
    caches: list[dict[str, str]] = []
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append(sample.value)
            if sample.name == CACHE_CONFIG:
                caches.append(sample.labels)

    def found(field: str) -> list[float]:
        return next((samples[name] for name in NAMES[field] if name in samples), [])

    def total(field: str) -> int | None:
        values = found(field)
        return round(sum(values)) if values else None

    num_gpu_blocks, block_size, kv_cache_tokens = _cache_size(caches)
    return EngineTelemetry(
        num_requests_running=total("num_requests_running"),
        num_requests_waiting=total("num_requests_waiting"),
        kv_cache_usage_fraction=max(found("kv_cache_usage_fraction"), default=None),
        preemptions=total("preemptions"),
        prompt_tokens=total("prompt_tokens"),
        generation_tokens=total("generation_tokens"),
        prefix_cache_queries=total("prefix_cache_queries"),
        prefix_cache_hits=total("prefix_cache_hits"),
        num_gpu_blocks=num_gpu_blocks,
        block_size=block_size,
        kv_cache_tokens=kv_cache_tokens,
    )


def fetch_telemetry(base_url: str, access: Access = OPEN, timeout_s: float = PAGE_TIMEOUT_S) -> EngineTelemetry | None:
    """Ask a server (`http://host:port`); None when it does not answer, or not with metrics."""
    try:
        with _client(base_url, access, timeout_s) as client:
            return parse_telemetry(_page(client, base_url.rstrip("/") + "/metrics"))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None


MAX_PAGE_BYTES = 16 << 20
"""Of a metrics page; that of a real server has 54 kB."""


def _page(client: httpx.Client, url: str) -> str:
    """A page's text. Raises ValueError for one that does not end."""
    content = b""
    with client.stream("GET", url) as response:
        response.raise_for_status()
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > MAX_PAGE_BYTES:
                raise ValueError(f"{url}: a page of more than {MAX_PAGE_BYTES >> 20} MiB")
    return content.decode("utf-8", "replace")


def difference(before: EngineTelemetry, after: EngineTelemetry) -> EngineTelemetry:
    """What a window saw: counters as growth, the rest as it was at the end.

    A counter that went back belongs to an engine that was restarted, and has grown from zero.
    """
    growth: dict[str, int | None] = {}
    for field in COUNTERS:
        start, end = getattr(before, field), getattr(after, field)
        growth[field] = None if start is None or end is None else end - start if end >= start else end
    return replace(after, **growth)


def _cache_size(caches: list[dict[str, str]]) -> tuple[int | None, int | None, int | None]:
    """(blocks, tokens in a block, tokens) of all engines together.

    A data parallel V1 server repeats its configuration for each engine with the blocks already summed and the tokens
    of one engine (vllm@0.32 v1/engine/core_client.py). 0.8.5 V1 does not know the blocks here.
    """
    num_gpu_blocks = _largest(cache.get("num_gpu_blocks") for cache in caches)
    block_size = _largest(cache.get("block_size") for cache in caches)
    engine_tokens = _largest(cache.get("kv_cache_size_tokens") for cache in caches)
    if engine_tokens is not None:
        return num_gpu_blocks, block_size, engine_tokens * len(caches)
    tokens = num_gpu_blocks * block_size if num_gpu_blocks is not None and block_size is not None else None
    return num_gpu_blocks, block_size, tokens


def _largest(labels: Iterable[str | None]) -> int | None:
    return max((int(label) for label in labels if label is not None and label.isdecimal()), default=None)


# --- peaks over a window ----------------------------------------------------------------------------------------------

GAUGES = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_fraction")
_GAUGE_LINES = {
    field: re.compile(rf"^(?:{'|'.join(map(re.escape, NAMES[field]))})(?:\{{[^\n]*\}})? (\S+)", re.MULTILINE)
    for field in GAUGES
}
WATCH_S = 1.0


def read_gauges(text: str) -> dict[str, float]:
    """The gauges alone, without reading the whole page: asked often, it must not hold up the load generator."""
    read = {field: [float(value) for value in pattern.findall(text)] for field, pattern in _GAUGE_LINES.items()}
    return {
        field: max(values) if field == "kv_cache_usage_fraction" else sum(values)
        for field, values in read.items()
        if values
    }


_TTFT_BUCKET = re.compile(r"^vllm:time_to_first_token_seconds_bucket\{([^\n]*)\} (\S+)", re.MULTILINE)
"""vllm/engine/metrics.py of 0.6.6, v1/metrics/loggers.py of 0.8.5 and 0.32."""
_BOUND = re.compile(r'\ble="([^"]+)"')


def read_ttft(text: str) -> dict[float, float]:
    """The histogram of times to first token: upper bound in seconds -> requests so far at most that slow.

    Raises ValueError where it has no numbers.
    """
    buckets: dict[float, float] = {}
    for labels, count in _TTFT_BUCKET.findall(text):  # of a data parallel server one for each engine
        if bound := _BOUND.search(labels):
            buckets[float(bound[1])] = buckets.get(float(bound[1]), 0.0) + float(count)
    return buckets


def ttft_quantile(before: Mapping[float, float], after: Mapping[float, float], share: float) -> float | None:
    """Seconds within which this share of the requests between two readings had a first token, in a line over a bucket.

    None where there was no such request. Source: histogram_quantile of Prometheus (promql/quantile.go).
    """
    grown = [(bound, after[bound] - before.get(bound, 0.0)) for bound in sorted(after)]
    total = grown[-1][1] if grown else 0.0
    if total <= 0:
        return None
    low, below = 0.0, 0.0
    for bound, count in grown:
        if count >= share * total:
            return low if bound == float("inf") else low + (bound - low) * (share * total - below) / (count - below)
        low, below = bound, count
    return low


class GaugeWatch:
    """Reads the gauges of some servers from a thread while the context is open; `peaks` has the highest seen."""

    def __init__(self, base_urls: Sequence[str], access: Access = OPEN, every_s: float = WATCH_S) -> None:
        self.access = access
        self.base_urls = [url.rstrip("/") for url in base_urls]
        self.every_s = every_s
        self.peaks: dict[str, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> GaugeWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        with _client("", self.access, PAGE_TIMEOUT_S) as client:
            while not self._ended.wait(self.every_s):
                for url in self.base_urls:
                    try:
                        read = read_gauges(_page(client, url + "/metrics"))
                    except (httpx.HTTPError, ValueError):
                        continue
                    for field, value in read.items():
                        self.peaks[field] = max(value, self.peaks.get(field, 0.0))


def wait_until_idle(
    base_urls: Sequence[str],
    timeout_s: float,
    access: Access = OPEN,
    every_s: float = 0.2,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Wait until no server runs or queues a request. False: still busy; a server that does not say counts as idle."""
    for _ in range(max(1, round(timeout_s / every_s))):
        said = [fetch_telemetry(url, access) for url in base_urls]
        if not sum((one.num_requests_running or 0) + (one.num_requests_waiting or 0) for one in said if one):
            return True
        if timeout_s > 0:
            sleep(every_s)
    return False


# --- what a server can do ---------------------------------------------------------------------------------------------

UNCHECKED_VOCAB_SIZE = 32_000
"""Ids that every current vocabulary has, for servers that take any id."""
_MAX_VOCAB_SIZE = 1 << 20
_PROBE_TIMEOUT_S = 60.0
IGNORE_EOS: dict[str, Any] = {"ignore_eos": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    base_url: str
    model: str
    max_model_len: int | None = None
    version: str | None = None
    vocab_size: int | None = None
    """None: it does not take token ids."""
    tokenizes: bool = False
    """It counts tokens at /tokenize."""
    has_metrics: bool = False
    ignores_eos: bool = True
    """It takes `ignore_eos`."""
    simulated: bool = False
    access: Access = OPEN


def probe_server(
    base_url: str,
    model: str | None = None,
    endpoint: Literal["completions", "chat"] = "completions",
    access: Access = OPEN,
    vocab_size: int | None = None,
) -> ServerFacts:
    """Ask what the server serves and how it can be asked. Raises BenchmarkError when it does not answer."""
    url = base_url.rstrip("/").removesuffix("/v1")
    with _client(url, access) as client:
        try:
            listed = client.get(url + "/v1/models")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            hint = "; name its authority with --ca-file, or --insecure" if "CERTIFICATE" in str(error) else ""
            raise BenchmarkError(f"{url} does not answer: {error}{hint}") from None
        models = _models(listed)
        if listed.status_code in (401, 403):
            raise BenchmarkError(f"{url} asks for an API key; name the variable that has it with --api-key-env")
        if model is None and not models:
            raise BenchmarkError(f"{url}/v1/models names no model ({listed.status_code}); name one with --model")
        name = model or str(models[0]["id"])
        served = next((one for one in models if one["id"] == name), {})
        version = _json(client, "GET", url + "/version").get("version")
        tokenizes = "count" in _json(client, "POST", url + "/tokenize", {"model": name, "prompt": "a"})
        ignores_eos = _ask(client, url, endpoint, name, "a", **IGNORE_EOS) or not _ask(client, url, endpoint, name, "a")
        if endpoint == "completions" and vocab_size is None:
            vocab_size = find_vocab_size(lambda token: _ask(client, url, endpoint, name, [token]))
        return ServerFacts(
            base_url=url,
            model=name,
            max_model_len=served.get("max_model_len"),
            version=version,
            vocab_size=vocab_size if endpoint == "completions" else None,
            tokenizes=tokenizes,
            has_metrics=fetch_telemetry(url, access) is not None,
            ignores_eos=ignores_eos,
            simulated=listed.headers.get("x-planner-simulated") == "1",
            access=access,
        )


def find_vocab_size(takes: Callable[[int], bool]) -> int | None:
    """How many ids the server takes, by bisection: vLLM refuses one that is out of its vocabulary."""
    if not takes(1):
        return None
    if takes(_MAX_VOCAB_SIZE):
        return UNCHECKED_VOCAB_SIZE
    low, high = 1, _MAX_VOCAB_SIZE
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if takes(middle) else (low, middle)
    return high


def count_tokens(facts: ServerFacts, prompts: Sequence[str], is_chat: bool) -> list[int]:
    """Tokens of each prompt by the server's own tokenizer, a chat template's included."""
    with _client(facts.base_url, facts.access) as client:
        counts = []
        for prompt in prompts:
            asked = {"messages": [{"role": "user", "content": prompt}]} if is_chat else {"prompt": prompt}
            answer = _json(client, "POST", facts.base_url + "/tokenize", {"model": facts.model, **asked})
            if not isinstance(answer.get("count"), int):
                raise BenchmarkError(f"{facts.base_url}/tokenize gave no count")
            counts.append(answer["count"])
        return counts


def _client(url: str, access: Access, timeout_s: float | None = None) -> httpx.Client:
    """No proxy on the way to this machine, nor to a page that is read while a load runs (which has a timeout)."""
    try:
        host = httpx.URL(url).host
    except (httpx.InvalidURL, UnicodeError):
        raise InputError(f"{url[:60]!a}: is no URL; for example http://localhost:8000") from None
    is_near = timeout_s is not None or host in ("127.0.0.1", "localhost", "::1", "")
    timeout_s = _PROBE_TIMEOUT_S if timeout_s is None else timeout_s
    return httpx.Client(timeout=timeout_s, trust_env=not is_near, headers=access.headers, verify=access.tls)


def _models(response: httpx.Response) -> list[dict[str, Any]]:
    try:
        data = response.json().get("data", [])
    except (ValueError, AttributeError, RecursionError):
        return []
    return [one for one in data if isinstance(one, dict) and "id" in one] if isinstance(data, list) else []


def _json(client: httpx.Client, method: str, url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The answer's object; empty where there is none."""
    try:
        content = msgspec.json.decode(client.request(method, url, json=body).raise_for_status().content)
    except (httpx.HTTPError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _ask(client: httpx.Client, url: str, endpoint: str, model: str, prompt: str | list[int], **fields: Any) -> bool:
    """Whether a request of one token is answered."""
    asked: dict[str, Any] = {"model": model, "max_tokens": 1, "temperature": 0.0, **fields}
    if endpoint == "chat":
        body = {**asked, "messages": [{"role": "user", "content": prompt}]}
        return bool(_json(client, "POST", url + "/v1/chat/completions", body))
    return bool(_json(client, "POST", url + "/v1/completions", {**asked, "prompt": prompt}))


def answers(facts: ServerFacts, timeout_s: float = 5.0) -> bool:
    """Whether the server is still there."""
    try:
        with _client(facts.base_url, facts.access) as client:
            return client.get(facts.base_url + "/v1/models", timeout=timeout_s).status_code < 500
    except httpx.HTTPError:
        return False
