"""The contents of recorded traffic, and the workload that sends a window of it."""

from __future__ import annotations

import json

import pytest

from planner.files import decode, encode
from planner.workload.recorded import GivenPrompt
from planner.workload.survey import block_hashes, hit_rate, surveyed, window_words, windowed, workload_keys
from planner.workload.traces.reading import parse_traffic, read_traffic
from planner.workload.workload import Lengths, Workload
from tests.places import ROOT

TRACES = ROOT / "tests" / "golden" / "traces"


def lines(*found: dict[str, object]) -> str:
    return "\n".join(json.dumps(one) for one in found)


def test_lengths_arrivals_and_the_busiest_minute() -> None:
    quiet = [{"input_tokens": 100, "output_tokens": 10, "arrival_s": 10.0 * i} for i in range(61)]
    busy = [{"input_tokens": 900, "output_tokens": 90, "arrival_s": 300 + i / 2} for i in range(39)]
    seen = surveyed(parse_traffic(lines(*quiet, *busy), "f").requests)
    assert (seen.num_requests, seen.duration_s) == (100, 600.0)
    assert seen.rate_per_s == pytest.approx(99 / 600)
    assert (seen.inputs.p50, seen.inputs.p90, seen.inputs.most) == (100, 900, 900)
    assert seen.outputs is not None
    assert seen.outputs.mean == pytest.approx(0.61 * 10 + 0.39 * 90)
    assert seen.peak_rate_per_s == pytest.approx((39 + 7) / 60, rel=0.03)
    assert 240 <= (seen.peak_start_s or 0) <= 300
    assert seen.gap_cv is not None
    assert seen.gap_cv > 0.5
    assert seen.hit_rate is None


def test_even_gaps_do_not_vary_and_one_request_has_none() -> None:
    even = [GivenPrompt(None, 1, float(i), 5) for i in range(9)]
    assert surveyed(even).gap_cv == 0
    assert surveyed(even[:1]).rate_per_s is None
    assert surveyed([GivenPrompt(None, None, 1.0, 5)] * 3).outputs is None


def test_shared_blocks_count_from_the_first_token_on() -> None:
    first = GivenPrompt(None, 1, 0.0, 1100, (1, 2, 3), 512)
    same_start = GivenPrompt(None, 1, 1.0, 1500, (1, 2, 4), 512)
    only_middle = GivenPrompt(None, 1, 2.0, 1500, (9, 2, 4), 512)
    assert hit_rate([first, same_start], 512) == pytest.approx(1024 / 2600)
    assert hit_rate([first, only_middle], 512) == 0
    # The last token is always computed: of 1024 equal tokens 63 blocks of 16 are found.
    whole = GivenPrompt(None, 1, 0.0, 1024, (1, 2), 512)
    assert hit_rate([whole, whole], 16) == pytest.approx(1008 / 2048)
    assert hit_rate([whole, whole], 512) == pytest.approx(512 / 2048)


def test_texts_share_what_their_first_words_share() -> None:
    system = " ".join(f"word{i}" for i in range(48))
    texts = [GivenPrompt(f"{system} question {i} of many", 5) for i in range(4)]
    found = hit_rate(texts, 16)
    assert found is not None
    assert 0.4 < found < 0.75
    assert hit_rate([GivenPrompt("a b c"), GivenPrompt(None, 5, None, 9)], 16) is None


@pytest.mark.parametrize("name", [path.name for path in TRACES.iterdir() if path.suffix != ".md"])
def test_the_workload_of_an_excerpt_is_read_back(name: str) -> None:
    traffic = read_traffic(TRACES / name)
    written = windowed(traffic.requests, f"../{name}", "typical", 6)
    assert decode(encode(workload_keys(written)), Workload, "w.yaml") == written
    assert written.prompts == f"../{name}"
    assert written.num_requests == min(6, len(traffic.requests))


def test_a_window_says_what_it_cannot_show() -> None:
    traffic = read_traffic(TRACES / "mooncake.jsonl")
    words = window_words(traffic.requests, "busiest", 6)
    assert words.startswith("busiest window of 6 of 60 requests cannot show the rest: ")
    assert "prefix hits 14%, of all 47%" in words
    assert window_words(traffic.requests, "busiest", 60) == ""
    assert isinstance(windowed(traffic.requests, "a.jsonl").input_tokens, Lengths)
    assert windowed(traffic.requests, "a.jsonl").num_requests == 60


@pytest.mark.parametrize("lengths", [[100] * 50 + [900] * 10, [10, 20, 4000, 4100, 4200, 4300], [5, 6], [7]])
def test_a_workloads_lengths_have_the_mean_of_the_traffic(lengths: list[int]) -> None:
    written = windowed(parse_traffic(lines(*({"input_tokens": one} for one in lengths)), "f").requests, "f.jsonl")
    assert written.mean_input_tokens == pytest.approx(sum(lengths) / len(lengths), rel=0.1)


@pytest.mark.parametrize("size", [16, 512])
def test_ids_are_looked_up_as_the_blocks_in_them_would_be(size: int) -> None:
    requests = read_traffic(TRACES / "mooncake.jsonl").requests
    seen: set[int] = set()
    hits = total = 0
    for one in requests:
        hashes, length = block_hashes(one, size), one.input_tokens or 0
        found = next((i for i, block in enumerate(hashes) if block not in seen), len(hashes))
        hits += min(found, (length - 1) // size) * size
        seen.update(hashes)
        total += length
    assert hit_rate(requests, size) == pytest.approx(hits / total)
