"""Inside vLLM's image, without a model: a scheduler whose limits were turned against fresh ones, step by step.

Prints one JSON document: for each pair the settings, whether both schedulers did the same at each step, and how many
steps there were. Run by test_live_on_vllm.py; needs vLLM 0.32's internals, and the folder of planner_live.py on the
path. Argument: the folder of a model's config.json.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from typing import Any

os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
FOLDER = os.environ["PLANNER_LIVE_FOLDER"] = tempfile.mkdtemp()

import planner_live
import torch
from vllm import SamplingParams
from vllm.engine.arg_utils import EngineArgs
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request
from vllm.v1.structured_output import StructuredOutputManager

BLOCK, BLOCKS, ARRIVALS = 16, 600, 4
START = (32, 1024, 0)
"""max_num_seqs, max_num_batched_tokens, long_prefill_token_threshold."""
SETTINGS = ((2, 1024, 0), (8, 64, 0), (8, 1024, 32), (4, 256, 64), (1, 32, 0), START, (16, 128, 256))


def config_of(limits: tuple[int, int, int], is_async: bool) -> Any:
    sequences, tokens, threshold = limits
    made = EngineArgs(
        model=sys.argv[1], skip_tokenizer_init=True, max_model_len=1024, max_num_seqs=sequences,
        max_num_batched_tokens=tokens, long_prefill_token_threshold=threshold, dtype="float32", enforce_eager=True,
    ).create_engine_config()  # fmt: skip
    made.scheduler_config.async_scheduling = is_async
    made.cache_config.num_gpu_blocks, made.cache_config.block_size = BLOCKS, BLOCK
    return made


def scheduler_of(make: Any, limits: tuple[int, int, int], is_async: bool) -> Any:
    config = config_of(limits, is_async)
    layer = FullAttentionSpec(block_size=BLOCK, num_kv_heads=2, head_size=64, dtype=torch.float32)
    cache = KVCacheConfig(num_blocks=BLOCKS, kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["layer"], layer)])
    manager = StructuredOutputManager(config)
    return make(
        vllm_config=config, kv_cache_config=cache, structured_output_manager=manager, block_size=BLOCK, log_stats=True
    )


def requests(seed: int, count: int = 32) -> Iterator[Any]:
    """Random prompts, every second one with the same beginning."""
    source, hasher = random.Random(seed), get_request_block_hasher(BLOCK, sha256)
    shared = [source.randrange(3, 900) for _ in range(96)]
    for number in range(count):
        own = [source.randrange(3, 900) for _ in range(source.randrange(16, 500))]
        parameters = SamplingParams(max_tokens=source.randrange(4, 30), ignore_eos=True)
        parameters.update_from_generation_config({}, None)
        prompt = shared * (number % 2) + own
        yield Request(f"{seed}-{number}", prompt, parameters, None, block_hasher=hasher, arrival_time=float(number))


def samples(scheduler: Any, output: Any, name: str) -> bool:
    """Whether the step ends the prompt of this request, so that it gives a token."""
    done = {new.req_id: new.num_computed_tokens for new in output.scheduled_new_reqs}
    cached = output.scheduled_cached_reqs
    done |= dict(zip(cached.req_ids, cached.num_computed_tokens, strict=True))
    return bool(done[name] + output.num_scheduled_tokens[name] >= scheduler.requests[name].num_prompt_tokens)


def steps(scheduler: Any, seed: int, is_async: bool) -> list[list[tuple[str, int]]]:
    """Serve the requests with made-up tokens: which request got how many tokens at each step."""
    to_come, under_way, seen = deque(requests(seed)), deque[Any](), []
    while to_come or scheduler.has_unfinished_requests() or under_way:
        for _ in range(min(ARRIVALS, len(to_come))):
            scheduler.add_request(to_come.popleft())
        output = scheduler.schedule()
        under_way.append((output, {name: samples(scheduler, output, name) for name in output.num_scheduled_tokens}))
        seen.append(sorted(output.num_scheduled_tokens.items()))
        while under_way and (len(under_way) > is_async or not (to_come or scheduler.has_unfinished_requests())):
            output, gives = under_way.popleft()
            names = list(output.num_scheduled_tokens)
            tokens = [[7] if gives[name] and name in scheduler.requests else [] for name in names]
            scheduler.update_from_output(output, ModelRunnerOutput(
                req_ids=names, req_id_to_index={name: at for at, name in enumerate(names)}, sampled_token_ids=tokens,
                logprobs=None, prompt_logprobs_dict={}, pooler_output=[],
            ))  # fmt: skip
    return seen


def turn(number: int, limits: tuple[int, int, int]) -> None:
    names = ("max_num_seqs", "max_num_batched_tokens", "long_prefill_token_threshold")
    path = os.path.join(FOLDER, planner_live.WANTED)
    with open(f"{path}.part", "w", encoding="utf-8") as file:
        json.dump({"id": number, "values": dict(zip(names, limits, strict=True))}, file)
    os.replace(f"{path}.part", path)


def main() -> None:
    init_none_hash(sha256)
    found = []
    for is_async, stock in ((False, Scheduler), (True, AsyncScheduler)):
        live = scheduler_of(planner_live.make, START, is_async)
        for number, limits in enumerate(SETTINGS, start=1 + 100 * is_async):
            turn(number, limits)
            is_reset = live.reset_prefix_cache()
            turned = steps(live, number, is_async)
            fresh = steps(scheduler_of(stock, limits, is_async), number, is_async)
            with open(os.path.join(FOLDER, planner_live.STATE), encoding="utf-8") as file:
                said = json.load(file)
            found.append(
                {"async": is_async, "limits": limits, "same": turned == fresh, "steps": len(turned), "said": said,
                 "base": type(live).__mro__[2].__name__, "reset": is_reset}
            )  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main()
