"""vLLM's words: settings and their versions, flags, defaults, /metrics and the log. No other package spells them.

In: settings, a version, log lines. Out: `EngineConfig`, `ResolvedEngine`, `EngineTelemetry`, a log report.
It knows models and cards, and no deployment. Read `config.py` first, then `defaults.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "config": ["BOOLEANS", "EngineConfig", "FIELDS", "convert_settings", "settings"],
        "defaults": [
            "ASYNC_WITH_NGRAM_SINCE",
            "ASYNC_WITH_STAGES_SINCE",
            "HALF_FALLBACK_SINCE",
            "LONG_CONTEXT",
            "MARLIN_ON_TURING_SINCE",
            "ResolvedEngine",
            "USE_V1_ENV",
            "V1_ONLY_SINCE",
            "generation_of",
            "reads_fp8",
            "resolve",
        ],
        "flags": ["NOT_COMPILED", "SHORT_FLAGS", "compile_cache_env", "flag", "parse_flags", "serve_args", "serve_env"],
        "levers": ["LEVERS", "Lever", "lever_of", "parse_levers"],
        "log.diagnosis": ["diagnose"],
        "log.failures": ["Failure", "classify"],
        "log.lines": ["HEAD_BYTES", "Line", "Lines", "is_binary", "parsed"],
        "log.report": ["Event", "LogReader", "LogReport", "SeenNote", "Status"],
        "log.serving": ["RunSummary"],
        "log.settings": ["Difference", "Scalar", "SettingsReader", "differences", "is_same", "read_settings"],
        "log.start_facts": ["StartFacts", "StartTimes", "read_start_facts"],
        "metrics_page": [
            "COUNTERS",
            "EngineTelemetry",
            "difference",
            "parse_telemetry",
            "read_gauges",
            "read_ttft",
            "ttft_quantile",
        ],
        "versions": ["knows", "parse_version"],
    },
)
