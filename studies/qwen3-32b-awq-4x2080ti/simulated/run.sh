#!/usr/bin/env bash
# SIMULATED: these numbers come from a model of the engine. Measure before you rely on them.
# vLLM 0.8.5, 4 x RTX 2080 Ti 22GB: Qwen3-32B-AWQ
# study qwen3-32b-awq-4x2080ti, trial 4, layout 2xtp2
# SIMULATED, not measured: output_throughput 22.9 tok/s (engine defaults: 20.5 tok/s, +11.9%)
# latencies: ttft_p50 172 s, ttft_p95 245 s, tpot_p50 209 ms, tpot_p95 306 ms
# load: long-context, 48 requests, 16 at a time, longest 25088 tokens
# memory per GPU: weights 9.06 GiB, activations 3.91 GiB, KV cache 7.45 GiB, 61 024 KV tokens (expected)
# 2026-11-22T09:29:41+00:00, planner 0.1.0, backend simulated
set -euo pipefail

docker run -d \
  --runtime=nvidia \
  '--gpus="device=0,1"' \
  --name coder \
  -v /home/llm/model/qwen/Qwen3-32B-AWQ:/model/Qwen3-32B-AWQ \
  -p 8888:8000 \
  --cpuset-cpus 0-55 \
  --ulimit memlock=-1 \
  --ulimit stack=67108864 \
  --restart always \
  --ipc=host \
  vllm/vllm-openai:v0.8.5 \
  --model /model/Qwen3-32B-AWQ \
  --served-model-name coder \
  --dtype half \
  --quantization awq \
  --tensor-parallel-size 2 \
  --max-model-len 32768 \
  --max-num-seqs 64 \
  --max-num-batched-tokens 32768 \
  --gpu-memory-utilization 0.96 \
  --block-size 32 \
  --swap-space 0 \
  --no-enable-chunked-prefill \
  --no-enable-prefix-caching \
  --max-seq-len-to-capture 8192

docker run -d \
  --runtime=nvidia \
  '--gpus="device=2,3"' \
  --name coder-1 \
  -v /home/llm/model/qwen/Qwen3-32B-AWQ:/model/Qwen3-32B-AWQ \
  -p 8889:8000 \
  --cpuset-cpus 0-55 \
  --ulimit memlock=-1 \
  --ulimit stack=67108864 \
  --restart always \
  --ipc=host \
  vllm/vllm-openai:v0.8.5 \
  --model /model/Qwen3-32B-AWQ \
  --served-model-name coder \
  --dtype half \
  --quantization awq \
  --tensor-parallel-size 2 \
  --max-model-len 32768 \
  --max-num-seqs 64 \
  --max-num-batched-tokens 32768 \
  --gpu-memory-utilization 0.96 \
  --block-size 32 \
  --swap-space 0 \
  --no-enable-chunked-prefill \
  --no-enable-prefix-caching \
  --max-seq-len-to-capture 8192
