"""Measures an OpenAI-compatible server: load sent, latencies and throughput seen, capacity searched.

In: a URL and a workload. Out: `BenchmarkResult` with intervals. It knows no settings and no study.
Read `session.py` first, then `load/generator.py`."""
