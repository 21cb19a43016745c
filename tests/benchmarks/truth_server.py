"""A server whose speed is known: first token after 200 ms, then one each 20 ms; it measures its own lateness.

`python truth_server.py PORT [CORE [EVENTS]]`. With EVENTS, so many tokens in one write each 20 ms, an event a token:
that costs this server little more, and its client that much more. GET /truth gives what it really did since it was last
asked, and forgets it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

TTFT_S, ITL_S = 0.2, 0.02
EVENTS = int(sys.argv[3]) if len(sys.argv) > 3 else 1
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _chunk(content: Any) -> bytes:
    data = b"data: " + (content if isinstance(content, bytes) else json.dumps(content).encode()) + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


def _event(finish_reason: str | None = None) -> bytes:
    """As long as vLLM's."""
    choice = {"index": 0, "text": " token", "logprobs": None, "finish_reason": finish_reason, "stop_reason": None}
    content = {"id": "cmpl-0123456789abcdef0123456789abcdef", "object": "text_completion", "created": 1767225600}
    return _chunk({**content, "model": "truth", "choices": [{**choice, "token_ids": None}], "usage": None})


_TOKEN, _LAST = _event(), _event("length")
ttfts_s: list[float] = []
itls_s: list[float] = []
late_s: list[float] = []


class Truth(asyncio.Protocol):
    """One connection; one request on it at a time."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.loop = asyncio.get_running_loop()
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        self.rest += data
        head, found, body = self.rest.partition(b"\r\n\r\n")
        if not found:
            return
        if head.startswith(b"GET"):
            self.rest = b""
            self.say_truth(head)
            return
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        if len(body) < int(length.split(b":")[1]):
            return
        self.rest = b""
        self.num_tokens = json.loads(body)["max_tokens"]
        self.received_s = self.last_s = self.loop.time()
        self.num_sent = 0
        self.due_s = self.received_s + TTFT_S
        self.loop.call_at(self.due_s, self.send_token)

    def send_token(self) -> None:
        now_s = self.loop.time()
        late_s.append(now_s - self.due_s)
        is_first = self.num_sent == 0
        self.num_sent += EVENTS
        is_last = self.num_sent >= self.num_tokens
        data = _TOKEN * (EVENTS - 1) + (_LAST if is_last else _TOKEN)
        if is_first:
            data = _HEAD + data
            ttfts_s.append(now_s - self.received_s)
        else:
            itls_s.append(now_s - self.last_s)
        self.last_s = now_s
        if is_last:
            usage = {"prompt_tokens": 8, "completion_tokens": self.num_tokens, "total_tokens": 8 + self.num_tokens}
            data += _chunk({"choices": [], "usage": usage}) + _chunk(b"[DONE]") + b"0\r\n\r\n"
        self.transport.write(data)
        if not is_last:
            self.due_s += ITL_S
            self.loop.call_at(self.due_s, self.send_token)

    def say_truth(self, head: bytes) -> None:
        content = {}
        if b" /truth" in head:
            content = {"ttfts_s": ttfts_s[:], "itls_s": itls_s[:], "late_s": late_s[:], "cpu_s": time.process_time()}
            for values in (ttfts_s, itls_s, late_s):
                values.clear()
        body = json.dumps(content).encode()
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Truth, "127.0.0.1", int(sys.argv[1]), backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        os.sched_setaffinity(0, {int(sys.argv[2])})
    try:
        import uvloop

        uvloop.install()
    except ImportError:
        pass
    asyncio.run(main())
