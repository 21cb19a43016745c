"""The simulated engine as a server: what it refuses before it listens. That it serves: tests/unit/cli/test_main.py."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import httpx
import pytest

from planner.engine import EngineConfig, VllmFlags
from planner.errors import InputError
from planner.simulated.__main__ import main
from planner.simulated.serve import ServeAsk, serve_simulated
from tests.places import ROOT

Run = Callable[[str], tuple[int, str, str]]
LINE = "simulate --model qwen3-8b --gpu H200"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("simulate", "simulate: name the model and the card"),
        ("simulate --model qwen3-8b", "simulate: name the model and the card"),
        (f"{LINE} --speedup 0", "--speedup 0: allowed is a number above 0"),
        (f"{LINE} --start-delay -1", "--start-delay -1: allowed are seconds from 0"),
        (f"{LINE} --interconnect nvlnk", "--interconnect nvlnk: allowed: pcie, "),
        (f"{LINE} --gpu-memory much", "--gpu-memory: "),
        (f"{LINE} --port 0", "'--port'"),
        (f"{LINE} --vllm-version 0.6.6 --async-scheduling", "unrecognized arguments: --async-scheduling"),
    ],
)
def test_what_it_does_not_take_is_one_line(run: Run, line: str, words: str) -> None:
    code, out, err = run(line)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert words in err


def test_what_vllm_refuses_ends_like_vllm(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ServeAsk(model="qwen3-8b", gpu="RTX 3090", version="0.8.5")
    assert serve_simulated(asked, VllmFlags(settings=EngineConfig(gpu_memory_utilization=0.3))) == 1
    assert "Engine process failed to start" in capsys.readouterr().err
    with pytest.raises(InputError, match="invalid choice: 'hocus'"):
        serve_simulated(asked, VllmFlags(refused=("argument --dtype: invalid choice: 'hocus'",)))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--nothing --max-num-seqs 8", "unrecognized arguments: --nothing"),
        ("--async-scheduling", "unrecognized arguments: --async-scheduling (since 0.10.0)"),
        ("--max-num-seqs 16k", "argument --max-num-seqs: invalid int value: '16k' (vLLM 0.8.5)"),
        ("--kv-cache-dtype nvfp4", "argument --kv-cache-dtype: invalid choice: 'nvfp4'"),
    ],
)
def test_the_process_reads_flags_by_the_rules_of_its_version(
    capsys: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    line = "serve --model qwen3-8b --gpu H200 --vllm-version 0.8.5"
    assert main([*line.split(), *words.split()]) == 2
    assert said in capsys.readouterr().err


def test_what_is_not_simulated_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    line = "serve --model qwen3-8b --gpu H200 --vllm-version 0.33.0 --gpu-memory-utilization 0.05 --enable-lora"
    assert main([*line.split(), "--max-model-len", "4k", "-tp", "1"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("SIMULATED without --enable-lora\n")
    assert "Engine process failed to start" in err


def test_the_command_serves(tmp_path: object) -> None:  # noqa: ARG001
    code = "from planner.cli.main import main; import sys; main(sys.argv[1:])"
    words = [*LINE.split(), "--port", "18231", "--served-model-name", "tiny"]
    with subprocess.Popen([sys.executable, "-c", code, *words], cwd=ROOT, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if re.search("SIMULATED vLLM API server on http://127.0.0.1:18231", line):
                break
        for _ in range(600):
            try:
                answer = httpx.get("http://127.0.0.1:18231/v1/models")
                break
            except httpx.ConnectError:
                assert child.poll() is None
        child.terminate()
        child.stderr.read()
    assert answer.json()["data"][0]["id"] == "tiny"
    assert answer.headers["x-planner-simulated"] == "1"
