"""Changes between releases of vLLM: facts that other modules use. Which flags a release has: flag_table.py.

No other module of planner writes a version of vLLM. A fact that several modules use is a property of
`ResolvedEngine`.
"""

from __future__ import annotations

from packaging.version import InvalidVersion, Version

from planner.engine.flag_table import every_flag, release_of
from planner.errors import InputError

# --- facts of releases, each with its source ---
# `X_SINCE`: true from this release on. `X_UNTIL`: true of every release before this one. Where wheels in between were
# not read, the first wheel that shows it.

# 0.6
CONFIG_FILE_SINCE = Version("0.6.0")
"""`vllm serve` takes `--config` (vLLM's pull request 7737)."""
V0_LONG_CHUNKS_SINCE = Version("0.6.4")
"""A chunk of V0 has 2048 tokens by default instead of 512 (engine/arg_utils.py)."""
FRAGMENTS_COUNTED_UNTIL = Version("0.6.4")
"""The profile counts what torch has reserved, fragments included, instead of what it has allocated."""

# 0.7
IMAGE_FITS_CONTEXT_UNTIL = Version("0.7.0")
"""vLLM refuses an image larger than the context, so it had to be made smaller (mm_processor_kwargs)."""

# 0.8
V1_DEFAULT_SINCE = Version("0.8.0")
"""V1 serves unless something forces V0 (vllm@0.8.5 engine/arg_utils.py:_is_v1_supported_oracle)."""
MANY_SEQS_UNTIL = Version("0.8.4.dev0")
"""V1's default max_num_seqs is 1024 on every card (engine/arg_utils.py:_set_default_args_v1)."""
LARGE_BATCH_BY_MEMORY_SINCE = Version("0.8.5")
"""V1 picks the cards with larger batches by memory instead of name (vllm@0.8.5 engine/arg_utils.py)."""

# 0.9
HALF_FALLBACK_SINCE = Version("0.9.0")
"""dtype auto turns bfloat16 into float16 on cards that lack it (vllm@0.8.5 config.py:_get_and_verify_dtype does not,
0.9.2 does)."""
SMALL_BATCH_ON_A100_SINCE = Version("0.9.0")
"""V1 gives the A100, of any memory, the batches of small cards (vllm@0.9.2 excludes it by name)."""
CONTEXT_IN_BUDGET_UNTIL = Version("0.9.0")
"""V1 subtracts the CUDA context and other processes from the budget (vllm@0.8.5 v1/worker/gpu_worker.py)."""

# 0.10
V1_ON_TURING_SINCE = Version("0.10.0")
"""V1 serves below compute capability 8.0 (vllm@0.9.2 forces V0 there, 0.10.2 does not)."""
HYBRID_KV_SINCE = Version("0.10.0")
"""V1 allocates sliding-window layers in groups of their own instead of as full attention (vllm@0.10.2
v1/core/kv_cache_utils.py)."""
VIDEO_ALONE_SINCE = Version("0.10.0")
"""The profile's video may fill the whole context; before, only what one image leaves of it (models/qwen2_vl.py)."""
GRAPHS_FOLLOW_MAX_NUM_SEQS_SINCE = Version("0.10.0")
"""V1 captures CUDA graphs up to twice max_num_seqs; before, always up to the largest (vLLM's pull request 20628)."""
KV_USAGE_RENAMED_SINCE = Version("0.10.0")
"""The metrics of the KV cache have no `gpu_` in their names (0.9.2 writes both names, 0.14.1 only these)."""
TOWER_LEFT_OUT_SINCE = Version("0.10.1")
"""A tower is not loaded if no prompt may have images or videos (vllm@0.10.1 models/qwen2_5_vl.py, gemma3_mm.py; for all
models measured at 0.24.0)."""
CONFIG_FILE_LISTS_SINCE = Version("0.10.2")
"""A file for `--config` may hold lists; the wheel of 0.9.2 accepts none."""

