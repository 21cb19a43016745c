"""planner: which vLLM settings fit and are fastest on the GPUs you have, and the proof."""

__version__ = "0.1.0"
