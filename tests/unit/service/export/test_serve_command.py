"""Exports without containers: bash starts each instance with its words, and `--config` makes the same words again."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.version import Version

from planner.errors import InputError
from planner.launch.runs import engine_args
from planner.service.export.serve_command import as_config, engine_yaml, serve_sh
from planner.study.problem import Problem

Make = Callable[..., Problem]
ODD = {
    "models": {"small": {"path": "/my models/it's $HOME/Qwen3", "architecture": "Qwen/Qwen3-8B"}},
    "engine__env": {"GREETING": "a 'b' \"c\" $d \\ `e`"},
    "engine__extra_args": ["--chat-template", "{{ $x }}\n'", "--disable-log-stats", "--seed", "-1"],
}


def read_config(config: Mapping[str, Any]) -> list[str]:
    """What vLLM's --config makes of a file: 0.6.6 and 0.10.2 alike."""
    words: list[str] = []
    for key, value in config.items():
        assert value is not False  # which older versions drop
        words += (
            [f"--{key}"] if value is True else [f"--{key}", *map(str, value if isinstance(value, list) else [value])]
        )
    return words


@pytest.fixture
def vllm(tmp_path: Path) -> Path:
    """A program `vllm` that writes down its words and environment, waits, and tells how it ended."""
    program = tmp_path / "bin" / "vllm"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, os, signal, sys, time\n"
        "from pathlib import Path\n"
        "port = sys.argv[sys.argv.index('--port') + 1]\n"
        "at = Path(os.environ['AT'])\n"
        "end = lambda *_: ((at / f'{port}.ended').touch(), sys.exit(0))\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "env = {name: os.environ.get(name) for name in ('CUDA_VISIBLE_DEVICES', 'GREETING')}\n"
        "(at / f'{port}.part').write_text(json.dumps([sys.argv[1:], env]))\n"
        "(at / f'{port}.part').rename(at / f'{port}.json')\n"
        "if awaited := os.environ.get(f'UNTIL_{port}'):\n"
        "    for _ in range(30000):\n"
        "        if (at / awaited).exists(): break\n"
        "        time.sleep(0.02)\n"
        "sys.exit(7)\n",
        "utf-8",
    )
    program.chmod(0o755)
    return program


def start(script: str, vllm: Path, at: Path, **env: str) -> subprocess.Popen[str]:
    path = at / "serve.sh"
    path.write_text(script, "utf-8")
    words = {"PATH": f"{vllm.parent}:/usr/bin:/bin", "AT": str(at), "d": "wrong", "HOME": "wrong", **env}
    return subprocess.Popen(["bash", str(path)], env=words, text=True)


def test_bash_starts_each_instance_with_its_port_and_cards(
    make_problem: Make, launch: Any, vllm: Path, tmp_path: Path
) -> None:
    problem = make_problem(**ODD, serve={"name": "coder", "host_port": 8888})
    script = serve_sh(problem, launch(problem)[0], None)
    with start(script, vllm, tmp_path, UNTIL_8888="8889.json", UNTIL_8889="never") as process:
        assert process.wait(300) == 7  # the first ended, and its exit code is the script's
    for port, card in (("8888", "0"), ("8889", "1")):
        words, env = yaml.safe_load((tmp_path / f"{port}.json").read_text("utf-8"))
        assert words == ["serve", "/my models/it's $HOME/Qwen3", "--port", port, *engine_args(problem, problem.default)]
        assert env == {"CUDA_VISIBLE_DEVICES": card, "GREETING": ODD["engine__env"]["GREETING"]}  # type: ignore[index]
    wait_for(tmp_path / "8889.ended")  # and ended the other
    assert not (tmp_path / "8888.ended").exists()


def wait_for(path: Path) -> None:
    until = time.monotonic() + 300
    while not path.exists():
        assert time.monotonic() < until, path
        time.sleep(0.02)


def test_sigterm_ends_both(make_problem: Make, launch: Any, vllm: Path, tmp_path: Path) -> None:
    problem = make_problem(serve={"name": "coder", "host_port": 8888})
    with start(
        serve_sh(problem, launch(problem)[0], None), vllm, tmp_path, UNTIL_8888="never", UNTIL_8889="never"
    ) as process:
        for port in ("8888", "8889"):
            wait_for(tmp_path / f"{port}.json")
        process.terminate()
        for port in ("8888", "8889"):
            wait_for(tmp_path / f"{port}.ended")


