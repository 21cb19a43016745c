"""A server's address as people type it: `server_url("127.0.0.1:8000")` is `http://127.0.0.1:8000`.

In: a URL, or a host with a port. Out: a base URL that HTTP clients take. Nothing is asked of the server.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from planner.errors import InputError

SCHEMES = ("http", "https")
EXAMPLE = "for example http://localhost:8000"


def server_url(written: str) -> str:
    """The base URL; without a scheme it is http. Raises InputError for what can be no server."""
    import httpx

    text = written.strip()
    url = text if "://" in text else f"http://{text}"
    shown = text.partition("?")[0].partition("#")[0].rpartition("@")[2][:80]  # a key may stand in the rest
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if ":" not in host:
            host.encode("idna")  # as every client does: a label has at most 63 letters
        httpx.URL(url)  # stricter: by IDNA 2008
    except (ValueError, httpx.InvalidURL) as error:  # UnicodeError is a ValueError
        raise InputError(f"{shown!r} is no URL of a server: {error}; {EXAMPLE}") from None
    if parts.scheme not in SCHEMES:
        raise InputError(f"{shown!r}: allowed are {' and '.join(SCHEMES)}, {EXAMPLE}")
    if not host or port == 0 or any(letter.isspace() or not letter.isprintable() for letter in url):
        raise InputError(f"{shown!r} is no URL of a server; {EXAMPLE}")
    if parts.query or parts.fragment:
        raise InputError(f"{shown}: a server's base URL has no ? and no #; a key goes to --api-key-env")
    return url


def server_root(written: str) -> str:
    """The address below which a server's pages lie: the base URL without the /v1 of its API. Raises InputError."""
    return server_url(written).rstrip("/").removesuffix("/v1")
