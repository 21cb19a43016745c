"""`Access`: what a server asks of its clients (an API key), and what they ask of it (a certificate).

In: a key, the file of a certificate authority. Out: headers, an `ssl.SSLContext`, and server messages without the key.
Engines that planner launches, and all their clients, take the key from one variable: `engine_access`. Knows no HTTP.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from planner.errors import InputError
from planner.files import redactor

KEY_ENV = "VLLM_API_KEY"
"""Environment variable from which vLLM takes its key (vllm@0.8.5 envs.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Access data, the same for all requests of a run. It is sent to other processes, so it holds no open handles."""

    api_key: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    """PEM file of the authorities to trust; None: OpenSSL's default, which SSL_CERT_FILE and SSL_CERT_DIR replace."""
    insecure: bool = False
    """Whether to accept any certificate."""

    def __post_init__(self) -> None:
        if self.api_key is not None and not re.fullmatch(r"[!-~]+", self.api_key):
            raise InputError("the API key has characters that a header cannot have: blanks, line ends, no ASCII")

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.api_key is None else {"authorization": f"Bearer {self.api_key}"}

    @property
    def tls(self) -> ssl.SSLContext:
        """TLS context for these settings. Raises InputError if `ca_file` has no certificates."""
        return _context(self.ca_file, self.insecure)

    def redact(self, text: str) -> str:
        """A server's message without the key and this process's secrets: some servers echo the request."""
        return redactor(further={} if self.api_key is None else {"API_KEY": self.api_key})(text)


def engine_access(env: Mapping[str, str] | None = None) -> Access:
    """Access to engines that planner launches, with the key of its environment or of `env`. Raises InputError.

    The key is sent even if the engine was given none, since it only reaches what planner has started.
    """
    return Access(api_key={**os.environ, **(env or {})}.get(KEY_ENV) or None)


@cache
def _context(ca_file: str | None, insecure: bool) -> ssl.SSLContext:
    """TLS context, made once because reading the authorities takes longer than a request."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise InputError(f"--ca-file {ca_file}: has no certificates: {error.strerror or error}") from None
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
