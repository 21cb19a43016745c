"""Lines as people keep and post them: variables, units, Dockerfiles, wrappers; each gives model and flags whole."""

from __future__ import annotations

from typing import Any

import pytest
from packaging.version import Version

from planner.engine.command.manifests import is_manifest, read_manifest
from planner.engine.command.meaning import read_flags
from planner.engine.command.pasted import StartLine, is_start, read_line
from planner.engine.command.variables import Variables
from planner.engine.config import settings
from planner.errors import InputError

M = "Qwen/Qwen3-8B"
LEN = {"max_model_len": 8192}
TP2 = {"tensor_parallel_size": 2}
LINES: dict[str, tuple[str, dict[str, Any]]] = {
    "variables": (f"MODEL={M}\nPORT=8000\nLEN=8192\nvllm serve $MODEL --port $PORT --max-model-len $LEN", LEN),
    "braces": (f'export M="{M}"; export TP=2\nvllm serve "${{M}}" --tensor-parallel-size ${{TP}}', TP2),
    "defaults": (f"vllm serve ${{MODEL:-{M}}} --max-model-len ${{LEN:-8192}}", LEN),
    "variables of variables": ("O=Qwen\nM=$O/Qwen3-8B\nvllm serve $M -tp 2", TP2),
    "array": (f'ARGS=(--max-model-len 8192 -tp 2)\nvllm serve {M} "${{ARGS[@]}}"', {**LEN, **TP2}),
    "flags in a variable": (f'A="--max-model-len 8192"\nvllm serve {M} $A', LEN),
    "in bash -c": (f"bash -c 'M={M}; exec vllm serve $M --max-model-len 8192'", LEN),
    "systemd": (
        f"[Service]\nUser=llm\nEnvironment=CUDA_VISIBLE_DEVICES=0,1\nExecStart=/opt/v/bin/vllm serve {M} \\\n"
        "  --tensor-parallel-size 2\nRestart=always\n", TP2,
    ),
    "systemd, a module": (
        f"ExecStart=-/usr/bin/python3 -m vllm.entrypoints.openai.api_server --model {M} --max-model-len 8192", LEN
    ),
    "systemd, a shell": (f"ExecStart=/bin/bash -lc 'source /v/bin/activate && exec vllm serve {M} -tp 2'", TP2),
    "supervisor": (f"[program:vllm]\ncommand=/v/bin/vllm serve {M} -tp 2\nautostart=true", TP2),
    "quadlet": (f"[Container]\nImage=docker.io/vllm/vllm-openai:v0.11.0\nExec=--model {M} --max-model-len 8192", LEN),
    "CMD": (f'FROM vllm/vllm-openai:v0.11.0\nCMD ["--model", "{M}", "--max-model-len", "8192"]', LEN),
    "ENV and CMD": (
        f'FROM vllm/vllm-openai:v0.11.0\nENV VLLM_USE_V1=1\nCMD ["--model", "{M}", "--max-model-len", "8192"]', LEN
    ),
    "ENTRYPOINT and CMD": (f'ENTRYPOINT ["vllm", "serve", "{M}"]\nCMD ["--max-model-len", "8192"]', LEN),
    "a JSON list": (f'["vllm", "serve", "{M}", "--max-model-len", "8192"]', LEN),
    "Slurm": (f"#!/bin/bash\n#SBATCH --gres=gpu:2\nmodule load cuda\nsrun vllm serve {M} -tp 2", TP2),
    "Ray": (f"ray start --head --port=6379 && vllm serve {M} -tp 2 --distributed-executor-backend ray", TP2),
    "PowerShell": (f'$env:CUDA_VISIBLE_DEVICES = "0,1"\nvllm serve {M} `\n  --tensor-parallel-size 2', TP2),
    "tmux": (f"tmux new-session -d -s vllm 'vllm serve {M} --max-model-len 8192'", LEN),
    "screen": (f"screen -dmS vllm vllm serve {M} --max-model-len 8192", LEN),
    "ssh": (f'ssh gpu01 "CUDA_VISIBLE_DEVICES=0 vllm serve {M} --max-model-len 8192"', LEN),
    "docker exec": (f"docker exec -it vllm vllm serve {M} --max-model-len 8192", LEN),
    "kubectl exec": (f"kubectl exec -it pod/vllm-0 -- vllm serve {M} --max-model-len 8192", LEN),
    "singularity": (f"singularity exec --nv vllm.sif vllm serve {M} --max-model-len 8192", LEN),
    "apptainer": (f"apptainer run --nv docker://vllm/vllm-openai:v0.11.0 --model {M} --max-model-len 8192", LEN),
    "timeout": (f"timeout 3600 vllm serve {M} --max-model-len 8192", LEN),
    "a loop": (f"while true; do vllm serve {M} --max-model-len 8192; sleep 5; done", LEN),
    "a pipe before it": (f"yes | vllm serve {M} --max-model-len 8192 2>&1 | tee log.txt", LEN),
    "the program's module": (f"python3.12 -m vllm.entrypoints.cli.main serve {M} --max-model-len 8192", LEN),
    "the server's file": (f"python3 /app/vllm/entrypoints/openai/api_server.py --model {M} --max-model-len 8192", LEN),
    "args of a container": (f"args:\n  - --model\n  - {M}\n  - --max-model-len=8192\n", LEN),
    "args in one line": (f'args: ["--model", "{M}", "--max-model-len", "8192"]', LEN),
}  # fmt: skip


def read(text: str) -> StartLine:
    if is_manifest(text):
        return read_manifest(text, "pod.yaml")
    assert is_start([text])
    return read_line([text])


@pytest.mark.parametrize("name", LINES)
def test_a_line_is_read_whole(name: str) -> None:
    text, asked = LINES[name]
    line = read(text)
    assert line.model == M
    assert line.version in {None, "0.11.0"}
    assert settings(read_flags(line.words, Version("0.11.0")).settings) == asked


def test_cards_and_variables_of_the_text_are_the_engines() -> None:
    assert read(LINES["systemd"][0]).num_gpus == 2
    assert read(LINES["PowerShell"][0]).num_gpus == 2
    assert read(LINES["ssh"][0]).num_gpus == 1
    for name in ("apptainer", "CMD", "ENV and CMD"):
        assert read(LINES[name][0]).version == "0.11.0"


def test_a_variable_that_the_text_does_not_set_is_named() -> None:
    line = read(f"vllm serve {M} --max-model-len $LEN")
    with pytest.raises(InputError, match=r"\$LEN is a variable whose value is not known here"):
        read_flags(line.words, Version("0.11.0"))


def test_variables_that_double_each_other_stay_short() -> None:
    variables = Variables()
    assert variables.note(["A=xxxxxxxxxx"])
    for _ in range(40):
        assert variables.note(["A=$A$A"])
    assert len(variables.fill(["$A"])[0]) <= 4096
    assert not variables.note(["vllm", "serve"])
