"""Examples of every command: what `--help` and docs/cli.md show. A test gives each to the real command line."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "estimate": (
        ("planner estimate --model Qwen/Qwen3-8B --gpu 'RTX 3090' --max-model-len 16384", "without a study"),
        ("planner estimate studies/qwen3-32b-awq-4x2080ti --max-num-seqs 64 --json", "a study, with another setting"),
        ("planner estimate --gpu H200 vllm serve Qwen/Qwen3-8B --max-model-len 16k --port 8000", "a pasted line"),
        ("planner estimate studies/qwen3-32b-awq-4x2080ti --fit max_model_len", "the longest context that starts"),
        ("planner estimate studies/qwen3-32b-awq-4x2080ti --compare awq,Qwen/Qwen3-8B --layouts", "side by side"),
    ),
    "init": (
        ("planner init --model Qwen/Qwen3-8B --gpu 'RTX 3090' --num-gpus 2 --slo ttft_p95=2s", "into studies/"),
        ("planner init my-study --model Qwen/Qwen3-8B --gpu 'RTX 4090' --workload chat", "into a folder of yours"),
        ("planner init my-server --like http://127.0.0.1:8000 --gpu 'RTX 4090' --for 10min", "as a server that runs"),
    ),
    "tune": (
        ("planner tune studies/qwen3-32b-awq-4x2080ti --trials 30", "launch and measure; the same words continue"),
        ("planner tune studies/qwen3-32b-awq-4x2080ti --hours 8", "as far as a night reaches, finals included"),
        ("planner tune studies/qwen3-32b-awq-4x2080ti --dry-run", "the plan and the first launch"),
        ("planner tune studies/qwen3-32b-awq-4x2080ti --slo ttft_p95=2s --concurrency 16 --dry-run", "another load"),
        ("planner tune --model Qwen/Qwen3-8B --gpu 'RTX 4090' --backend simulated --quiet --json", "a try-out"),
        ("planner tune --like http://127.0.0.1:8000 --gpu 'RTX 4090' --max-num-seqs 64", "what would beat that server"),
        ("planner tune studies/qwen3-32b-awq-4x2080ti --trials 60 --ray auto", "on all hosts of a Ray cluster"),
    ),
    "doctor": (
        ("planner doctor", "this machine"),
        ("planner doctor studies/qwen3-32b-awq-4x2080ti", "and what the study needs of it"),
        ("planner doctor http://127.0.0.1:8000 --gpu 'RTX 4090' --for 1min", "what bounds a server that runs"),
    ),
    "candidates": (
        ("planner candidates studies/qwen3-32b-awq-4x2080ti --levers scheduler,layout", "what could be tuned"),
    ),
    "bench": (
        ("planner bench http://127.0.0.1:8000 --concurrency 16 --slo ttft_p95=2s", "a closed loop"),
        ("planner bench http://127.0.0.1:8000 --request-rate 4 --repeats 5 --json -o result.json", "an open loop"),
        ("planner bench --compare before.json after.json --fail-on ttft_p95:5%", "two results, for a pipeline"),
    ),
    "watch": (
        ("planner watch studies/qwen3-32b-awq-4x2080ti", "http://127.0.0.1:9478 in a browser"),
        ("planner watch studies/qwen3-32b-awq-4x2080ti --notify https://ntfy.sh/TOPIC", "and on a telephone"),
    ),
    "report": (
        ("planner report studies/qwen3-32b-awq-4x2080ti", "the trials so far"),
        ("planner report studies/qwen3-32b-awq-4x2080ti --jsonl -o trials.jsonl", "for tune --replay"),
        ("planner report studies/qwen3-32b-awq-4x2080ti --pareto ttft_p95,output_throughput", "what none beats"),
        ("planner report studies/qwen3-32b-awq-4x2080ti --slo ttft_p95=60s", "the same trials under other limits"),
    ),
    "export": (
        ("planner export studies/qwen3-32b-awq-4x2080ti", "the best as run.sh"),
        ("planner export studies/qwen3-32b-awq-4x2080ti --trial 3 --kind compose -o compose.yaml", "another"),
    ),
    "guard": (
        ("planner guard studies/qwen3-32b-awq-4x2080ti --webhook https://hooks.example/planner", "keep it up"),
        ("planner guard ladder.yaml --proxy 8080 --trim oldest", "with a front door"),
    ),
    "log": (
        ("planner log vllm.log", "a file"),
        ("planner log my-container --follow", "a container, as it goes"),
    ),
    "verify": (
        ("planner verify studies/qwen3-32b-awq-4x2080ti/run.sh --repeats 3", "does the script do what its trial did?"),
        ("planner verify studies/qwen3-32b-awq-4x2080ti/run.sh --soak 30min", "does its memory hold?"),
        ("planner verify studies/qwen3-32b-awq-4x2080ti/run.sh --against vllm/vllm-openai:v0.33.0", "an upgrade"),
    ),
    "fleet": (
        ("planner fleet --rate 40 --peak 2.5 --slo ttft_p95=2s --capacity 6 --service-time 5s --ttft 300ms", "numbers"),
        ("planner fleet --bench sweep.json --rate 40 --peak 2.5 --slo e2el_p95=30s --host-cards 8", "a server's sweep"),
        ("planner fleet studies/qwen3-32b-awq-4x2080ti --rate 2 --slo e2el_p95=5min --host-cards 4", "a study's"),
        ("planner fleet docs/examples/fleet.yaml --lost 2 --json", "a file, with another demand on it"),
    ),
    "workload": (
        ("planner workload conversation_trace.jsonl", "what is in it"),
        ("planner workload azure.csv --window typical --num-requests 400 -o mine.yaml", "for bench and tune"),
        ("planner workload http://localhost:8000 --for 10min -o mine.yaml", "from a running server's counters"),
    ),
    "simulate": (
        ("planner simulate --model Qwen/Qwen3-8B --gpu 'RTX 4090' --max-num-seqs 64", "http://127.0.0.1:8000"),
        ("planner simulate --model Qwen/Qwen3-8B --gpu 'RTX 4090' --port 8001 --speedup 20", "in fast motion"),
    ),
    "schema": (
        ("planner schema study", "for the editor of a study.yaml"),
    ),
    "gpus": (
        ("planner gpus", "a table"),
        ("planner gpus --json", "for a program"),
    ),
    "models": (
        ("planner models", "a table"),
        ("planner models --json", "for a program"),
    ),
}  # fmt: skip
"""Command -> command lines with what they are for."""
FLAGS = "Further flags are vLLM's own, by vLLM's names: --max-num-seqs 64 --tensor-parallel-size 4 ..."


def epilog(command: str, further: str = "") -> str:
    """The end of a command's help; typer makes paragraphs of it."""
    lines = [f"{line}  ({purpose})" for line, purpose in EXAMPLES[command]]
    return "\n\n".join([*([further] if further else []), "Examples:", *lines])
