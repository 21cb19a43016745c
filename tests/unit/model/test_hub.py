"""Models read from the Hub: the real huggingface_hub against a server that speaks the Hub's paths (HF_ENDPOINT)."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIG = {
    "model_type": "llama",
    "num_hidden_layers": 4,
    "hidden_size": 1024,
    "intermediate_size": 2048,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
}


def _safetensors(num_bytes: int, padding: int = 0) -> bytes:
    """A header of one tensor, as long as asked, and as many bytes of weights as the header promises."""
    tensor = {"dtype": "BF16", "shape": [num_bytes // 2], "data_offsets": [0, num_bytes]}
    header = json.dumps({"__metadata__": {"pad": "x" * padding}, "w": tensor}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(num_bytes)


WEIGHT_BYTES = 3_000_000
INDEX = {"metadata": {}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
REPOSITORIES: dict[str, dict[str, bytes]] = {
    "acme/whole": {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": _safetensors(WEIGHT_BYTES)},
    "acme/sharded": {
        "config.json": json.dumps(CONFIG).encode(),
        "model.safetensors.index.json": json.dumps(INDEX).encode(),
        "model-1.safetensors": _safetensors(WEIGHT_BYTES, padding=300_000),  # more than the first guess at its length
        "model-2.safetensors": _safetensors(1000),
    },
    "acme/bin": {"config.json": json.dumps(CONFIG).encode(), "pytorch_model.bin": b"x"},
    "acme/adapter": {"adapter_config.json": b"{}"},
    "acme/garbage": {"config.json": b"{nope"},
    "acme/gated": {},
}


class _Hub(BaseHTTPRequestHandler):
    """GET and HEAD of /{repository}/resolve/{revision}/{file}, with the headers and error codes of the real one."""

    sent_bytes = 0

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        name, _, rest = self.path.strip("/").partition("/resolve/")
        files, file = REPOSITORIES.get(name), rest.partition("/")[2]
        if files is None:
            return self._fail(401, "RepoNotFound", "Invalid username or password.")
        if name == "acme/gated":
            return self._fail(403, "GatedRepo", "Access to this model is restricted.")
        if file not in files:
            return self._fail(404, "EntryNotFound", "Entry not found")
        body = whole = files[file]
        asked = self.headers.get("Range", "")
        if asked and with_body:
            first, last = (int(end) for end in asked.removeprefix("bytes=").split("-"))
            body = whole[first : last + 1]
        self.send_response(206 if asked and with_body else 200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha1(whole, usedforsecurity=False).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            _Hub.sent_bytes += len(body)
            self.wfile.write(body)
        return None

    def _fail(self, code: int, kind: str, message: str) -> None:
        self.send_response(code)
        self.send_header("X-Error-Code", kind)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def estimate(model: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`planner estimate` with a cache of its own; a process, for HF_ENDPOINT is read when the library is imported."""
    argv = ["estimate", "--model", model, "--gpu", "RTX 3090", "--max-model-len", "1024", "--json"]
    code = f"from planner.cli.main import main; main({argv!r})"
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "HF_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("model", ["acme/whole", "acme/sharded", "acme/bin"])
def test_any_model_of_the_hub_is_estimated_from_its_headers(model: str, tmp_path: Path, endpoint: str) -> None:
    _Hub.sent_bytes = 0
    result = estimate(model, tmp_path, HF_ENDPOINT=endpoint)
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["verdict"] == "starts"
    assert _Hub.sent_bytes < WEIGHT_BYTES / 2  # never the weights
    again = estimate(model, tmp_path, HF_HUB_OFFLINE="1")  # config.json is in the cache now
    assert (again.returncode, json.loads(again.stdout)["verdict"]) == (0, "starts")


def test_the_size_of_the_checkpoint_is_the_headers_sum(tmp_path: Path, endpoint: str) -> None:
    code = "from planner.model.catalog import load_model; print(load_model('acme/sharded').checkpoint_bytes)"
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "HF_HOME": str(tmp_path), "HF_ENDPOINT": endpoint},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(result.stdout) == WEIGHT_BYTES + 1000


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("acme/nothing", "the Hub knows no such public repository"),
        ("acme/gated", "registered users only: accept its licence on the Hub and log in"),
        ("acme/adapter", "its repository on the Hub has no config.json"),
        ("acme/garbage", "its config.json: is not JSON"),
    ],
)
def test_what_the_hub_does_not_give_is_one_line(model: str, reason: str, tmp_path: Path, endpoint: str) -> None:
    result = estimate(model, tmp_path, HF_ENDPOINT=endpoint)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"planner: model '{model}': ")
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1


def test_without_a_network_near_names_are_told(tmp_path: Path) -> None:
    offline = estimate("Qwen/Qwen9-8B", tmp_path, HF_HUB_OFFLINE="1")
    assert (offline.returncode, offline.stderr.count("\n")) == (2, 1)
    assert "HF_HUB_OFFLINE forbids asking the Hub" in offline.stderr
    assert "Qwen/Qwen3-8B" in offline.stderr
    closed = estimate("Qwen/Qwen9-8B", tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert (closed.returncode, closed.stderr.count("\n")) == (2, 1)
    assert "the Hub (http://127.0.0.1:9) cannot be reached" in closed.stderr
    assert "Qwen/Qwen3-8B" in closed.stderr


def test_without_the_library_the_extra_is_named(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["huggingface_hub"] = None  # as if it were not installed
from planner.cli.main import main
main(["estimate", "--model", "Qwen/Qwen9-8B", "--gpu", "H200"])
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "pip install 'vllm-planner[hub]' reads it from the Hugging Face Hub; near names: " in result.stderr
    assert "Qwen/Qwen3-8B" in result.stderr
