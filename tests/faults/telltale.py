"""An engine that tells what it must not: `python telltale.py ARGS...`. The simulated engine, but for its indiscretion.

It prints its whole environment and every request's headers, asks for the key in VLLM_API_KEY as vLLM does (under /v1),
and repeats the Authorization header in whatever it refuses. With `--max-num-seqs 16` it dies at start with the key as
its last words, with 32 it answers every request with a 500 that has the header.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import planner.simulated.server as server
from planner.simulated.__main__ import main

KEY = os.environ["VLLM_API_KEY"]
Send = Callable[[dict[str, Any]], Any]


class Telltale:
    def __init__(self, app: Any, echoes: bool) -> None:
        self._app, self._echoes = app, echoes

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"authorization", b"")
        print("INFO 01-01 00:00:00 [api.py:1] headers", scope["headers"], file=sys.stderr, flush=True)
        is_known = given == f"Bearer {KEY}".encode()
        if scope["path"].startswith("/v1") and not is_known:
            await self._say(send, 401, f"Unauthorized: {given.decode()!r} is not {KEY!r}")
        elif scope["path"].endswith("completions") and self._echoes:
            await self._say(
                send, 500, f"no route for Authorization: {given.decode()} with {json.dumps(dict(os.environ))}"
            )
        else:
            await self._app(scope, receive, send)

    async def _say(self, send: Send, status: int, words: str) -> None:
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]}
        )
        await send({"type": "http.response.body", "body": json.dumps({"error": {"message": words}}).encode()})


def serve(argv: list[str]) -> int:
    print("INFO 01-01 00:00:00 [api.py:1]", dict(os.environ), file=sys.stderr)
    sequences = argv[argv.index("--max-num-seqs") + 1] if "--max-num-seqs" in argv else ""
    if sequences == "16":
        print(f"ERROR 01-01 00:00:00 [engine.py:1] ValueError: the token {KEY} is not known", file=sys.stderr)
        return 1
    build_app = server.build_app
    server.build_app = lambda *args, **kwargs: Telltale(build_app(*args, **kwargs), echoes=sequences == "32")
    return main(argv)


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:]))
