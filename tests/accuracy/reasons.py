"""Why a start is an outlier, by id or id:component; written by hand after looking. The rest is 'unexplained'."""

_FORK = "a fork of vLLM; size of the checkpoint as published"
_GGUF = "GGUF pads matrices that are merged but quantised differently; the file does not"
_MARLIN = "repacking for the Marlin kernel"
_RESERVED = "up to 0.6.3 the profile counts memory torch keeps cached, fragments included"

REASONS: dict[str, str] = {
    "a100-40-llama3-8b-v06": "the source omits max_num_seqs: 2048 gives its 9.37 GiB of activations to 0.01 GiB",
    "llmd-h100-2-gpt-oss-120b-tp1": "its parts add up to 0.95 of the card, not to the 0.90 of the source's table",
    "llmd-h100-8-mistral-small-3.2-24b-instruct-2506-tp1": "its activations fit no 1024 sequences; flags not given",
    "4090-x2-r1-distill-qwen-14b-fail:KV GiB": "the quoted line is another rank's; the tokens are rank 0's and agree",
    "vllm-issue-16259-1:KV tokens": "its parts add up to an 80 GB card; the source says H100 NVL (94 GB)",
    "4090-x2-codellama-13b-v025": _RESERVED,
    "l4-mistral-7b-v03-32k-fail": f"{_RESERVED}; version guessed",
    "a10g-mistral-7b-32k-fail-v041": _RESERVED,
    "t4-x2-deepseek-coder-67b-v0": f"{_RESERVED}; version guessed",
    "pp2-5070ti-5090d-qwen3-coder-30b-fp8-fail": "two different cards and VLLM_PP_LAYER_PARTITION=16,32",
    "log-vllm-qwen3vl-cu118-t4-verify-qwen3vl-log-1": _FORK,
    "log-vllm-qwen3vl-cu118-t4-verify-qwen3vl-flex-log-1": f"{_FORK}; it profiles no images",
    "log-imageworks-nohup-out-2": "the published config names no family of its vision tower (0.57 GiB)",
    "log-videocuttingagent-vllm-serve-log-1": "buffers for the tower's deep features, one a batched token",
    "log-videocuttingagent-qwen3vl-vllm-server-out-1": "buffers for the tower's deep features, one a batched token",
    "vllm-issue-15018-1": f"{_GGUF}; an AMD card",
    "rtx4070-8g-llama32-3b-gguf-q8-v08": _GGUF,
    "3090-qwen25-vl-7b-8192-fail": "0.13 GiB were left of 21: 0.23 GiB off in the vision tower's peak",
    "vllm-issue-16570-1": "0.69 GiB were left of 37: 0.26 GiB off in the vision tower's peak",
    "h200-v1-024b-q32awq-tp4-s64-n8192": _MARLIN,
    "h200-v1-024c-q32awq-tp2-n2048-s64": _MARLIN,
    "h200-v1-024c-q32awq-tp2-n8192-s64": _MARLIN,
    "log-vllm-router-vllm-log-1": "NVIDIA's own build",
    "log-eval-dataset-vllm-judge-log-1": "0.10.0 refuses these experts without enable_expert_parallel; flags not given",
    "log-triton-example-vllm-log-1": "2.2 GiB that no module of its architecture explains",
    "vllm-issue-19964-1": "bitsandbytes holds its scales in a form of its own",
    "8g-qwen25-3b-bnb-32000-fail": "1.7 GiB more were taken than any component explains; version guessed",
    "qwen3-32b-tp2-graph-oom-v085": "out of memory with 4 GiB outside the budget; card and interconnect not given",
}
