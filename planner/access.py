"""`Access`: what a server asks of its clients (an API key), and what they ask of it (a certificate).

In: a key, the file of a certificate authority. Out: headers and an `ssl.SSLContext`. Knows nothing of HTTP.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from functools import cache

from planner.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Equal for all requests of a run; it travels to other processes, so it holds names and no open things."""

    api_key: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    """PEM file of the authorities to trust; None: OpenSSL's own, which SSL_CERT_FILE and SSL_CERT_DIR replace."""
    insecure: bool = False
    """Take any certificate."""

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.api_key is None else {"authorization": f"Bearer {self.api_key}"}

    @property
    def tls(self) -> ssl.SSLContext:
        """Raises InputError where `ca_file` has no certificates."""
        return _context(self.ca_file, self.insecure)


@cache
def _context(ca_file: str | None, insecure: bool) -> ssl.SSLContext:
    """Made once: reading the authorities takes longer than a request."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise InputError(f"--ca-file {ca_file}: has no certificates: {error.strerror or error}") from None
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
