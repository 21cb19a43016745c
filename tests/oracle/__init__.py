"""planner's estimate against what vLLM's own engine says of the same config.json (tests/golden/oracle)."""
