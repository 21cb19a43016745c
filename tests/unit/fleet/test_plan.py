"""Fleets sized: the model fitted from loads predicts others, the search finds the border, the command says so."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.version import Version

from planner.benchmark.metrics import summarize
from planner.engine.defaults import resolve
from planner.errors import InputError
from planner.estimate.speed.step import StepModel
from planner.files.structured import convert
from planner.fleet.demand import Steady, Trace, demand_of
from planner.fleet.instance import MeasuredInstance, MeasuredLevel, fitted, given
from planner.fleet.measurements import instance_of
from planner.fleet.plan import plan_fleet
from planner.fleet.sizing import observe_fleet, size_fleet
from planner.fleet.spec import DemandSpec, FleetSpec
from planner.hardware.by_name import find_gpu
from planner.hardware.placement import Placement
from planner.model.catalog import load_model
from planner.simulated.load import simulate_load
from planner.simulated.scheduler import SimulatedEngine
from planner.workload import parse_traffic
from planner.workload.workload import Lengths, Workload
from tests.places import ROOT

Run = Callable[[str], tuple[int, str, str]]
NUMBERS = "--capacity 6 --service-time 5s --ttft 300ms --variation 0.5"


# --- an instance ---


def test_a_fit_goes_through_what_was_measured_and_is_careful_beyond() -> None:
    levels = [MeasuredLevel(in_flight=n, e2el_s=s, ttft_s=s / 10) for n, s in ((2, 4.0), (8, 5.0), (16, 8.0))]
    one = fitted(levels, 32, 0.5)
    assert one.latency_s[[1, 2, 5, 8, 16]].tolist() == [4.0, 4.0, 4.5, 5.0, 8.0]
    assert one.throughput[16:] == pytest.approx(2.0), "no more throughput than was seen"
    assert one.latency_s[32] == pytest.approx(16.0)
    assert one.capacity == pytest.approx(2.0)
    assert one.in_flight_at(1.6) == pytest.approx(8.0)
    assert one.ttft_s is not None
    assert one.ttft_s[16] == pytest.approx(0.8)


def test_noise_that_makes_a_higher_load_faster_is_smoothed() -> None:
    one = fitted([MeasuredLevel(in_flight=n, e2el_s=s) for n, s in ((1, 4.1), (2, 4.0), (2, 4.4), (4, 4.0))], 4, 0.0)
    assert (np.diff(one.latency_s) >= 0).all()
    assert one.latency_s[2] == pytest.approx(4.2)


def test_given_numbers_share_from_the_knee_on() -> None:
    one = given(6.0, 5.0)
    assert (one.max_in_flight, one.capacity) == (30, pytest.approx(6.0))
    assert given(6.0, 5.0, 60).latency_s[60] == pytest.approx(10.0)


# --- against the simulated engine ---

MODEL, GPU = load_model("Qwen/Qwen3-8B"), find_gpu("RTX 4090")


def engines(count: int = 1) -> list[SimulatedEngine]:
    settings = {"dtype": "bfloat16", "max_model_len": 8192, "max_num_seqs": 32}
    step = StepModel(MODEL, Placement(GPU), resolve(settings, MODEL, GPU, Version("0.14.1")))
    return [SimulatedEngine(step, 20_000, seed) for seed in range(count)]


def chat(**changes: Any) -> Workload:
    kinds: dict[str, Any] = {"input_tokens": Lengths(200, 600), "output_tokens": Lengths(50, 250)}
    return Workload(**{"concurrency": 8, "num_requests": 200, **kinds, **changes})


def seen(count: int = 1, **changes: Any) -> dict[str, float]:
    return summarize(simulate_load(engines(count), chat(**changes))[0]).metrics


@pytest.fixture(scope="module")
def fit() -> MeasuredInstance:
    loads = [(n, seen(concurrency=n, num_requests=max(60, 12 * n))) for n in (1, 4, 16, 32)]
    return instance_of(loads, 32, None, "simulated")


@pytest.mark.parametrize("load", [2, 8, 24])
def test_a_fit_predicts_the_latency_of_a_load_between(fit: MeasuredInstance, load: int) -> None:
    """A closed loop of a concurrency that was not measured, within 6 %."""
    measured = seen(concurrency=load, num_requests=20 * load)
    assert fit.latency_s[load] == pytest.approx(measured["e2el_mean"], rel=0.06)


@pytest.mark.parametrize(("count", "busy"), [(1, 0.3), (1, 0.7), (4, 0.7)])
def test_a_fit_predicts_the_latency_at_a_rate(fit: MeasuredInstance, count: int, busy: float) -> None:
    """Poisson arrivals at one engine, or at four behind a router: means within 10 %, p95 within 15, of TTFT 25 %."""
    rate = busy * fit.capacity * count
    measured = seen(count, request_rate=rate, num_requests=400 * count)
    found = observe_fleet(fit, 1, count, Steady(rate, rate, 1.0), {}, "least-loaded", 0).metrics
    assert found["e2el_mean"].value == pytest.approx(measured["e2el_mean"], rel=0.10)
    assert found["e2el_p95"].value == pytest.approx(measured["e2el_p95"], rel=0.15)
    assert found["tpot_mean"].value == pytest.approx(measured["tpot_mean"], rel=0.10)
    assert found["ttft_p50"].value == pytest.approx(measured["ttft_p50"], rel=0.25)
    assert found["ttft_p95"].value == pytest.approx(measured["ttft_p95"], rel=0.25)


# --- the size of a fleet ---

ENGINE = given(6.0, 5.0, size_cv=0.5, ttft_s=0.3)
LIMITS = {"e2el_p95": 12.0}


def test_the_smallest_fleet_is_at_the_border() -> None:
    demand = Steady(20.0, 50.0, 1.0)
    sizing = size_fleet(ENGINE, 2, demand, LIMITS, lost=2)
    assert sizing.after_loss is not None
    smallest = sizing.after_loss.num_hosts
    assert sizing.num_hosts == smallest + 2
    for hosts, is_kept in ((smallest, True), (smallest - 1, False)):
        if hosts * 2 * ENGINE.capacity > 50:
            assert observe_fleet(ENGINE, 2, hosts, demand, LIMITS, "least-loaded", 0).is_kept == is_kept


def test_a_large_fleet_needs_the_capacity_and_little_more() -> None:
    """With many servers queues vanish: a few per cent above the capacity are enough, less than for a small fleet."""
    shares = []
    for rate in (50.0, 600.0):
        hosts = size_fleet(ENGINE, 1, Steady(rate, rate, 1.0), {"queue_p95": 0.05}, lost=0).num_hosts
        assert hosts is not None
        shares.append(hosts * ENGINE.capacity / rate)
    assert 1 < shares[1] < shares[0]
    assert shares[1] < 1.04


def test_more_bursts_more_demand_and_blind_routers_never_need_less() -> None:
    def hosts(rate: float = 50.0, burstiness: float = 1.0, router: Any = "least-loaded") -> int:
        found = size_fleet(ENGINE, 1, Steady(rate, rate, burstiness), {"queue_p95": 0.2}, 0, router).num_hosts
        assert found is not None
        return found

    assert hosts() <= hosts(router="round-robin") < hosts(router="random")
    assert hosts(burstiness=math.inf) <= hosts() < hosts(burstiness=0.05)
    assert hosts(25.0) < hosts() < hosts(100.0)


def test_a_limit_that_a_lone_request_breaks_is_out_of_reach() -> None:
    sizing = size_fleet(ENGINE, 1, Steady(1.0, 1.0, 1.0), {"ttft_p95": 0.2})
    assert sizing.num_hosts is None
    assert not sizing.is_reachable
    assert "alone" in sizing.why


# --- traces ---


def test_a_trace_is_judged_in_its_busiest_window() -> None:
    quiet, busy = np.arange(0, 1000, 10.0), 500 + np.arange(0, 60, 0.1)
    lines = [json.dumps({"input_tokens": 9, "output_tokens": 50, "arrival_s": t}) for t in (*quiet, *busy)]
    spec = convert({"trace": "t.jsonl", "peak_window": "1min"}, DemandSpec, "test")
    demand = demand_of(spec, parse_traffic("\n".join(lines), "t.jsonl").requests, "t.jsonl")
    assert isinstance(demand, Trace)
    assert demand.peak_rate_per_s == pytest.approx(10.1, rel=0.02)
    assert demand.mean_rate_per_s == pytest.approx(700 / 990, rel=0.01)
    assert demand.is_judged.sum() == pytest.approx(606, abs=2)
    sizing = size_fleet(ENGINE, 1, demand, {"e2el_p95": 12.0}, lost=0)
    assert sizing.num_hosts in {2, 3}
    with pytest.raises(InputError, match="arrival_s"):
        demand_of(spec, parse_traffic(lines[0] + '\n{"prompt": "a"}', "t.jsonl").requests, "t.jsonl")


# --- the command ---


def plan(tmp_path: Path, **changes: Any) -> Any:
    layout = {"capacity": 6, "service_time": 5, "variation": 0.5, "output_tokens": 200}
    data = {
        "demand": {"rate": 20, "peak": 2.5},
        "slo": {"e2el_p95": "12s"},
        "host": {"cards": 4, "cost_per_hour": 3, "idle_watts": 500, "busy_watts": 1500, "pue": 1.2},
        "layouts": [{"name": "two", "cards": 2, **layout}, {"name": "four", "cards": 4, **layout, "capacity": 11}],
    }
    return plan_fleet(convert({**data, **changes}, FleetSpec, "test"), tmp_path)


def test_costs_and_energy_are_arithmetic(tmp_path: Path) -> None:
    found = plan(tmp_path)
    best = found.cheapest
    assert best.layout.name == "two", "12 requests/s a host against 11"
    hosts, millions = best.num_hosts, 20 * 3600 * 200 / 1e6
    assert best.cost_per_million == pytest.approx(3 * hosts / millions)
    busy = 20 / (hosts * 12)
    assert best.kilowatts == pytest.approx(hosts * (500 + 1000 * busy) * 1.2 / 1000)
    assert best.kwh_per_million == pytest.approx(best.kilowatts / millions)
    document = json.loads(json.dumps(found.document()))
    assert document["cheapest"] == "two"
    assert document["layouts"][0]["peak_after_loss"]["hosts"] == hosts - 1


def test_another_host_may_make_a_layout_the_cheapest(tmp_path: Path) -> None:
    cheap = {"capacity": 11, "service_time": 5, "cards": 4, "name": "cheap", "host": {"cards": 4, "cost_per_hour": 2}}
    costly = {"capacity": 12, "service_time": 5, "cards": 4, "name": "costly"}
    found = plan(tmp_path, slo={"queue_p95": 1}, layouts=[costly, cheap])
    assert found.cheapest.layout.name == "cheap"


def test_a_sweep_of_a_bench_is_an_instance(run: Run, tmp_path: Path) -> None:
    sweep = [
        {"max_concurrency": n, "request_rate": "inf", "mean_e2el_ms": s * 1e3, "std_e2el_ms": s * 300,
         "mean_ttft_ms": 100 * n, "request_throughput": n / s, "output_throughput": 150 * n / s, "model_id": "m"}
        for n, s in ((1, 3.0), (8, 4.0), (32, 8.0))
    ]  # fmt: skip
    (tmp_path / "sweep.json").write_text(json.dumps(sweep))
    asked = f"fleet --bench {tmp_path}/sweep.json --slo e2el_p95=10s --rate 30 --cost 1"
    code, out, _ = run(f"{asked} --json")
    assert code == 0
    found = json.loads(out)["layouts"][0]
    assert found["layout"] == "m"
    assert found["instance_capacity"] == pytest.approx(4.0)
    assert found["cost_per_million_output_tokens"] == pytest.approx(found["hosts"] / (30 * 3600 * 150 / 1e6))
    _, out, _ = run(f"{asked} --in-flight 16")
    assert "extrapolated" not in out
    (tmp_path / "sweep.json").write_text(json.dumps(sweep[:2]))
    _, out, _ = run(f"fleet --bench {tmp_path}/sweep.json --slo e2el_p95=10s --rate 30 --in-flight 64")
    assert "extrapolated" in out


def test_a_study_is_compared_layout_by_layout(run: Run, tmp_path: Path, study_data: Callable[..., Any]) -> None:
    (tmp_path / "study.yaml").write_text(json.dumps(study_data(also_at=[1, 16], workload__num_requests=40)))
    assert run(f"tune {tmp_path} --trials 6 --backend simulated --no-finals --quiet")[0] == 0
    code, out, _ = run(f"fleet {tmp_path} --simulated --rate 20 --slo e2el_p95=5s --host-cards 2 --json")
    found = json.loads(out)
    assert code == 0
    assert found["simulated"]
    assert {one["layout"]: one["cards"] for one in found["layouts"]} == {"tp1": 1, "tp2": 2}
    code, out, _ = run(f"fleet {tmp_path} --simulated --rate 20 --slo e2el_p95=5s --host-cards 2")
    assert "SIMULATED" in out
    assert run(f"fleet {tmp_path} --simulated --rate 20 --slo e2el_p95=5s")[0] == 2, "a host of one card has no tp2"


def test_a_file_with_options_over_it(run: Run) -> None:
    file = ROOT / "docs" / "examples" / "fleet.yaml"
    code, out, _ = run(f"fleet {file} --rate 3 --lost 0 --json")
    found = json.loads(out)
    assert (code, found["mean_rate"], found["lost"]) == (0, 3.0, 0)


def test_a_demand_beyond_all_bounds_is_answered_at_once(run: Run) -> None:
    code, out, _ = run(f"fleet --rate 1e12 --slo e2el_p95=12s {NUMBERS}")
    assert code == 3
    assert "more than 16384 hosts" in out


def test_no_number_of_hosts(run: Run) -> None:
    code, out, _ = run(f"fleet --rate 4 --slo ttft_p95=200ms {NUMBERS}")
    assert code == 3
    assert "no number of hosts keeps the limits" in out


def test_a_narrow_terminal_gets_blocks(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    code, out, _ = run(f"fleet --rate 4 --peak 2 --slo e2el_p95=12s --cost 2 {NUMBERS}")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 60
    assert "hosts up" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "what is an instance"),
        (NUMBERS, "give --rate"),
        (f"--rate 4 {NUMBERS}", "--slo is missing"),
        (f"--rate 4 --slo nothing {NUMBERS}", "NAME=LIMIT"),
        (
            f"--rate 4 --slo itl_p95=2 {NUMBERS}",
            "slo.itl_p95: is no metric with a limit; did you mean ",
        ),
        (f"--rate 4 --slo tpot_p95=2 {NUMBERS}", "says nothing of tpot"),
        (f"--rate 0 --slo e2el_p95=2 {NUMBERS}", "demand.rate"),
        (f"--rate 4 --peak 0.5 --slo e2el_p95=2 {NUMBERS}", "demand.peak"),
        (f"--rate 4 --slo e2el_p95=2 --idle-watts 3 {NUMBERS}", "go together"),
        (f"--rate 4 --slo e2el_p95=2 --router fastest {NUMBERS}", "allowed: least-loaded, round-robin, random"),
        (f"--rate 4 --slo e2el_p95=2 --cards 2 {NUMBERS}", "needs 2 cards and a host has 1"),
        ("--rate 4 --slo e2el_p95=2 --capacity 1e9 --service-time 5s", "capacity times service_time is above 65536"),
        (f"--rate 4 --slo e2el_p95=2 --in-flight 1000000 {NUMBERS}", "max_num_seqs"),
        ("--rate 4 --slo e2el_p95=2 --capacity 3", "capacity and service_time go together"),
        ("--rate 4 --slo e2el_p95=2 --bench nowhere.json", "nowhere.json: cannot be read"),
        ("nowhere --rate 4 --slo e2el_p95=2", "no such study"),
    ],
)
def test_what_is_wrong_is_one_line(run: Run, words: str, said: str) -> None:
    code, out, err = run(f"fleet {words}")
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1