@pytest.mark.parametrize("layout", ["1xtp2", "2xtp1"])
def test_the_script_is_clean(make_problem: Make, launch: Any, tmp_path: Path, layout: str) -> None:
    problem = make_problem(**ODD, engine__pass_env=["HF_TOKEN"], search_space={"search": {"layout": [layout]}})
    script = tmp_path / "serve.sh"
    script.write_text(serve_sh(problem, launch(problem)[0], None), "utf-8")
    subprocess.run(["bash", "-n", str(script)], check=True)
    shellcheck = Path(sys.executable).with_name("shellcheck")
    found = subprocess.run([shellcheck, "--exclude=SC2016", str(script)], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")  # SC2016: the odd words have $ in single quotes on purpose


@pytest.mark.parametrize("version", ["0.6.6", "0.8.5", "0.33.0"])
def test_the_file_says_what_the_command_line_says(make_problem: Make, launch: Any, version: str) -> None:
    changes = {**ODD, "engine__version": version, "search_space": {"search": {"layout": ["1xtp2"]}}}
    changes["engine__settings"] = {"dtype": "half", "enable_prefix_caching": False, "enforce_eager": True,
                                   "enable_chunked_prefill": False, "gpu_memory_utilization": 0.95}  # fmt: skip
    problem = make_problem(**changes, container=None)
    text = engine_yaml(problem, launch(problem)[0], None)
    words = read_config(yaml.safe_load(text))
    wanted = " ".join(["--port", "8000", *engine_args(problem, problem.default)]).replace("=False", " False")
    assert " ".join(words) == wanted
    start = next(line for line in text.splitlines() if line.startswith("# start: "))
    (env, greeting, *command) = shlex.split(start.removeprefix("# start: "))
    assert (env, greeting) == ("env", f"GREETING={ODD['engine__env']['GREETING']}")  # type: ignore[index]
    assert command == ["vllm", "serve", "/my models/it's $HOME/Qwen3", "--config", "engine.yaml"]


def test_two_instances_share_the_file_and_not_the_port(make_problem: Make, launch: Any) -> None:
    problem = make_problem(serve={"name": "coder", "host_port": 8888})
    text = engine_yaml(problem, launch(problem)[0], None)
    assert "port" not in yaml.safe_load(text)
    assert "# start: env CUDA_VISIBLE_DEVICES=0 vllm serve Qwen/Qwen3-8B --config engine.yaml --port 8888" in text
    assert "# start: env CUDA_VISIBLE_DEVICES=1 vllm serve Qwen/Qwen3-8B --config engine.yaml --port 8889" in text


def test_a_version_without_config_files_is_named(make_problem: Make, launch: Any) -> None:
    problem = make_problem(engine__version="0.5.4")
    with pytest.raises(InputError, match=r"vLLM 0\.5\.4 has no --config, it came with 0\.6\.0; .* --kind serve"):
        engine_yaml(problem, launch(problem)[0], None)


@pytest.mark.parametrize(
    ("args", "version", "words"),
    [
        (["-O3"], "0.10.2", "-O3: only flags that begin with --"),
        (["model"], "0.10.2", "model: only flags that begin with --"),
        (["--x", "1", "--x", "2"], "0.10.2", "--x stands twice"),
        (
            ["--allowed-origins", "a", "b"],
            "0.9.2",
            "--allowed-origins has several values, which --config of vLLM 0.9.2",
        ),
    ],
)
def test_what_a_file_cannot_say_is_named(args: list[str], version: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        as_config(args, Version(version))


def test_values_come_back_as_the_same_words() -> None:
    args = ["--a", "1", "--b", "0.90", "--c", "1e-05", "--d", "true", "--e", "null", "--f", "007", "--g", "nan", "--h",
            "-1", "--i", "", "--j", "on", "--k", '{"level": 3}', "--l", "1_000", "--m", "a", "2", "--n"]  # fmt: skip
    config = yaml.safe_load(yaml.safe_dump(as_config(args, Version("0.10.2"))))
    assert read_config(config) == args
    assert (config["a"], config["d"], config["n"]) == (1, "true", True)
