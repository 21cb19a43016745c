"""Inputs that once did harm, by target: a traceback, a hang, memory without end. Each must be refused, or harmless."""

from __future__ import annotations

LAUGHS = "\n".join(["a: &a0 [x, x]", *(f"b{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10))])
DEEP = 100_000


def study(**changes: str) -> bytes:
    """The tests' study with lines of its own in the place of those of the same key."""
    from tests.conftest import STUDY

    rows = [row for row in STUDY.strip().splitlines() if row.partition(":")[0] not in changes]
    return "\n".join([*rows, *(f"{key}: {value}" for key, value in changes.items())]).encode()


def workload(**changes: str) -> bytes:
    return "\n".join(
        f"{key}: {value}" for key, value in {"concurrency": "1", "num_requests": "2", **changes}.items()
    ).encode()


def space(choices: str) -> bytes:
    return f"search: {{{choices}}}".encode()


def config(text: str) -> bytes:
    figures = (
        '"num_attention_heads": 8, "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 8, "vocab_size": 99'
    )
    return f'{{"model_type": "llama", {figures}, {text}}}'.encode()


def tensors(header: str | bytes, length: int | None = None) -> bytes:
    content = header if isinstance(header, bytes) else header.encode()
    return (len(content) if length is None else length).to_bytes(8, "little") + content


def calibration(text: str) -> bytes:
    figures = (
        '"total_bytes": 1, "non_torch_bytes": 1.0, "activation_offset_bytes": 0.0, "graph_ratio": 1.0, "source": ""'
    )
    return f'{{"RTX 2080 Ti 22GB, 2 ranks, pcie, vLLM 0.8.5 V0": {{{figures}, {text}}}}}'.encode()


REFUSED: dict[str, list[bytes]] = {
    "study": [
        b"",
        b"\xff\xfe\0\0",
        b"\0",
        LAUGHS.encode(),
        b"&a [*a]",
        b"[" * DEEP,
        b"- " * DEEP,
        b"!!int ''",
        b"!!bool maybe",
        b"!!timestamp x",
        b"!!float ''",
        b"!!python/object/apply:os.system [id]",
        b"0x" + b"f" * 5000,
        b"name: 1" + b":11" * 50_000,
        b"? [a]\n: b",
        b"2024-99-99",
        b"x" * (1 << 19),
        study(name="b") + b"\nname: c",
        study(engine="{version: " + "9" * 5000 + ".1}"),
        study(hardware="{gpu: H200, gpu_memory: " + "'" + "9" * 400 + "'}"),
        study(hardware="{gpu: H200, num_gpus: 0}"),
        study(hardware="{gpu: H200, num_gpus: " + "9" * 30 + "}"),
        study(models='{a: {path: "a\\0b"}}'),
        study(models="{a: {path: ~nobody-here/model}}"),
        study(models="{a: {path: /" + "a" * 5000 + "}}"),
        study(search_space="a" * 5000 + ".yaml"),
        study(search_space='"a\\0b.yaml"'),
        study(search_space="/dev/zero"),
        study(engine="{version: 0.8.5, settings: {pipeline_parallel_size: 1000000000000}}"),
        study(engine="{version: 0.8.5, settings: {swap_space: .inf}}"),
        study(engine="{version: 0.8.5, settings: {gpu_memory_utilization: .nan}}"),
        study(objective="{weights: {ttft_p95: 1.0e+308, e2el_p50: 1.0e+308}}"),
    ],
    "search space": [
        space("max_num_seqs: {low: 1, high: 9223372036854775807, step: 1}"),
        space("swap_space: {low: 0, high: 1, step: 1.0e-300}"),
        space("max_num_batched_tokens: [9223372036854775807, 2048]"),
        space("max_num_seqs: [1000000000000000000000000000000]"),
        space(", ".join(f"env.X{i}: [{', '.join(map(str, range(20)))}]" for i in range(9))),
        space("layout: [" + "9" * 5000 + "xtp1]"),
    ],
    "workload": [
        workload(num_requests="9223372036854775807"),
        workload(concurrency="1000000000000"),
        workload(request_rate=".inf"),
        workload(request_rate="1.0e-320"),
        workload(request_rate="1", burstiness="1.0e-320"),
        workload(turns="9223372036854775807"),
        workload(input_tokens="{low: 1, high: 9223372036854775808}"),
        workload(output_tokens="{low: 1, high: 9, median: 3, sigma: .inf}"),
        workload(request_timeout="9" * 400),
        workload(warmup_requests="1000000000000"),
        workload(seed="-1"),
    ],
    "hardware": [
        b"gpu: " + b"[" * DEEP,
        b"gpu: H200\ngpu_memory: '" + b"9" * 30 + b"'",
        b"gpu: " + b"H" * 100_000,
        b"gpu: '1" + b" " * 50_000 + b"!'",
    ],
    "ladder": [b"rungs: *a", b"rungs:\n" + LAUGHS.encode()],
    "config.json": [
        b"[" * DEEP,
        b'{"a": ' * DEEP,
        b"\xff",
        config('"num_hidden_layers": 1000000000000'),
        config('"head_dim": 1e400'),
        config('"vocab_size": ' + "9" * 5000),
        config('"head_dim": NaN'),
        config('"ffn_dim": "many"'),
        config('"sliding_window": 64, "layer_types_count": {"sliding_attention": "all"}'),
        config('"sliding_window": 64, "sliding_window_pattern": -1'),
        config('"num_experts": 1000000000000, "num_experts_per_tok": 1'),
        config('"num_experts": 8, "num_experts_per_tok": 1, "moe_intermediate_size": []'),
        config('"rope_scaling": {"rope_type": "yarn", "factor": 1e400}'),
        config('"rope_scaling": {"rope_type": "yarn", "factor": NaN}'),
        config('"quantization_config": {"quant_method": "fp8", "weight_block_size": [128]}'),
        config('"quantization_config": {"quant_method": "fp8", "weight_block_size": ["a", 0]}'),
        config('"quantization_config": {"quant_method": []}'),
        config('"quantization_config": {"quant_method": "awq", "bits": -4}'),
        config('"vocab_size": ' + "[" * 900 + "]" * 900),
    ],
    "safetensors": [
        b"",
        b"\0" * 7,
        tensors("{}", 2**63),
        tensors("{}", 2**64 - 1),
        tensors("{}", 1000),
        tensors(b"\xff\xff"),
        tensors("[" * DEEP),
        tensors('{"a": ' * DEEP),
        tensors('{"a": {"data_offsets": [8, 0]}}'),
        tensors('{"a": {"data_offsets": [-8, 0]}}'),
        tensors('{"a": {"data_offsets": [0, 8]}, "b": {"data_offsets": [4, 12]}}'),
        tensors('{"a": {"data_offsets": [0, 1e400]}}'),
        tensors('{"a": {"data_offsets": [0]}}'),
        tensors('{"a": {}}'),
        tensors('{"a": {"data_offsets": [0, 8]}, "a": {"data_offsets": [9, 9]}}'),
    ],
    "index": [
        b"[" * DEEP,
        b"{}",
        b'{"weight_map": {"a": ["b"]}}',
        b'{"weight_map": {"a": {}}}',
        b'{"weight_map": []}',
        b"\xff",
    ],
    "trace": [
        b"",
        b"{",
        b"[" * DEEP,
        b'"prompt"',
        b'{"prompt": "a", "output_tokens": 1e400}',
        b'{"prompt": "a", "output_tokens": {}}',
        b'{"prompt": "a", "arrival_s": 1e300}',
        b'{"conversations": 5}',
        b'{"conversations": [1, 2]}',
        b'{"input_tokens": 9223372036854775808}',
        b'{"prompt": "\xff"}',
    ],
    "replay": [
        b"",
        b"[" * DEEP,
        b'{"config": ' * DEEP,
        b"[]",
        b'{"candidate": {}}',
        b'{"config": {"layout": "' + b"9" * 5000 + b'xtp1"}}',
    ],
    "quality prompts": [b"", b"[" * DEEP, b"5", b'{"prompt": 5}', b"\xff"],
    "bench result": [b"", b"[" * DEEP, b"[]", b'{"mean_ttft_ms": "\xff"}'],
    "calibration": [
        b"",
        b"[" * DEEP,
        b"\xff",
        b'{"a": \xff}',
        calibration('"total_bytes": 0'),
        calibration('"graph_ratio": 1e308'),
        calibration('"non_torch_bytes": -1e308'),
        calibration('"total_bytes": ' + "9" * 30),
    ],
    "record": [b"", b"[" * DEEP, b"{}", b"\xff"],
}
"""Refused in one line."""

HARMLESS: dict[str, list[bytes]] = {
    "log": [
        b"INFO 11-22 07:10:00 [core.py:12] " * 5000,
        b"GPU KV cache size: " + b"9" * 5000 + b" tokens\n",
        b"Running: " + b"9" * 400 + b" reqs, Avg prompt throughput: " + b"9" * 400 + b" tokens/s\n",
        b"\x1b[" + b"0;" * 50_000,
        b'{"log":"' + b"[" * DEEP,
        b'{"log":"a","x":' + b"[" * DEEP + b"\n",
        b"LLM engine (v" + b"9" * 5000 + b".1)\n",
        b"INFO 11-22 07:10:00 [core.py:1] max_cudagraph_capture_size: " + b"9" * 5000 + b"\n",
        b"INFO 11-22 07:10:00 [core.py:1] Initializing a V1 LLM engine (v0.24.0) with config: "
        b"compilation_config={'max_capture_size': " + b"9" * 5000 + b"}\n",
        b"is preempted by X mode total_num_cumulative_preemption=" + b"9" * 5000 + b"\n",
        b"# GPU blocks: 1\nblock_size=" + b"9" * 5000 + b"\n",
        b"Model loading took " * 20_000 + b"\n",
        b"\r" * 5000,
        b"a" * 300_000,
        b"Avg prompt throughput: 1.2.3 tokens/s, Running: 9 reqs\n",
        b"Free memory on device (1.2.3/4.5.6 GiB) on startup is less than\n",
    ],
    "death": [
        b"Free memory on device " * 20_000,
        b"1" * 100_000 + b" GiB for peak activation",
        b"CUDA error " * 20_000,
    ],
    "metrics": [
        b"",
        b"\0",
        b"vllm:num_requests_running +Inf\n",
        b"vllm:num_requests_running NaN\n",
        b'vllm:num_requests_running{a="',
        b'vllm:time_to_first_token_seconds_bucket{le="x"} y\n',
        b"vllm:time_to_first_token_seconds_bucket{" + b'le="' * 20_000 + b"\n",
        b'vllm:cache_config_info{num_gpu_blocks="' + b"9" * 5000 + b'",block_size="16"} 1\n',
        b"# HELP\n# TYPE\n",
        b'a{b="\\',
        b"a{} {} {}",
    ],
    "events": [
        b"data: " + b"[" * 2000 + b"\n\n",
        b'data: {"x": ' + b"[" * 2000 + b"\n\n",
        b'data: {"choices": [{"text": "\xff"}]}\n\n',
        b'data: {"usage": {"completion_tokens": ' + b"9" * 30 + b"}}\n\n",
        b'data: {"usage": {"completion_tokens": -1}}\n\n',
        b'data: {"usage": {"completion_tokens": ' + b"9" * 5000 + b"}}\n\n",
        b"data: NaN\n\n",
        b"data: 1e999\n\n",
        b"data:\r\rdata:\r\n\r\n",
        b'{"error": ' * 900 + b"1" + b"}" * 900,
        b"[" * 900 + b"]" * 900,
    ],
    "completion": [
        b"[" * DEEP,
        b'{"choices": [{"text": "", "logprobs": {"tokens": 5}}]}',
        b'{"choices": {}}',
        b"1e400",
        b'{"choices": [{"text": "a", "logprobs": {"token_logprobs": [' + b"9" * 400 + b"]}}]}",
    ],
    "help": [b"", b"\n\n  " + b"--a " * 20_000, b"\n\n -" + b" \t" * 20_000],
    "requests": [
        b"[" * DEEP + b"\n",
        b'{"id": \xff}\n',
        b'{"id": 1, "model": {"num_hidden_layers": 1000000000000}}\n',
        b"[]\n",
        b"5\n",
        b'"a"\n',
        b'{"id": 1, "model": "Qwen/Qwen3-8B", "gpu": {"memory_gib": 1e308}, "vllm_version": "0.8.5"}\n',
        b'{"id": 1, "model": "Qwen/Qwen3-8B", "gpu": {"name": "' + b"9" * 5000 + b' GB"}, "vllm_version": "0.8.5"}\n',
        b'{"id": 1, "model": "Qwen/Qwen3-8B", "gpu": {"name": "H200"}, '
        b'"vllm_version": "0.8.5", "engine": {"pp": 1000000000000}}\n',
        b'{"id": 1, "model": "Qwen/Qwen3-8B", "gpu": {"name": "H200"}, '
        b'"vllm_version": "0.8.5", "engine": {"max_model_len": "' + b"9" * 5000 + b'k"}}\n',
    ],
}
"""Read without harm: of a log or a page nothing is made of what makes no sense, of a line of requests an error."""
