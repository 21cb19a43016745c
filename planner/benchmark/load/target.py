"""Where requests are sent and what they hold: `Target`, and the JSON body of one planned request.

In: a server's URLs and model, a workload, `RequestPlan`s. Out: bytes. Nothing is sent here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from planner.benchmark.client.access import Access, engine_access
from planner.workload import RequestPlan, Workload, prompt_token_ids, prompt_words

PATHS = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}
_CHAT_TEMPLATE_TOKENS = 10
"""Tokens that a chat template adds around one message, approximately."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where requests go and what they look like."""

    base_urls: tuple[str, ...]
    """`http://host:port` of each instance, without /v1."""
    model: str
    endpoint: Literal["completions", "chat"] = "completions"
    vocab_size: int | None = None
    """Size of the vocabulary that token ids are drawn from; None: the server takes text only."""
    seed: int = 0
    timeout_s: float = 1800.0
    access: Access = field(default_factory=Access)
    fields: dict[str, Any] = field(default_factory=lambda: {"ignore_eos": True, "temperature": 0.0})
    """Further JSON fields of every request."""
    keeps_text: bool = False
    prompts: dict[int, str] = field(default_factory=dict)
    """Prompts whose tokens were counted in advance, by the plan's index."""


def target_of(base_urls: Sequence[str], model: str, workload: Workload, vocab_size: int) -> Target:
    """Target for engines that planner has launched."""
    return Target(
        base_urls=tuple(base_urls),
        model=model,
        endpoint=workload.endpoint,
        vocab_size=vocab_size,
        seed=workload.seed,
        timeout_s=workload.request_timeout,
        access=engine_access(),
    )


def request_body(target: Target, plan: RequestPlan) -> bytes:
    """The request as JSON: token ids where the server takes them, else text."""
    content: dict[str, Any] = {
        "model": target.model,
        "max_tokens": plan.output_tokens,
        **target.fields,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    given = target.prompts.get(plan.index, plan.prompt)
    if target.endpoint == "chat":
        text = prompt_text(plan, target.seed) if given is None else given
        content["messages"] = [{"role": "user", "content": text}]
    elif given is not None:
        content["prompt"] = given
    elif target.vocab_size is None:
        content["prompt"] = prompt_words(plan, target.seed, plan.input_tokens)
    else:
        content["prompt"] = prompt_token_ids(plan, target.vocab_size, target.seed)
    return msgspec.json.encode(content)


def prompt_text(plan: RequestPlan, seed: int) -> str:
    """Random words of about `plan.input_tokens` tokens, for chat; the answer's usage reports the exact number."""
    return prompt_words(plan, seed, plan.input_tokens - _CHAT_TEMPLATE_TOKENS)


# ---------------------------------------------------------------- one request
