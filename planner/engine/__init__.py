"""vLLM's words: settings and their versions, flags, defaults, /metrics and the log. No other package spells them.

In: settings, a version, log lines. Out: `EngineConfig`, `ResolvedEngine`, `EngineTelemetry`, a log report.
It knows models and cards, and no deployment. Read `config.py` first, then `defaults.py`."""
