"""Why a start is an outlier, by id (or id:component): written by hand after looking at it; the rest is 'unexplained'."""

REASONS: dict[str, str] = {
    "a100-40-llama3-8b-v06": "the source omits max_num_seqs: 2048 gives its 9.37 GiB of activations to 0.01 GiB",
    "llmd-h100-2-gpt-oss-120b-tp1": "its parts add up to 0.95 of the card, not to the 0.90 the table says",
    "llmd-h100-8-mistral-small-3.2-24b-instruct-2506-tp1": "its activations fit no S = 1024 sampler; flags not given",
    "4090-x2-r1-distill-qwen-14b-fail:KV GiB": "the log line is another rank's; rank 0 had 7.47 GiB (tokens agree)",
    "vllm-issue-16259-1:KV tokens": "its parts add up to an 80 GB card; the source says H100 NVL (94 GB)",
    "4090-x2-codellama-13b-v025": "0.2.5 reserved graph memory by a rule of its own; 0.2.3 gave 1464 blocks",
    "l4-mistral-7b-v03-32k-fail": "before 0.6.3 the profile counts reserved memory, fragments included; version guessed",
    "a10g-mistral-7b-32k-fail-v041": "before 0.6.3 the profile counts reserved memory, fragments included",
    "pp2-5070ti-5090d-qwen3-coder-30b-fp8-fail": "two different cards and VLLM_PP_LAYER_PARTITION=16,32",
    "log-vllm-qwen3vl-cu118-t4-verify-qwen3vl-log-1:weights": "a fork of vLLM; the checkpoint's size is from the page",
    "log-vllm-qwen3vl-cu118-t4-verify-qwen3vl-flex-log-1": "a fork of vLLM that serves embeddings: no sampler",
}
