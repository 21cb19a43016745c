"""Everything that vLLM spells: settings and versions, flags, defaults, /metrics, the log. No other package has them.

In: settings, a version, log lines. Out: `EngineConfig`, `ResolvedEngine`, `EngineTelemetry`, a log report.
Knows models and cards, but no deployments. Read `config.py` first, then `defaults.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "config": ["BOOLEANS", "EngineConfig", "FIELDS", "convert_settings", "settings", "words_of"],
        "defaults": [
            "LONG_CONTEXT",
            "ResolvedEngine",
            "USE_V1_ENV",
            "generation_of",
            "reads_fp8",
            "resolve",
        ],
        "flags": ["NOT_COMPILED", "SHORT_FLAGS", "compile_cache_env", "flag", "parse_flags", "serve_args", "serve_env"],
        "levers": ["LEVERS", "Lever", "lever_of", "parse_levers"],
        "log.diagnosis": ["diagnose"],
        "log.failures": ["FailureInLog", "classify"],
        "log.lines": ["HEAD_BYTES", "LogLine", "Lines", "is_binary", "parsed"],
        "log.report": ["LogEvent", "LogReader", "LogReport", "SeenNote", "Status"],
        "log.serving": ["RunSummary"],
        "log.settings": ["SettingDifference", "Scalar", "SettingsReader", "differences", "is_same", "read_settings"],
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
        "versions": [
            "COMPILE_COUNTS_SINCE",
            "CONFIG_FILE_LISTS_SINCE",
            "CONFIG_FILE_SINCE",
            "CONTEXT_IN_BUDGET_UNTIL",
            "ERRORS_NESTED_SINCE",
            "FP8_KV_ON_ADA_SINCE",
            "FRAGMENTS_COUNTED_UNTIL",
            "FULL_GRAPHS_SINCE",
            "FUSED_MLP_SINCE",
            "FUSED_ROTARY_SINCE",
            "GRAPHS_IN_BUDGET_SINCE",
            "HYBRID_KV_SINCE",
            "IMAGE_FITS_CONTEXT_UNTIL",
            "KV_USAGE_RENAMED_SINCE",
            "LATEST",
            "MORE_OUTSIDE_TORCH_SINCE",
            "NEWEST",
            "SECOND_RUNNER_FOR_ALL_SINCE",
            "SECOND_RUNNER_GRAPHS_SINCE",
            "SECOND_RUNNER_SINCE",
            "SNAPSHOT_AFTER_NCCL_SINCE",
            "STEADY_GRAPHS_SINCE",
            "TIMESTAMPED_VIDEO",
            "TRITON_ATTN_NAMED_SINCE",
            "TRITON_TOP_K_SINCE",
            "VIDEO_ALONE_SINCE",
            "WHOLE_MODEL_CHECKED",
            "knows",
            "parse_version",
            "supported_version",
            "version_doubt",
        ],
    },
)