# 0.11
V1_ONLY_SINCE = Version("0.11.0")
"""V0 is removed, so what V1 cannot serve is refused or gets another attention backend, as an fp8 KV cache does
(vllm@0.11.2 has no V0 and no VLLM_USE_V1)."""
CHUNKED_PREFILL_FORCED_UNTIL = Version("0.11.1")
"""V1 chunks prefills whatever was asked (vllm@0.8.0..0.11.0 engine/arg_utils.py:_set_default_args_v1); from this
release on an engine that does not gets max_num_batched_tokens of at least max_model_len by default."""
TRITON_ATTN_NAMED_SINCE = Version("0.11.0")
"""The Triton backend is TRITON_ATTN; before, V1 called it TRITON_ATTN_VLLM_V1 (vllm@0.10.2 platforms/cuda.py)."""
SNAPSHOT_AFTER_NCCL_SINCE = Version("0.11.0")
"""NCCL's buffers exist before the first snapshot, so the budget does not see them (vllm@0.10.2 takes it before
NCCL, 0.11.2 after)."""
FULL_GRAPHS_SINCE = Version("0.11.0")
"""V1 captures full graphs for decoding beside the piecewise ones (vllm@0.11.2: cudagraph_mode is FULL_AND_PIECEWISE if
the backend supports it)."""
FUSED_ROTARY_SINCE = Version("0.11.0")
"""Qwen's vision towers rotate queries and keys in a fused kernel (one to three recorded starts)."""
TIMESTAMPED_VIDEO = (Version("0.11.0"), Version("0.13.0"))
"""From the first version and before the second, Qwen3-VL counts every video token as 12.5 (models/qwen3_vl.py:
get_max_video_tokens)."""
ERRORS_NESTED_SINCE = Version("0.11.0")
"""A response with an error has it under the key `error`."""

# 0.12 to 0.17
FP8_KV_ON_ADA_SINCE = Version("0.12.0")
"""V1 picks by itself a backend that serves an fp8 KV cache below compute capability 9.0."""
MARLIN_ON_TURING_SINCE = Version("0.14.0")
"""Marlin's kernels run on compute capability 7.5 (vLLM's pull request 29901)."""
ASYNC_SCHEDULING_SINCE = Version("0.14.0")
"""Asynchronous scheduling is on by default (vllm@0.14.1 config/vllm.py)."""
WHOLE_MODEL_CHECKED = (Version("0.14.0.dev0"), Version("0.17.0.dev0"))
"""From the first version and before the second, a pipeline stage had to hold a request's KV cache of every layer
(vLLM's pull request 33698)."""
ASYNC_WITH_STAGES_SINCE = Version("0.16.0")
"""Asynchronous scheduling works with pipeline parallelism (vllm@0.14.1, 0.16.0 config/vllm.py; those between were not
read)."""
TRITON_TOP_K_SINCE = Version("0.16.0")
"""Top-k and top-p run in a Triton kernel instead of torch's sort (v1/sample/ops/topk_topp_triton.py)."""

# 0.20
HIGHER_UTILIZATION_SINCE = Version("0.20.0")
"""The default gpu_memory_utilization is 0.92 instead of 0.90 (vllm@0.20.2 has 0.92, 0.14.1 has 0.90)."""
DEFAULTS_CUT_SINCE = Version("0.20.0")
"""An unset max_num_seqs or max_num_batched_tokens is cut to what the other one allows (vllm@0.33.0
engine/arg_utils.py)."""
LARGEST_BATCH_SINCE = Version("0.20.0")
"""Cards of 160 GiB and more get 16384 tokens per step (vllm@0.33.0 engine/arg_utils.py)."""
GRAPHS_IN_BUDGET_SINCE = Version("0.20.0")
"""The budget includes an estimate of the CUDA graphs (vllm@0.20.2, though its log says 0.21)."""
STEADY_GRAPHS_SINCE = Version("0.20.0")
"""The log's figure for the graphs covers only the graphs; before, also anything else first allocated while
capturing (recorded starts: 0.1 to 5 GiB)."""
COMPILE_COUNTS_SINCE = Version("0.20.0")
"""Memory that torch.compile holds with a cold cache counts as activation (20 of 20 starts of 0.24, none up to 0.17)."""
FUSED_MLP_SINCE = Version("0.20.0")
"""The MLP's all-reduce holds no tensor of its own (five starts of 0.24)."""
MORE_OUTSIDE_TORCH_SINCE = Version("0.20.0")
"""An engine alone on a card of compute capability 9.0 takes more memory outside torch (recorded starts of 0.24)."""

