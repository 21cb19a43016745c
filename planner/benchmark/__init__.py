"""Measures an OpenAI-compatible server: load sent, latencies and throughput seen, capacity searched.

In: a URL and a workload. Out: `BenchmarkResult` with intervals. It knows no settings and no study.
Read `session.py` first, then `load/send.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "ask": ["BenchAsk", "refuse_contradictions"],
        "client.access": ["Access", "engine_access"],
        "client.address": ["server_root"],
        "client.server": ["ServerFacts", "probe_server"],
        "client.asking": ["Asker", "HttpAnswer", "NoAnswer", "ask_server", "asker_of"],
        "document": ["read_metrics"],
        "load.processes": ["processes_needed"],
        "likeness": ["Likeness", "read_likeness"],
        "load.send": ["send_load"],
        "load.target": ["target_of"],
        "load.progress": ["LoadWatch", "Moment", "Pace", "Projection", "pace_error", "stopped_after"],
        "load.watcher": ["STOPPED", "SilentWatcher"],
        "capacity.level": ["MOST_LEVELS", "Level", "LevelWatch", "Within", "level_of", "open_level", "within"],
        "metric": [
            "CAPACITIES",
            "CAPACITY",
            "CAPACITY_RATE",
            "GOALS",
            "HEADLINES",
            "LATENCIES",
            "MAX_MODEL_LEN",
            "METRICS",
            "Metric",
            "PERCENTILES",
            "RATES",
        ],
        "metrics": ["BenchmarkResult", "summarize"],
        "records": ["RequestRecord"],
        "run": ["BenchOutcome", "bench_json", "compare_files", "run_bench", "write_csv"],
        "session": [
            "MEASURING",
            "OnStage",
            "Repeat",
            "Session",
            "WARMING_UP",
            "fault_of",
            "measure",
            "measure_again",
            "no_watch",
        ],
        "watched": ["read_page", "seen_in", "watch_server", "workload_like"],
        "slo": ["Limit", "MAX_FAILED_FRACTION", "WrittenLimit", "limits_of", "parse_limits", "split_slo"],
    },
)
