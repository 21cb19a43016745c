"""No option is dropped, of the commands that test_every_option.py leaves: each changes the answer or is refused.

The answer is all that a command prints and writes; of `bench` it is what the server was asked too, and no figure that
is measured. `guard`, `verify`, `watch` and `simulate` would run for long: their answer is what reaches the part that
does.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer.main

import planner.report
import planner.service
import planner.simulated
from planner.cli.main import app, main
from tests.unit.benchmark.test_run import FakeServer
from tests.unit.benchmark.test_run import server as server

GROUP: Any = typer.main.get_command(app)
ELSEWHERE = {"estimate", "tune", "doctor"}
"""Commands of test_every_option.py."""
Table = dict[str, tuple[str, str]]
MODEL = "--model Qwen/Qwen3-8B --gpu 'RTX 4090'"
DESCRIBED: Table = {
    "model": (MODEL, MODEL.replace("3-8B", "3-4B")),
    "gpu": (MODEL, MODEL.replace("4090", "3090")),
    "num_gpus": (MODEL, f"{MODEL} --num-gpus 2"),
    "interconnect": (f"{MODEL} --num-gpus 2", f"{MODEL} --num-gpus 2 --interconnect nvlink"),
    "vllm_version": (MODEL, f"{MODEL} --vllm-version 0.11.0"),
}
ASKED = "URL --json --num-requests 2 --repeats 1"
SHORT = f"{ASKED} --concurrency 1 --input-tokens 4 --output-tokens 2"
RATE = f"{ASKED} --request-rate 50 --input-tokens 4 --output-tokens 2"
FLEET = "--rate 2 --capacity 1 --service-time 2s --ttft 200ms --in-flight 4 --slo e2el_p95=60s --seed 1"
PAID = f"{FLEET} --cost 2 --idle-watts 300 --busy-watts 900"


def _after(line: str, **options: str) -> Table:
    """Parameter -> a line, and the same line with an option behind it."""
    return {name: (line, f"{line} {option}") for name, option in options.items()}


OPTIONS: dict[str, Table] = {
    "init": {
        **DESCRIBED,
        "folder": (MODEL, f"{MODEL} mine"),
        **_after(MODEL, name="--name mine", workload="--workload code", slo="--slo ttft_p95=2s"),
        **_after(MODEL, like="--like URL --for 100ms --workload chat", duration="--for 3s"),
    },
    "candidates": {
        "study": ("named", "other"),
        **_after("named", levers="--levers layout", as_json="--json", output="-o answer.txt"),
    },
    "bench": {
        "url": (SHORT, SHORT.replace("URL", "http://127.0.0.1:9")),
        **_after(f"{ASKED} --input-tokens 4", workload="--workload tiny.yaml"),
        **_after(
            SHORT,
            seed="--seed 7", timeout="--timeout 7s", client_processes="--client-processes 2",
            slo="--slo ttft_p95=2s", sweep="--sweep 1,2", endpoint="--endpoint chat", model="--model other",
            model_dir="--model-dir model", api_key_env="--api-key-env KEY", ca_file="--ca-file nowhere.pem",
            find_capacity="--find-capacity", preset="--preset stress-32k",
            csv_file="--csv rows.csv", output="-o answer.txt", max_concurrency="--max-concurrency 1",
            trace_speed="--trace-speed 2", start_rate="--start-rate 1", burstiness="--burstiness 2",
        ),
        "concurrency": (SHORT, SHORT.replace("--concurrency 1", "--concurrency 2")),
        "request_rate": (SHORT, RATE),
        "num_requests": (SHORT, SHORT.replace("--num-requests 2", "--num-requests 3")),
        "repeats": (SHORT, SHORT.replace("--repeats 1", "--repeats 2")),
        "input_tokens": (SHORT, SHORT.replace("--input-tokens 4", "--input-tokens 5")),
        "output_tokens": (SHORT, SHORT.replace("--output-tokens 2", "--output-tokens 3")),
        "ramp": (SHORT, f"{SHORT} --ramp 10ms"),
        **_after(SHORT, label="--label mine", save_detailed="--save-detailed"),
        "as_json": (SHORT.replace(" --json", ""), SHORT),
        "insecure": (SHORT, f"{SHORT} --insecure --ca-file nowhere.pem"),
        "compare": ("--compare a.json a.json", "--compare a.json b.json"),
        "fail_on": ("--compare a.json b.json", "--compare a.json b.json --fail-on ttft_p95:5%"),
        "quiet": (SHORT, f"{SHORT} --quiet"),
    },
    "watch": {
        "study": ("named --simulated", "other --simulated"),
        "simulated": ("named", "named --simulated"),
        **_after("named", port="--port 0", notify="--notify https://ntfy.sh/topic", storage="--storage sqlite:///o.db"),
    },
    "report": {
        "study": ("named --simulated", "other --simulated"),
        "no_script": ("named --simulated --html", "named --simulated --html --no-script"),
        "simulated": ("named", "named --simulated"),
        **_after(
            "named --simulated",
            pareto="--pareto ttft_p95,tpot_p95", storage="--storage sqlite:///other.db", html="--html",
            jsonl="--jsonl", as_json="--json", output="-o answer.txt", slo="--slo ttft_p95=1ms",
            objective="--objective tpot_p50", show_all="--all",
        ),
    },
    "export": {
        "study": ("named --simulated", "other --simulated"),
        "simulated": ("named", "named --simulated"),
        **_after(
            "named --simulated",
            trial="--trial 0", kind="--kind compose", storage="--storage sqlite:///other.db", as_json="--json",
            output="-o mine.sh", slo="--slo ttft_p95=1ms", objective="--objective tpot_p50",
        ),
    },
    "guard": {
        "ladder": ("here.yaml", "there.yaml"),
        **_after(
            "here.yaml", metrics_port="--metrics-port 0", webhook="--webhook http://127.0.0.1:9/x", stop="--stop",
            proxy="--proxy 8123", quiet="--quiet",
        ),
        "trim": ("here.yaml --proxy 8123", "here.yaml --proxy 8123 --trim oldest"),
    },
    "log": {
        "target": ("start.log", "other.log"),
        **_after("start.log", study="--study named", gpu="--gpu H200", as_json="--json", output="-o answer.txt"),
        "follow": ("-", "- --follow"),
        "trial": ("start.log --study named --simulated", "start.log --study named --simulated --trial 9"),
        "simulated": ("start.log --study named --trial 1", "start.log --study named --trial 1 --simulated"),
    },
    "verify": {
        "script": ("run.sh", "other.sh"),
        **_after(
            "run.sh", study="--study other", storage="--storage sqlite:///other.db", repeats="--repeats 4",
            tolerance="--tolerance 0.1", soak="--soak 30min",
            against="--against vllm/vllm-openai:v0.33.0",
        ),
        **_after("run.sh", quiet="--quiet", as_json="--json", output="-o answer.txt"),
    },
    "fleet": {
        "path": (FLEET, f"{FLEET} fleet.yaml"),
        "rate": (FLEET, FLEET.replace("--rate 2", "--rate 3")),
        "slo": (FLEET, FLEET.replace("60s", "50s")),
        "capacity": (FLEET, FLEET.replace("--capacity 1", "--capacity 0.5")),
        "service_time": (FLEET, FLEET.replace("--service-time 2s", "--service-time 9s")),
        "ttft": (f"{FLEET} --json", f"{FLEET.replace('200ms', '900ms')} --json"),
        "in_flight": (FLEET, FLEET.replace("--in-flight 4", "--in-flight 2")),
        "seed": (f"{FLEET} --json", f"{FLEET.replace('--seed 1', '--seed 2')} --json"),
        **_after(
            FLEET, peak="--peak 3", trace="--trace trace.jsonl", trace_speed="--trace-speed 2", lost="--lost 0",
            bench="--bench a.json", cards="--cards 2", host_cards="--host-cards 4", cost="--cost 2",
            idle_watts="--idle-watts 300", simulated="--simulated", storage="--storage sqlite:///other.db",
            as_json="--json", output="-o answer.txt",
        ),
        "busy_watts": (PAID, PAID.replace("900", "950")),
        "pue": (PAID, f"{PAID} --pue 1.5"),
        "output_tokens": (PAID, f"{PAID} --output-tokens 100"),
        **_after(f"{FLEET} --json", burstiness="--burstiness 0.3", variation="--variation 2", router="--router random"),
        "quiet": (FLEET, f"{FLEET} --quiet"),
    },
    "workload": {
        "source": ("traffic.jsonl", "trace.jsonl"),
        "duration": ("traffic.jsonl", "traffic.jsonl --for 1s"),
        **_after("traffic.jsonl", as_json="--json", output="-o mine.yaml"),
        **_after(
            "traffic.jsonl --num-requests 5 -o -", window="--window start", num_requests="--num-requests 7",
        ),
    },
    "simulate": {
        **dict(DESCRIBED.items()),
        **_after(
            MODEL, gpu_memory="--gpu-memory 20GiB", host="--host 0.0.0.0", port="--port 8123",
            served_model_name="--served-model-name mine", speedup="--speedup 2", start_delay="--start-delay 1",
            seed="--seed 2",
        ),
    },
    "schema": {"kind": ("study", "fleet"), "output": ("study", "study -o answer.txt")},
    "gpus": _after("", as_json="--json", output="-o answer.txt"),
    "models": _after("", as_json="--json", output="-o answer.txt"),
}  # fmt: skip
SAYS_LESS: dict[tuple[str, str], str] = {
    ("bench", "quiet"): "notes and progress go to a terminal only, and this server gives no cause for a note",
    ("fleet", "quiet"): "progress is shown on a terminal only",
    ("verify", "quiet"): "progress is shown on a terminal only",
    ("verify", "as_json"): "nothing is started here, so there is nothing to print",
}
"""Options that change nothing here, and why."""
REACHED = 42
"""Exit code where what would run for long was reached."""
MEASURED = ("workload", "load", "load_level", "slo", "label", "num_prompts", "model_id", "backend", "generated_texts")
"""Keys of bench's document that no clock has a part in."""
ANSWERS: dict[tuple[str, str], tuple[int | None, Any]] = {}
"""Answers of lines without their option, since many options share one."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the lines name; two trials of the study in `named` are simulated."""
    from tests.conftest import STUDY

    folder = tmp_path_factory.mktemp("template")
    for name in ("named", "other"):
        (folder / name).mkdir()
        (folder / name / "study.yaml").write_text(STUDY.replace("name: tiny", f"name: {name}"), "utf-8")
    (folder / "other" / "study.yaml").write_text(STUDY.replace("num_gpus: 2", "num_gpus: 1"), "utf-8")
    (folder / "tiny.yaml").write_text(
        "name: mine\nconcurrency: 1\nnum_requests: 2\ninput_tokens: 9\noutput_tokens: 2\n"
    )
    (folder / "start.log").write_text(
        "INFO 01-01 00:00:00 [core.py:12] Initializing a V1 LLM engine (v0.24.0) with x\n"
    )
    (folder / "other.log").write_text("ValueError: No available memory for the cache blocks.\n", "utf-8")
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text('{"vocab_size": 100}', "utf-8")
    (folder / "trace.jsonl").write_text("".join(f'{{"arrival_s": {i / 2}}}\n' for i in range(40)), "utf-8")
    lengths = ({"input_tokens": 5 + i, "output_tokens": 3, "arrival_s": i * i} for i in range(40, 0, -1))
    (folder / "traffic.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lengths), "utf-8")
    (folder / "fleet.yaml").write_text("name: f\n", "utf-8")
    for name, ttft in (("a.json", 10.0), ("b.json", 20.0)):
        (folder / name).write_text(json.dumps(_result(ttft)), "utf-8")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert _ended("tune named --backend simulated --trials 2 --no-finals --keep-going")[0] == 0
        for rung in ("here.yaml", "there.yaml"):
            assert _ended("export named --simulated --kind ladder -o " + rung)[0] == 0
        (folder / "there.yaml").write_text((folder / "there.yaml").read_text("utf-8").replace("name: vllm", "name: b"))
    finally:
        os.chdir(before)
    return folder


def _result(ttft_ms: float) -> dict[str, Any]:
    one = {"p95_ttft_ms": ttft_ms, "output_throughput": 100.0}
    return {**one, "repeats": [{**one, "p95_ttft_ms": ttft_ms + n / 10} for n in range(4)]}


def _ended(line: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(shlex.split(line))
        except SystemExit as ended:
            code = int(ended.code or 0)
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
def here(template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = template.parent / "here"
    for variable in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(variable, str(template.parent / "home"))
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    monkeypatch.setenv("KEY", "a-key")
    monkeypatch.delenv("PLANNER_WEBHOOK", raising=False)
    monkeypatch.delenv("PLANNER_NOTIFY", raising=False)
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    return folder


def _renewed(template: Path, here: Path) -> None:
    for path in here.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(template, here, dirs_exist_ok=True)


def _texts(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix not in {".db", ".csv", ".lock"})
    return {str(path.relative_to(folder)): path.read_text("utf-8", errors="replace") for path in files}


def answer(command: str, options: str, template: Path, here: Path, server: FakeServer) -> tuple[int | None, Any]:
    """Exit code, and what a command says and writes, without what changes by itself."""
    _renewed(template, here)
    before = _texts(here)
    server.bodies.clear()
    server.headers.clear()
    code, out, err = _ended(f"{command} {options.replace('URL', server.url)}")
    written = {name: text for name, text in _texts(here).items() if before.get(name) != text}
    if code == 2:
        assert (out, err.count("\n")) == ("", 1), (out, err)
        assert err.startswith("planner: ")
        return code, err
    if command != "bench" or "--compare" in options:
        return code, (out, err, written)
    keys = sorted(headers.get("authorization", "") for headers in server.headers)
    told = (sorted(map(json.dumps, server.bodies)), set(keys), sorted(written), bool(out), (here / "rows.csv").exists())
    document = json.loads(out) if out.startswith("{") else {}
    return None, (told, sorted(document), {key: document.get(key) for key in MEASURED})


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would run for long prints what it is asked instead."""

    def told(name: str) -> Any:
        def tell(*given: Any, **named: Any) -> Any:
            shown = [repr(one) for one in (*given, *named.values()) if not callable(one)]
            print(name, *shown)
            raise SystemExit(REACHED)

        return tell

    monkeypatch.setattr(planner.service, "run_guard", told("guard"))
    monkeypatch.setattr(planner.service, "verify_script", told("verify"))
    monkeypatch.setattr(planner.service, "soak_script", told("soak"))
    monkeypatch.setattr(planner.service, "verify_against", told("against"))
    monkeypatch.setattr(planner.report, "run_watch", told("watch"))
    monkeypatch.setattr(planner.simulated, "serve_simulated", told("simulate"))


def test_the_table_names_every_option_of_every_command() -> None:
    assert set(OPTIONS) | ELSEWHERE == set(GROUP.commands)
    for command, options in OPTIONS.items():
        assert {parameter.name for parameter in GROUP.commands[command].params} - {"help"} == set(options), command


CASES = [(command, option) for command, options in OPTIONS.items() for option in options]


@pytest.mark.parametrize(("command", "option"), CASES)
@pytest.mark.usefixtures("reached")
def test_each_option_changes_the_answer_or_is_refused(
    command: str, option: str, template: Path, here: Path, server: FakeServer
) -> None:
    before, after = OPTIONS[command][option]
    code, said = answer(command, after, template, here, server)
    if code == 2:
        return
    assert code in {None, 0, 1, 3, REACHED}, said
    if (command, before) not in ANSWERS:
        ANSWERS[command, before] = answer(command, before, template, here, server)
    is_same = (code, said) == ANSWERS[command, before]
    assert is_same is ((command, option) in SAYS_LESS), f"{command} {after}: {said}"