# 0.23 and later
SECOND_RUNNER_SINCE = Version("0.23.0")
"""Model runner V2 serves some architectures (vllm@0.24.0 config/vllm.py:DEFAULT_V2_MODEL_RUNNER_ARCHITECTURES)."""
FLASHINFER_ON_TURING_UNTIL = Version("0.24.0")
"""V1 prefers FlashInfer on compute capability 7.5, where starts are known to fail; Triton works (vLLM's issue 47549).
"""
ASYNC_WITH_NGRAM_SINCE = Version("0.25.0")
"""Asynchronous scheduling works with n-gram speculative decoding; before it is refused, later it depends on the model
runner (vllm@0.24.0, 0.33.0 config/vllm.py)."""
SECOND_RUNNER_FOR_ALL_SINCE = Version("0.30.0")
"""Model runner V2 serves every architecture."""
SECOND_RUNNER_GRAPHS_SINCE = Version("0.30.0")
"""Model runner V2 estimates its graphs; before, as 0 bytes (v1/worker/gpu/model_runner.py:profile_cudagraph_memory)."""


ATTENTION_BACKEND = "attention_backend"
"""The setting that every release takes, first by a variable of the environment."""
MOST_VERSION = 100
"""Most characters of a version; Python refuses to convert numbers of thousands of digits."""
OLDEST, NEWEST = Version("0.6.0"), Version("0.33.0")
"""Releases that the facts above cover. The newest is what is taken where nobody names a version."""
MINORS_BEHIND = 4
"""Minor releases before the oldest that are still judged, by its rules: recorded starts reach back to 0.2."""
MINORS_AHEAD = 12
"""Minor releases after the newest that are still judged, by its rules. A guess: about a year of releases."""
LATEST = "latest"
"""Word for the newest release, where a person names a version on the command line."""


def parse_version(text: str) -> Version:
    """Parse a version of vLLM, with or without a leading v. Raises InputError."""
    try:
        return Version(text[:MOST_VERSION].removeprefix("v"))
    except InvalidVersion:
        raise InputError(f"vLLM version {text!r} is not a version; write for example {NEWEST}") from None


def supported_version(text: str, where: str = "vLLM version") -> Version:
    """Parse a version that can be judged: covered by the facts above, or a release soon after them.

    `0.33` means 0.33.0, as its image is called. Raises InputError, which begins with `where`, for any other.
    """
    version = parse_version(text)
    if len(version.release) == 2 and version.public == version.base_version and version.local is None:
        version = Version(f"{version}.0")
    if version.epoch:
        raise InputError(f"{where}: {text}: no release of vLLM has an epoch; write for example {NEWEST}")
    if version.major == OLDEST.major and version.minor < OLDEST.minor - MINORS_BEHIND:
        raise InputError(f"{where}: {version}: too old; planner knows vLLM {OLDEST} to {NEWEST}")
    if version.major > NEWEST.major or version.minor > NEWEST.minor + MINORS_AHEAD:
        raise InputError(f"{where}: {version}: not a release that planner can judge; it knows {OLDEST} to {NEWEST}")
    return version


def version_doubt(version: Version) -> str | None:
    """What to say of a release that is older or newer than the facts above; None of one that they cover."""
    if OLDEST.release[:2] <= version.release[:2] <= NEWEST.release[:2]:
        return None
    age, end = ("older", OLDEST) if version < OLDEST else ("newer", NEWEST)
    return f"vLLM {version} is {age} than planner knows: judged by the rules of {end.major}.{end.minor}"


def knows(version: Version, field: str) -> bool:
    """Whether this version accepts the setting; the attention backend is a variable before it is a flag.

    The table of flags says so (flag_table.py); what is no flag in it, as a variable of the environment, is accepted. A
    version that is not in it has the flags of the nearest earlier one.
    """
    name = "--" + field.replace("_", "-")
    return field == ATTENTION_BACKEND or name not in every_flag() or release_of(version).knows(name)
