"""Addresses as people type them."""

from __future__ import annotations

import pytest

from planner.benchmark.client.address import server_url
from planner.errors import InputError


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("gpu-host:8000", "http://gpu-host:8000"),
        ("gpu-host", "http://gpu-host"),
        ("[::1]:8000/v1", "http://[::1]:8000/v1"),
        (" https://engine.example/v1 ", "https://engine.example/v1"),
        ("http://bücher.example", "http://bücher.example"),
    ],
)  # fmt: skip
def test_a_host_is_enough(written: str, url: str) -> None:
    assert server_url(written) == url


@pytest.mark.parametrize(
    "written",
    [
        "", " ", "http://", "ftp://host", "file:///etc/passwd", f"http://{'a' * 64}.example", f"{'a' * 64}:8000",
        "http://host:99999", "http://host:x", "http://host:0", "http://[::1", "http://a..b", "http://ho st",
        "http://host/?a=1", "http://host#x", "http://\nhost", "\u2014max",
    ],
)  # fmt: skip
def test_what_is_no_server_is_one_line(written: str) -> None:
    with pytest.raises(InputError, match=r"server|allowed are"):
        server_url(written)


def test_a_key_in_the_address_is_not_shown() -> None:
    for written in ("http://user:PW@host?key=PW", "http://user:PW@host:x", "ftp://user:PW@host#PW"):
        with pytest.raises(InputError) as caught:
            server_url(written)
        assert "PW" not in str(caught.value)
