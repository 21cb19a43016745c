"""Estimate, tune and look at the trials, from Python. Everything is SIMULATED: no GPU is needed."""

import tempfile
from pathlib import Path

import optuna

import planner

# Does it start, and what is in each GPU's memory?
answer = planner.estimate_memory(model="Qwen/Qwen3-8B", gpu="RTX 4090", max_model_len=16384)
memory = answer.deployment.memory
print(f"{answer.verdict}: {memory.kv_cache_bytes / 2**30:.2f} GiB for the KV cache, {memory.kv_tokens} tokens")

# Four launches on the simulated engine; with backend="docker" they are real.
tuned = planner.tune(
    model="Qwen/Qwen3-8B",
    gpu="RTX 4090",
    max_model_len=16384,
    trials=4,
    backend="simulated",
    finals=False,
    folder=Path(tempfile.mkdtemp()),
)
best = tuned.best
assert best is not None, "no trial kept every limit"
print(f"{len(tuned.trials)} trials, SIMULATED: {tuned.simulated}; the best is trial {best.number}")

# The same trials for Optuna, and as a frame of pandas.
study = optuna.load_study(study_name=tuned.study_name, storage=tuned.storage)
print(study.trials[best.number].user_attrs["settings"])
frame = study.trials_dataframe()
columns = ["number", "value_output_throughput_tokens_per_s", "user_attrs_ttft_p95_s", "user_attrs_settings"]
print(frame[columns].sort_values(columns[1], ascending=False).head(3).to_string(index=False))
