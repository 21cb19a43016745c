"""What a running server can do: `probe_server(url) -> ServerFacts`; also its tokenizer, and whether it still answers.

In: a base URL. Out: model, context, version, vocabulary, and what the server accepts. `telemetry.py` reads its metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from planner.benchmark.client.access import Access
from planner.benchmark.client.asking import Asker, HttpAnswer, NoAnswer, asker_of
from planner.benchmark.client.telemetry import OPEN, fetch_telemetry
from planner.errors import BenchmarkError

# --- what a server can do ---------------------------------------------------------------------------------------------

UNCHECKED_VOCAB_SIZE = 32_000
"""Vocabulary size assumed for servers that take any token id; every current vocabulary has these ids."""
_MAX_VOCAB_SIZE = 1 << 20
PROBE_TIMEOUT_S = 60.0
"""Seconds in which one question must be answered; a server's first request may compile kernels."""
IGNORE_EOS: dict[str, Any] = {"ignore_eos": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    base_url: str
    model: str
    max_model_len: int | None = None
    version: str | None = None
    vocab_size: int | None = None
    """Number of token ids that prompts may use; None if the server does not take token ids."""
    tokenizes: bool = False
    """Whether the server counts tokens at /tokenize."""
    has_metrics: bool = False
    ignores_eos: bool = True
    """Whether the server takes `ignore_eos`."""
    simulated: bool = False
    access: Access = OPEN


def probe_server(
    base_url: str,
    model: str | None = None,
    endpoint: Literal["completions", "chat"] = "completions",
    access: Access = OPEN,
    vocab_size: int | None = None,
) -> ServerFacts:
    """Find out what the server serves and which requests it takes. Raises BenchmarkError if it does not answer."""
    url = base_url.rstrip("/").removesuffix("/v1")
    with asker_of(url, access, PROBE_TIMEOUT_S) as asker:
        try:
            listed = asker.ask("GET", url + "/v1/models")
        except NoAnswer as error:
            hint = "; name its authority with --ca-file, or --insecure" if "CERTIFICATE" in str(error) else ""
            raise BenchmarkError(f"{url} does not answer: {error}{hint}") from None
        models = _models(listed)
        if listed.status in (401, 403):
            raise BenchmarkError(f"{url} asks for an API key; name the variable that has it with --api-key-env")
        if model is None and not models:
            raise BenchmarkError(f"{url}/v1/models names no model ({listed.status}); name one with --model")
        name = model or str(models[0]["id"])
        served = next((one for one in models if one["id"] == name), {})
        version = _json(asker, "GET", url + "/version").get("version")
        tokenizes = "count" in _json(asker, "POST", url + "/tokenize", {"model": name, "prompt": "a"})
        ignores_eos = _ask(asker, url, endpoint, name, "a", **IGNORE_EOS) or not _ask(asker, url, endpoint, name, "a")
        if endpoint == "completions" and vocab_size is None:
            vocab_size = find_vocab_size(lambda token: _ask(asker, url, endpoint, name, [token]))
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
    """Number of token ids that the server takes, by bisection: vLLM refuses an id outside its vocabulary."""
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
    """Number of tokens of each prompt by the server's own tokenizer, including those of a chat template."""
    with asker_of(facts.base_url, facts.access, PROBE_TIMEOUT_S) as asker:
        counts = []
        for prompt in prompts:
            asked = {"messages": [{"role": "user", "content": prompt}]} if is_chat else {"prompt": prompt}
            answer = _json(asker, "POST", facts.base_url + "/tokenize", {"model": facts.model, **asked})
            if not isinstance(answer.get("count"), int):
                raise BenchmarkError(f"{facts.base_url}/tokenize gave no count")
            counts.append(answer["count"])
        return counts


def _models(answer: HttpAnswer) -> list[dict[str, Any]]:
    data = answer.json().get("data", [])
    return [one for one in data if isinstance(one, dict) and "id" in one] if isinstance(data, list) else []


def _json(asker: Asker, method: str, url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """JSON object of the answer; empty too where none comes: what a server cannot do it need not answer."""
    try:
        return asker.ask_object(method, url, body)
    except NoAnswer:
        return {}


def _ask(asker: Asker, url: str, endpoint: str, model: str, prompt: str | list[int], **fields: Any) -> bool:
    """Whether a request of one token is answered."""
    asked: dict[str, Any] = {"model": model, "max_tokens": 1, "temperature": 0.0, **fields}
    if endpoint == "chat":
        body = {**asked, "messages": [{"role": "user", "content": prompt}]}
        return bool(_json(asker, "POST", url + "/v1/chat/completions", body))
    return bool(_json(asker, "POST", url + "/v1/completions", {**asked, "prompt": prompt}))


def answers(facts: ServerFacts, timeout_s: float = 5.0) -> bool:
    """Whether the server still answers."""
    with asker_of(facts.base_url, facts.access, timeout_s) as asker:
        try:
            return asker.ask("GET", facts.base_url + "/v1/models").status < 500
        except NoAnswer:
            return False
